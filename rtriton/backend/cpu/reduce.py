"""Reductions and histograms.

The order of a reduction is fixed by the tile's shape and the target's lanes, never by threads or grid. Across the
lanes: up to four vectors accumulate in turn (chunk k goes to accumulator k mod 4), they are combined in pairs, then
the halves of the vector are. Along another axis: each result lane takes its elements in order, in up to four
interleaved chains (element k in chain k mod 4) where the result is too small to keep the adders busy otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from rtriton.backend.cpu.llvm import V
from rtriton.backend.cpu.lower import Lowering, now
from rtriton.backend.cpu.place import Pieces, Place
from rtriton.backend.cpu.region import apply
from rtriton.ir import Block, Op, Value
from rtriton.types import element_of, shape_of

CHAINS = 4


def combine(low: Lowering, region: Block, left: Sequence[V], right: Sequence[V]) -> list[V]:
    """The combine function on vectors."""
    return apply(low, region, [*left, *right])


@now("reduce")
def _reduce(low: Lowering, op: Op) -> None:
    xs = [v for v in op.operands if v is not None]
    shape, axis = shape_of(xs[0].type), op.attrs["axis"]
    chosen = low.axis_for(xs)
    lanes = low.lanes_for(shape, chosen)
    _Reduction(low, op, xs, shape, axis, chosen if lanes else -1, lanes).run()


class _Reduction:
    def __init__(self, low: Lowering, op: Op, xs: list[Value], shape: tuple[int, ...], axis: int, along: int,
                 lanes: int) -> None:  # fmt: skip
        self.low, self.op, self.xs, self.shape, self.axis, self.along, self.lanes = (
            low,
            op,
            xs,
            shape,
            axis,
            along,
            lanes,
        )
        self.region = op.regions[0]
        self.across = along == axis  # the lanes themselves are combined
        self.rest = shape[:axis] + shape[axis + 1 :]
        self.result_axis = -1 if self.across or along < 0 else along - (along > axis)
        self.result_lanes = 0 if self.across else lanes

    def run(self) -> None:
        """One block of result places at a time: a whole small result, else as many as keep the adders busy."""
        low = self.low
        total = prod(self.rest) // max(1, self.result_lanes)
        if total <= (low.register_tile if not self.across else 8):
            self.in_registers(self.low.open(self.rest, self.result_axis, self.result_lanes, total).places)
            return
        buffers = [low.new_buffer(r, self.result_axis) for r in self.op.results]

        def fill() -> list[V]:
            nest = low.open(self.rest, self.result_axis, self.result_lanes, 1 if self.across else CHAINS)
            for place, values in zip(nest.places, self.block(nest.places), strict=True):
                for buffer, value in zip(buffers, values, strict=True):
                    low.write(buffer, place, value)
            return low.close(nest)

        low.versioned(self.xs, self.along, self.lanes, fill)
        low.held.update(zip(self.op.results, buffers, strict=True))

    def in_registers(self, places: list[Place]) -> None:
        flat = self.low.versioned(
            self.xs, self.along, self.lanes, lambda: [v for place in self.block(places) for v in place]
        )
        width = len(self.xs)
        results = [flat[n * width : (n + 1) * width] for n in range(len(places))]
        for k, value in enumerate(self.op.results):
            if not self.rest:
                found = results[0][k]
                is_pointer = element_of(value.type).kind == "p"
                self.low.scalars[value] = self.low.b.cast("inttoptr", found, "ptr") if is_pointer else found
                continue
            values: dict[tuple[int, ...], V] = {}
            for place, parts in zip(places, results, strict=True):
                assert place.known is not None
                values[place.known] = parts[k]
            self.low.held[value] = Pieces(self.result_axis, self.result_lanes, values)

    def element(self, place: Place, index: V) -> list[V]:
        """The operands at a result place and an index along the reduced axis."""
        coords = (*place.coords[: self.axis], index, *place.coords[self.axis :])
        at = Place(coords, self.along, self.lanes)
        return [self.low.at(x, at) for x in self.xs]

    def block(self, places: list[Place]) -> list[list[V]]:
        """The results at some places, computed together in one loop along the axis."""
        step = max(1, self.lanes) if self.across else 1
        count = self.shape[self.axis] // step
        chains = min(count, max(1, CHAINS // len(places)))
        b = self.low.b
        starts = [[self.element(p, self.low.index(k * step)) for k in range(chains)] for p in places]
        width = len(self.xs)
        flat = [v for place in starts for chain in place for v in chain]
        flat = self.turns(places, flat, chains, width, count, step)
        results: list[list[V]] = []
        for n in range(len(places)):
            parts = [flat[(n * chains + k) * width : (n * chains + k + 1) * width] for k in range(chains)]
            while len(parts) > 1:  # in pairs: 0 with 1, 2 with 3, ...
                parts = [self.combined(parts[k], parts[k + 1]) for k in range(0, len(parts), 2)]
            results.append(self.folded(parts[0]) if self.across else parts[0])
        assert b is self.low.b
        return results

    def turns(self, places: list[Place], flat: list[V], chains: int, width: int, count: int, step: int) -> list[V]:
        """Combine the elements after the first of each chain into it."""
        low, b = self.low, self.low.b
        left = count // chains - 1
        if left == 0:
            return flat
        unrolled = len(places) * chains * left <= low.register_tile
        if unrolled:
            for turn in range(1, left + 1):
                flat = self.turn(places, flat, chains, width, low.index(turn * chains * step), step)
            return flat
        index, *flat = b.open_loop(low.index(chains * step), *flat)
        flat = self.turn(places, flat, chains, width, index, step)
        following = b.op("add", index, low.index(chains * step))
        again = b.cmp("icmp slt", following, low.index(self.shape[self.axis]))
        _, *flat = b.close_loop(following, *flat, again=again)
        return flat

    def turn(self, places: list[Place], flat: list[V], chains: int, width: int, index: V, step: int) -> list[V]:
        new: list[V] = []
        for n, place in enumerate(places):
            for k in range(chains):
                at = self.low.b.op("add", index, self.low.index(k * step))
                have = flat[(n * chains + k) * width : (n * chains + k + 1) * width]
                new += self.combined(have, self.element(place, at))
        return new

    def combined(self, left: Sequence[V], right: Sequence[V]) -> list[V]:
        return combine(self.low, self.region, left, right)

    def folded(self, values: Sequence[V]) -> list[V]:
        """The lanes of each value combined, halves with halves."""
        b = self.low.b
        now_, lanes = list(values), self.lanes
        while lanes > 1:
            lanes //= 2
            low_half = [b.shuffle(v, v, range(lanes)) for v in now_]
            high_half = [b.shuffle(v, v, range(lanes, 2 * lanes)) for v in now_]
            now_ = self.combined(low_half, high_half)
        return [b.extract(v, 0) if v.lanes else v for v in now_]


# -- histograms -------------------------------------------------------------------------------------------------------


@now("histogram")
def _histogram(low: Lowering, op: Op) -> None:
    b, bins = low.b, op.attrs["bins"]
    x, mask = low.operand(op, 0), low.optional(op, 1)
    buffer = low.new_buffer(op.result, 0)
    lanes = low.lanes_for((bins,), 0)
    nest = low.open((bins,), 0 if lanes else -1, lanes)
    for place in nest.places:
        low.write(buffer, place, b.zero("i32", lanes))
    low.close(nest)
    nest = low.open(shape_of(x.type), -1, 0, 1)
    for place in nest.places:
        value = low.at(x, place)
        value = b.cast("sext" if element_of(x.type).kind == "i" else "zext", value, "i64")
        inside = b.cmp("icmp ult", value, low.index(bins))
        if mask is not None:
            inside = b.op("and", inside, low.at(mask, place))
        bin_at = b.gep(buffer.pointer, b.select(inside, value, low.index(0)), 4)
        count = b.load(bin_at, "i32", 0, 4)
        b.store(b.op("add", count, b.cast("zext", inside, "i32")), bin_at, 4)
    low.close(nest)
    low.held[op.result] = buffer
