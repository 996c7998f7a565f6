"""Which way a conversion goes, and through which shared tile: of all that would do, the one of the fewest cycles.

A candidate for the tile fixes how it lies; how each side moves follows: by vectors of at most 16 bytes, or by ldmatrix
and stmatrix. What that costs a warp is counted: each access is issued and moves rows of 128 bytes, more of them where
lanes meet in a bank, and what is less than a word is brought to its place by an instruction more.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rtriton.layout.construct import make
from rtriton.layout.core import Layout, log2, xor_of
from rtriton.layout.lanes import lane_cost
from rtriton.layout.matrix import ROW, Matrices, matrices_of, memory_order, operand_shared, stored_matrices
from rtriton.layout.plan import (
    BANK_BYTES, ROW_BYTES, bank_conflicts, banked, contiguous, conversion, scratch, shared_vector,
)  # fmt: skip


BARRIER = 32  # cycles until what other threads write is there


def route(src: Layout, dst: Layout, itemsize: int) -> str:
    """How a tile gets from `src` to `dst`: "nothing", "registers", "lanes" or "shared"."""
    plan = conversion(src, dst)
    if plan.kind != "lanes":
        return plan.kind
    shared = through_shared(src, dst, itemsize, stmatrix=False)
    read = cost(dst, shared, itemsize, matrices_of(dst, shared, itemsize))
    by_shared = cost(src, shared, itemsize, None) + read + BARRIER
    return "lanes" if lane_cost(src, dst, itemsize, plan) <= by_shared else "shared"


def through_shared(src: Layout, dst: Layout, itemsize: int, stmatrix: bool) -> Layout:
    """How a tile lies in shared memory on its way from `src` to `dst`; `stmatrix` says whether the machine has it."""

    def cycles(shared: Layout) -> int:
        stored = stored_matrices(src, shared, itemsize) if stmatrix else None
        return cost(src, shared, itemsize, stored) + cost(dst, shared, itemsize, matrices_of(dst, shared, itemsize))

    return min(_candidates(src, dst, itemsize), key=cycles)


def _candidates(src: Layout, dst: Layout, itemsize: int) -> Iterator[Layout]:
    if contiguous(dst, memory_order(dst)[0]) * itemsize >= ROW:
        yield operand_shared(src.shape, itemsize, memory_order(dst))
    yield operand_shared(src.shape, itemsize, memory_order(src))
    turned = _turned(src, dst) if itemsize == 2 else None
    if turned is not None:
        yield turned
    yield scratch(src, dst, itemsize)


def _turned(src: Layout, dst: Layout) -> Layout | None:
    """16-bit elements that a thread of `src` writes as the rows of matrices, which ldmatrix.trans reads by columns."""
    row = list(dst["lane"][2:5])
    if not dst["register"] or not all(b and b in src["register"] for b in row):
        return None
    return banked(src.shape, row, src["lane"][:3], [dst["register"][0], *dst["lane"][:2]], 3)


def meeting(reader: Layout, itemsize: int) -> Layout:
    """How parts of results lie between those who have them and those who read many of them: vectors of the reader's
    first registers, and what neighbouring lanes read side by side."""
    vector = reader["register"][: log2(max(1, ROW // itemsize))]
    rest = (1 << k for k in range(reader.element_bits))
    order = dict.fromkeys([*vector, *reader["lane"], *reader["warp"], *reader["register"], *rest])
    return Layout(reader.shape, (("offset", tuple(b for b in order if b)),))


def parted(layout: Layout, parts: int, register: Sequence[int] = (), **dims: Mapping[int, int]) -> Layout:
    """A tile of results, each of as many parts, its new last axis: what `layout` says of a result holds for all of its
    parts, but for bits that number them: new ones of registers, and those of `lane` and `warp` by their positions."""
    lane, warp = (
        [b * parts or (1 << dims[d][k] if k in dims.get(d, {}) else 0) for k, b in enumerate(layout[d])]
        for d in ("lane", "warp")
    )
    held = [*(b * parts for b in layout["register"]), *(1 << n for n in register)]
    return make((*layout.shape, parts), held, lane, warp)


def cost(tile: Layout, shared: Layout, itemsize: int, matrices: Matrices | None) -> int:
    """Cycles that a warp's accesses to a tile keep shared memory and the warp's scheduler busy."""
    if matrices is not None:
        words = tile.registers * itemsize // BANK_BYTES
        return words * _meetings(shared, matrices, itemsize) + max(1, words // 4)
    together = 1 << len(shared_vector(tile, shared, itemsize))
    accesses, wide = tile.registers // together, itemsize * together
    rows = max(1, 32 * wide // ROW_BYTES) * bank_conflicts(tile, shared, itemsize)
    pieces = tile.registers // 2 if wide < BANK_BYTES else 0
    return accesses * (1 + rows) + pieces


def _meetings(shared: Layout, matrices: Matrices, itemsize: int) -> int:
    """How often the most wanted bank is wanted by the eight rows of a matrix."""
    places = [xor_of(shared.offsets, b) * itemsize for b in matrices.rows]
    rows = [xor_of(places, i) % ROW_BYTES for i in range(1 << len(places))]
    return max(rows.count(place) for place in rows)
