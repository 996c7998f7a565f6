"""Elements that meet others of their axis: exchange, and sorting networks made of `order`.

An exchange says where an element comes from, like other shape ops. A network's steps, `order` after `order`, run in
place in one buffer, in which the sorted axis is contiguous: lines of n elements, one behind the other. Distances
below a vector's width are shuffles inside one vector, all such steps that follow each other in one pass over the
buffer. Larger ones go over pairs of vectors. The merges of a sort, of size 2n after size n, are one loop at run time:
the code of a sort does not grow with what is sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from rtriton.backend.cpu import elementwise
from rtriton.backend.cpu.llvm import V
from rtriton.backend.cpu.lower import Lowering, lazy, now
from rtriton.backend.cpu.place import Buffer, Place
from rtriton.ir import Op, Value
from rtriton.types import Scalar, element_of, shape_of


@lazy("exchange")
def _exchange(low: Lowering, op: Op, value: Value, place: Place) -> V:
    axis: int = op.attrs["axis"]
    mask: int = op.attrs["mask"]
    inside = mask & (place.lanes - 1) if place.lanes and place.axis == axis else 0
    coords = list(place.coords)
    coords[axis] = low.b.op("xor", coords[axis], low.index(mask & ~inside))
    found = low.at(low.operand(op, 0), Place(tuple(coords), place.axis, place.lanes))
    return low.b.shuffle(found, found, [k ^ inside for k in range(place.lanes)]) if inside else found


@dataclass(frozen=True, slots=True)
class Step:
    """One `order`. The bit `block` of the index, if the axis has it, turns the direction around."""

    distance: int
    block: int
    descending: bool


@now("order")
def _order(low: Lowering, op: Op) -> None:
    """Steps are kept until the last of those that only feed each other."""
    source, axis, shape = low.operand(op, 0), int(op.attrs["axis"]), shape_of(op.result.type)
    if source not in low.networks:
        buffer = low.new_buffer(source, axis)
        low.networks[source] = low.in_buffer(source, low.axis_for([source]), buffer), []
    buffer, steps = low.networks.pop(source)
    block: int = op.attrs["block"]
    steps.append(Step(op.attrs["distance"], block if block < shape[axis] else 0, op.attrs.get("descending", False)))
    following = low.plan.sole_consumer(op.result)
    if following is not None and _continues(following, op):
        low.networks[op.result] = buffer, steps
        return
    Network(low, buffer, element_of(op.result.type), shape[axis]).run(steps)
    low.held[op.result] = buffer


def _continues(following: Op, op: Op) -> bool:
    """Whether an op is a further step along the same axis, directly on the result of `op`."""
    same_axis = following.attrs.get("axis") == op.attrs["axis"]
    return following.kind == "order" and following.operands[0] is op.result and same_axis


class Network:
    """Runs steps over a buffer of lines of `size` elements."""

    def __init__(self, low: Lowering, buffer: Buffer, type: Scalar, size: int) -> None:
        self.low, self.b, self.buffer, self.type, self.size = low, low.b, buffer, type, size
        self.total = prod(buffer.shape)
        self.lanes = min(self.total, low.target.vector_bits // (8 * buffer.itemsize))

    def run(self, steps: Sequence[Step]) -> None:
        left = list(steps)
        while left:
            merges = self.merges(left)
            if merges:
                self.doubling(left[0].block, merges, left[0].descending)
                done = sum((left[0].block << k).bit_length() - 1 for k in range(merges))
            elif left[0].distance < self.lanes:
                done = next((k for k, s in enumerate(left) if s.distance >= self.lanes), len(left))
                self.inside(left[:done], None)
            else:
                done = 1
                self.pairs(left[0], self.low.index(left[0].distance), self.low.index(left[0].block))
            left = left[done:]

    def merges(self, steps: Sequence[Step]) -> int:
        """How many whole merges stand first, each twice the size of the one before, in blocks of their own size."""
        count, size, descending = 0, 2 * steps[0].distance, steps[0].descending
        while size > self.lanes:
            wanted = [Step(size >> k, self.block(size), descending) for k in range(1, size.bit_length())]
            if list(steps[: len(wanted)]) != wanted:
                break
            count, size, steps = count + 1, 2 * size, steps[len(wanted) :]
        return count

    def block(self, size: int) -> int:
        return size if size < self.size else 0

    def doubling(self, first: int, merges: int, descending: bool) -> None:
        """Merges of size `first`, twice that, ..."""
        low, b = self.low, self.b
        first = first or self.size
        (size,) = b.open_loop(low.index(first))
        block = b.op("and", size, low.index(self.size - 1))
        (distance,) = b.open_loop(b.op("lshr", size, low.index(1)))
        self.pairs(Step(self.lanes, self.lanes, descending), distance, block)
        nearer = b.op("lshr", distance, low.index(1))
        b.close_loop(nearer, again=b.cmp("icmp sge", nearer, low.index(self.lanes)))
        tail = [Step(self.lanes >> k, self.lanes, descending) for k in range(1, self.lanes.bit_length())]
        self.inside(tail, block)
        larger = b.op("shl", size, low.index(1))
        b.close_loop(larger, again=b.cmp("icmp sle", larger, low.index(first << (merges - 1))))

    def both(self, x: V, y: V) -> tuple[V, V]:
        return self.extreme("minimum", x, y), self.extreme("maximum", x, y)

    def extreme(self, kind: str, x: V, y: V) -> V:
        return elementwise.apply(self.low.m, kind, (x, y), (self.type, self.type), self.type, {})

    def at(self, index: V) -> V:
        return self.b.gep(self.buffer.pointer, index, self.buffer.itemsize)

    def load(self, pointer: V) -> V:
        lanes = self.lanes if self.lanes > 1 else 0
        return self.b.load(pointer, self.buffer.element, lanes, self.buffer.itemsize)

    def turned(self, index: V, block: V, descending: bool) -> V:
        """Whether the pair at an index has its larger element first."""
        zero = self.low.index(0)
        return self.b.cmp("icmp eq" if descending else "icmp ne", self.b.op("and", index, block), zero)

    def pairs(self, step: Step, distance: V, block: V) -> None:
        """A step over pairs of vectors; the step itself says only the direction."""
        low, b = self.low, self.b
        (pair,) = b.open_loop(low.index(0))
        lower = b.op("sub", distance, low.index(1))
        index = b.op("add", pair, b.op("sub", pair, b.op("and", pair, lower)))
        near = self.at(index)
        far = self.at(b.op("add", index, distance))
        x, y = self.load(near), self.load(far)
        smaller, larger = self.both(x, y)
        turned = b.splat(self.turned(index, block, step.descending), self.lanes)
        b.store(b.select(turned, larger, smaller), near, self.buffer.itemsize)
        b.store(b.select(turned, smaller, larger), far, self.buffer.itemsize)
        following = b.op("add", pair, low.index(self.lanes))
        b.close_loop(following, again=b.cmp("icmp slt", following, low.index(self.total // 2)))

    def inside(self, steps: Sequence[Step], block: V | None) -> None:
        """Steps inside single vectors; `block` is the block at run time of steps that have one of a vector or more."""
        low, b = self.low, self.b
        (index,) = b.open_loop(low.index(0))
        pointer = self.at(index)
        now_ = self.load(pointer)
        for step in steps:
            other = b.shuffle(now_, now_, [k ^ step.distance for k in range(self.lanes)])
            now_ = b.select(self.takes_larger(step, index, block), *reversed(self.both(now_, other)))
        b.store(now_, pointer, self.buffer.itemsize)
        following = b.op("add", index, low.index(self.lanes))
        b.close_loop(following, again=b.cmp("icmp slt", following, low.index(self.total)))

    def takes_larger(self, step: Step, index: V, block: V | None) -> V:
        """Which lanes keep the larger element of their pair."""
        b = self.b
        upper = [bool(k & step.distance) for k in range(self.lanes)]
        if step.block < self.lanes:
            return self.mask([u ^ bool(k & step.block) ^ step.descending for k, u in enumerate(upper)])
        turned = self.turned(index, self.low.index(step.block) if block is None else block, step.descending)
        return b.op("xor", b.splat(turned, self.lanes), self.mask(upper))

    def mask(self, lanes: Sequence[bool]) -> V:
        return V("i1", self.lanes, "<" + ", ".join(f"i1 {'true' if x else 'false'}" for x in lanes) + ">")
