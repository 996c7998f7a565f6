"""The documentation as a site: builds without a warning, loads nothing from elsewhere, lists every page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("material", reason="needs mkdocs-material (pip install '.[docs]')")

ROOT = Path(__file__).parents[1]
ATTRIBUTES = r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]*)|<link\b[^>]*\bhref=\"([^\"]*)"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    # strict: a link or an anchor that leads nowhere, or a page that is not in the navigation, ends the build
    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder)))
    return folder


def pages(site: Path) -> dict[str, str]:
    return {page.stem: page.read_text(encoding="utf-8") for page in site.glob("*.html") if page.stem != "404"}


def test_every_page_is_on_the_site_and_can_be_searched(site: Path) -> None:
    sources = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"README"}
    sources |= {"index", "contributing", "changelog"}
    assert pages(site).keys() == sources
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert {entry["location"].partition("#")[0] for entry in index["docs"]} == {f"{name}.html" for name in sources}


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for name, text in pages(site).items():
        loaded = [one or other for one, other in re.findall(ATTRIBUTES, text)]
        assert loaded and not [url for url in loaded if re.match(r"\w+:|//", url)], name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//|@import", sheet.read_text(encoding="utf-8")), sheet


def test_no_markdown_is_left_as_it_was_written(site: Path) -> None:
    """A list that follows a line of text is one on a repository page, and none for mkdocs without an empty line."""
    for name, text in pages(site).items():
        prose = re.sub(r"<pre\b.*?</pre>|<code\b.*?</code>", "", text, flags=re.DOTALL)
        paragraphs = re.findall(r"<p>(.*?)</p>", prose, re.DOTALL)
        left = [p for p in paragraphs if re.search(r"^(- |1\. |\|)|```|\]\(|(?<!\w)\*\*\S", p, re.MULTILINE)]
        assert not left, (name, left[0])


def test_the_index_and_the_navigation_list_the_same_pages_in_one_order(site: Path) -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"^\| \[[^\]]*\]\(([^)]*)\)", index, re.MULTILINE)
    listed = [target.removeprefix("../").lower() for target in targets]
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:")[1].split("\ntheme:")[0]
    assert listed == [name for name in re.findall(r": (\S+\.md)$", settings, re.MULTILINE) if name != "README.md"]
