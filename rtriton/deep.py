"""Room for deep recursion, for as long as someone in this process needs it.

    with deep_recursion(100_000): ...

The limit is one for all threads, so that it goes back only when the last of them is done.
"""
from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager


class _Room:
    """Who is inside, and what the limit was before the first of them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.before = 0


_room = _Room()


@contextmanager
def deep_recursion(frames: int) -> Generator[None]:
    """Let Python calls nest `frames` deep inside."""
    with _room.lock:
        if _room.inside == 0:
            _room.before = sys.getrecursionlimit()
        _room.inside += 1
        sys.setrecursionlimit(max(sys.getrecursionlimit(), frames))
    try:
        yield
    finally:
        with _room.lock:
            _room.inside -= 1
            if _room.inside == 0:
                sys.setrecursionlimit(_room.before)
