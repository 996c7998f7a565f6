"""When requests begin.

In an open loop they come as they come (Poisson, `rate` a second), however slow the server is; in a closed loop each of
`concurrency` clients begins its next one when its last is over. A run ends after `requests` or with the last one that
began within `seconds`; requests that are open then are awaited.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Send = Callable[[int, float], Coroutine[Any, Any, None]]
"""Does request number i, due at a time of `time.perf_counter`. What it raises ends the run."""


@dataclass(frozen=True)
class Load:
    """A shape of load: either `rate` or `concurrency`."""

    rate: float | None = None
    """Requests a second, open loop."""
    concurrency: int | None = None
    """Requests open at any time, closed loop."""
    requests: float = float("inf")
    seconds: float = float("inf")
    seed: int = 0


def arrivals(rate: float, seed: int) -> Iterator[float]:
    """Seconds since the start at which the requests of a Poisson process come."""
    rng, now = np.random.default_rng(seed), 0.0
    while True:
        now += float(rng.exponential(1 / rate))
        yield now


async def drive(load: Load, send: Send) -> None:
    """Begin every request of the load, and wait until each is over."""
    started = time.perf_counter()
    if load.rate is not None:
        await _open_loop(load, arrivals(load.rate, load.seed), started, send)
    else:
        await _closed_loop(load, started, send)


async def _open_loop(load: Load, times: Iterator[float], started: float, send: Send) -> None:
    async with asyncio.TaskGroup() as group:
        for index, due in enumerate(times):
            if index >= load.requests or due > load.seconds:
                break
            await asyncio.sleep(started + due - time.perf_counter())
            # timed from when it was due: a client that is late must not make the server look quick
            group.create_task(send(index, started + due))


async def _closed_loop(load: Load, started: float, send: Send) -> None:
    turn = itertools.count()

    async def client() -> None:
        while (now := time.perf_counter()) - started < load.seconds and (index := next(turn)) < load.requests:
            await send(index, now)

    async with asyncio.TaskGroup() as group:
        for _ in range(load.concurrency or 1):
            group.create_task(client())
