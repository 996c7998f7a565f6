"""The text of tile IR -> a kernel, or an `RtritonError` with its line; one that verifies prints and reads as itself."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from random import Random

from rtriton.errors import RtritonError
from rtriton.text import parse, show
from rtriton.verify import verify
from tests.fuzz.mutate import octets, words
from tests.fuzz.target import Target, words_of

PASSES = Path(__file__).parents[2] / "passes"
DICTIONARY = words_of("tir")


def run(data: bytes) -> None:
    with suppress(RtritonError):
        kernel = parse(data.decode("utf-8", "replace"))
        verify(kernel, "any")
        text = show(kernel)
        assert show(parse(text)) == text


def seeds() -> list[bytes]:
    files = sorted(PASSES.glob("*.tir"), key=lambda path: path.stat().st_size)
    texts = [text for path in files for text in path.read_text().split("\n// ----\n")]
    return [text.encode() for text in texts if len(text) < 4000]


def mutate(data: bytes, rng: Random) -> bytes:
    return octets(data, rng) if rng.randint(0, 9) == 0 else words(data, rng, DICTIONARY)


TARGET = Target(run, seeds, mutate)
