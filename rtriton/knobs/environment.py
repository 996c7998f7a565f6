"""The process environment: the only file of rtriton/ that touches os.environ.

    read("RTRITON_PTXAS", "TRITON_PTXAS_PATH")   the first of these that is set, else None
"""
from __future__ import annotations

import os
from collections.abc import Callable
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
    """Some variables, looked at often: their raw texts as one tuple, to be compared. `none_set(keys)`, which takes a
    fifth of the time, says whether there is none."""

    def __init__(self, *names: str) -> None:
        self.names = names
        below: Any = getattr(os.environ, "_data", None)
        if os.name == "posix" and type(below) is dict:
            self.keys: tuple[Any, ...] = tuple(map(os.fsencode, names))
            self.none_set: Callable[[tuple[Any, ...]], bool] = cast("dict[bytes, bytes]", below).keys().isdisjoint
        else:
            self.keys, self.none_set = names, lambda keys: all(os.environ.get(key) is None for key in keys)

    def texts(self) -> tuple[Any, ...]:
        """As they are now. os.environ decodes on every read; the bytes below it do as well, where they can be seen."""
        below: Any = getattr(os.environ, "_data", None)
        if os.name == "posix" and type(below) is dict:
            get = cast("dict[bytes, bytes]", below).get
            return tuple([get(name) for name in self.keys])
        return tuple(map(os.environ.get, self.names))
