"""When ldmatrix can read a fragment from a shared tile or stmatrix write one, and how the tile should lie for it.

ldmatrix reads 8x8 matrices of 16-bit units: lane l hands in the address of row l % 8 of matrix l / 8 (16
consecutive bytes) and gets, of every matrix, units 2 (l % 4) and the next of row l / 4.  `.trans` exchanges rows
and columns, for 16-bit elements.  stmatrix (sm_90) is the same with the data going the other way.
"""
from __future__ import annotations

from dataclasses import dataclass

from rtriton.layout.construct import swizzled
from rtriton.layout.core import Layout, log2
from rtriton.layout.plan import contiguous

ROW = 16  # bytes of one row of a matrix


@dataclass(frozen=True)
class Matrices:
    """`rows` are the element bits that number the rows of a matrix; `words` the register bits inside one 32-bit word,
    `matrices` the other register bits."""

    trans: bool
    rows: tuple[int, ...]
    words: tuple[int, ...]
    matrices: tuple[int, ...]


def matrices_of(tile: Layout, shared: Layout, itemsize: int) -> Matrices | None:
    """How ldmatrix reads `tile` from `shared`, and stmatrix writes it; None where they cannot."""
    if itemsize > 4 or 0 in tile["lane"] or len(shared["offset"]) < log2(ROW // itemsize):
        return None
    low = shared["offset"][: log2(ROW // itemsize)]
    if any(b & (b - 1) for b in low) or not _rows_aligned(shared, low):
        return None
    lane, register = tile["lane"], tile["register"]
    inside = log2(4 // itemsize)  # register bits in one word
    if low[inside:] == lane[:2] and all(b in register for b in low[:inside]):
        words = tuple(register.index(b) for b in low[:inside])
        return Matrices(False, lane[2:5], words, _others(tile, words))
    if itemsize == 2 and low == lane[2:5] and register:
        return Matrices(True, (register[0], *lane[:2]), (0,), _others(tile, (0,)))
    return None


def _rows_aligned(shared: Layout, low: tuple[int, ...]) -> bool:
    """No other element bit moves inside a row of 16 bytes."""
    mask = (1 << len(low)) - 1
    return all(not offset & mask for k, offset in enumerate(shared.offsets) if 1 << k not in low)


def _others(tile: Layout, words: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(k for k in range(len(tile["register"])) if k not in words)


def operand_shared(shape: tuple[int, ...], itemsize: int, order: tuple[int, ...]) -> Layout:
    """A shared tile, `order` fastest axis first, whose 16-byte pieces are swizzled so that ldmatrix meets no bank
    twice."""
    fast = shape[order[0]]
    vec = max(1, ROW // itemsize)
    if fast < vec:
        return swizzled(shape, 1, 1, 1, order)
    per_phase = max(1, 128 // (fast * itemsize))
    max_phase = min(max(1, 8 // per_phase), fast // vec)
    return swizzled(shape, vec, per_phase, max_phase, order)


def memory_order(tile: Layout) -> tuple[int, ...]:
    """Axes of a distributed layout, the one in which threads hold the longest runs first, later axes before
    earlier ones."""
    runs = [contiguous(tile, axis) for axis in range(tile.rank)]
    return tuple(sorted(range(tile.rank), key=lambda d: (-runs[d], -d)))


def stored_matrices(tile: Layout, shared: Layout, itemsize: int) -> Matrices | None:
    """How stmatrix writes `tile`; None where it cannot, or where warps hold copies, of which only the owner's count."""
    return None if 0 in tile["warp"] else matrices_of(tile, shared, itemsize)
