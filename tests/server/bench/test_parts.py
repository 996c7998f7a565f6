"""The parts of the load tool by themselves: prompts, arrivals, percentiles, goodput, histograms."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("aiohttp")
from server.bench.client import Record
from server.bench.load import Load, arrivals, drive
from server.bench.prompts import Lengths, Prompts, read
from server.bench.report import Errors, Slo, distribution, report
from server.bench.show import histogram


def test_arrivals_are_a_poisson_process() -> None:
    rate, count = 7.0, 20_000
    gaps = np.diff([0.0, *itertools.islice(arrivals(rate, 3), count)])
    # Kolmogorov and Smirnov: the largest distance from the exponential distribution, at a level of one in a thousand
    ordered = np.sort(gaps)
    steps = np.arange(1, count + 1) / count
    ideal = 1 - np.exp(-rate * ordered)
    assert max(np.max(steps - ideal), np.max(ideal - steps + 1 / count)) < 1.95 / math.sqrt(count)
    # and each gap knows nothing of the one before
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 4 / math.sqrt(count)


def test_arrivals_are_decided_by_the_seed() -> None:
    first, again, other = (list(itertools.islice(arrivals(5, seed), 50)) for seed in (1, 1, 2))
    assert first == again != other


def test_percentiles_are_those_of_the_definition() -> None:
    values = list(np.random.default_rng(0).lognormal(size=501))
    found, ordered = distribution(values), sorted(values)
    assert found is not None
    for percent, value in ((50, found.p50), (90, found.p90), (95, found.p95), (99, found.p99)):
        place = percent / 100 * (len(values) - 1)
        low, share = int(place), place - int(place)
        assert value == pytest.approx(ordered[low] + share * (ordered[min(low + 1, 500)] - ordered[low]))
    assert (found.count, found.max) == (501, ordered[-1])
    assert found.mean == pytest.approx(math.fsum(values) / 501)
    assert distribution([]) is None


def record(
    due: float = 0.0, first: float = 0.1, gap: float = 0.02, tokens: int = 5, error: str | None = None
) -> Record:
    gaps = (gap,) * (tokens - 1)
    return Record(due, first + sum(gaps), first, gaps, tokens, True, 3, error, "why" if error else "")


def test_a_report_counts_errors_apart_and_against_goodput() -> None:
    records = [record(), record(1.0, first=0.5), record(2.0, gap=0.2), record(3.0, error="http_429")]
    made = report(records, Slo(200, 100), 0.5)
    assert made.errors == {"http_429": Errors(1, "why")}
    assert (made.requests, made.completed, made.output_tokens, made.prompt_tokens) == (4, 3, 15, 9)
    assert made.seconds == pytest.approx(3.18) and made.output_tokens_per_s == pytest.approx(15 / 3.18)
    assert made.goodput is not None and (made.goodput.requests, made.goodput.share) == (1, 0.25)
    assert made.ttft_ms is not None and made.ttft_ms.p50 == pytest.approx(100) and made.ttft_ms.count == 3
    assert made.itl_ms is not None and made.itl_ms.count == 12
    assert report(records, Slo(), 0.5).goodput is None


def test_each_limit_of_an_slo_counts_by_itself() -> None:
    fast, slow = record(), record(first=0.5, gap=0.2)
    for slo in (Slo(ttft_ms=200), Slo(itl_ms=50), Slo(e2e_ms=200)):
        assert slo.kept_by(fast) and not slo.kept_by(slow)
        assert not slo.kept_by(record(error="timeout"))
    empty = Record(0.0, 0.1)
    assert Slo(e2e_ms=200, itl_ms=50).kept_by(empty) and not Slo(ttft_ms=200).kept_by(empty), "no first token came"


def test_several_tokens_in_one_event_are_shared_out() -> None:
    merged = Record(0.0, 1.0, 0.2, (0.4, 0.4), tokens=9, counted=True)
    assert merged.per_token == pytest.approx(0.1)
    assert Slo(itl_ms=101).kept_by(merged) and not Slo(itl_ms=99).kept_by(merged)


def test_prompts_are_decided_by_seed_and_number() -> None:
    prompts = Prompts(1, Lengths(3, 9), Lengths(5, 8))
    asked = [prompts[i] for i in range(50)]
    assert asked == [Prompts(1, Lengths(3, 9), Lengths(5, 8))[i] for i in range(50)]
    assert {len(p.text.split()) for p in asked} == {5, 6, 7, 8} and {p.max_tokens for p in asked} == {*range(3, 10)}
    assert Prompts(2, Lengths(3, 9), Lengths(5, 8))[0] != asked[0] and len({p.text for p in asked}) == 50


def test_prompts_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two three\n\nfour\n")
    (tmp_path / "b.jsonl").write_text('{"prompt": "one\\ntwo"}\n')
    assert read(tmp_path / "a.txt") == ("one two three", "four") and read(tmp_path / "b.jsonl") == ("one\ntwo",)
    prompts = Prompts(0, Lengths(4, 4), Lengths(2, 2), read(tmp_path / "a.txt"))
    assert [prompts[i].text for i in range(3)] == ["one two", "four", "one two"]


@pytest.mark.parametrize("line", ["[1]", "{", '{"text": "x"}', '{"prompt": 1}'])
def test_a_wrong_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "c.jsonl").write_text(f'{{"prompt": "fine"}}\n{line}\n')
    with pytest.raises(ValueError, match=r"c\.jsonl:2: "):
        read(tmp_path / "c.jsonl")


@pytest.mark.parametrize("text", ["0", "5:4", "x", "1:", "-1"])
def test_wrong_lengths_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Lengths.parse(text)
    assert Lengths.parse("2:7") == Lengths(2, 7) and Lengths.parse("3") == Lengths(3, 3)


def driven(load: Load, service: float) -> tuple[int, int]:
    """How many requests began, and how many were open at once at most."""
    begun, now_open, most = 0, 0, 0

    async def send(index: int, due: float) -> None:
        nonlocal begun, now_open, most
        assert index == begun and due <= time.perf_counter()
        begun, now_open = begun + 1, now_open + 1
        most = max(most, now_open)
        await asyncio.sleep(service)
        now_open -= 1

    asyncio.run(drive(load, send))
    assert now_open == 0
    return begun, most


def test_a_closed_loop_keeps_so_many_open() -> None:
    assert driven(Load(concurrency=3, requests=10), 0.01) == (10, 3)


def test_an_open_loop_does_not_wait_for_answers() -> None:
    begun, all_begun = 0, asyncio.Event()

    async def send(index: int, due: float) -> None:
        nonlocal begun
        begun += 1
        if begun == 30:
            all_begun.set()
        await asyncio.wait_for(all_begun.wait(), 60)

    asyncio.run(drive(Load(rate=1000, requests=30), send))
    assert begun == 30


def test_seconds_end_both_loops() -> None:
    begun, _ = driven(Load(concurrency=2, seconds=0.2), 0.05)
    assert 2 <= begun <= 8
    assert driven(Load(rate=200, seconds=0.2, seed=5), 0.0)[0] == sum(1 for _ in _until(0.2, 200, 5))


def _until(end: float, rate: float, seed: int) -> itertools.takewhile[float]:
    return itertools.takewhile(lambda due: due <= end, arrivals(rate, seed))


def test_every_sample_is_in_the_histogram() -> None:
    values = [*np.random.default_rng(1).lognormal(3, 1, 500), 0.0]
    lines = histogram(values)
    assert sum(int(line.rsplit(" ", 1)[1]) for line in lines) == 501
    edges = [float(line.split()[0]) for line in lines]
    assert edges == sorted(edges)
    assert sum(int(line.rsplit(" ", 1)[1]) for line in histogram([5.0, 5.0])) == 2
