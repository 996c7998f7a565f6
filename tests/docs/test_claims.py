"""What the pages name is there: files, modules, options, variables; excerpts are the code's own text."""

from __future__ import annotations

import importlib.util
import itertools
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import FENCE, PAGES, ROOT, blocks, name_of

SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
FOLDERS = "rtriton|ops|engine|server|tests|benchmarks|docs|scripts"


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def spans(page: Path) -> list[str]:
    """What stands between single backticks."""
    return SPAN.findall(prose(page))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = [span for span in spans(page) if re.fullmatch(rf"(?:{FOLDERS})/[\w./*-]*", span)]
    there = [name for name in named if "/your" not in name]  # CONTRIBUTING asks for `ops/yourop.py`
    assert not [name for name in there if not [*ROOT.glob(name.rstrip("/"))]]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_modules_that_a_page_runs_exist_and_have_the_options(page: Path) -> None:
    for module, options in re.findall(r"python3? -m ([\w.]+)([^`\n]*)", " \n".join(spans(page))):
        found = importlib.util.find_spec(module)
        assert found is not None, module
        if module.startswith(("tests.", "benchmarks.", "ops.", "rtriton.")):
            file = Path(str(found.origin))
            sources = [*file.parent.glob("*.py")] if file.name == "__init__.py" else [file]
            text = "".join(source.read_text(encoding="utf-8") for source in sources)
            assert not [option for option in re.findall(r"--[\w-]+", options) if option not in text], module


def command_options(command: object = None) -> Iterator[str]:
    """Every option of every `rtriton` command."""
    import typer.main

    from server.cli import app

    command = command or typer.main.get_group(app)
    for inner in getattr(command, "commands", {}).values():
        yield from command_options(inner)
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_options_that_a_page_names_exist(page: Path) -> None:
    """An option at the beginning of a span is one of a command of ours, or of a module that the page runs."""
    from rtriton.opt import _parser

    known = {*command_options(), *_parser()._option_string_actions}
    options = [found[0] for span in spans(page) if (found := re.match(r"--\w[\w-]*(?![\w-])(?<!-)", span))]
    modules = re.findall(r"python -m ((?:tests|benchmarks)\.[\w.]+)", page.read_text(encoding="utf-8"))
    text = "".join(
        file.read_text(encoding="utf-8")
        for module in modules
        for file in Path(str(importlib.util.find_spec(module).origin)).parent.glob("*.py")
    )
    assert not [option for option in options if option not in known and option not in text]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_variables_that_a_page_names_are_read(page: Path) -> None:
    from server.settings import SECRETS, rows

    table = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    known = {*re.findall(r"\b(?:RTRITON|TRITON)_[A-Z0-9_]+\b", table), "RTRITON_CONFIG"}
    known |= {f"RTRITON_{name.upper()}" for name in (*SECRETS, *(row.name for row in rows()))}
    named = re.findall(r"\bR?TRITON_[A-Z0-9_]*[A-Z0-9]\b", page.read_text(encoding="utf-8"))
    assert not {*named} - known


def test_the_tree_of_the_architecture_page_is_the_tree() -> None:
    (tree,) = [block for block in blocks(ROOT / "docs" / "architecture.md") if block.language == "text"]
    folders = {0: ROOT}
    for line in tree.text.splitlines():
        indent = len(line) - len(line.lstrip())
        if indent > 4:  # goes on with the line above
            continue
        names = re.split(r"\s{2,}", line.strip(), maxsplit=1)[0].split()
        for name in itertools.takewhile(re.compile(r"[\w.]+(?:\.py|\.lark|/)").fullmatch, names):
            path = folders[indent] / name
            assert path.exists(), line
            if name.endswith("/"):
                folders[indent + 2] = path


def test_excerpts_on_the_architecture_page_are_the_code() -> None:
    """Three dots stand for what is left out."""
    code = squeezed("".join(file.read_text(encoding="utf-8") for file in (ROOT / "rtriton" / "language").rglob("*.py")))
    for block in blocks(ROOT / "docs" / "architecture.md"):
        if block.language == "python":
            pieces = [squeezed(piece) for piece in block.text.split("...")]
            assert not [piece for piece in pieces if piece not in code]


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def test_the_line_of_the_log_on_the_page_of_operations_has_the_fields_of_one() -> None:
    from engine.logs import JsonLines
    from tests.server.conftest import start

    (shown,) = [json.loads(block.text) for block in blocks(ROOT / "docs" / "operations.md") if block.language == "json"]
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(JsonLines("server").format(record))  # type: ignore[method-assign]
    logger = logging.getLogger("rtriton.requests")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    running, stop = start()
    try:
        running.post("/v1/completions", {"model": "tiny", "prompt": "once", "max_tokens": 4, "stream": True})
    finally:
        stop()
        logger.removeHandler(handler)
    (written,) = [json.loads(line) for line in lines]
    assert [*shown] == [*written]
    # the page's request had a key, this one has none
    assert not [n for n in shown if type(shown[n]) is not type(written[n]) and n != "account"]


def test_the_calls_on_the_page_of_the_api_are_read_in_their_formats() -> None:
    from server.call_formats import FORMATS
    from server.calls import CallReader, joined

    page = ROOT / "docs" / "api.md"
    calls = [block for block in blocks(page) if block.language == "text"]
    rows = re.findall(r"^\| `(\w+)` \|", page.read_text(encoding="utf-8").split("\n## Tools")[1], re.MULTILINE)
    named = {format.name: format for format in FORMATS}
    assert named.keys() == {row for row in rows if row in named}
    for row, call in zip(rows, calls, strict=True):
        reader = CallReader(["weather"], format=named[row])
        (read,) = joined([*reader.feed(call.text).calls, *reader.finish().calls])
        assert read["function"] == {"name": "weather", "arguments": '{"city": "Bern"}'}
