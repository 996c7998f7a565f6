"""Random kernels over tiles of one size: elementwise chains, reductions, products, moves, stores, loops, branches.

    kernel, arguments = random_kernel(seed)

Numbers stay small whole ones in f32 where sums are taken, so that no order of addition changes a result.
"""

from __future__ import annotations

import random

import numpy as np

from rtriton.ir import Block, Builder, Kernel, Value
from rtriton.language.table import builder
from rtriton.types import Pointer, Tile, float32, int1, int32, shape_of

SHAPES = [(16, 16), (4, 32), (64, 64), (32, 8), (128, 16), (1, 256), (256, 1), (2, 2)]


class Grower:
    def __init__(self, rng: random.Random, build: Builder, shape: tuple[int, int], places: dict[str, Value]) -> None:
        self.rng, self.build, self.shape, self.places = rng, build, shape, places
        self.tiles: list[Value] = []  # f32 tiles of the shape
        self.numbers: list[Value] = []  # i32 tiles of the shape
        self.masks: list[Value] = []
        self.scalars: list[Value] = []  # i32

    def one(self, kind: str, *operands: Value | None, **attrs: object) -> Value:
        return self.build.one(kind, *operands, **attrs)

    def small(self, tile: Value) -> Value:
        """Whole numbers from -15 to 15, whatever went in."""
        whole = self.one(
            "cast", self.one("minimum", self.one("maximum", tile, self.full(-1e6)), self.full(1e6)), to=int32
        )
        return self.one("cast", self.one("rem", whole, self.build.const(16, Tile(self.shape, int32))), to=float32)

    def full(self, value: float) -> Value:
        return self.build.const(value, Tile(self.shape, float32))

    def step(self) -> None:
        moves = [self.arithmetic, self.choose, self.reduce, self.move, self.load, self.store, self.product]
        self.rng.choice([*moves, self.arithmetic, self.look_up, self.scan])()

    def arithmetic(self) -> None:
        a, b = self.rng.choice(self.tiles), self.rng.choice(self.tiles)
        kind = self.rng.choice(["add", "sub", "mul", "maximum", "minimum", "div", "exp2", "floor"])
        if kind == "exp2":
            self.tiles.append(self.one("floor", self.one("exp2", self.one("minimum", a, self.full(8.0)))))
        elif kind == "floor":
            self.tiles.append(self.one("floor", a))
        elif kind == "div":
            self.tiles.append(self.one("floor", self.one("div_rn", a, self.full(4.0))))
        else:
            self.tiles.append(self.small(self.one(kind, a, b)))

    def choose(self) -> None:
        a, b = self.rng.choice(self.tiles), self.rng.choice(self.tiles)
        mask = self.one(self.rng.choice(["lt", "ge", "ne"]), a, b)
        self.masks.append(mask)
        self.tiles.append(self.one("where", self.rng.choice(self.masks), a, b))

    def reduce(self) -> None:
        axis = self.rng.randrange(2)
        kind = self.rng.choice(["add", "maximum", "minimum"])
        left, right = Value(float32, "l"), Value(float32, "r")
        region = self.build.block([left, right], lambda inner: [inner.one(kind, left, right)])
        (row,) = self.build.op("reduce", self.small(self.rng.choice(self.tiles)), regions=[region], axis=axis)
        wide = self.one("broadcast", self.one("expand_dims", row, axis=axis), shape=self.shape)
        self.tiles.append(self.small(wide))

    def scan(self) -> None:
        axis = self.rng.randrange(2)
        left, right = Value(float32, "l"), Value(float32, "r")
        region = self.build.block([left, right], lambda inner: [inner.one("add", left, right)])
        (running,) = self.build.op("scan", self.small(self.rng.choice(self.tiles)), regions=[region], axis=axis,
                                   reverse=self.rng.random() < 0.5)  # fmt: skip
        self.tiles.append(self.small(running))

    def move(self) -> None:
        m, n = self.shape
        tile = self.rng.choice(self.tiles)
        kind = self.rng.choice(["trans", "flat", "halves"])
        if kind == "trans":
            turned = self.one("trans", tile, order=(1, 0))
            changed = self.one("add", turned, self.build.const(1.0, Tile((n, m), float32)))
            self.tiles.append(self.one("trans", changed, order=(1, 0)))
        elif kind == "flat":
            turned = self.one("reshape", self.one("reshape", tile, shape=(m * n,)), shape=(n, m))
            self.tiles.append(self.one("trans", turned, order=(1, 0)))
        else:
            pairs = self.one("reshape", tile, shape=(m * n // 2, 2))
            a, b = self.build.op("split", pairs)
            self.tiles.append(self.one("reshape", self.one("join", b, self.one("neg", a)), shape=self.shape))

    def load(self) -> None:
        if self.rng.random() < 0.5:
            self.tiles.append(self.small(self.one("load", self.places["x"])))
        else:
            mask = self.rng.choice(self.masks)
            self.tiles.append(self.small(self.one("load", self.places["out"], mask, self.rng.choice(self.tiles))))

    def store(self) -> None:
        where = self.places[self.rng.choice(["out", "turned"])]
        mask = self.rng.choice([None, *self.masks])
        self.build.op("store", where, self.rng.choice(self.tiles), mask)

    def product(self) -> None:
        a, b = (self.small(self.rng.choice(self.tiles)) for _ in range(2))
        m, n = self.shape
        acc = self.build.const(0.0, Tile((m, m), float32)) if m * m <= 4096 else None
        if acc is None or n < 2:
            return
        square = self.one("dot", a, self.one("trans", b, order=(1, 0)), acc, precision="ieee")
        left, right = Value(float32, "l"), Value(float32, "r")
        region = self.build.block([left, right], lambda inner: [inner.one("maximum", left, right)])
        (row,) = self.build.op("reduce", square, regions=[region], axis=1)
        self.tiles.append(self.small(self.one("broadcast", self.one("expand_dims", row, axis=1), shape=self.shape)))

    def look_up(self) -> None:
        axis = self.rng.randrange(2)
        index = self.one("rem", self.one("abs", self.rng.choice(self.numbers)),
                         self.build.const(self.shape[axis], Tile(self.shape, int32)))  # fmt: skip
        self.tiles.append(self.one("gather", self.rng.choice(self.tiles), index, axis=axis))

    def region(self) -> None:
        """A branch or a loop that carries two tiles and a number."""
        inits = [self.rng.choice(self.tiles), self.rng.choice(self.tiles), self.rng.choice(self.scalars)]
        if self.rng.random() < 0.5:
            low = self.build.const(0, int32)
            condition = self.one(
                "lt", self.rng.choice(self.scalars), self.build.const(self.rng.choice([0, 1, 5]), int32)
            )
            regions = [self.build.block((), lambda inner: self.inner(inner, inits)) for _ in range(2)]
            results = self.build.op("if", condition, regions=regions)
        else:
            low, high, step = (self.build.const(n, int32) for n in (0, self.rng.randrange(4), 1))
            params = (Value(int32, "i"), *(Value(v.type, "c") for v in inits))
            body = self.build.block(params, lambda inner: self.inner(inner, list(params[1:]), params[0]))
            results = self.build.op("for", low, high, step, *inits, regions=[body])
        self.tiles += results[:2]
        self.scalars.append(results[2])

    def inner(self, build: Builder, carried: list[Value], index: Value | None = None) -> list[Value]:
        grower = Grower(self.rng, build, self.shape, self.places)
        grower.tiles, grower.numbers = [*self.tiles, *carried[:2]], list(self.numbers)
        grower.masks, grower.scalars = list(self.masks), [*self.scalars, carried[2]]
        for _ in range(self.rng.randrange(1, 4)):
            grower.step()
        if index is not None:
            grower.tiles.append(
                grower.small(build.one("cast", build.one("splat", index, shape=self.shape), to=float32))
            )
        new = [self.rng.choice(grower.tiles[-4:]) for _ in range(2)]
        return [*new, build.one("add", carried[2], build.const(1, int32))]


def random_kernel(seed: int) -> tuple[Kernel, list[np.ndarray]]:
    """A kernel and its arguments (two arrays that are written, one that is only read)."""
    rng = random.Random(seed)
    shape = rng.choice(SHAPES)
    m, n = shape
    build = builder()
    params = [Value(Pointer(float32), name) for name in ("x", "out", "turned")]
    rows, columns = build.one("arange", start=0, end=m), build.one("arange", start=0, end=n)
    wide = lambda v, axis: build.one("broadcast", build.one("expand_dims", v, axis=axis), shape=shape)  # noqa: E731
    step, other = (build.const(k, Tile(shape, int32)) for k in (n, m))
    at = build.one("add", build.one("mul", wide(rows, 1), step), wide(columns, 0))
    crossed = build.one("add", build.one("mul", wide(columns, 0), other), wide(rows, 1))
    places = {p.name: build.one("addptr", build.one("splat", p, shape=shape), crossed if p.name == "turned" else at)
              for p in params}  # fmt: skip
    grower = Grower(rng, build, shape, places)
    first = grower.one("load", places["x"])
    grower.tiles = [first, grower.one("load", places["out"]), grower.small(grower.one("cast", at, to=float32))]
    grower.numbers, grower.masks = (
        [at, wide(rows, 1)],
        [grower.one("lt", at, build.const(m * n * 3 // 4, Tile(shape, int32)))],
    )
    grower.scalars = [build.const(1, int32), build.one("program_id", axis=0)]
    assert grower.masks[0].type == Tile(shape, int1) and shape_of(first.type) == shape
    for _ in range(rng.randrange(3, 9)):
        grower.step()
    for _ in range(rng.randrange(3)):
        grower.region()
        grower.step()
    build.op("store", places["out"], grower.tiles[-1])
    build.op("store", places["turned"], rng.choice(grower.tiles))
    numbers = np.random.default_rng(seed)
    arguments = [numbers.integers(-9, 10, m * n).astype(np.float32) for _ in params]
    return Kernel(f"random{seed}", Block(tuple(params), tuple(build.ops)), {}), arguments
