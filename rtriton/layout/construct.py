"""Constructors: functions that make the layouts the compiler starts from.

`blocked` spreads a tile over threads, `mma_acc` and `mma_operand` are the fragments of mma.sync m16n8kK,
`fma_operand` feeds a dot done by multiply-adds, `wgmma_acc` is a warp group's accumulator, `swizzled` is a shared tile.
Each is a plain `Layout` afterwards: nothing asks again which function made it.

A size of the hardware that the tile is too small for becomes a zero basis of lane or warp (copies) and is
left out of the registers.
"""
from __future__ import annotations

from collections.abc import Sequence
from math import prod

from rtriton.layout.core import LANE_BITS, Layout, LayoutError, log2


class _Filler:
    """Hands out coordinate bits of a tile, each once, and zero bases where an axis is used up."""

    def __init__(self, shape: Sequence[int], used: Sequence[int] | None = None) -> None:
        self.shape = tuple(shape)
        self.used = list(used) if used is not None else [1] * len(self.shape)
        self.stride = [prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]

    def take(self, axis: int, count: int) -> list[int]:
        """The next log2(count) bases along `axis`."""
        out: list[int] = []
        for _ in range(log2(count)):
            fits = self.used[axis] < self.shape[axis]
            out.append(self.used[axis] * self.stride[axis] if fits else 0)
            self.used[axis] *= 2
        return out

    def rest(self, axis: int) -> list[int]:
        return self.take(axis, max(1, self.shape[axis] // self.used[axis]))


def make(shape: Sequence[int], register: Sequence[int], lane: Sequence[int], warp: Sequence[int]) -> Layout:
    """A distributed layout from packed bases; zero bases of registers are left out: registers hold no copies."""
    if len(lane) != LANE_BITS:
        raise LayoutError(f"a warp has 32 lanes, got {len(lane)} lane bits")
    kept = tuple(b for b in register if b)
    return Layout(tuple(shape), (("register", kept), ("lane", tuple(lane)), ("warp", tuple(warp))))


def blocked(
    shape: Sequence[int],
    per_thread: Sequence[int],
    lanes: Sequence[int],
    warps: Sequence[int],
    order: Sequence[int] | None = None,
) -> Layout:
    """`per_thread` elements in each thread, `lanes` threads in each warp, `warps` warps, axes filled in `order`
    (fastest first; the default is the last axis first).  A larger tile repeats in registers."""
    order = tuple(order) if order is not None else tuple(reversed(range(len(shape))))
    if sorted(order) != list(range(len(shape))):
        raise LayoutError(f"order {order} is no order of {len(shape)} axes")
    fill = _Filler(shape)
    register = [b for axis in order for b in fill.take(axis, per_thread[axis])]
    lane = [b for axis in order for b in fill.take(axis, lanes[axis])]
    warp = [b for axis in order for b in fill.take(axis, warps[axis])]
    register += [b for axis in order for b in fill.rest(axis)]
    return make(shape, register, lane, warp)


def row_blocked(shape: Sequence[int], warps: int, vector: int = 1, order: Sequence[int] | None = None) -> Layout:
    """The blocked layout whose lanes first walk along the fastest axis, each with `vector` consecutive elements."""
    order = tuple(order) if order is not None else tuple(reversed(range(len(shape))))
    fill = _Filler(shape)
    register = fill.take(order[0], vector) if shape else []
    lane = _spread(fill, order, LANE_BITS)
    warp = _spread(fill, order, log2(warps))
    register += [b for axis in order for b in fill.rest(axis)]
    return make(shape, register, lane, warp)


def _spread(fill: _Filler, order: Sequence[int], count: int) -> list[int]:
    """`count` bases that use up the axes in order, then zero bases."""
    out: list[int] = []
    for axis in order:
        while len(out) < count and fill.used[axis] < fill.shape[axis]:
            out += fill.take(axis, 2)
    return out + [0] * (count - len(out))


def mma_acc(shape: Sequence[int], warps: Sequence[int] = (1, 1)) -> Layout:
    """The accumulator of mma.sync m16n8kK over a tile (PTX ISA, "Matrix Fragments for mma.m16n8k16", C and D).
    Leading batch axes live in registers.  `warps` are the warps along M and N."""
    m, n = len(shape) - 2, len(shape) - 1
    fill = _Filler(shape)
    register = fill.take(n, 2)
    lane = fill.take(n, 4) + fill.take(m, 8)
    register += fill.take(m, 2)
    return _repeat(fill, (m, n), warps, register, lane)


def mma_operand(shape: Sequence[int], operand: str, itemsize: int, warps: Sequence[int] = (1, 1)) -> Layout:
    """Operand "a" (M x K) or "b" (K x N) of mma.sync m16n8kK with K = 32 bytes of elements; `warps` are those of
    the accumulator.  A lane holds whole 32-bit words along K."""
    if operand not in ("a", "b") or itemsize not in (1, 2, 4):
        raise LayoutError(f"mma.sync has operands a and b of 1, 2 or 4 bytes, got {operand} of {itemsize}")
    first, second = len(shape) - 2, len(shape) - 1
    k, outer = (second, first) if operand == "a" else (first, second)
    word = 4 // itemsize
    fill = _Filler(shape)
    register = fill.take(k, word)
    lane = fill.take(k, 4) + fill.take(outer, 8)
    if operand == "a":
        register += fill.take(outer, 2)
    register += fill.take(k, 2) + fill.rest(k)
    split = (warps[0], 1) if operand == "a" else (1, warps[1])
    return _repeat(fill, (first, second), split, register, lane, _copies(warps, operand))


def _copies(warps: Sequence[int], operand: str) -> tuple[int, int]:
    """How many zero warp bits stand (before, after) the bits that split this operand."""
    return (0, log2(warps[1])) if operand == "a" else (log2(warps[0]), 0)


def _repeat(
    fill: _Filler,
    axes: tuple[int, int],
    warps: Sequence[int],
    register: list[int],
    lane: list[int],
    copies: tuple[int, int] = (0, 0),
) -> Layout:
    """Warps along the first axis, then along the second, then the rest of the tile in registers."""
    warp = [0] * copies[0] + fill.take(axes[0], warps[0]) + fill.take(axes[1], warps[1]) + [0] * copies[1]
    for axis in (axes[1], axes[0], *reversed(range(axes[0]))):
        register = register + fill.rest(axis)
    return make(fill.shape, register, lane, warp)


def fma_operand(acc: Layout, operand: str, inner: int) -> Layout:
    """What a dot done by multiply-adds reads: for the rows (or columns) of its accumulators a thread holds all of K."""
    m, n = acc.rank - 2, acc.rank - 1
    k, gone = (n, n) if operand == "a" else (m, m)
    shape = tuple(inner if axis == k else size for axis, size in enumerate(acc.shape))
    fill = _Filler(shape)
    old = _Filler(acc.shape)

    def moved(b: int) -> int:
        for axis in range(acc.rank):
            step = b // old.stride[axis]
            if 0 < step < acc.shape[axis]:
                return 0 if axis == gone else step * fill.stride[axis]
        return 0

    register = fill.rest(k) + [moved(b) for b in acc["register"]]
    return make(shape, register, [moved(b) for b in acc["lane"]], [moved(b) for b in acc["warp"]])


def wgmma_acc(shape: Sequence[int], warps: Sequence[int] = (4, 1), instr_n: int | None = None) -> Layout:
    """The accumulator of wgmma m64nNk: four warps of a group along M, more groups along M, then along N in steps of
    `instr_n`, the N of one instruction."""
    if len(shape) != 2 or warps[0] % 4:
        raise LayoutError(f"wgmma needs a 2-D tile and a multiple of 4 warps along M, got {tuple(shape)}, {warps}")
    columns = instr_n if instr_n is not None else shape[1] // warps[1]
    fill = _Filler(shape)
    register = fill.take(1, 2)
    lane = fill.take(1, 4) + fill.take(0, 8)
    register += fill.take(0, 2) + fill.take(1, max(1, columns // 8))
    return _repeat(fill, (0, 1), warps, register, lane)


def swizzled(
    shape: Sequence[int], vec: int, per_phase: int, max_phase: int, order: Sequence[int] | None = None
) -> Layout:
    """A shared tile in which row r keeps its groups of `vec` elements in the order xor (r / per_phase) % max_phase,
    so that a column of groups meets different banks.  `order` is fastest axis first."""
    order = tuple(order) if order is not None else tuple(reversed(range(len(shape))))
    fill = _Filler(shape)
    fast = order[0]
    columns = fill.rest(fast)
    for position, axis in enumerate(order[1:]):
        for k, b in enumerate(fill.rest(axis)):
            phase = (1 << k) // per_phase % max_phase if position == 0 else 0
            columns.append(b ^ (vec * phase % shape[fast]) * fill.stride[fast])
    return Layout(tuple(shape), (("offset", tuple(columns)),))


def linear_shared(shape: Sequence[int], order: Sequence[int] | None = None) -> Layout:
    """A shared tile without swizzle."""
    return swizzled(shape, 1, 1, 1, order)
