"""The page on the op library says what the docstrings say."""

from __future__ import annotations

from pathlib import Path

import ops
from ops import docs

PAGE = Path(__file__).parents[2] / "docs" / "ops.md"


def test_the_page_is_what_the_docstrings_make() -> None:
    assert PAGE.read_text() == docs.page(), "run python -m ops.docs > docs/ops.md"


def test_the_page_has_every_public_function() -> None:
    named = {name for names in docs.GROUPS.values() for name in names}
    assert named == set(ops.__all__) - {"ALL", "OpCase", "QuantWeight"}
