"""What README and docs say is true as far as one need not run anything: links lead somewhere, tables are complete, each
block is of a kind that tests/docs runs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ELSEWHERE, PAGES, ROOT, BadFence, Block, blocks, name_of


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_of_a_kind_that_is_run(page: Path) -> None:
    """tests/docs/test_pages.py runs them; `blocks` raises where it would not see one."""
    found = blocks(page)
    lost = [b for b in found if b.language == "text" and not b.is_output and (page.name, "text") not in ELSEWHERE]
    assert not lost, "text is what the sh block directly above it prints, or has a test of its own (ELSEWHERE)"


def test_blocks_that_are_tested_elsewhere_are_there_and_so_are_their_tests() -> None:
    for (name, language), test in ELSEWHERE.items():
        assert language in {block.language for block in blocks(ROOT / "docs" / name)}
        assert name in (ROOT / test).read_text(encoding="utf-8")


def test_a_fence_that_no_test_would_see_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    bad = (
        "```fortran\nend\n```\n",
        "```\nx\n```\n",
        "- a\n\n  ```sh\n  ls\n  ```\n",
        "~~~sh\nls\n~~~\n",
        "```sh\nls\n",
    )
    for text in bad:
        page.write_text(text, encoding="utf-8")
        with pytest.raises(BadFence):
            blocks(page)
    page.write_text('```python title="a.py"\nx = 1\n```\ntext\n```sh\nls\n```\n\n```text\na.py\n```\n')
    python, sh, text = blocks(page)
    assert python == Block("python", "a.py", "x = 1\n", 2, False)
    assert (sh.is_output, text.is_output, text.line) == (False, True, 10)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", prose):
        file = page.parent / target if target else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """What a repository page calls its sections."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_page_of_the_api_lists_every_field() -> None:
    from server import conversation, embeddings, protocol, responses, responses_input, sampling

    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    fields = page.split("## Fields of a request")[1].split("### Known and not supported")[0]
    sections = dict(section.split("\n", 1) for section in fields.split("\n### ")[1:])
    listed = {title: set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) for title, text in sections.items()}
    sample, generate = set(sampling.SampleRequest.model_fields), set(protocol.GenerateRequest.model_fields)
    requests: tuple[Any, ...] = (protocol.ChatRequest, protocol.CompletionRequest, responses.ResponsesRequest)
    chat, completion, response = (set(request.model_fields) for request in requests)
    assert listed == {
        "Chat, completions and responses": sample,
        "Chat and completions": generate - sample,
        "Chat only": chat - generate,
        "Completions only": completion - generate,
        "Responses only": response - sample,
        "Embeddings only": set(embeddings.EmbeddingRequest.model_fields) - sample,
    }
    refused = page.split("### Known and not supported")[1].split("##")[0]
    kinds: tuple[Any, ...] = (*requests, protocol.StreamOptions, *conversation.MESSAGE_KINDS)
    kinds += (
        embeddings.EmbeddingRequest,
        responses.TextOptions,
        responses.FunctionTool,
        responses.EventOptions,
        *responses_input.ITEM_KINDS,
    )
    assert set(re.findall(r"`(\w+)`", refused)) - {"stream_options", "text"} == {
        n for kind in kinds for n in kind.unsupported
    }


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
    from rtriton.knobs import families, fields

    files = (ROOT / "rtriton" / "knobs").glob("*.py")
    read = {name for file in files for name in re.findall(r"\b(?:RTRITON|TRITON)_[A-Z0-9_]+\b", file.read_text())}
    for family in vars(families).values():
        if isinstance(family, type) and issubclass(family, fields.base_knobs):
            read |= {field.key for field in vars(family).values() if isinstance(field, fields.env_base)}
    page = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    assert read == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


def test_knobs_that_do_nothing_are_read_by_nothing() -> None:
    from rtriton import knobs

    page = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8").split("## Triton's that do nothing here")[1]
    files = [file for file in (ROOT / "rtriton").rglob("*.py") if file.parent.name != "knobs"]
    code = "".join(file.read_text(encoding="utf-8") for file in files)
    for family, name in re.findall(r"\| `knobs\.(\w+)\.(\w+)` \|", page):
        assert hasattr(type(getattr(knobs, family)), name), f"knobs.{family}.{name}"
        assert not re.search(rf"\b{family}\.{name}\b", code), f"knobs.{family}.{name}"

