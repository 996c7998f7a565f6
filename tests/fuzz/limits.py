"""One input to one target, held to its limits: `check(target, data)` raises a `Finding` or returns.

Time is the processor's, of all threads of this process, so that a busy machine is no finding. A loop in Python is
interrupted a little after its limit; what does not return from C at all is for `worker` to end.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
import tracemalloc
from typing import NoReturn

from tests.fuzz.target import Target

SECONDS = 2.0
"""Of the processor's time for one input."""
GROSS = 256 << 20
"""Bytes by which one input may raise what this process has had resident, where its target says nothing closer."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Finding(Exception):
    """What an input did that none may do. Two with the same `mark` are one mistake."""

    def __init__(self, message: str, mark: str) -> None:
        super().__init__(message)
        self.mark = mark


class Hang(BaseException):
    """No `Exception`: what is interrupted must not answer it."""


def check(target: Target, data: bytes) -> None:
    """`Finding` where the target does what it may not."""
    try:
        _once(target, data)
    except Finding as found:
        if not found.mark.startswith("hang"):
            raise
        # other threads and the collection of all garbage take time, too, but not twice
        _once(target, data)


def _once(target: Target, data: bytes) -> None:
    if target.memory is not None:
        tracemalloc.start()
    resident, most_resident, started = _resident(), _most_resident(), time.process_time()
    try:
        _interrupted(target, data)
        taken = tracemalloc.get_traced_memory()[1]
    except Hang as hang:
        place = _place(hang)
        raise Finding(f"more than {SECONDS:g} s: {_shown(hang)}", f"hang {place}") from None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in Rust is no `Exception`
        mark = f"{type(error).__name__} {_place(error)}"
        raise Finding(f"{type(error).__name__}: {str(error)[:300]}", mark) from error
    finally:
        tracemalloc.stop()
    spent = time.process_time() - started
    if spent > SECONDS:
        raise Finding(f"{spent:.1f} s of the processor", "hang in C")
    if target.memory is not None:
        if taken > (most := target.memory(data)):
            raise Finding(f"{taken} bytes of memory for {len(data)} bytes, of which {most} are allowed", "memory")
    elif _most_resident() > max(most_resident, resident + GROSS):
        raise Finding(f"{_most_resident() - resident} bytes of memory for {len(data)} bytes", "memory")


def _interrupted(target: Target, data: bytes) -> None:
    def stop(*_: object) -> NoReturn:
        raise Hang

    earlier = signal.signal(signal.SIGPROF, stop)
    # again and again: the first may be raised where nothing hears it (a finalizer, a callback of C)
    signal.setitimer(signal.ITIMER_PROF, SECONDS * 1.25, 0.2)
    try:
        target.run(data)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, earlier)


def _place(error: BaseException) -> str:
    """The innermost line of ours: one mistake is met by many inputs."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "/tests/fuzz/" not in f.filename and "site-packages" not in f.filename]
    last = (own or frames)[-1]
    return f"{'/'.join(last.filename.split('/')[-3:])}:{last.name}"


def _shown(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-4:]
    return " < ".join(f"{frame.filename.split('/')[-1]}:{frame.lineno} {frame.name}" for frame in reversed(last))


def _resident() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return _most_resident()


def _most_resident() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
