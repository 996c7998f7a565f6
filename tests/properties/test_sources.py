"""Whatever the text, the front end makes a kernel of it or refuses it at a place: it neither crashes nor hangs.

`tests.fuzz` looks for such texts for longer, led by the lines that they reach; what an answer is, is said there.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, note, settings

from rtriton.frontend.lower import lower
from tests.fuzz.limits import check
from tests.fuzz.targets.kernel import TARGET, types_of
from tests.properties.conftest import EXAMPLES
from tests.properties.sources import KERNELS, mutants, soups

quick = settings(max_examples=4 * EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


def lowers_or_refuses(text: str, name: str = "") -> None:
    """`name` is the kernel whose parameters and globals the text has; without one they are x, n and B."""
    check(TARGET, f"# {name}\n{text}".encode("utf-8", "replace"))


@quick
@given(soups())
@example("def kernel(x, n, B):\n    return " + "(" * 2000 + "n" + ")" * 2000 + "\n")
@example("def kernel(x, n, B):\n    return " + "-" * 5000 + "n\n")
@example("def kernel(x, n, B):\n    " + "n = n + 1; " * 3000 + "\n")
@example("def kernel(x, n, B):\n    y = 9 ** 9 ** 9 ** 9\n")
@example("def kernel(x, n, B):\n    y = 1 << 1 << 40\n")
@example("def kernel(x, n, B):\n    return kernel(x, n, B)\n")
@example("")
@example("\n")
@example("x = 1\n")
def test_token_soup_is_lowered_or_refused_at_a_place(text: str) -> None:
    note(text)
    lowers_or_refuses(text)


@quick
@given(mutants())
def test_changed_kernels_are_lowered_or_refused_at_a_place(mutant: tuple[Any, str]) -> None:
    fn, text = mutant
    note(text)
    lowers_or_refuses(text, fn.__name__)


def test_unchanged_kernels_are_lowered() -> None:
    for fn in KERNELS:
        if fn.__name__ not in ("leaky", "grouped"):
            assert lower(fn, *types_of(fn)).kernel.body.ops


@pytest.mark.parametrize("text", ["def kernel(x, n, B):\n\treturn\n        n\n", "def kernel(x, n, B):\n    é = n\n"])
def test_odd_indentation_and_letters_have_an_answer(text: str) -> None:
    lowers_or_refuses(text)
