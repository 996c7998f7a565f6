"""A whole run: the connections, the warm-up, the load, and the records of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp

from server.bench.client import Record, Target, ask, first_model
from server.bench.load import Load, drive
from server.bench.prompts import Prompts

BEYOND = 1 << 32
"""A request number that no run reaches."""
KEEP_SECONDS = 1.5
"""An unused connection is kept for less time than servers do (gunicorn: 2 s, uvicorn: 5 s): one that is closed while a
request is on its way would look like a failure of the server.
"""


@dataclass(frozen=True)
class Run:
    """What was measured."""

    target: Target
    records: list[Record]
    """In the order in which they ended, without the warm-up."""
    busy_seconds: float
    """Processor time of this process meanwhile."""
    stopped: bool = False
    """Before the load was over."""


async def measure(
    target: Target,
    load: Load,
    prompts: Prompts,
    warmup: int = 1,
    timeout: float = 600.0,
    key: str | None = None,
    ended: Callable[[Record], None] = lambda record: None,
    stop: asyncio.Event | None = None,
) -> Run:
    """Send the load. A target without a model takes the first one its server lists; Failed if there is none.

    `timeout` is seconds for one request; `key` is sent as a bearer token. `ended` is told of each record, and `stop`
    ends the run early: requests that are open then are given up and have no record.
    """
    records: list[Record] = []
    async with aiohttp.ClientSession(
        # no limit: requests that wait inside the client would make the server look slow
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_SECONDS),
        timeout=aiohttp.ClientTimeout(total=timeout),
        headers={"Authorization": f"Bearer {key}"} if key else {},
    ) as session:
        if not target.model:
            target = target.of(await first_model(session, target.url))

        async def send(index: int, due: float) -> None:
            records.append(record := await ask(session, target, prompts[index], due))
            ended(record)

        async def work() -> None:
            nonlocal before
            for index in range(warmup):
                # other random prompts than the measured ones, which no prefix cache should know yet
                await ask(session, target, prompts[BEYOND + index], time.perf_counter())
            before = time.process_time()
            await drive(load, send)

        before = time.process_time()
        stopped = await _until(stop or asyncio.Event(), work())
        return Run(target, records, time.process_time() - before, stopped)


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work, or as much of it as there is time for; whether it was stopped."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return True
        await working
        return False
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
