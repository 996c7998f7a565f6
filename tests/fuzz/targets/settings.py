"""A server's settings in TOML, and a file of its keys, as whoever writes them may get them wrong -> settings, or all
mistakes at once.

    settings\\n[toml]        # or: keys\\nsk-...
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random

from server.keys import BadKeys, read_ring
from server.limits import NAMES
from server.settings import rows
from server.sources import Mistakes, read
from tests.fuzz.mutate import octets, words
from tests.fuzz.target import Target


def run(data: bytes) -> None:
    kind, _, text = data.partition(b"\n")
    _file().write_bytes(text)
    if kind == b"keys":
        with suppress(BadKeys):
            assert read_ring(_file(), {})
        return
    try:
        read({}, {}, _file())
    except Mistakes as mistakes:
        assert mistakes.lines and all(mistakes.lines)


@cache
def _file() -> Path:
    _kept.append(tempfile.TemporaryDirectory(prefix="fuzz-"))
    return Path(_kept[0].name) / "server.toml"


_kept: list[tempfile.TemporaryDirectory[str]] = []

# ---- inputs ------------------------------------------------------------------------------------------

VALUES = (
    'true false 0 1 -1 8000 99999999999999999999 0.5 1e400 inf nan [] [[]] {} \'\'\' """ # = . " [a] [[a]] 1979-05-27'
)
WORDS = (
    [row.name for row in rows()]
    + VALUES.split()
    + ["07:32:00", '"auto"', '"127.0.0.1"', '"a\\u0000b"', "a.b = 1", *(f" {name}=1" for name in NAMES)]
)


def seeds() -> list[bytes]:
    lines = [f"{row.name} = {_written(row.default)}" for row in rows() if row.default is not None]
    return [b"settings\n" + "\n".join(lines).encode(), b"keys\n# ours\nsk-one\nsk-two name=two\n"]


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return str(list(value))
    return str(value) if isinstance(value, (int, float)) else f'"{value}"'


def mutate(data: bytes, rng: Random) -> bytes:
    kind, _, text = data.partition(b"\n")
    return kind + b"\n" + (octets(text, rng) if rng.randint(0, 4) == 0 else words(text, rng, WORDS))


TARGET = Target(run, seeds, mutate)
