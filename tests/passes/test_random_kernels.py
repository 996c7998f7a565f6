"""Random kernels keep their meaning through the whole pipeline, and through each pass alone."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtriton.interpret.compare import check_same
from rtriton.ir import Block, Builder, Kernel, Value
from rtriton.language.table import builder
from rtriton.passes import PIPELINES, run_pipeline
from rtriton.text import parse, show
from rtriton.types import Pointer, Tile, Type, element_of, float32, int1, int8, int32, int64, shape_of, uint32
from rtriton.verify import verify

SHAPE = (4, 8)
INTEGERS = (int32, uint32, int64, int8)
BINARY = ("add", "sub", "mul", "and", "or", "xor", "minimum", "maximum", "div", "rem")
COMPARE = ("lt", "le", "gt", "ge", "eq", "ne")
FLOAT = ("add", "sub", "mul", "minimum", "maximum", "div")
NUMBERS = (0, 1, -1, 2, 3, 7, 8, 64)


class Grower:
    """Appends ops that hypothesis draws to a kernel; `pool` holds the values made so far."""

    def __init__(self, draw: st.DrawFn, build: Builder, pool: list[Value]) -> None:
        self.draw, self.build, self.pool = draw, build, pool

    def pick(self, type: Type) -> Value:
        """A value of a type: one that is there, or a constant."""
        found = [v for v in self.pool if v.type == type]
        number = self.draw(st.sampled_from(NUMBERS))
        if found and self.draw(st.booleans()):
            return self.draw(st.sampled_from(found))
        kind = element_of(type).kind
        value = (
            float(number)
            if kind == "f"
            else bool(number & 1)
            if kind == "b"
            else abs(number)
            if kind == "u"
            else number
        )
        return self.build.const(value, type)

    def step(self) -> None:
        makers = [
            self.integer,
            self.float,
            self.compare,
            self.where,
            self.cast,
            self.splat,
            self.shift,
            self.move,
            self.negate,
        ]
        self.pool.append(self.draw(st.sampled_from(makers))())

    def shape(self) -> tuple[int, ...]:
        return self.draw(st.sampled_from([SHAPE, SHAPE, (), (4, 1)]))

    def of(self, element: Type, shape: tuple[int, ...]) -> Type:
        return Tile(shape, element) if shape else element

    def integer(self) -> Value:
        type = self.of(self.draw(st.sampled_from(INTEGERS)), self.shape())
        return self.build.one(self.draw(st.sampled_from(BINARY)), self.pick(type), self.pick(type))

    def float(self) -> Value:
        type = self.of(float32, self.shape())
        return self.build.one(self.draw(st.sampled_from(FLOAT)), self.pick(type), self.pick(type))

    def compare(self) -> Value:
        type = self.of(self.draw(st.sampled_from((int32, uint32, float32, int64))), self.shape())
        return self.build.one(self.draw(st.sampled_from(COMPARE)), self.pick(type), self.pick(type))

    def where(self) -> Value:
        shape = self.shape()
        type = self.of(self.draw(st.sampled_from((int32, float32, int1))), shape)
        return self.build.one("where", self.pick(self.of(int1, shape)), self.pick(type), self.pick(type))

    def cast(self) -> Value:
        source = self.of(self.draw(st.sampled_from((*INTEGERS, float32, int1))), self.shape())
        return self.build.one("cast", self.pick(source), to=self.draw(st.sampled_from((*INTEGERS, float32, int1))))

    def splat(self) -> Value:
        return self.build.one("splat", self.pick(self.draw(st.sampled_from((int32, float32)))), shape=SHAPE)

    def shift(self) -> Value:
        type = self.of(self.draw(st.sampled_from((int32, uint32))), self.shape())
        by = self.build.const(self.draw(st.integers(0, 7)), type)
        return self.build.one(self.draw(st.sampled_from(("shl", "shr"))), self.pick(type), by)

    def move(self) -> Value:
        kind = self.draw(st.sampled_from(("broadcast", "trans", "reshape")))
        element = self.draw(st.sampled_from((int32, float32)))
        if kind == "broadcast":
            return self.build.one("broadcast", self.pick(Tile((4, 1), element)), shape=SHAPE)
        tile = self.pick(Tile(SHAPE, element))
        if kind == "trans":
            return self.build.one("trans", self.build.one("trans", tile, order=(1, 0)), order=(1, 0))
        return self.build.one("reshape", self.build.one("reshape", tile, shape=(8, 4)), shape=SHAPE)

    def negate(self) -> Value:
        shape = self.shape()
        if self.draw(st.booleans()):
            return self.build.one("neg", self.pick(self.of(self.draw(st.sampled_from((int32, float32))), shape)))
        return self.build.one("xor", self.pick(self.of(int1, shape)), self.build.const(True, self.of(int1, shape)))

    def region(self) -> None:
        """An `if` or a `for` whose body is random too."""
        types = [
            self.draw(st.sampled_from((int32, float32, Tile(SHAPE, int32), Tile(SHAPE, float32)))) for _ in range(2)
        ]
        if self.draw(st.booleans()):
            condition = self.pick(int1)
            regions = [self.build.block((), lambda inner: self.inner(inner, (), types)) for _ in range(2)]
            self.pool += self.build.op("if", condition, regions=regions)
            return
        init = [self.pick(t) for t in types]
        bounds = [self.build.const(n, int32) for n in (0, self.draw(st.integers(0, 3)), 1)]
        params = (Value(int32, "i"), *(Value(t, "c") for t in types))
        body = self.build.block(params, lambda inner: self.inner(inner, params, types))
        self.pool += self.build.op("for", *bounds, *init, regions=[body])

    def inner(self, build: Builder, params: tuple[Value, ...], types: list[Type]) -> list[Value]:
        grower = Grower(self.draw, build, [*self.pool, *params])
        for _ in range(self.draw(st.integers(0, 3))):
            grower.step()
        return [grower.pick(t) for t in types]


@st.composite
def kernels(draw: st.DrawFn) -> Kernel:
    build = builder()
    params = [Value(Pointer(int32), "x"), Value(Pointer(float32), "y"), Value(int32, "n"), Value(float32, "f"),
              Value(Pointer(int32), "outi"), Value(Pointer(float32), "outf")]  # fmt: skip
    lanes = build.one("reshape", build.one("arange", start=0, end=32), shape=SHAPE)
    bases = (params[0], params[1], *params[4:])
    places = [build.one("addptr", build.one("splat", p, shape=SHAPE), lanes) for p in bases]
    mask = build.one("lt", lanes, build.const(draw(st.sampled_from((0, 20, 32))), Tile(SHAPE, int32)))
    zero = build.const(0, Tile(SHAPE, int32))
    pool = [*params[2:4], lanes, mask, build.one("load", places[0]), build.one("load", places[1]),
            build.one("load", places[0], mask, zero), build.one("program_id", axis=0)]  # fmt: skip
    grower = Grower(draw, build, pool)
    for _ in range(draw(st.integers(1, 8))):
        grower.step()
    for _ in range(draw(st.integers(0, 2))):
        grower.region()
    for _ in range(draw(st.integers(0, 4))):
        grower.step()
    build.op("store", places[2], total(build, pool, int32))
    build.op("store", places[3], total(build, pool, float32))
    return Kernel("random", Block(tuple(params), tuple(build.ops)), {"fp_fusion": False})


def total(build: Builder, pool: list[Value], element: Type) -> Value:
    """All values of an element type in one, so that each matters."""
    result = build.const(0 if element == int32 else 0.0, Tile(SHAPE, element))
    for value in pool:
        if isinstance(element_of(value.type), Pointer):
            continue
        value = build.one("cast", value, to=element)
        shape = shape_of(value.type)
        value = value if shape == SHAPE else build.one("broadcast" if shape else "splat", value, shape=SHAPE)
        result = build.one("xor" if element == int32 else "maximum", result, value)
    return result


SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
QUICK = settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=SLOW)


@QUICK
@given(kernels())
def test_random_kernels_keep_their_meaning_through_the_pipeline(kernel: Kernel) -> None:
    verify(kernel)
    after = run_pipeline(kernel, None, "tile", verify_each=True)
    check_same(kernel, after, (2,))
    assert show(parse(show(kernel))) == show(kernel)


@pytest.mark.parametrize("name", sorted({step.name for step in PIPELINES["tile"]}))
def test_random_kernels_keep_their_meaning_through_each_pass(name: str) -> None:
    @settings(QUICK, max_examples=15)
    @given(kernels())
    def check(kernel: Kernel) -> None:
        check_same(kernel, run_pipeline(kernel, None, [name], verify_each=True), (2,))

    check()
