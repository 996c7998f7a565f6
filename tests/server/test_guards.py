"""The list of guards is that of the page, and of the code and the tests that there are."""

from __future__ import annotations

import re

import pytest

from tests.server.guards import GUARDS, ROOT, Guard, without

ROWS = re.findall(r"^\| (.+?) \|", (ROOT / "docs/security.md").read_text(encoding="utf-8"), re.MULTILINE)[1:]
IN_A_BROWSER = ("the page in a frame", "a password that a browser remembers", "text of a model or a person")


def test_every_line_of_the_page_has_a_guard_and_every_guard_a_line() -> None:
    for row in ROWS:
        assert any(row.startswith(guard.attack) for guard in GUARDS), row
    for guard in GUARDS:
        assert sum(row.startswith(guard.attack) for row in ROWS) == 1, guard.attack


@pytest.mark.parametrize("guard", GUARDS, ids=[f"{i}-{guard.file}" for i, guard in enumerate(GUARDS)])
def test_a_guard_stands_where_it_is_said_to_and_its_tests_exist(guard: Guard) -> None:
    text = (ROOT / guard.file).read_text(encoding="utf-8")
    assert without(guard, text) != text
    for test in guard.tests.split():
        file, _, name = test.partition("::")
        assert re.search(rf"^def {name or 'test_'}", (ROOT / "tests" / file).read_text(encoding="utf-8"), re.MULTILINE)
