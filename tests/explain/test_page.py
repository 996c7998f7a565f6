"""docs/explain.md shows what `rtriton explain` prints: `python -m tests.explain.test_page` writes it anew."""

from __future__ import annotations

import re
import tempfile
from contextlib import chdir
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "explain.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\b[^\n]*\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def said() -> str:
    """What the page's first command prints about the page's first block."""
    from typer.testing import CliRunner

    from server.cli import app

    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        Path("softmax.py").write_text(blocks("python")[0], encoding="utf-8")
        command = blocks("sh")[0].split()
        assert command[0] == "rtriton"
        result = CliRunner().invoke(app, command[1:])
    assert result.exit_code == 0, result.output
    return result.output


def without_assembler(text: str) -> list[str]:
    """The lines that do not depend on whether there is a ptxas, and which."""
    return [line for line in text.splitlines() if not re.search(r"registers|of shared memory|not known:", line)]


def test_the_page_shows_what_the_command_prints() -> None:
    pytest.importorskip("typer")
    assert without_assembler(blocks("text")[0]) == without_assembler(said()), "run: python -m tests.explain.test_page"


if __name__ == "__main__":
    page, old = PAGE.read_text(encoding="utf-8"), blocks("text")[0]
    PAGE.write_text(page.replace(f"```text\n{old}```", f"```text\n{said()}```"), encoding="utf-8")
