"""What changed between two texts, line by line.

    for mark, line in marked(before, after): ...        mark: " " kept, "-" gone, "+" new
    print(shown(marked(before, after), colour=True))
"""
from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

Marked = tuple[str, str]
COLOURS = {"-": "\x1b[31m", "+": "\x1b[32m", "@": "\x1b[36m"}
RESET = "\x1b[0m"


def marked(before: str, after: str) -> Iterator[Marked]:
    """Every line of both texts in order, those that are gone before those that came in their place."""
    old, new = before.splitlines(), after.splitlines()
    for how, i, end_i, j, end_j in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if how == "equal":
            yield from ((" ", line) for line in new[j:end_j])
            continue
        yield from (("-", line) for line in old[i:end_i])
        yield from (("+", line) for line in new[j:end_j])


def hunks(before: str, after: str, around: int = 1) -> Iterator[Marked]:
    """Only the lines that changed, with `around` kept lines beside them; mark "@" begins a hunk."""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=around))[2:]
    return ((line[0], line if line.startswith("@") else line[1:]) for line in lines)


def shown(lines: Iterable[Marked], colour: bool) -> str:
    """The lines with their marks in the first column; with `colour`, for a terminal, in red and green too."""
    return "\n".join(_line(mark, text, colour) for mark, text in lines)


def _line(mark: str, text: str, colour: bool) -> str:
    line = text if mark == "@" else f"{mark}{text}".rstrip() if mark == " " else f"{mark}{text}"
    return f"{COLOURS[mark]}{line}{RESET}" if colour and mark in COLOURS else line
