"""docs/rtriton-opt.md is what `rtriton-opt` prints today."""

from __future__ import annotations

from rtriton.passes import PIPELINES
from tests.passes import make_page


def test_the_page_is_what_the_tool_prints() -> None:
    assert make_page.KERNEL.read_text() == make_page.named_kernel()
    assert make_page.PAGE.read_text() == make_page.page(), "run: python -m tests.passes.make_page"


def test_nearly_every_pass_changes_this_kernel_at_least_once() -> None:
    sections = make_page.PAGE.read_text().split("\n## ")[1:]
    changed = {section.split("\n")[0] for section in sections if "```diff" in section}
    never = {"unroll", "bounds"}  # no loop of this kernel asks for the one, its sizes are arguments
    assert changed == {step.name for step in PIPELINES["tile"]} - never


def test_the_kernel_of_the_page_keeps_its_meaning() -> None:
    assert "same" in make_page.ran(str(make_page.KERNEL), "--pipeline", "tile", "--check").lower()
