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
from rtriton.ir import walk
from rtriton.passes import run_pipeline
from rtriton.source import KernelFunction
from rtriton.text import parse, show
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


@KernelFunction
def loses_its_options(out, n):
    for i in tl.range(0, n, num_stages=4, loop_unroll_factor=2):
        if i == 5:
            break
        tl.store(out + i, i)
    for i in tl.range(0, n, loop_unroll_factor=2):
        if i == 7:
            continue
        tl.store(out + i, i)


@pytest.mark.filterwarnings("ignore:this loop may end early")
def test_a_loop_that_may_end_early_says_which_options_it_loses() -> None:
    text = ("this loop may end early (by break), so it runs one turn after the other and num_stages=4 and "
            "loop_unroll_factor=2 have no effect")
    assert said(loses_its_options) == [(__file__, 1, text)]
    left = [op for op in walk(lower(loses_its_options, TYPES, {}).kernel.body) if op.kind == "for"]
    assert [op.attrs for op in left] == [{"unroll": 2}]                       # `continue` loses nothing


# -- wishes ----------------------------------------------------------------------------------------------------------

@KernelFunction
def loops_with_wishes(out, n):
    for i in tl.range(0, n, disable_licm=True, flatten=True, warp_specialize=True, disallow_acc_multi_buffer=True):
        tl.store(out + i, n * n)
    for i in tl.range(0, n, flatten=False):
        tl.store(out + i, n * 3)
    while tl.condition(n > 5, disable_licm=True):
        n -= 1
    while tl.condition(n > 3):
        n -= 1


def test_wishes_of_a_loop_are_attributes_of_it_and_licm_leaves_alone_what_asks_for_it() -> None:
    kernel = lower(loops_with_wishes, TYPES, {}).kernel
    loops = [op for op in walk(kernel.body) if op.kind in ("for", "while")]
    names = ("disable_licm", "flatten", "warp_specialize", "disallow_acc_multi_buffer")
    assert [op.attrs for op in loops] == [dict.fromkeys(names, True), {}, {"disable_licm": True}, {}]
    assert show(parse(show(kernel))) == show(kernel)
    after = [op for op in walk(run_pipeline(kernel, None, ["licm"]).body) if op.kind == "for"]
    assert [any(op.kind == "mul" for op in walk(loop.regions[0])) for loop in after] == [True, False]


@pytest.mark.parametrize("backend", BACKENDS)
def test_wishes_change_no_result(backend: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    out = np.zeros(8, np.int32)
    rtriton.jit(loops_with_wishes.fn)[(1,)](out, 7)
    assert out.tolist() == [21] * 7 + [0]
