"""What the page shows of one kernel, as data for JSON.

A place in the source is "f:n", the number of its file in `files` and its line; lines of IR, PTX and SASS list the
places they came from, innermost first. Places in files that are not shown (the language's own functions) are left out:
what was inlined through them lists the user's call.
"""
from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from typing import Any

from rtriton.errors import is_library_file
from rtriton.explain.build import Built, Places, Stage
from rtriton.explain.report import Report
from rtriton.explain.show import in_words
from rtriton.layout import Layout

LANGUAGES = {"ptx": "ptx", "sass": "sass"}


def page(built: Built, report: Report) -> dict[str, Any]:
    """Everything about a kernel."""
    files = _files(built)
    numbers = {file: number for number, file in enumerate(files)}
    return {
        "files": [{"path": file, "name": Path(file).name, "lines": _text(file)} for file in files],
        "stages": _stages(built.stages, numbers),
        "report": {**asdict(report), "lines": _lines(report, numbers)},
        "layouts": {name: _layout(layout) for layout, name in built.layouts.items()},
    }


def _files(built: Built) -> list[str]:
    """The kernel's file, then those of the user's other functions that were inlined."""
    found = {built.source.fn.source.file: None}
    for stage in built.stages:
        for _, places in stage.lines:
            found.update({file: None for file, _ in places if not is_library_file(file)})
    return [file for file in found if Path(file).is_file()]


def _text(file: str) -> list[str]:
    return Path(file).read_text(encoding="utf-8").splitlines()


def _stages(stages: Sequence[Stage], numbers: dict[str, int]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    before: Stage | None = None
    for stage in stages:
        language = LANGUAGES.get(stage.name, "tir")
        shown: dict[str, Any] = {"name": stage.name, "reason": stage.reason, "language": language, "same": stage.same}
        shown["lines"] = [[text, _keys(places, numbers)] for text, places in stage.lines]
        if language == "tir" and before is not None:
            shown["diff"] = differences(before, stage)
        before = stage
        made.append(shown)
    return made


Difference = tuple[str, int] | tuple[str, int, int, int]


def differences(before: Stage, after: Stage) -> list[Difference]:
    """The lines of both texts in order: mark and line number, of the text before where the mark is "-"; of a line that
    took another's place the columns in which the two differ."""
    old, new = [text for text, _ in before.lines], [text for text, _ in after.lines]
    found: list[Difference] = []
    for how, i, end_i, j, end_j in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if how == "equal":
            found += [(" ", line) for line in range(j, end_j)]
            continue
        both = min(end_i - i, end_j - j)
        spans = [changed(old[i + k], new[j + k]) for k in range(both)]
        found += [("-", i + k, start, len(old[i + k]) - rest) for k, (start, rest) in enumerate(spans)]
        found += [("-", line) for line in range(i + both, end_i)]
        found += [("+", j + k, start, len(new[j + k]) - rest) for k, (start, rest) in enumerate(spans)]
        found += [("+", line) for line in range(j + both, end_j)]
    return found


def changed(old: str, new: str) -> tuple[int, int]:
    """How many characters two lines have in common at their beginning, and at their end after that."""
    start = _common(old, new)
    return start, _common(reversed(old[start:]), reversed(new[start:]))


def _common(a: Iterable[str], b: Iterable[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _keys(places: Places, numbers: dict[str, int]) -> list[str]:
    return list(dict.fromkeys(f"{numbers[file]}:{line}" for file, line in places if file in numbers))


def _lines(report: Report, numbers: dict[str, int]) -> dict[str, Any]:
    """Findings by place."""
    shown = [line for line in report.lines if line.file in numbers]
    return {
        f"{numbers[line.file]}:{line.line}": {
            "layouts": line.layouts,
            "findings": [{**asdict(finding), "text": in_words(finding)} for finding in line.findings],
        }
        for line in shown
    }


def _layout(layout: Layout) -> dict[str, Any]:
    """A layout as the page draws it: bases are packed elements, row-major."""
    from rtriton.explain.report import describe

    words = describe(layout) if "offset" not in layout.dims else "a tile in shared memory"
    return {"shape": layout.shape, "bases": {dim: list(columns) for dim, columns in layout.bases}, "text": str(layout),
            "words": words}  # fmt: skip
