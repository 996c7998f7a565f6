"""Tuples in kernels: as arguments, built, taken apart, returned, compared. On all three executions without a GPU."""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.errors import CompilationError
from tests.kernels.gpu import EXECUTIONS

BACKENDS = EXECUTIONS


@pytest.fixture(params=BACKENDS, autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RTRITON_BACKEND", request.param)
    return request.param


def zeros(count: int, dtype: Any = np.float32) -> list[np.ndarray]:
    return [np.zeros(1, dtype) for _ in range(count)]


@rtriton.jit
def plus_one(values):
    return tl.tuple([v + 1 for v in values])


@rtriton.jit
def store_each(outs, values):
    for i in tl.static_range(len(values)):
        tl.store(outs[i], values[i])


@rtriton.jit
def store_plus_one(before, outs, size: tl.constexpr, values, after):
    store_each(outs, plus_one(values))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5])
def test_a_tuple_of_arrays_and_one_of_numbers_are_arguments(size: int) -> None:
    outs, values = tuple(zeros(size)), tuple(float(i) if i % 2 else i for i in range(size))
    store_plus_one[1,](0, outs, size, values, 0)
    assert [x.item() for x in outs] == [v + 1 for v in values]


def test_a_list_of_arrays_is_a_tuple_of_them() -> None:
    outs = zeros(2)
    store_plus_one[1,](0, outs, 2, [4, 5], 0)
    assert [x.item() for x in outs] == [5, 6]


@rtriton.jit
def nested(out, nothing, given, fixed: tl.constexpr, number):
    tl.static_assert(nothing is None)
    tl.static_assert(given[1][1] is None)
    tl.static_assert(given[1][3] == 4)
    tl.static_assert(given[1][0] == 1)
    tl.store(out, tl.load(given[0]))
    tl.store(out + 1, given[1][0])
    tl.store(out + 2, tl.load(given[1][2]))
    tl.store(out + 3, fixed + number)
    tl.store(out + 4, given[2])


def test_nested_tuples_hold_arrays_numbers_none_and_constexprs() -> None:
    a, b, out = np.array([8], np.int32), np.array([12], np.int32), np.zeros(5, np.int32)
    nested[1,](out, None, (a, (1, None, b, tl.constexpr(4)), 77), 20, 1)
    assert out.tolist() == [8, 1, 12, 21, 77]


def test_the_elements_of_a_tuple_specialise_each_on_its_own() -> None:
    kernel = rtriton.jit(store_plus_one.fn)
    outs = tuple(zeros(2))
    for values in ((2, 3), (4, 5), (7, 9)):         # not a multiple of 16, not 1: one kernel
        kernel[1,](0, outs, 2, values, 0)
        assert [x.item() for x in outs] == [v + 1 for v in values]
    assert len(kernel.cache) == 1
    for values in ((1, 3), (16, 3), (3.0, 3), (True, 3)):
        kernel[1,](0, outs, 2, values, 0)
        assert [x.item() for x in outs] == [v + 1 for v in values]
    assert len(kernel.cache) == 5


class View(NamedTuple):
    pointer: Any
    shape: Any
    stride: Any


class Closure(NamedTuple):
    fn: Any
    captured: tuple[Any, ...]


@rtriton.jit
def viewed(shape, pointer, stride):
    return View(shape=shape, pointer=pointer, stride=stride)


@rtriton.jit
def times(x, factor):
    return x * tl.load(factor)


@rtriton.jit
def apply(closure, source, target, BLOCK: tl.constexpr):
    rows, columns = tl.arange(0, BLOCK), tl.arange(0, BLOCK)
    source = viewed(source.shape, source.pointer, source.stride)
    view = viewed(target.shape, target.pointer, stride=target.stride)
    mask = (rows[:, None] < view.shape[0]) & (columns[None, :] < view.shape[1])
    x = tl.load(source.pointer + rows[:, None] * source.stride[0] + columns[None, :] * source.stride[1], mask=mask)
    y = closure.fn(x, *closure.captured)
    tl.store(view.pointer + rows[:, None] * view.stride[0] + columns[None, :] * view.stride[1], y, mask=mask)


