"""Where the seconds of a start and the bytes of a loaded model went, measured where the work is done.

    watch = Stopwatch.of_process()
    with watch.phase("reading the file"):
        with watch.phase("repacking"):          # interrupts the outer phase: no second is counted twice
            ...
    watch.breakdown("engine")                   # parts, and a total measured apart from them

The total of a `Breakdown` is not the sum of its parts: it is the age of the process, or what the system says the
process or the GPU holds. What the parts do not explain is its `other`.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from engine.messages import Breakdown

if TYPE_CHECKING:
    import numpy as np

BEGINNING = "starting Python and importing"
ENGINE = "engine process"


class Stopwatch:
    """Seconds by what they went to, for one thread."""

    def __init__(self, before: float = 0.0) -> None:
        """`before`: seconds that had passed when it was made."""
        self._began = self._since = time.perf_counter()
        self._before = before
        self._open: list[str] = []
        self.seconds: dict[str, float] = {}

    @staticmethod
    def of_process() -> Stopwatch:
        """Begins with what the process has done so far: starting Python, importing."""
        age = process_age()
        watch = Stopwatch(age)
        if age:
            watch.seconds[BEGINNING] = age
        return watch

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """The time inside, without that of phases inside of it."""
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """What the compiler says of its own time is a part of its own from here on, and not of the phase around."""
        # not above: the server's process starts the engine's before it imports all this
        from rtriton import knobs

        before = knobs.compilation.listener

        def listen(**told: object) -> None:
            name = "reading compiled kernels" if told["cache_hit"] else "compiling kernels"
            self._move(name, told["times"].total / 1e6)  # type: ignore[attr-defined]
            if before is not None:
                before(**told)

        knobs.compilation.listener = listen
        try:
            yield
        finally:
            knobs.compilation.listener = before

    @property
    def total(self) -> float:
        """Seconds since the beginning."""
        return self._before + time.perf_counter() - self._began

    def breakdown(self, of: str) -> Breakdown:
        """As it is now."""
        self._charge()
        return Breakdown(of, "s", tuple(self.seconds.items()), self.total)

    def around(self, inner: tuple[Breakdown, ...]) -> tuple[Breakdown, ...]:
        """Breakdowns of what was done while this watch ran, their seconds beside its own: its total for both."""
        mine = tuple(self.seconds.items())
        return tuple(Breakdown(it.of, it.unit, mine + it.parts, self.total) if it.unit == "s" else it for it in inner)

    def _charge(self) -> None:
        now = time.perf_counter()
        if self._open:
            self._add(self._open[-1], now - self._since)
        self._since = now

    def _move(self, name: str, seconds: float) -> None:
        self._charge()
        if self._open:
            self._add(self._open[-1], -seconds)
        self._add(name, seconds)

    def _add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


def host_memory(parts: dict[str, int], arrays: Iterable[np.ndarray]) -> Breakdown:
    """What this process holds, and will hold once all of `arrays`, which are among the parts, has been written to."""
    held = process_bytes()
    total = held + sum(map(untouched_bytes, arrays)) if held else 0
    return Breakdown(f"memory of the {ENGINE}", "bytes", tuple(parts.items()), total)


def process_age() -> float:
    """Seconds since this process was started, in steps of the system's clock tick; 0 where the system does not say."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            started = int(file.read().rpartition(")")[2].split()[19])  # field 22, proc(5)
    except OSError:
        return 0.0
    return max(time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK"), 0.0)


def process_bytes() -> int:
    """Memory that this process holds now; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def untouched_bytes(array: np.ndarray) -> int:
    """Bytes of a large array whose pages were never written, so that the process does not hold them yet."""
    if sys.platform != "linux" or not array.nbytes:
        return 0
    page = os.sysconf("SC_PAGE_SIZE")
    first = -(-array.ctypes.data // page) * page
    count = (array.ctypes.data + array.nbytes - first) // page
    if count <= 0:
        return 0
    import numpy as np

    found = np.ones(count, np.uint8)
    here = ctypes.c_void_p(first), ctypes.c_size_t(count * page), found.ctypes.data_as(ctypes.c_void_p)
    if ctypes.CDLL(None).mincore(*here):
        return 0
    return int((found & 1 == 0).sum()) * page
