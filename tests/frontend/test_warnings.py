"""What is compiled and probably not meant is said by Python's warnings: at the user's line, once in a compilation."""
from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.errors import CompilationError
from rtriton.frontend.lower import lower
from rtriton.source import KernelFunction
from rtriton.types import Pointer, int32

BACKENDS = ["interpret", "cpu", "emulate"]
TYPES: dict[str, Any] = {"out": Pointer(int32), "n": int32}


@KernelFunction  # noqa: RET503
def doubled_above_three(n):
    if n > 3:
        return n * 2


@rtriton.jit
def a_value_on_one_path(out, n):
    tl.store(out, doubled_above_three(n))


@KernelFunction
def two_conditions_of_numbers(out, n):
    for _ in tl.static_range(4):
        tl.store(out, tl.where(n, 1, 2))
    tl.store(out, tl.where(n, 3, 4))


def said(fn: KernelFunction) -> list[tuple[str, int, str]]:
    """File, line within the function and text of each warning of a compilation."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        lower(fn, {n: TYPES[n] for n in fn.arg_names}, {})
    return [(w.filename, w.lineno - fn.source.first_line, str(w.message)) for w in seen]


def test_a_warning_names_each_line_once_in_every_compilation() -> None:
    for _ in range(2):
        made = said(two_conditions_of_numbers)
        assert [(file, line) for file, line, _ in made] == [(__file__, 2), (__file__, 3)]
        assert all("a condition of i32 is deprecated" in text for *_, text in made)


def test_a_warning_that_python_makes_an_error_is_one_at_its_place() -> None:
    with warnings.catch_warnings(), pytest.raises(CompilationError, match="a condition of i32 is deprecated") as caught:
        warnings.simplefilter("error")
        lower(two_conditions_of_numbers, TYPES, {})
    assert caught.value.span.line == two_conditions_of_numbers.source.first_line + 2
    assert "internal error" not in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_function_may_give_nothing_on_a_path_that_is_not_taken(
        backend: str, monkeypatch: Any, tmp_path: Any) -> None:
    monkeypatch.setenv("RTRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    out = np.zeros(1, np.int32)
    with pytest.warns(UserWarning, match="doubled_above_three returns a value on one path and nothing on another") as w:
        rtriton.jit(a_value_on_one_path.fn)[(1,)](out, 21)
    assert out[0] == 42
    assert (w[0].filename, w[0].lineno) == (__file__, doubled_above_three.source.first_line)
