"""Give each load and store the layout whose lanes touch consecutive addresses; layouts enter the kernel here.

    before:  %v: 64x64xf32 = load %p
    after:   %v: 64x64xf32 #row = load %p        #row: 4 elements a lane, 16 lanes along the contiguous axis

Axis info says along which axis addresses rise and how many elements one access may move (at most 16 bytes).  Memory
ops of one shape and order share one layout, that of the widest, so that nothing moves between them; one that writes
larger elements in their innermost loop makes all of them narrower, or its warps would leave gaps.  A store takes
its value's own layout where that is as wide, with neighbouring lanes' elements brought together by shuffles where they
make wider accesses; a small product is turned into the layout of the widest accesses all the same, since the shared
memory that this needs is what its operands leave free.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import gcd, prod

from rtriton import layout as L
from rtriton.ir import Block, Kernel, Op, Value, walk
from rtriton.layout import Layout
from rtriton.layout.exchange import route
from rtriton.passes import instead_of, register
from rtriton.passes._assign import assign_layouts
from rtriton.passes._natural import Nature
from rtriton.passes.analysis.atomics import adds_vectors
from rtriton.passes.analysis.axis_info import AxisInfo, Table, axis_info
from rtriton.passes.analysis.roots import unwritten_loads
from rtriton.target import Target
from rtriton.types import DType, Pointer, Tile, element_of, shape_of

MEMORY = ("load", "store", "atomic_rmw", "atomic_cas")
WIDEST = 16  # bytes of one access
GOOD = 8  # bytes of one access that need no change of layout to become wider
SMALL = 64 * 1024  # bytes of a product that goes through shared memory to be written by the widest accesses
SECTOR = 32  # bytes that memory moves at least
MOST_AGAIN = 8  # accesses of a thread to what others load too, or to the little that there is


@register
def coalesce(kernel: Kernel, target: Target) -> Kernel:
    """Lay out every tile, starting from the order in which memory is touched."""
    table = axis_info(kernel)
    warps = int(kernel.attrs.get("num_warps", 4))
    anchors = memory_layouts(kernel, table, warps, target)
    return assign_layouts(kernel, anchors | stores_in_place(kernel, table, anchors, warps), loads_elsewhere(table))


@instead_of("coalesce")
def one_by_one(kernel: Kernel, target: Target) -> Kernel:
    """Tiles by rows, whatever order memory is touched in: a thread moves one element at a time."""
    return assign_layouts(kernel, {})


def loads_elsewhere(table: Table) -> Callable[[Op, Layout, Layout], bool]:
    """Whether a load is better made in another layout than converted to it: by few accesses of whole sectors, which
    find in the cache what several warps load, and pass no barrier."""

    def suits(load: Op, own: Layout, wanted: Layout) -> bool:
        info, size = table[pointer_of(load)], pointee(pointer_of(load)).itemsize
        axis = access_order(info)[0]
        held, width = L.contiguous(wanted, axis), access_width(load, info, axis)
        cached = not load.attrs.get("volatile") and not load.attrs.get("cache")
        sectors = run(wanted, axis, width) * size >= min(SECTOR, run(own, axis, width) * size)
        return cached and sectors and wanted.registers // held <= MOST_AGAIN and (
            route(own, wanted, size) == "shared")

    return suits


def stores_in_place(kernel: Kernel, table: Table, anchors: dict[Op, Layout], warps: int) -> dict[Op, Layout]:
    """Stores that may stay in the layout their value has: a warp still writes whole sectors, by accesses as good, or
    there is little to write."""
    nature = Nature(warps, anchors, unwritten_loads(kernel))
    nature.block(kernel.body)
    products = {nature.of.get(op.result) for op in walk(kernel.body) if op.kind == "mma"}
    found: dict[Op, Layout] = {}
    for op, wish in anchors.items():
        value = op.operands[1] if op.kind == "store" else None
        own = nature.of.get(value) if value is not None else None
        if own is None or own == wish:
            continue
        if prod(own.shape) < 32 * warps and own.registers <= MOST_AGAIN:
            found[op] = own  # a few more accesses, by the owners of copies, pass no barrier
            continue
        axis = access_order(table[pointer_of(op)])[0]
        size = pointee(pointer_of(op)).itemsize
        good = WIDEST if own in products and prod(own.shape) * size <= SMALL else GOOD
        as_wide = L.contiguous(own, axis) >= min(L.contiguous(wish, axis), max(1, good // size))
        most = WIDEST // size
        if as_wide and run(own, axis, most) * size >= min(SECTOR, run(wish, axis, most) * size):
            found[op] = widened(own, axis, min(L.contiguous(wish, axis), most))
    return found


def widened(layout: Layout, axis: int, wanted: int) -> Layout:
    """The layout in which a thread holds up to `wanted` elements in a row along `axis`: what neighbouring lanes have of
    the row is exchanged for what this one has of other rows."""
    stride = prod(layout.shape[axis + 1 :])
    register, lane = list(layout["register"]), list(layout["lane"])
    n = L.contiguous(layout, axis)
    while n < wanted and n * stride in lane:
        others = [b for b in register if b >= n * stride * 2 or b < stride]
        if not others:
            break
        here, there = lane.index(n * stride), register.index(others[0])
        lane[here], register[there] = register[there], lane[here]
        n *= 2
    return L.make(layout.shape, register, lane, layout["warp"])


def run(layout: Layout, axis: int, most: int) -> int:
    """How many consecutive elements along `axis` a warp moves in one access of at most `most` elements a lane."""
    stride, n = prod(layout.shape[axis + 1 :]), L.contiguous(layout, axis)
    if n > most:
        return most
    while n < layout.shape[axis] and n * stride in layout["lane"]:
        n *= 2
    return n


@dataclass
class Group:
    """The accesses to tiles of one shape and order, that share a layout: elements of the widest, the depth in loops of
    the innermost, and there the largest element that is written, in bytes, and the elements of the narrowest that goes
    over a run. Products are written apart."""

    products: bool
    widest: int = 1
    depth: int = 0
    written: int = 0
    narrowest: int = WIDEST

    def add(self, op: Op, width: int, run: int, depth: int) -> None:
        """An access of `width` elements at a time to runs of `run` elements: fewer where they begin anywhere."""
        self.widest = max(self.widest, width)
        if depth > self.depth:
            self.depth, self.written, self.narrowest = depth, 0, WIDEST
        size = pointee(pointer_of(op)).itemsize
        if op.kind != "load" and depth == self.depth:
            self.written = max(self.written, size)
        if width < run and width * size < GOOD and depth == self.depth:
            self.narrowest = min(self.narrowest, width)

    @property
    def width(self) -> int:
        """Elements in a row that a thread holds: of what is written no more than one access moves. If lanes lay 32
        bytes apart a warp would write half sectors at a time (what it reads so meets in the L1). Where runs are moved
        one or two elements at a time, lanes beside each other hold neighbours: a wide access costs a few more
        instructions so, a narrow one would touch eight times the sectors."""
        whole = self.products or not self.written
        return min(self.narrowest, self.widest if whole else min(self.widest, WIDEST // self.written))


def memory_layouts(kernel: Kernel, table: Table, warps: int, target: Target) -> dict[Op, Layout]:
    """The layout of every access to a tile of addresses."""
    orders: dict[Op, tuple[int, ...]] = {}
    groups: dict[tuple[tuple[int, ...], tuple[int, ...]], Group] = {}
    multiplies = any(op.kind in ("mma", "dot") for op in walk(kernel.body))
    for op, depth in _with_depth(kernel.body, 0):
        if op.kind not in MEMORY or not isinstance(pointer_of(op).type, Tile):
            continue
        info = table[pointer_of(op)]
        shape = shape_of(pointer_of(op).type)
        orders[op] = order = access_order(info)
        room = max(1, prod(shape) // (32 * warps))
        alone = op.kind.startswith("atomic") and not adds_vectors(op, target)
        width = 1 if alone else min(access_width(op, info, order[0]), room)
        groups.setdefault((shape, order), Group(multiplies)).add(op, width, min(info.contiguity[order[0]], room), depth)
    found: dict[Op, Layout] = {}
    for op, order in orders.items():
        shape = shape_of(pointer_of(op).type)
        found[op] = L.row_blocked(shape, warps, min(groups[shape, order].width, shape[order[0]]), order)
    return found


def _with_depth(block: Block, depth: int) -> Iterator[tuple[Op, int]]:
    """Every op, and how many loops are around it."""
    for op in block.ops:
        yield op, depth
        for region in op.regions:
            yield from _with_depth(region, depth + (op.kind in ("for", "while")))


def pointer_of(op: Op) -> Value:
    pointer = op.operands[0]
    assert pointer is not None
    return pointer


def pointee(pointer: Value) -> DType:
    element = element_of(pointer.type)
    assert isinstance(element, Pointer)
    return element.element


def access_order(info: AxisInfo) -> tuple[int, ...]:
    """Axes, the one with the longest runs of addresses first, later axes before earlier ones."""
    return tuple(sorted(range(info.rank), key=lambda d: (-info.contiguity[d], -d)))


def access_width(op: Op, info: AxisInfo, axis: int) -> int:
    """Elements along `axis` that one instruction may move: consecutive, aligned, at most 16 bytes."""
    size = pointee(pointer_of(op)).itemsize
    aligned = max(1, info.divisibility[axis] // size)
    return min(gcd(info.contiguity[axis], aligned), WIDEST // size)
