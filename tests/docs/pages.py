"""The pages of the documentation as data: which there are, and the fenced blocks of each, in order.

    ```sh                                   Block("sh", "", "rtriton explain softmax.py\n", line 12, output_of=None)
    rtriton explain softmax.py
    ```

A block that stands directly below a block of `sh` is what that prints. ```` ```python title="softmax.py" ```` is a file
that the reader makes. KINDS says what each language is here; a fence of another kind, or one that is not at the
beginning of its line, is an error, so that no block escapes the tests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
KINDS = {
    "python": "run; the blocks of a page are one program",
    "sh": "run, each command as tests/docs/commands.py says",
    "text": "what the sh block directly above prints, or shown by a test of its own (ELSEWHERE, EXCERPTS)",
    "json": "parsed; what the sh block directly above prints, or a request, which is sent",
    "toml": "settings, read as the server reads them",
    "tir": "parsed and run through the passes that its fence names",
    "tir-diff": "parsed and run through the passes that its fence names",
    "diff": "made anew and compared",
}
ELSEWHERE = {
    ("rtriton-opt.md", "text"): "tests/passes/test_page.py",
    ("rtriton-opt.md", "diff"): "tests/passes/test_page.py",
    ("passes.md", "tir"): "tests/passes/test_docs.py",
    ("passes.md", "tir-diff"): "tests/passes/test_docs.py",
    ("explain.md", "text"): "tests/explain/test_page.py",
    ("api.md", "text"): "tests/docs/test_claims.py",
    ("operations.md", "json"): "tests/docs/test_claims.py",
    ("operations.md", "text"): "tests/server/test_limits.py",
    ("architecture.md", "text"): "tests/docs/test_claims.py",
    ("architecture.md", "python"): "tests/docs/test_claims.py",
}
"""Blocks that are tested by another file than tests/docs/test_pages.py."""
FENCE = re.compile(r"^```([^\s`]*)[ ]?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class BadFence(Exception):
    """A fence that no test would see."""


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    language: str
    title: str
    """The file that it is, or nothing."""
    text: str
    line: int
    """The page's line of its first line."""
    is_output: bool
    """It stands directly below a block of sh."""


def blocks(page: Path) -> list[Block]:
    """The blocks of a page. `BadFence` names one that is of no known kind, or not at the beginning of a line."""
    text = page.read_text(encoding="utf-8")
    found: list[Block] = []
    end, last = 0, ""
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        language, info = match[1], match[2]
        if language not in KINDS:
            raise BadFence(f"{page.name}:{line - 1}: {language!r} is none of {', '.join(KINDS)} (tests/docs/pages.py)")
        title = re.fullmatch(r'title="([^"]+)"', info)
        is_output = last == "sh" and not text[end : match.start()].strip()
        found.append(Block(language, title[1] if title else "", match[3], line, is_output))
        end, last = match.end(), language
    left = FENCE.sub("", text)
    if stray := re.search(r"^.*(```|~~~).*$", left, re.MULTILINE):
        raise BadFence(f"{page.name}: no test sees this fence: {stray[0]!r}")
    return found


def name_of(page: Path) -> str:
    """The name of a page's tests."""
    return str(page.relative_to(ROOT))
