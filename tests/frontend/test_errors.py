"""A bad kernel gets one located error: the right line and column, and a sentence that says what to write instead."""

from __future__ import annotations

import re

import pytest

from rtriton.errors import KernelError
from rtriton.frontend.lower import lower
from rtriton.source import KernelFunction
from rtriton.types import Pointer, float32, int32
from tests.frontend import bad_kernels

CASES = [v for v in vars(bad_kernels).values() if isinstance(v, KernelFunction)]


def expected(fn: KernelFunction) -> tuple[int, int, str]:
    for i, line in enumerate(fn.source.text.splitlines()):
        if match := re.search(r"# ERROR (\d+): (.*)", line):
            return fn.source.first_line + i, int(match.group(1)), match.group(2)
    raise AssertionError(f"{fn.__name__} does not say which error it wants")


@pytest.mark.parametrize("fn", CASES, ids=lambda f: f.__name__)
def test_the_error_names_the_place_and_the_remedy(fn: KernelFunction) -> None:
    line, column, sentence = expected(fn)
    with pytest.raises(KernelError) as caught:
        lower(fn, {"x": Pointer(float32), "n": int32}, {})
    error = caught.value
    root = error.span
    while root.caller is not None:  # inside a library function: what counts is the user's call
        root = root.caller
    assert sentence in error.message
    assert (root.line, root.column) == (line, column), str(error)


def test_the_message_shows_the_source_line_with_carets() -> None:
    with pytest.raises(KernelError) as caught:
        lower(bad_kernels.dot_inner_sizes, {"x": Pointer(float32), "n": int32}, {})
    first, source, carets = str(caught.value).splitlines()[:3]
    assert first.endswith("dot needs equal inner sizes, got 16x32 and 64x16")
    assert source.split(" | ")[1].strip().startswith("y = tl.dot(a, b)")
    assert carets.split(" | ")[1].strip() == "^" * len("tl.dot(a, b)")


def test_an_error_in_a_called_function_names_the_call_too() -> None:
    with pytest.raises(KernelError) as caught:
        lower(calls_bad, {"x": Pointer(float32), "n": int32}, {})
    assert "called from" in str(caught.value)
    assert f":{calls_bad.source.first_line + 1}:" in str(caught.value)


@KernelFunction
def calls_bad(x, n):
    bad_kernels.exp_of_half(x, n)
