"""The life of a server, by phase: launch to ready, to the first token, to the last of N requests, to its end.

The phases follow each other without a gap. Any command will do that serves OpenAI's API on a port of 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from server.bench.answer import Failed
from server.bench.client import Record, Target, ask, first_model
from server.bench.load import Load, drive
from server.bench.prompts import Prompts

POLL_SECONDS = 0.01
NOT_YET = {"connect", "http_502", "http_503"}
"""What a server that is still starting answers."""


@dataclass(frozen=True)
class Life:
    """Seconds of each phase, and how the server ended."""

    ready: float
    """From the launch to an answer of GET /v1/models."""
    first_token: float
    """From then, when all clients begin, to the first text that any of them got."""
    requests: float
    """From then to the end of the last request."""
    shut_down: float
    """From SIGTERM, sent then, to the end of the process."""
    status: int
    """Of the process; negative where a signal ended it."""
    records: list[Record]


async def live(
    command: Sequence[str], target: Target, load: Load, prompts: Prompts, start_seconds: float, stop_seconds: float
) -> Life:
    """Start the command, which must serve at `target.url`, load it and stop it.

    Its output goes to standard error. Failed says why there is nothing to measure; the process never outlives this.
    """
    launched = time.perf_counter()
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stdout=2)
    except OSError as error:
        raise Failed("command", f"{command[0]} cannot be started: {error.strerror}") from None
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            target = await _ready(process, session, target, launched + start_seconds)
            ready = time.perf_counter()
            records: list[Record] = []

            async def send(index: int, due: float) -> None:
                records.append(await ask(session, target, prompts[index], due))

            await drive(load, send)
        last = time.perf_counter()
        firsts = [record.due + record.first for record in records if record.first is not None]
        if not firsts:
            raise Failed("requests", f"no request got a token; the first one: {records[0].error}: {records[0].detail}")
        status = await _stop(process, stop_seconds)
        ended = time.perf_counter()
        return Life(ready - launched, min(firsts) - ready, last - min(firsts), ended - last, status, records)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _ready(
    process: asyncio.subprocess.Process, session: aiohttp.ClientSession, target: Target, deadline: float
) -> Target:
    """The target with the model that it serves, as soon as it answers."""
    while time.perf_counter() < deadline:
        if process.returncode is not None:
            raise Failed("command", f"the server ended with status {process.returncode} before it was ready")
        try:
            async with asyncio.timeout(deadline - time.perf_counter()):
                return target.of(await first_model(session, target.url))
        except Failed as failed:
            if failed.kind not in NOT_YET:
                raise
        except TimeoutError:
            break
        await asyncio.sleep(POLL_SECONDS)
    raise Failed("command", "the server was not ready in time")


async def _stop(process: asyncio.subprocess.Process, seconds: float) -> int:
    if process.returncode is not None:
        raise Failed("command", f"the server ended by itself with status {process.returncode}")
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(seconds):
            return await process.wait()
    except TimeoutError:
        raise Failed("command", f"the server did not end within {seconds:g} seconds of SIGTERM") from None
