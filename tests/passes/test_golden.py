"""Each .tir file: passes, input, expected text. Checked: the text, the verifier, and that the meaning stayed.

    // passes: canonicalize,cse
    // target: x86-64            (optional)
    // grid: 2                   (optional; how the meaning is compared)
    kernel @k(...) ...
    // ----
    kernel @k(...) ...

`pytest --update-golden` rewrites what stands below the line.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rtriton.interpret.compare import check_same
from rtriton.opt import find_target
from rtriton.passes import PIPELINES, run_pipeline
from rtriton.text import parse, show
from rtriton.verify import verify

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.tir"))
LINE = "// ----\n"


def header(text: str, name: str) -> str:
    found = re.search(rf"^// {name}: *(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_passes_rewrite_as_the_file_says(path: Path, request: pytest.FixtureRequest) -> None:
    source, _, expected = path.read_text().partition(LINE)
    kernel = parse(source)
    verify(kernel)
    passes = header(source, "passes")
    after = run_pipeline(kernel, find_target(header(source, "target")), _steps(passes), verify_each=True)
    text = show(after, spans=False)
    if request.config.getoption("--update-golden"):
        path.write_text(source + LINE + text)
    else:
        assert text == expected
    verify(after, "any")
    assert show(parse(show(after))) == show(after)
    check_same(kernel, after, tuple(int(n) for n in (header(source, "grid") or "3").split(",")))


def _steps(passes: str) -> str | list[str]:
    return passes if passes in PIPELINES else [name.strip() for name in passes.split(",")]


def test_every_target_free_pass_has_golden_files() -> None:
    tested = {name for path in FILES for name in header(path.read_text(), "passes").split(",")}
    assert {step.name for step in PIPELINES["tile"]} <= tested
