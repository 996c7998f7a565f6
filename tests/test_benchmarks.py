"""The page of figures says what was measured."""

from __future__ import annotations

import json

import pytest

from benchmarks import launch, page, page_serving
from benchmarks.ablation_rows import ABLATIONS
from benchmarks.kernel_rows import GROUPS

pytest.importorskip("aiohttp")
from benchmarks import serving
from server.bench.client import Record
from server.bench.report import report


def test_the_page_is_made_of_the_figures_that_were_kept() -> None:
    assert page.PAGE.read_text() == page.page(), "run: python -m benchmarks.page"


def test_no_figure_is_above_its_ceiling() -> None:
    cpu = page.read("cpu")
    assert all(r["gb_per_s"] is None or r["gb_per_s"] <= 1.1 * cpu["read_gb_per_s"] for r in cpu["rows"])
    kept = page.read("h200-kernels")
    assert not kept["failed"] and not any(r["refused"] for r in kept["rows"])


def test_no_kernel_bound_by_memory_is_a_twentieth_behind_triton() -> None:
    kept = page.read("h200-kernels")
    assert all(mean >= 1 for group, mean in kept["geometric_means"].items() if group != "products")
    assert all(r["ratio"] >= 0.95 for r in kept["rows"] if r["group"] != "products")


def test_every_output_that_was_timed_was_right() -> None:
    for r in page.read("h200-kernels")["rows"]:
        assert all(r["sides"][side]["error"] <= r["tolerance"] for side in ("rtriton", "triton")), r["row"]
    assert {r["row"] for r in page.read("h200-kernels")["rows"]} == {r.label for rows in GROUPS.values() for r in rows}
    assert {r["pass"] for r in page.read("h200-ablation")["rows"]} == {a.name for a in ABLATIONS}


def test_launches_are_timed_of_kernels_that_write_what_they_should() -> None:
    ways, wait = launch.cpu_ways()
    rows = launch.measure(ways, wait, rounds=1, calls=20)
    assert {row.kernel for row in rows} == {"one", "three", "five", "nineteen"}
    assert all(row.arguments == launch.ARRAYS[row.kernel] + len(launch.SCALARS[row.kernel]) for row in rows)
    assert all(0 < row.least <= row.us for row in rows)


def test_graph_replays_equal_decode_steps() -> None:
    lines = page.decode_lines((page.RESULTS / "h200-decode.json").read_text())
    assert [d["steps"] for d in lines] == [d["replays"] for d in lines]
    cpu = json.loads((page.RESULTS / "cpu.json").read_text())["decode"]["rtriton"]
    assert cpu["steps"] == cpu["replays"]


def test_servers_were_asked_for_the_same_and_answered() -> None:
    kept = page.read("serving")
    runs, asked = [*kept["closed"], *kept["open"]], kept["asked"]
    assert all(r["errors"] == {} and r["output_tokens"] == asked["tokens"] * r["requests"] for r in runs)
    for part, key in (("life", None), ("closed", "concurrency"), ("open", "rate")):
        mine, theirs = (
            [r.get(key) for r in kept[part] if r["server"] == server] for server in ("rtriton", page_serving.PEER)
        )
        assert theirs and all(mine.count(value) == theirs.count(value) for value in theirs), part
    assert all(r["load_average"] >= 0 for r in [*kept["life"], *runs])


def test_an_answer_that_is_too_short_is_no_measurement() -> None:
    side = serving.Side("short", (), {})
    whole, short = (Record(0.0, 1.0, 0.1, (0.01,) * 3, tokens, True, 9) for tokens in (serving.TOKENS, 5))
    assert serving.checked(side, report([whole, whole], serving.SLO, 0.1)).output_tokens == 2 * serving.TOKENS
    for records in ([whole, short], [whole, Record(0.0, 1.0, error="timeout")]):
        with pytest.raises(SystemExit, match="short: "):
            serving.checked(side, report(records, serving.SLO, 0.1))


def test_the_runner_of_the_servers_benchmark_gives_tokens_at_its_pace() -> None:
    from benchmarks.serve_cpu import Paced
    from engine.config import EngineConfig
    from engine.engine import Engine
    from engine.messages import SamplingParams, StepOutput, Submit

    it = Engine(Paced(EngineConfig("paced", max_num_seqs=4, extra={"step_seconds": 0.0})))
    for i in range(4):
        it.submit(Submit(f"{i}", [5, 6, 7], SamplingParams(max_tokens=6)))
    given = [out for _ in range(20) if it.busy for e in it.step() if isinstance(e, StepOutput) for out in e.tokens]
    assert len(given) == 24 and all(300 <= out.token_ids[0] < 900 for out in given)
