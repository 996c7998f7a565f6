"""Each page is followed as a reader follows it: block by block, in one folder, with a tiny model for the demo model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.docs.pages import ELSEWHERE, PAGES, Block, blocks, name_of

BEFORE = dict(os.environ)
SERVED = re.compile(r"http://(?:127\.0\.0\.1|localhost):8000\b")
TIMES = re.compile(r"\d[\d.]*(?= ?(?:s|ms|us|GB/s|tokens/s|requests/s)\b)")
PROGRAM = "yourfile.py"
ROUTES = {"messages": "/v1/chat/completions", "prompt": "/v1/completions"}
"""A field that only requests have -> where they are sent."""


@dataclass
class Reader:
    """Someone who follows a page."""

    page: Path
    place: Path
    path: Path
    served: str
    printed: str = ""
    """By the last block of sh."""
    program: types.ModuleType = field(default_factory=lambda: types.ModuleType("page"))

    def __post_init__(self) -> None:
        """The program of the page is a file, because the compiler reads a kernel's source from one."""
        source = "\n".join(block.text for block in blocks(self.page) if is_program(block))
        file = self.place / PROGRAM
        file.write_text(self.with_server(source), encoding="utf-8")
        self.program.__file__ = str(file)

    def follow(self) -> None:
        lines = 0
        for block in blocks(self.page):
            if block.title:
                (self.place / block.title).write_text(block.text, encoding="utf-8")
            if (self.page.name, block.language) in ELSEWHERE:
                continue
            if is_program(block):
                self.python(block, lines)
                lines += block.text.count("\n") + 1
            elif block.language != "python":
                getattr(self, block.language)(block)

    def python(self, block: Block, lines: int) -> None:
        """Run it, as the part of the program that begins after `lines`."""
        source = "\n" * lines + self.with_server(block.text)
        exec(compile(source, str(self.program.__file__), "exec"), self.program.__dict__)

    def sh(self, block: Block) -> None:
        """Run it; every command of it must succeed."""
        # not what blocks of Python have set: they are another program
        environment = {**BEFORE, "PATH": str(self.path), "COLUMNS": "200", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        script = "set -euo pipefail\n" + self.with_server(block.text)
        shell = ["/bin/bash", "-c", script]
        done = subprocess.run(shell, cwd=self.place, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{self.where(block)}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
        self.printed = done.stdout

    def text(self, block: Block) -> None:
        """What the commands above print, but for times and rules; a line of three dots is any number of lines."""
        assert block.is_output, f"{self.where(block)}: what is this text? It is below no sh block, and not in ELSEWHERE"
        wanted = [re.escape(line) if line != "..." else r"[^\0]*" for line in masked(block.text)]
        shown = "\n".join(masked(self.printed))
        assert re.search("^" + "\n".join(wanted).replace("\n[^\\0]*", "[^\\0]*") + "$", shown, re.MULTILINE), (
            f"{self.where(block)}: printed was\n{self.printed}"
        )

    def json(self, block: Block) -> None:
        """An answer has the shape of what was printed; a request is sent."""
        value = json.loads(block.text)
        if block.is_output:
            assert shape(value) == shape(json.loads(self.printed)), f"{self.where(block)}: {self.printed}"
            return
        (route,) = {url for name, url in ROUTES.items() if name in value}
        answer = httpx.post(self.served + route, json=value, timeout=30)
        assert answer.status_code == 200, f"{self.where(block)}: {answer.text}"

    def toml(self, block: Block) -> None:
        """Settings of the server."""
        from server.sources import read

        file = self.place / (block.title or "server.toml")
        file.write_text(block.text, encoding="utf-8")
        assert read({}, {}, file).warnings == ()

    def with_server(self, text: str) -> str:
        return SERVED.sub(self.served, text)

    def where(self, block: Block) -> str:
        return f"{self.page.name}:{block.line}"


def is_program(block: Block) -> bool:
    """A file is not run where it stands, but by who imports it or by a command."""
    return block.language == "python" and not block.title


def masked(text: str) -> list[str]:
    """Lines without what differs from run to run: times and speeds, and how wide a column is for them."""
    lines = [re.sub(r"[─━┏┓┗┛┃│╇╈┡┩├┤┬┴┼█▏▎▍▌▋▊▉ ]+", " ", line).strip() for line in text.splitlines()]
    return [TIMES.sub("#", line) for line in lines if line]


def shape(value: Any) -> Any:
    """The names and types of a JSON value; of a list its first element's."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value[:1]]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name_of)
def test_a_page_can_be_followed(
    page: Path, place: Path, path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = page.read_text(encoding="utf-8")
    served = request.getfixturevalue("served") if SERVED.search(text) else ""
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)
    before = {*sys.modules}
    Reader(page, place, path, served).follow()
    for name in {*sys.modules} - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(place)):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_of_a_page_is_used(page: Path) -> None:
    """By a command, or by an import."""
    for block in blocks(page):
        if block.language == "python" and block.title:
            others = "".join(other.text for other in blocks(page) if other is not block)
            used = rf"\b{re.escape(block.title)}\b|\b(?:from|import) {Path(block.title).stem}\b"
            assert re.search(used, others), block.title
