"""The page of figures says what was measured."""

from __future__ import annotations

import json

from benchmarks import page


def test_the_page_is_made_of_the_figures_that_were_kept() -> None:
    assert page.PAGE.read_text() == page.page(), "run: python -m benchmarks.page"


def test_no_figure_is_above_its_ceiling() -> None:
    cpu = page.read("cpu")
    assert all(r["gb_per_s"] is None or r["gb_per_s"] <= 1.1 * cpu["read_gb_per_s"] for r in cpu["rows"])
    assert all(r["rtriton"] <= 1.02 * r["ceiling"] for r in page.read("h200-tutorials")["rows"])


def test_graph_replays_equal_decode_steps() -> None:
    lines = page.decode_lines((page.RESULTS / "h200-decode.json").read_text())
    assert [d["steps"] for d in lines] == [d["replays"] for d in lines]
    cpu = json.loads((page.RESULTS / "cpu.json").read_text())["decode"]["rtriton"]
    assert cpu["steps"] == cpu["replays"]
