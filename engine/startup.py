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

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from engine.host import process_age, process_bytes, untouched_bytes
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
