"""Random chains of the ops that move and combine elements: all executions give the same, whatever layouts they lead to.

A chain starts from a tile of integers (so that no order of a sum matters) and takes each step by chance; its result is
written as one line. A failing seed is a kernel to look at: `show(chain(seed))`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest

from rtriton.ir import Block, Builder, Kernel, Value
from rtriton.language.table import builder
from rtriton.passes import run_pipeline
from rtriton.types import Pointer, Tile, int32, shape_of
from tests.kernels.everywhere import run_everywhere

SIZE = 256
Step = Callable[[Builder, random.Random, Value], Value]


def _axis(rng: random.Random, x: Value, least: int = 1) -> int | None:
    axes = [d for d, n in enumerate(shape_of(x.type)) if n >= least]
    return rng.choice(axes) if axes else None


def _region(b: Builder, kind: str) -> Block:
    left, right = Value(int32, "l"), Value(int32, "r")
    return b.block([left, right], lambda inner: [inner.one(kind, left, right)])


def reshape(b: Builder, rng: random.Random, x: Value) -> Value:
    bits, shape = math.prod(shape_of(x.type)).bit_length() - 1, list[int]()
    while bits:
        taken = rng.randint(0, bits)
        shape.append(1 << taken)
        bits -= taken
        if len(shape) == 4:
            shape[-1] <<= bits
            break
    return b.one("reshape", x, shape=tuple(shape) or (1,))


def trans(b: Builder, rng: random.Random, x: Value) -> Value:
    order = list(range(len(shape_of(x.type))))
    rng.shuffle(order)
    return b.one("trans", x, order=tuple(order))


def exchange(b: Builder, rng: random.Random, x: Value) -> Value:
    axis = _axis(rng, x, 2)
    return x if axis is None else b.one("exchange", x, axis=axis, mask=rng.randrange(1, shape_of(x.type)[axis]))


def order(b: Builder, rng: random.Random, x: Value) -> Value:
    axis = _axis(rng, x, 2)
    if axis is None:
        return x
    for _ in range(rng.randint(1, 4)):
        distance = 1 << rng.randrange((shape_of(x.type)[axis] - 1).bit_length())
        block = rng.choice((0, distance << rng.randint(1, 3)))
        x = b.one("order", x, axis=axis, distance=distance, block=block, descending=rng.random() < 0.5)
    return x


def scan(b: Builder, rng: random.Random, x: Value) -> Value:
    axis, kind = _axis(rng, x), rng.choice(("add", "maximum", "xor"))
    return b.op("scan", x, regions=[_region(b, kind)], axis=axis, reverse=rng.random() < 0.5)[0]


def reduce(b: Builder, rng: random.Random, x: Value) -> Value:
    """Reduced, and put beside what it came from."""
    axis, shape = _axis(rng, x), shape_of(x.type)
    assert axis is not None
    least = b.op("reduce", x, regions=[_region(b, rng.choice(("add", "minimum", "xor")))], axis=axis)[0]
    kept = b.one("expand_dims", least, axis=axis) if len(shape) > 1 else b.one("splat", least, shape=(1,))
    return b.one("xor", x, b.one("broadcast", kept, shape=shape) if shape[axis] > 1 else kept)


def gather(b: Builder, rng: random.Random, x: Value) -> Value:
    axis, shape = _axis(rng, x), shape_of(x.type)
    assert axis is not None
    index = b.one("and", x, b.const(shape[axis] - 1, Tile(shape, int32)))
    return b.one("add", x, b.one("gather", x, index, axis=axis))


def pair(b: Builder, rng: random.Random, x: Value) -> Value:
    """join, then split or one tile of both."""
    both = b.one("join", x, b.one("mul", x, b.const(3, x.type)))
    if rng.random() < 0.5 or math.prod(shape_of(both.type)) > 4 * SIZE:
        first, second = b.op("split", both)
        return b.one("sub", first, second)
    return both


def mapped(b: Builder, rng: random.Random, x: Value) -> Value:
    element = Value(int32, "x")

    def body(inner: Builder) -> list[Value]:
        condition = inner.one("gt", element, inner.const(rng.randint(-50, 50), int32))
        then = inner.block([], lambda arm: [arm.one("mul", element, arm.const(5, int32))])
        otherwise = inner.block([], lambda arm: [arm.one("neg", element)])
        return list(inner.op("if", condition, regions=[then, otherwise]))

    return b.op("map", x, regions=[b.block([element], body)])[0]


def counted(b: Builder, rng: random.Random, x: Value) -> Value:
    """How often each number occurs, added to a tile of as many elements."""
    count = math.prod(shape_of(x.type))
    flat = b.one("reshape", x, shape=(count,))
    return b.one("add", flat, b.one("histogram", flat, bins=count))


STEPS: tuple[Step, ...] = (reshape, trans, exchange, order, scan, reduce, gather, pair, mapped, counted, reshape, trans)


def chain(seed: int) -> Kernel:
    rng, b = random.Random(seed), builder()
    source, out = Value(Pointer(int32), "x"), Value(Pointer(int32), "out")
    line = b.one("arange", start=0, end=SIZE)
    value = b.one("load", b.one("addptr", b.one("splat", source, shape=(SIZE,)), line))
    for _ in range(rng.randint(3, 9)):
        value = rng.choice(STEPS)(b, rng, value)
    count = math.prod(shape_of(value.type))
    flat = b.one("reshape", value, shape=(count,))
    places = b.one("addptr", b.one("splat", out, shape=(count,)), b.one("arange", start=0, end=count))
    b.op("store", places, flat)
    return Kernel("chain", Block((source, out), tuple(b.ops)), {"num_warps": rng.choice((1, 2, 4, 8))})


def check(seed: int) -> None:
    kernel = run_pipeline(chain(seed), None, "tile")
    x = np.random.default_rng(seed).integers(-100, 100, SIZE).astype(np.int32)
    args = {"x": x, "out": np.zeros(8 * SIZE, np.int32)}
    (_, wanted), *others = run_everywhere(kernel, args)
    for name, arrays in others:
        np.testing.assert_array_equal(arrays["out"], wanted["out"], err_msg=f"seed {seed} on {name}")


@pytest.mark.parametrize("start", (*range(0, 60, 10), 1040, 1090))
def test_chains_agree_in_every_execution(start: int) -> None:
    for seed in range(start, start + 10):
        check(seed)
