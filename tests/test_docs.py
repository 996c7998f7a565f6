"""What README and docs say is true: Python blocks run, commands exist, links lead somewhere, tables are complete."""

from __future__ import annotations

import re
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SERVED = "http://127.0.0.1:8000"
MODEL = "smollm2-135m-instruct"
EXCERPTS = {ROOT / "docs" / "architecture.md"}
"""Pages whose Python blocks are pieces of the project's own files, not programs."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    from tests.server.conftest import start

    running, stop = start()
    yield running.url
    stop()


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in EXCERPTS and blocks(page, "python")], ids=name_of
)
def test_the_python_blocks_of_a_page_run(
    page: Path, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "\n".join(blocks(page, "python"))
    if SERVED in source:
        source = source.replace(SERVED, request.getfixturevalue("served")).replace(MODEL, "tiny")
    # a file, because the compiler reads a kernel's source from one
    program = tmp_path / f"{page.stem.replace('-', '_')}_page.py"
    program.write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType(program.stem)
    module.__file__ = str(program)
    exec(compile(source, str(program), "exec"), module.__dict__)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", prose)
    assert not [target for target in targets if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh")], ids=name_of)
def test_commands_exist(page: Path) -> None:
    import typer.main

    from server.cli import app

    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())
    commands = {*typer.main.get_group(app).commands}
    shell = "\n".join(blocks(page, "sh"))
    assert set(re.findall(r"\bmake ([a-z]+)", shell)) <= targets
    assert set(re.findall(r"\brtriton ([a-z]+)", shell)) <= commands
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert set(re.findall(r"^rtriton\S*", shell, re.MULTILINE)) <= scripts.keys()


def test_the_page_of_the_api_lists_every_field() -> None:
    from server import conversation, embeddings, protocol

    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    fields = page.split("## Fields of a request")[1].split("### Known and not supported")[0]
    listed = set(re.findall(r"^\| `(\w+)` \|", fields, re.MULTILINE))
    requests: tuple[Any, ...] = (protocol.ChatRequest, protocol.CompletionRequest, embeddings.EmbeddingRequest)
    assert listed == {name for request in requests for name in request.model_fields}
    refused = page.split("### Known and not supported")[1].split("##")[0]
    kinds: tuple[Any, ...] = (*requests, protocol.StreamOptions, *conversation.MESSAGE_KINDS)
    assert set(re.findall(r"`(\w+)`", refused)) - {"stream_options"} == {n for kind in kinds for n in kind.unsupported}


def test_the_server_page_lists_every_metric_and_command() -> None:
    from server import metrics
    from server.cli import app

    page = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    counters = (*metrics.COUNTERS, *metrics.ENGINE_COUNTERS, *metrics.OWN)
    names = [f"`{name}" for name, *_ in (*metrics.HISTOGRAMS, *metrics.ENGINE_GAUGES)]
    names += [f"`{name}_total" for name, *_ in counters]
    names += [f"`rtriton {command.callback.__name__}" for command in app.registered_commands]
    assert not [name for name in names if name not in page]


def test_the_environment_page_lists_every_variable() -> None:
    files = (ROOT / "rtriton" / "knobs").glob("*.py")
    read = {name for file in files for name in re.findall(r"\b(?:RTRITON|TRITON)_[A-Z0-9_]+\b", file.read_text())}
    page = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    read |= {"PTXAS_OPTIONS", "DISABLE_PTXAS_OPT"}
    assert read == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
