"""Aggregates: objects with fields in kernels, made, passed, returned, nested and carried."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.errors import CompilationError
from tests.kernels.gpu import EXECUTIONS

BACKENDS = EXECUTIONS


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RTRITON_BACKEND", request.param)
    return request.param


@tl.core._aggregate
class Pair:
    first: tl.tensor
    second: tl.tensor

    def __init__(self, first, second):
        self.first = first
        self.second = second

    @rtriton.jit
    def total(self, factor=1):
        return (self.first + self.second) * factor

    @rtriton.jit
    def unpack(self):
        return self.get_first(), self.get_second()

    @rtriton.jit
    def get_first(self):
        return self.first

    def get_second(self, _semantic=None):
        assert _semantic is not None
        return self.second

    def move(self, first, _semantic=None):
        self.first = first

    @rtriton.jit
    def __add__(self, other):
        return Pair(self.first + other.first, self.second + other.second)

    def __getitem__(self, index, _semantic=None):
        return self.first if index == 0 else self.second


@tl.core._aggregate
class Row:
    """A tensor and a length known when compiling."""

    start: tl.tensor
    size: tl.constexpr
    name: tl.constexpr

    def __init__(self, start, size, name="row"):
        self.start = start
        self.size = tl.constexpr(size)
        self.name = name

    @staticmethod
    def at(start, size):
        return Row(start, size)

    @staticmethod
    @rtriton.jit
    def of_program(size):
        return Row.at(tl.program_id(0) * size, size)

    @rtriton.jit
    def offsets(self):
        return self.start + tl.arange(0, self.size)

    @rtriton.constexpr_function
    def squared(self):
        return self.size * self.size


@tl.core._aggregate
class Outer:
    pair: Pair
    row: Row
    sizes: tl.tuple

    @rtriton.constexpr_function
    def __init__(self, pair, row):
        self.pair = pair
        self.row = row
        self.sizes = tl.tuple((row.size, pair.first))


@rtriton.jit
def swapped(pair):
    return Pair(pair.second, pair.first)


@rtriton.jit
def fields_and_methods(out, x, y):
    pair = Pair(x + 0, y + 0)
    tl.store(out, pair.first)
    tl.store(out + 1, pair.total())
    tl.store(out + 2, pair.total(factor=3))
    a, b = swapped(pair).unpack()
    tl.store(out + 3, a)
    tl.store(out + 4, b)
    tl.store(out + 5, pair[1])
    doubled = pair + pair
    tl.store(out + 6, doubled.second)
    tl.static_assert(isinstance(pair, Pair))


def test_fields_methods_and_operators(backend: str) -> None:
    out = np.zeros(7, np.int32)
    fields_and_methods[1,](out, 3, 5)
    assert out.tolist() == [3, 8, 24, 5, 3, 5, 10]


@rtriton.jit
def constexpr_fields(out):
    row = Row.of_program(8)
    tl.static_assert(row.size == 8)
    tl.static_assert(row.squared() == 64)
    tl.static_assert(row.name == "row")
    outer = Outer(Pair(row.start, row.start + 1), row)
    tl.static_assert(outer.sizes[0] == 8)
    tl.store(out + outer.row.offsets(), outer.row.offsets() + outer.pair.second + outer.sizes[1])


def test_constexpr_fields_size_tiles_and_aggregates_nest(backend: str) -> None:
    out = np.zeros(16, np.int32)
    constexpr_fields[2,](out)
    start = np.arange(16) // 8 * 8
    np.testing.assert_array_equal(out, np.arange(16) + start + 1 + start)


@rtriton.jit
def carried(out, n):
    state = Pair(n * 0, n * 0 + 1)
    for i in range(n):
        if i % 3 == 0:
            state = Pair(state.second, state.total())
        else:
            state = swapped(state)
    while state.first > 10:
        state = Pair(state.first - 10, state.second)
    tl.store(out, state.first)
    tl.store(out + 1, state.second)


def test_an_aggregate_is_carried_through_loops_and_ifs(backend: str) -> None:
    out = np.zeros(2, np.int32)
    carried[1,](out, 17)
    a, b = 0, 1
    for i in range(17):
        a, b = (b, a + b) if i % 3 == 0 else (b, a)
    while a > 10:
        a -= 10
    assert out.tolist() == [a, b]


@rtriton.jit
def moved(out, n):
    pair = Pair(n + 0, n + 1)
    kept = pair
    pair.move(n * 7)
    tl.store(out, pair.first)
    tl.store(out + 1, kept.first)


@rtriton.jit
def moved_in_a_loop(out, n):
    pair = Pair(n + 0, n + 1)
    for _ in range(n):
        pair.move(pair.first + 2)
    if n > 3:
        pair.move(pair.first * 2)
    tl.store(out, pair.first)


def test_a_method_that_sets_a_field_changes_the_variable_it_is_called_on(backend: str) -> None:
    out = np.zeros(2, np.int32)
    moved[1,](out, 3)
    assert out.tolist() == [21, 3]
    for n in (2, 3, 5):
        moved_in_a_loop[1,](out, n)
        assert out[0] == (3 * n if n <= 3 else 6 * n)


@tl.core._aggregate
class Walker:
    at: tl.tensor
    stride: tl.constexpr

    def __init__(self, at, stride=3):
        self.at = at
        self.stride = tl.constexpr(stride)

    @classmethod
    def wide(cls, at):
        return cls(at, 5)

    @property
    def twice(self):
        return self.stride * 2

    @rtriton.jit
    def step(self, k):
        if k > 2:
            return Walker(self.at + k, self.stride)
        return Walker(self.at - k, self.stride)

    def bump(self, by, _semantic=None):
        self.at = tl.add(self.at, by, _semantic=_semantic)


@tl.core._aggregate
class Party:
    others: tl.tuple
    leader: Walker

    def __init__(self, others, leader):
        self.others = others
        self.leader = leader

    @rtriton.jit
    def total(self):
        total = self.leader.at
        for i in tl.static_range(len(self.others)):
            total += self.others[i].at
        return total


@rtriton.jit
def walks(out, n):
    walker = Walker(n + 0)
    for i in range(n):
        walker = walker.step(i)
        if i == 6:
            break
    tl.store(out, walker.at)
    party = Party((walker, Walker.wide(n * 2)), walker)
    tl.store(out + 1, party.total())
    party.leader.bump(100)
    tl.store(out + 2, walker.twice)
    i = 0
    while i < 3:
        party.leader.bump(i)
        i += 1
    tl.store(out + 3, party.leader.at)
    both = (walker, party)
    for j in tl.static_range(2):
        both = (both[0].step(j), both[1])
    tl.store(out + 4, both[0].at + both[1].leader.at)
    places = [w.at for w in party.others]
    tl.store(out + 5, places[0] + places[1])
    chosen = walker if n > 3 else Walker(n * 7)
    tl.store(out + 6, chosen.at)


def test_early_returns_breaks_tuples_and_fields_of_fields_go_with_aggregates(backend: str) -> None:
    for n in (2, 5, 9):
        out = np.zeros(7, np.int32)
        walks[1,](out, n)
        at = n
        for i in range(min(n, 7)):
            at += i if i > 2 else -i
        leader = at + 100 + 0 + 1 + 2
        assert out.tolist() == [at, 2 * at + 2 * n, 6, leader, at - 1 + leader, at + 2 * n, at if n > 3 else n * 7]


@rtriton.constexpr_function
def box(kind: Any) -> Any:
    @tl.core._aggregate
    class Box:
        value: kind

        def __init__(self, value):
            self.value = value

        @rtriton.jit
        def create(value):
            return Box(value)

    return Box


def test_a_class_made_by_a_function_is_used_by_kernels_that_close_over_it(backend: str) -> None:
    TensorBox = box(tl.tensor)

    @rtriton.jit
    def kernel(out):
        tl.store(out + tl.arange(0, 4), TensorBox.create(tl.arange(0, 4)).value)

    out = np.zeros(4, np.int32)
    kernel[1,](out)
    assert out.tolist() == [0, 1, 2, 3]


def refused(kernel: Any, *args: Any) -> str:
    with pytest.raises(CompilationError) as caught:
        kernel[1,](*args)
    return caught.value.message


@rtriton.jit
def sets_a_field(n):
    pair = Pair(n + 0, n + 1)
    pair.first = n


@rtriton.jit
def wrong_field(n):
    Pair(n + 0, 3)


@rtriton.jit
def wrong_form(out, n):
    row = Row(n + 0, 4)
    if n > 2:
        row = Row(n + 0, 8)
    tl.store(out, row.start)


@rtriton.jit
def no_such_field(n):
    Pair(n + 0, n + 1).third + 1


@rtriton.jit
def asserts_on_the_host(n):
    Picky(n + 0)


@tl.core._aggregate
class Picky:
    value: tl.tensor

    def __init__(self, value):
        assert isinstance(value, tl.constexpr), "a constexpr is wanted"


@rtriton.jit
def incomplete(n):
    Unset(n + 0)


@tl.core._aggregate
class Unset:
    value: tl.tensor

    def __init__(self, value):
        pass


def test_what_breaks_the_rules_of_aggregates_is_refused_in_a_sentence() -> None:
    assert "only names can be assigned" in refused(sets_a_field, 3)
    assert refused(wrong_field, 3) == "Pair.second is a tensor, got a constexpr"
    assert "row" in refused(wrong_form, np.zeros(1, np.int32), 3)
    assert "no field or method third" in refused(no_such_field, 3)
    assert refused(incomplete, 3) == "Unset.__init__ did not set the field value"
    assert refused(asserts_on_the_host, 3).startswith("AssertionError: a constexpr is wanted")
    # on the host too, a field takes what its annotation says
    with pytest.raises(TypeError, match=r"Pair\.first is a tensor, got int"):
        Pair(1, 2)
