"""What emitted code stands in: loops over the places of a tile, and the thread's arena. It knows nothing of tile IR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from rtriton.backend.cpu.llvm import Builder, V
from rtriton.backend.cpu.place import Buffer, Place
from rtriton.backend.cpu.target import CpuTarget
from rtriton.backend.cpu.vector_math import Math

ARENA_HEADER = 64


@dataclass(slots=True)
class Nest:
    """Open loops over a tile: the places of one turn, and what is carried."""

    places: list[Place]
    loops: list[tuple[V, V, int, int]]  # index, next index, step, bound
    carried: list[V]


class Frame:
    """The builder with a target: how loops are opened for it, and where the arena's next bytes are."""

    def __init__(self, target: CpuTarget, builder: Builder) -> None:
        self.target, self.b = target, builder
        self.m = Math(builder, target)
        self.arena: V | None = None
        self.arena_top = ARENA_HEADER
        self.brief = False  # emitting code that runs rarely: no unrolling

    @property
    def register_tile(self) -> int:
        """How many native vectors a tile may have to live in registers."""
        return self.target.vector_registers // 2

    def chunks(self, shape: Sequence[int], axis: int) -> int:
        return prod(shape) // max(1, self.lanes_for(shape, axis))

    # -- loops -------------------------------------------------------------------------------------------------------

    def lanes_for(self, shape: Sequence[int], axis: int) -> int:
        """Lanes of a loop whose vectors run along `axis` (0 for single elements)."""
        size = shape[axis] if axis >= 0 else 1
        return min(size, self.target.lanes) if size > 1 else 0

    def index(self, number: int) -> V:
        return self.b.int(number)

    def open(self, shape: Sequence[int], axis: int, lanes: int, unroll: int = 0, carried: Sequence[V] = ()) -> Nest:
        """Open loops over all places of a shape, `unroll` places per turn, innermost first (the lanes' axis last).

        Without `unroll` a tile that fits registers is unrolled whole, others by four.
        """
        steps = [max(lanes, 1) if d == axis else 1 for d in range(len(shape))]
        order = [d for d in range(len(shape)) if d != axis] + ([axis] if axis >= 0 else [])
        total = prod(shape) // max(lanes, 1)
        unrolled = _unrolled(shape, steps, order, unroll or self.turn(total))
        coords: list[V] = [self.index(0)] * len(shape)
        loops: list[tuple[V, V, int, int]] = []
        values = list(carried)
        for d in order:
            turn = steps[d] * unrolled[d]
            if turn < shape[d]:
                coords[d], *values = self.b.open_loop(self.index(0), *values)
                loops.append((coords[d], self.b.op("add", coords[d], self.index(turn)), turn, shape[d]))
        places = [Place(tuple(coords), axis, lanes)]
        for d in order:
            places = [self.shifted(p, d, k * steps[d]) for p in places for k in range(unrolled[d])]
        return Nest(places, loops, values)

    def turn(self, total: int) -> int:
        if self.brief:
            return 1
        return total if total <= self.register_tile else 4

    def close(self, nest: Nest, carried: Sequence[V] = ()) -> list[V]:
        """Close the loops; what is carried out of them."""
        values = list(carried)
        for _, following, _, bound in reversed(nest.loops):
            again = self.b.cmp("icmp slt", following, self.index(bound))
            _, *values = self.b.close_loop(following, *values, again=again)
        return values

    def shifted(self, place: Place, axis: int, by: int) -> Place:
        if by == 0:
            return place
        coords = list(place.coords)
        coords[axis] = self.b.op("add", coords[axis], self.index(by))
        return Place(tuple(coords), place.axis, place.lanes)

    # -- the arena ---------------------------------------------------------------------------------------------------

    def reserve(self, nbytes: int) -> V:
        """Bytes of the arena, at a cache line's start; a vector may be read past their end."""
        assert self.arena is not None
        pointer = self.b.gep(self.arena, self.index(self.arena_top), 1)
        self.arena_top += -(-nbytes // 64) * 64
        return pointer

    def offset(self, buffer: Buffer, coords: Sequence[V]) -> V:
        terms = [
            self.b.op("mul", c, self.index(s))
            for c, s, n in zip(coords, buffer.strides, buffer.shape, strict=True)
            if n > 1
        ]
        return self.sum(terms)

    def sum(self, terms: Sequence[V]) -> V:
        """Terms added from the outermost inwards, so that what is invariant is added outside."""
        total = self.index(0)
        for term in sorted(terms, key=lambda v: (v.const is not None, v.level)):
            total = self.b.op("add", total, term)
        return total

    def address(self, buffer: Buffer, coords: Sequence[V]) -> V:
        return self.b.gep(buffer.pointer, self.offset(buffer, coords), buffer.itemsize)

    def write(self, buffer: Buffer, place: Place, value: V) -> None:
        if value.element == "i1":
            value = self.b.cast("zext", value, "i8")
        if not place.lanes or buffer.strides[place.axis] == 1:
            self.b.store(value, self.address(buffer, place.coords), buffer.itemsize)
            return
        pointers = self.lane_addresses(buffer, place)
        self.b.masked_scatter(value, pointers, self.b.int(1, "i1", place.lanes), buffer.itemsize)

    def lane_addresses(self, buffer: Buffer, place: Place) -> V:
        steps = self.b.iota("i64", place.lanes, 0, buffer.strides[place.axis])
        return self.b.gep(self.address(buffer, place.coords), steps, buffer.itemsize)


def _unrolled(shape: Sequence[int], steps: Sequence[int], order: Sequence[int], unroll: int) -> list[int]:
    """How many steps along each axis one turn takes: the innermost axes are unrolled first."""
    result = [1] * len(shape)
    for d in reversed(order):
        count = shape[d] // steps[d]
        result[d] = min(count, unroll)
        unroll = max(1, unroll // result[d])
        if result[d] < count:
            break
    return result
