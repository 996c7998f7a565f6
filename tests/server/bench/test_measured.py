"""What the tool measures beside what the server wrote down itself, by the same clock: `time.perf_counter` is one for
all threads of a machine.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tests.server.bench.fake import event, serving, usage, web

pytest.importorskip("aiohttp")
from server.bench.client import Record, Target
from server.bench.load import Load, arrivals
from server.bench.prompts import Lengths, Prompts
from server.bench.run import Run, measure

TOKENS = 8
FIRST, GAP = 0.1, 0.04
"""Seconds before the first token and between two."""


@dataclass
class Log:
    """What the server did."""

    writes: list[list[float]] = field(default_factory=list[list[float]])
    """Of each answer: when each event was written, `[DONE]` last."""
    connections: set[int] = field(default_factory=set[int])

    async def answer(self, index: int, request: Any) -> Any:
        self.connections.add(request.transport.get_extra_info("peername")[1])
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        times: list[float] = []
        self.writes.append(times)
        for token in range(TOKENS):
            await asyncio.sleep(GAP if token else FIRST)
            times.append(time.perf_counter())
            await response.write(event(f"t{token}", "length" if token == TOKENS - 1 else None))
        await response.write(usage(3, TOKENS))
        times.append(time.perf_counter())
        await response.write(b"data: [DONE]\n\n")
        # the end of the response comes by itself, as a packet of its own
        await asyncio.sleep(0.005)
        await response.write_eof()
        return response


def measured(answer: Any, load: Load, timeout: float = 60.0) -> Run:
    with serving(answer) as fake:
        asked = Prompts(0, Lengths(TOKENS, TOKENS), Lengths(3, 3))
        return asyncio.run(measure(Target(f"{fake.url}/v1"), load, asked, warmup=0, timeout=timeout))


@pytest.mark.parametrize("load", [Load(concurrency=4, requests=12), Load(rate=30, requests=12)])
def test_times_are_those_that_the_server_wrote_down(load: Load) -> None:
    log = Log()
    run = measured(log.answer, load)
    # clients that begin together may change places; the order in which first tokens came does not
    records = sorted(run.records, key=lambda record: record.due + (record.first or 0.0))
    written = sorted(log.writes)
    assert len(records) == len(written) == 12 and not any(record.error for record in records)
    first = [record.due + (record.first or 0.0) - times[0] for record, times in zip(records, written, strict=True)]
    end = [record.due + record.seconds for record in records]
    gaps = [gap for record in records for gap in record.gaps]
    wanted = [gap for times in written for gap in np.diff(times[:-1])]
    # nothing is seen before it was written; medians, because a busy machine puts threads off now and then
    assert min(first) >= 0 and np.median(first) < 0.05
    assert abs(np.median(gaps) - np.median(wanted)) < 0.01 and sum(gaps) == pytest.approx(sum(wanted), rel=0.2)
    assert np.median(np.abs(np.sort(end) - np.sort([times[-1] for times in written]))) < 0.05
    assert np.median([record.first for record in records]) >= FIRST and np.median(gaps) >= 0.75 * GAP


def test_a_closed_loop_keeps_its_connections() -> None:
    log = Log()
    measured(log.answer, Load(concurrency=3, requests=12))
    assert len(log.connections) == 3


def test_an_open_loop_counts_from_when_a_request_was_due() -> None:
    """One at a time, 20 ms each, asked for every 5 ms: they wait for each other, and their times say so."""
    held, written = asyncio.Lock(), []

    async def one_at_a_time(index: int, request: Any) -> Any:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        async with held:
            await asyncio.sleep(0.02)
            written.append(time.perf_counter())
            await response.write(event("a", "stop") + b"data: [DONE]\n\n")
        return response

    rate, count = 200.0, 40
    run = measured(one_at_a_time, Load(rate=rate, requests=count, seed=4))
    due = list(itertools.islice(arrivals(rate, 4), count))
    records = sorted(run.records, key=lambda record: record.due)
    assert np.allclose(np.diff([record.due for record in records]), np.diff(due))
    seen = np.sort([record.due + record.seconds for record in records]) - np.sort(written)
    assert seen.min() >= 0 and np.median(seen) < 0.1
    # by the last one half a second has come together, which a client that waits for answers would never see
    assert max(record.seconds for record in records) > count * 0.02 - due[-1] > 0.4
    assert all(0 <= record.late < record.seconds for record in records)


def test_a_client_that_is_late_says_so() -> None:
    """The loop is held up as a busy client's is: requests begin late, and what they wait is in their time."""
    log = Log()

    async def held_up() -> list[Record]:
        loop = asyncio.get_running_loop()

        async def answer(index: int, request: Any) -> Any:
            if index == 0:
                loop.call_soon_threadsafe(time.sleep, 0.4)
            return await log.answer(index, request)

        with serving(answer) as fake:
            asked = Prompts(0, Lengths(TOKENS, TOKENS), Lengths(3, 3))
            target = Target(f"{fake.url}/v1", "fake")
            return (await measure(target, Load(rate=50, requests=20, seed=1), asked, warmup=0)).records

    records = asyncio.run(held_up())
    worst = max(records, key=lambda record: record.late)
    assert worst.late > 0.1 and worst.first is not None and worst.first >= worst.late + FIRST


def test_a_server_that_never_ends_its_response_slows_nobody() -> None:
    async def endless(index: int, request: Any) -> Any:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(event("a", "stop") + b"data: [DONE]\n\n")
        await asyncio.sleep(300)
        return response

    started = time.perf_counter()
    run = measured(endless, Load(concurrency=1, requests=2), timeout=200)
    assert time.perf_counter() - started < 100
    assert [record.error for record in run.records] == [None, None]
    assert all(record.seconds < 100 for record in run.records)


def test_a_stop_keeps_what_is_over() -> None:
    async def stopped() -> Run:
        stop, seen = asyncio.Event(), []

        def ended(record: Record) -> None:
            seen.append(record)
            if len(seen) == 5:
                stop.set()

        log = Log()
        with serving(log.answer) as fake:
            asked, load = Prompts(0, Lengths(4, 4), Lengths(3, 3)), Load(concurrency=2, requests=1000)
            run = await measure(Target(f"{fake.url}/v1"), load, asked, warmup=0, ended=ended, stop=stop)
        assert run.records == seen
        return run

    run = asyncio.run(stopped())
    assert run.stopped and 5 <= len(run.records) <= 6 and not any(record.error for record in run.records)
