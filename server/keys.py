"""API keys: where they are written, and what a key may have of its own.

    # the team
    sk-3c1f9a...                                            as many as the server's settings say
    sk-77ab02...   name=alice rpm=60 tpm=20000              its own limits
    sk-90ffe1...   name=batch tpd=5000000 concurrent=4 rpm=none

One key a line; what follows it sets the limits of `server.limits` (`none`: no limit) and what the log calls the key.
Of a key only its hash is kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from server.limits import NAMES

VARIABLE = "RTRITON_API_KEY"


class BadKeys(ValueError):
    """Keys that cannot be used; the message never holds one."""


@dataclass(frozen=True)
class Key:
    """One that opens the server."""

    digest: bytes
    """Its SHA-256."""
    given: str | None = None
    """What the operator calls it."""
    limits: tuple[tuple[str, int | None], ...] = ()
    """Those that are not the server's."""

    @property
    def name(self) -> str:
        """What it is told apart by, also after a restart."""
        return self.given or self.digest.hex()[:16]


@dataclass(frozen=True)
class Line:
    """A key as it is written, with its words; neither is in its `repr`."""

    text: str = field(repr=False)
    words: tuple[str, ...] = field(default=(), repr=False)
    source: str = ""


def hashed(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).digest()


def read_keys(file: Path | None, environment: Mapping[str, str]) -> list[str]:
    """The keys of a file and of the environment, as they are written there."""
    return [line.text for line in _lines(file, environment)]


def read_ring(file: Path | None, environment: Mapping[str, str]) -> list[Key]:
    """The same with what each has of its own, and nothing left of the keys but their hashes."""
    ring = [_key(line) for line in _lines(file, environment)]
    for what, values in (("API key", [key.digest for key in ring]), ("name", [key.given for key in ring if key.given])):
        if len(set(values)) < len(values):
            raise BadKeys(f"one {what} is there twice; each API key has its own line, and its own name if it has one")
    return ring


def _lines(file: Path | None, environment: Mapping[str, str]) -> list[Line]:
    """A source that is named and has none is an error: it would open the server to all."""
    found: list[Line] = []
    if file is not None:
        try:
            texts = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise BadKeys(f"the API keys in {file} cannot be read: {getattr(error, 'strerror', 'not text')}") from None
        words = [(i, text.split()) for i, text in enumerate(texts, 1) if text and not text.startswith("#")]
        lines = [Line(first, tuple(rest), f"line {i} of {file}") for i, (first, *rest) in words]
        found += _checked(lines, f"the file {file}")
    if VARIABLE in environment:
        found += _checked(map(Line, environment[VARIABLE].split()), f"the variable {VARIABLE}")
    return found


def _checked(lines: Iterable[Line], source: str) -> list[Line]:
    found = list(lines)
    if not found:
        raise BadKeys(f"{source} holds no API key; write one into it, or do without it")
    if not all(re.fullmatch(r"[!-~]+", line.text) for line in found):
        raise BadKeys(f"{source} holds an API key with characters that no HTTP header can carry; use ASCII")
    for line in found:
        _key(line)
    return found


def _key(line: Line) -> Key:
    own: dict[str, str] = {}
    for word in line.words:
        name, _, value = word.partition("=")
        # the word itself is not said: it may be a part of a key
        if name not in (*NAMES, "name") or name in own:
            known = ", ".join(f"{name}=" for name in ("name", *NAMES))
            raise BadKeys(f"{line.source}: an API key may be followed by {known}, each once, and by nothing else")
        own[name] = value
    given = own.pop("name", None)
    if given is not None and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", given):
        raise BadKeys(f"{line.source}: the name of an API key is letters, digits and `_.-`, and begins with a letter")
    for name, value in own.items():
        if value != "none" and not re.fullmatch(r"[1-9][0-9]{0,14}", value):
            raise BadKeys(f"{line.source}: {name} of an API key is a whole number of at least 1, or none")
    limits = tuple((name, None if value == "none" else int(value)) for name, value in own.items())
    return Key(hashed(line.text), given, limits)
