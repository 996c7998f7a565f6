"""Running combinations along an axis.

Along an axis that is not the lanes', all lanes go forward together, one element after the other. Along the lanes a
vector is scanned in itself, in steps of 1, 2, 4 ... lanes, then combined with what came before it; of floats that
adds up in another order than one after the other, but always in the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from rtriton.backend.cpu.llvm import V
from rtriton.backend.cpu.lower import Lowering, now
from rtriton.backend.cpu.place import Buffer, Place
from rtriton.backend.cpu.reduce import combine
from rtriton.ir import Op, Value
from rtriton.language.table import OPS, WRITES
from rtriton.types import shape_of


@now("scan")
def _scan(low: Lowering, op: Op) -> None:
    xs = [v for v in op.operands if v is not None]
    shape = shape_of(xs[0].type)
    axis: int = op.attrs["axis"]
    along = low.axis_for(xs)
    lanes = low.lanes_for(shape, along)
    line = _Line(
        low, op, xs, [low.new_buffer(r, along) for r in op.results], axis, bool(op.attrs.get("reverse", False))
    )
    rest = tuple(1 if d == axis else n for d, n in enumerate(shape))
    # inside a vector a function is also applied to lanes that keep what they had: not one with effects
    across = along == axis and lanes > 1 and not any(OPS[o.kind].effects & WRITES for o in op.regions[0].ops)
    by_lines = along != axis and lanes > 0
    nest = low.open(rest, along if by_lines else -1, lanes if by_lines else 0, 1)
    for place in nest.places:
        if across:
            line.vectors(Place(place.coords, axis, lanes), shape[axis] // lanes)
        else:
            line.elements(place, shape[axis])
    low.close(nest)
    low.held.update(zip(op.results, line.buffers, strict=True))


class _Line:
    """One line of the scan (or one per lane): where its results go, and in which direction it runs."""

    def __init__(self, low: Lowering, op: Op, xs: Sequence[Value], buffers: list[Buffer], axis: int,
                 reverse: bool) -> None:  # fmt: skip
        self.low, self.region, self.xs, self.buffers, self.axis, self.reverse = (
            low, op.regions[0], xs, buffers, axis, reverse)  # fmt: skip

    def at(self, place: Place, k: V, count: int) -> Place:
        """The k-th of `count` steps along the axis."""
        b = self.low.b
        k = b.op("sub", self.low.index(count - 1), k) if self.reverse else k
        where = b.op("mul", k, self.low.index(max(1, place.lanes if place.axis == self.axis else 1)))
        return Place((*place.coords[: self.axis], where, *place.coords[self.axis + 1 :]), place.axis, place.lanes)

    def write(self, place: Place, values: Sequence[V]) -> None:
        for buffer, value in zip(self.buffers, values, strict=True):
            self.low.write(buffer, place, value)

    def combined(self, left: Sequence[V], right: Sequence[V]) -> list[V]:
        """To the left the elements nearer the start of the scan."""
        return combine(self.low, self.region, left, right)

    def elements(self, place: Place, size: int) -> None:
        low, b = self.low, self.low.b
        start = self.at(place, low.index(0), size)
        values = [low.at(x, start) for x in self.xs]
        self.write(start, values)
        if size == 1:
            return
        index, *values = b.open_loop(low.index(1), *values)
        here = self.at(place, index, size)
        values = self.combined(values, [low.at(x, here) for x in self.xs])
        self.write(here, values)
        following = b.op("add", index, low.index(1))
        b.close_loop(following, *values, again=b.cmp("icmp slt", following, low.index(size)))

    def vectors(self, place: Place, count: int) -> None:
        low, b = self.low, self.low.b
        start = self.at(place, low.index(0), count)
        values = self.inside([low.at(x, start) for x in self.xs])
        self.write(start, values)
        if count == 1:
            return
        index, *lasts = b.open_loop(low.index(1), *self.last(values))
        here = self.at(place, index, count)
        values = self.inside([low.at(x, here) for x in self.xs])
        values = self.combined([b.splat(v, place.lanes) for v in lasts], values)
        self.write(here, values)
        following = b.op("add", index, low.index(1))
        b.close_loop(following, *self.last(values), again=b.cmp("icmp slt", following, low.index(count)))

    def last(self, values: Sequence[V]) -> list[V]:
        return [self.low.b.extract(v, 0 if self.reverse else v.lanes - 1) for v in values]

    def inside(self, values: Sequence[V]) -> list[V]:
        """The scan of each vector by itself."""
        b, now_ = self.low.b, list(values)
        lanes, step = now_[0].lanes, 1
        while step < lanes:
            picks = [k + step if self.reverse else k - step for k in range(lanes)]
            inside = [0 <= k < lanes for k in picks]
            moved = [
                b.shuffle(v, v, [p if ok else k for k, (p, ok) in enumerate(zip(picks, inside, strict=True))])
                for v in now_
            ]
            mask = V("i1", lanes, "<" + ", ".join(f"i1 {'true' if ok else 'false'}" for ok in inside) + ">")
            new = self.combined(moved, now_)
            now_ = [b.select(mask, n, v) for n, v in zip(new, now_, strict=True)]
            step *= 2
        return now_
