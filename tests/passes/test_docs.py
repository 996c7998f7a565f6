"""docs/passes.md tells the truth: its examples run, its tables are what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rtriton.interpret.compare import check_same
from rtriton.opt import find_target
from rtriton.passes import PIPELINES, run_pipeline
from rtriton.text import parse, show
from tests.kernels.examples import EXAMPLES
from tests.passes import make_page
from tests.passes.make_page import DIFFS

PAGE = (Path(__file__).parents[2] / "docs" / "passes.md").read_text()
EXAMPLES_ON_PAGE = re.findall(r"^```tir (\S+)\n(.*?)^// ----\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
DIFFS_ON_PAGE = DIFFS.findall(PAGE)


@pytest.mark.parametrize(("passes", "before", "after"), EXAMPLES_ON_PAGE, ids=[e[0] for e in EXAMPLES_ON_PAGE])
def test_examples_on_the_page_are_what_the_passes_do(passes: str, before: str, after: str) -> None:
    kernel = parse(before)
    result = run_pipeline(kernel, None, passes.split(","), verify_each=True)
    assert show(result) == after
    check_same(kernel, result)


@pytest.mark.parametrize(("passes", "target", "before", "diff"), DIFFS_ON_PAGE, ids=[d[0] for d in DIFFS_ON_PAGE])
def test_diffs_on_the_page_are_what_the_last_pass_changes(passes: str, target: str, before: str, diff: str) -> None:
    assert diff == make_page.diff_of(passes, target, before), "run: python -m tests.passes.make_page"
    assert re.search(r"^[+-]", diff, re.MULTILINE)
    kernel = parse(before)
    check_same(kernel, run_pipeline(kernel, find_target(target), passes.split(","), verify_each=True))


def test_the_table_of_gpu_kernels_is_what_becomes_of_them() -> None:
    assert make_page.passes_page() == PAGE, "run: python -m tests.passes.make_page"


def test_every_pass_of_the_pipelines_for_all_and_for_gpus_has_a_section() -> None:
    sections = re.findall(r"^## (\w+)$", PAGE, re.MULTILINE)
    assert {step.name for step in PIPELINES["gpu"]} <= set(sections)


def table() -> dict[str, dict[str, str]]:
    general = PAGE[: PAGE.index("# Passes for GPUs")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in general.splitlines() if line[:1] == "|"]
    head, _, *body = rows
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in body}


@pytest.mark.parametrize("make", EXAMPLES, ids=lambda m: m.__name__)
def test_the_table_says_which_passes_change_which_kernel(make) -> None:
    example = make()
    changed = {step.name: False for step in PIPELINES["tile"]}

    def note(name: str, before: object, after: object) -> None:
        changed[name] |= after is not before

    run_pipeline(example.kernel, None, "tile", note)
    said = table()[example.name]
    assert {name: text.startswith("yes") for name, text in said.items()} == changed


def test_every_no_in_the_table_gives_a_reason() -> None:
    reasons = set(re.findall(r"^(\d)\. ", PAGE, re.MULTILINE))
    for row in table().values():
        for cell in row.values():
            assert cell == "yes" or (found := re.fullmatch(r"no \((\d)\)", cell)) and found[1] in reasons


def test_optimised_tutorial_kernels_give_what_numpy_gives() -> None:
    from rtriton.interpret import interpret

    for make in EXAMPLES:
        example = make()
        interpret(run_pipeline(example.kernel, None, "tile", verify_each=True), example.grid, example.args)
        example.check()
