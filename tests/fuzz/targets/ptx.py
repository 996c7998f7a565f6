"""The text of PTX -> the emulator's program, or a `ParseError` with its line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from random import Random

from rtriton.backend.ptx.emulate.parse import ParseError, parse
from tests.fuzz.mutate import octets, words
from tests.fuzz.target import Target, words_of

COMPILED = Path(__file__).parents[2] / "backend" / "ptx" / "compiled.ptx"
DICTIONARY = words_of("ptx")


def run(data: bytes) -> None:
    with suppress(ParseError):
        parse(data.decode("utf-8", "replace"))


def seeds() -> list[bytes]:
    text = COMPILED.read_text()
    return [
        text.encode(),
        text[:3000].encode(),
        b".version 8.0\n.target sm_80\n.visible .entry k(.param .u64 p)\n{\nret;\n}\n",
    ]


def mutate(data: bytes, rng: Random) -> bytes:
    return octets(data, rng) if rng.randint(0, 9) == 0 else words(data, rng, DICTIONARY)


TARGET = Target(run, seeds, mutate)