def test_named_tuples_are_arguments_and_results_and_hold_functions() -> None:
    x = np.random.default_rng(0).random((32, 32), np.float32)
    y, factor = np.zeros((16, 8), np.float32), np.array([5.5], np.float32)
    strides = [tuple(n // 4 for n in a.strides) for a in (x, y)]
    apply[1,](Closure(times, (factor,)), View(x, x.shape, strides[0]), View(y, y.shape, strides[1]), 32)
    np.testing.assert_array_equal(y, x[:16, :8] * np.float32(5.5))


@rtriton.jit
def operations(out, pair):
    joined = ((0, 1)) + (2, 3) + tl.tuple((4, 5))
    for i in tl.static_range(6):
        tl.store(out + i, joined[i])
    middle = joined[1:3]
    tl.static_assert(len(middle) == 2)
    tl.store(out + 6, middle[0] + middle[1])
    tl.store(out + 7, joined[-1])
    tl.store(out + 8, (1, 2) == (1, 2))
    tl.store(out + 9, tl.tuple((1, 2)) == (1, 3))
    tl.store(out + 10, pair == (3, 4))
    tl.store(out + 11, pair != (3, 5))
    tl.store(out + 12, (pair + (1,)) == pair)
    twice = pair * 2
    tl.store(out + 13, twice[2])
    (a, (b, c)) = (pair[0], pair)
    tl.store(out + 14, a + b + c)


def test_tuples_join_slice_repeat_and_compare_also_with_run_time_parts() -> None:
    out = np.zeros(15, np.int32)
    operations[1,](out, (3, 4))
    assert out.tolist() == [0, 1, 2, 3, 4, 5, 3, 5, 1, 0, 1, 1, 0, 3, 10]


@rtriton.jit
def carried(out, n, pair):
    state = (pair[0], (pair[1], 0))
    for i in range(n):
        if i % 2 == 0:
            state = (state[0] + i, (state[1][0] * 2, i))
        else:
            state = (state[0], (state[1][0] + 1, state[1][1]))
    tl.store(out, state[0])
    tl.store(out + 1, state[1][0])
    tl.store(out + 2, state[1][1])


def test_nested_tuples_are_carried_through_loops_and_ifs() -> None:
    out = np.zeros(3, np.int32)
    carried[1,](out, 5, (10, 3))
    a, b, c = 10, 3, 0
    for i in range(5):
        a, b, c = (a + i, b * 2, i) if i % 2 == 0 else (a, b + 1, c)
    assert out.tolist() == [a, b, c]


@rtriton.jit
def logic():
    tl.static_assert(((3, 4) or (5, 6)) == (3, 4))
    tl.static_assert(((3, 4) and (5, 6)) == (5, 6))
    tl.static_assert(((3, 4) and ()) == ())
    tl.static_assert(((1, 2) or (3, 4) or (5, 6)) == (1, 2))
    tl.static_assert((() and tl.program_id(0)) == ())
    tl.static_assert(2 in (1, 2) and 3 not in (1, 2))


def test_and_or_give_back_tuples() -> None:
    logic[1,]()


@rtriton.jit
def sets_an_element(pair):
    pair[0] = 0


@rtriton.jit
def wrong_count(pair):
    first, second, third = pair
    tl.static_assert(first + second == third)


@rtriton.jit
def past_the_end(out, pair):
    tl.store(out, pair[2])


def test_a_tuple_is_a_value_that_nothing_changes() -> None:
    with pytest.raises(CompilationError, match="tiles and tuples are values"):
        sets_an_element[1,]((5, 6))


def test_a_wrong_number_of_names_and_an_index_past_the_end_are_errors() -> None:
    with pytest.raises(CompilationError, match="3 names cannot be assigned"):
        wrong_count[1,]((5, 6))
    with pytest.raises(CompilationError, match="index"):
        past_the_end[1,](np.zeros(1, np.int32), (5, 6))
