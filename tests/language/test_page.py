"""docs/language.md is what the registries say today, and no op of kernels has a hole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rtriton.language.table import OPS, op
from tests.language import make_page, page_functions, page_matrix
from tests.peers import figures


def test_the_page_is_what_the_registries_say() -> None:
    assert make_page.PAGE.read_text() == make_page.page(), "run: python -m tests.language.make_page"


def test_no_op_of_kernels_is_missing_in_an_execution() -> None:
    assert page_matrix.holes() == []


def test_an_op_without_lowerings_is_a_hole_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtriton.language.table.OPS", OPS)
    op("test_hole")(lambda: ())
    try:
        assert page_matrix.holes() == [f"test_hole: {place}" for place in page_matrix.PLACES]
        assert "| `test_hole` |  | **no** | **no** | **no** |" in page_matrix.matrix()
    finally:
        del OPS["test_hole"]


def test_every_public_function_is_in_one_group_and_has_a_sentence() -> None:
    assert page_functions.ungrouped() == set(), "put it into a group of tests/language/page_functions.py"
    assert [name for name, fn in page_functions.documented() if not page_functions.sentence(fn)] == []


def test_a_run_takes_the_place_of_an_earlier_one_on_its_device(tmp_path: Path) -> None:
    rows = {
        "unit/test_a.py::test_x[1]": {"outcome": "passed"},
        "unit/test_a.py::test_x[2]": {"outcome": "failed", "why": "compiled.py:96: KeyError: \"no stage 'ttgir'\""},
        "unit/test_a.py::test_x[3]": {"outcome": "failed", "why": "a/b.py:1: KeyError: /home/me/c.py:3: bad | more"},
        "unit/test_b.py::test_y": {"outcome": "skipped"},
    }
    file = tmp_path / "runs.json"
    figures.keep(figures.run_of({}, "cuda", "H100", 1, 1), file)
    figures.keep(figures.run_of(rows, "cpu", "x86", 2, 3.2), file)
    figures.keep(figures.run_of(rows, "cuda", "H100", 16, 9.9), file)
    cpu, cuda = json.loads(file.read_text())["runs"]
    assert (cpu["backend"], cpu["seconds"], cuda["backend"], cuda["jobs"]) == ("cpu", 3, "cuda", 16)
    assert (cuda["passed"], cuda["failed"], cuda["skipped"]) == (1, 2, 1)
    assert cuda["files"] == {"test_a": {"failed": 2, "passed": 1}, "test_b": {"skipped": 1}}
    assert cuda["failures"] == [
        {"test": "test_x", "count": 1, "reason": "KeyError: c.py bad"},
        {"test": "test_x", "count": 1, "reason": "reads Triton's own IR"},
    ]
