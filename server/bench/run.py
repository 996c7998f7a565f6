"""A whole run: the connections, the warm-up, the load, and the records of it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import aiohttp

from server.bench.client import Record, Target, ask, first_model
from server.bench.load import Load, drive
from server.bench.prompts import Prompts

BEYOND = 1 << 32
"""A request number that no run reaches."""


@dataclass(frozen=True)
class Run:
    """What was measured."""

    target: Target
    records: list[Record]
    """In the order in which they ended, without the warm-up."""
    busy_seconds: float
    """Processor time of this process meanwhile."""


async def measure(
    target: Target, load: Load, prompts: Prompts, warmup: int = 1, timeout: float = 600.0, key: str | None = None
) -> Run:
    """Send the load. A target without a model takes the first one its server lists; Failed if there is none.

    `timeout` is seconds for one request; `key` is sent as a bearer token.
    """
    records: list[Record] = []
    async with aiohttp.ClientSession(
        # no limit: requests that wait inside the client would make the server look slow
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=timeout),
        headers={"Authorization": f"Bearer {key}"} if key else {},
    ) as session:
        if not target.model:
            target = target.of(await first_model(session, target.url))

        async def send(index: int, due: float) -> None:
            records.append(await ask(session, target, prompts[index], due))

        for index in range(warmup):
            # other random prompts than the measured ones, which no prefix cache should know yet
            await ask(session, target, prompts[BEYOND + index], time.perf_counter())
        before = time.process_time()
        await drive(load, send)
        return Run(target, records, time.process_time() - before)
