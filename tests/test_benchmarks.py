"""The page of figures says what was measured."""

from __future__ import annotations

import json

from benchmarks import launch, page
from benchmarks.ablation_rows import ABLATIONS
from benchmarks.kernel_rows import GROUPS


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
