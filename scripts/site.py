"""What mkdocs does not know of our pages: hooks that `mkdocs.yml` names.

The pages are written for a repository page, where CONTRIBUTING.md and CHANGELOG.md lie above docs/ and a fence may say
more than a language (```` ```tir cse ````). On the site the two are pages beside the others, and what a fence says is
its title.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
ABOVE = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files above docs/ -> the site's pages of them."""


def on_files(files: Files, config: Any) -> Files:
    """The pages that lie above docs/."""
    for name, page in ABOVE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A page's text as mkdocs is to read it."""
    above = page.file.src_uri in ABOVE.values()
    return fences(links(markdown, above))


def links(markdown: str, above: bool) -> str:
    """Links between docs/ and what lies above it, as links between the site's pages."""
    if above:
        return re.sub(r"\]\(docs/", "](", markdown)
    return re.sub(r"\]\(\.\./(\w+\.md)", lambda found: f"]({ABOVE.get(found[1], found[0][2:])}", markdown)


def fences(markdown: str) -> str:
    """Fences that say more than a language: the rest becomes the block's title."""
    return re.sub(r"^```(\S+) (?!title=)(.+)$", r'```text title="\1: \2"', markdown, flags=re.MULTILINE)
