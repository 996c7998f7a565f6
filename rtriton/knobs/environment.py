"""The process environment: the only file of rtriton/ that touches os.environ.

    read("RTRITON_PTXAS", "TRITON_PTXAS_PATH")   the first of these that is set, else None
"""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

TRUE = ("1", "true", "on", "yes", "y")


def read(*names: str) -> str | None:
    """The text of the first of these variables that is set."""
    for name in names:
        text = os.environ.get(name)
        if text is not None:
            return text
    return None


def flag(*names: str, default: bool = False) -> bool:
    """Is the first of these that is set switched on (1, true, on, yes, y)?"""
    text = read(*names)
    return default if not text else text.lower() in TRUE


def path(*names: str) -> Path | None:
    """The first of these as a path; None where it is empty or not set."""
    text = read(*names)
    return Path(text) if text else None


def write(name: str, text: str | None) -> None:
    """Set a variable, for this process and those that it starts; None takes it away."""
    if text is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = text


def processors() -> int:
    """The processors that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


class Watched:
    """Some variables, looked at often: their raw texts as one tuple, to be compared."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self._encoded = [os.fsencode(name) for name in names]

    def texts(self) -> tuple[Any, ...]:
        """As they are now. os.environ decodes on every read; the bytes below it do as well, where they can be seen."""
        below: Any = getattr(os.environ, "_data", None)
        if os.name == "posix" and type(below) is dict:
            get = cast("dict[bytes, bytes]", below).get
            return tuple([get(name) for name in self._encoded])
        return tuple(map(os.environ.get, self.names))

    def unset(self) -> bool:
        """Is none of them set? Costs a fifth of reading them."""
        below: Any = getattr(os.environ, "_data", None)
        if os.name == "posix" and type(below) is dict:
            return cast("dict[bytes, bytes]", below).keys().isdisjoint(self._encoded)
        return all(text is None for text in self.texts())
