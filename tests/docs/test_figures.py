"""Figures of the pages that the code knows: limits, versions, requirements. Measured ones stand beside a command."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.docs.pages import ROOT


def page(name: str) -> str:
    """A page with its lines joined, so that a phrase may go over their ends."""
    return re.sub(r"\s+", " ", (ROOT / name).read_text(encoding="utf-8"))


def limits() -> list[tuple[str, str]]:
    """(page, what it says), made of the code's own constants."""
    from engine import grammar, rendering
    from server import body, conversation, embeddings, ended, json_text, patient, protocol, sampling
    from server import grammar as requested

    mebi, kibi = 1 << 20, 1 << 10
    template = (
        f"{rendering.SECONDS:g} seconds, {rendering.MEMORY >> 30} GiB of address space, {rendering.SIZE // mebi} Mi"
    )
    counts = [
        f"{protocol.MAX_MESSAGES} messages", f"{conversation.MAX_TOOLS} tools", f"{sampling.MAX_BIASES} biases",
        f"{sampling.MAX_STOPS} stop strings of {sampling.MAX_STOP_LENGTH} characters",
        f"`n` and prompts {protocol.MAX_CHOICES}",
        f"{embeddings.MAX_INPUTS} inputs to embed with {embeddings.MAX_INPUT_TOKENS:,} tokens",
    ]  # fmt: skip
    return [
        ("docs/security.md", template),
        ("docs/security.md", f"413 above {body.LIMIT // mebi} MiB"),
        ("docs/security.md", f"408 after {body.BODY_SECONDS:g} seconds"),
        ("docs/security.md", f"(depth {json_text.DEPTH})"),
        *(("docs/security.md", count) for count in counts),
        ("docs/security.md", f"{requested.LONGEST // kibi} Ki characters"),
        ("docs/security.md", f"killed after {requested.COMPILE_SECONDS:g} seconds"),
        ("docs/security.md", f"closed after {patient.HEAD_SECONDS:g} seconds from connecting"),
        ("docs/security.md", f"after {patient.HEAD_BYTES // kibi} KiB"),
        ("docs/operations.md", f"{ended.KEPT} ended requests are remembered of each key, and {ended.KEPT_IN_ALL:,} in"),
        ("docs/operations.md", f"(`limit`: up to {ended.KEPT})"),
        ("docs/api.md", f"JSON is UTF-8, nests at most {json_text.DEPTH} deep"),
        ("docs/api.md", f"a body of more than {body.LIMIT // mebi} MiB"),
        ("docs/api.md", f"does not come within {body.BODY_SECONDS:g} seconds"),
        ("docs/api.md", f"1 to {protocol.MAX_MESSAGES}; `role`"),
        ("docs/api.md", f"a grammar of more than {grammar.MOST_PARTS:,} rules and brackets"),
    ]


@pytest.mark.parametrize(("name", "phrase"), limits(), ids=lambda x: x)
def test_limits_on_a_page_are_those_of_the_code(name: str, phrase: str) -> None:
    assert phrase in page(name)


def test_the_readme_names_what_the_package_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"Python {project['requires-python'].removeprefix('>=')} or newer" in page("README.md")
    (row,) = re.findall(r"\| `rtriton/` \|[^|]*\| ([^|]*) \|", page("README.md"))
    needed = [re.split(r"[^\w-]", entry)[0].replace("-", "") for entry in project["dependencies"]]
    assert sorted(re.sub(r"\W|_", "", name).lower() for name in row.split(",")) == sorted(needed)
    (cuda,) = project["optional-dependencies"]["cuda-driver"]
    assert f"`cuda-python` ({cuda.removeprefix('cuda-python>=')} or later" in page("README.md")


def test_the_readme_names_the_targets_and_the_language_s_release() -> None:
    from rtriton.compat import VERSION
    from rtriton.target import TARGETS

    names = [*TARGETS]
    assert f"ptxas for {', '.join(names[:-1])} and {names[-1]}" in page("README.md")
    assert f"that of Triton {VERSION.rsplit('.', 1)[0]}," in page("README.md")
