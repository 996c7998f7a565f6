"""Shared memory: which ops go through it, how many bytes, and how many accesses the worst row of lanes is cut into.

Conflicts are counted from the layouts: for vector accesses over the lanes that are served together, for ldmatrix and
stmatrix over the eight rows of a matrix.
"""
from __future__ import annotations

from dataclasses import dataclass

from rtriton import layout as L
from rtriton.ir import Op
from rtriton.layout import Layout
from rtriton.layout.exchange import route, through_shared
from rtriton.layout.matrix import matrices_of, stored_matrices
from rtriton.passes.analysis.scratch import layout_of, operand, scratch_bytes
from rtriton.target import Target
from rtriton.types import Shared, Tile, element_of

ROW_BYTES = 16
BANKS_BYTES = 128


@dataclass(frozen=True)
class Use:
    """What an op does with shared memory: `bytes` of scratch or of its buffer, accesses per row of lanes when it writes
    and when it reads (1: no conflicts, 0: it does not)."""

    how: str
    bytes: int
    write: int = 0
    read: int = 0

    @property
    def conflicts(self) -> int:
        return max(self.write, self.read)


def use_of(op: Op, target: Target) -> Use | None:
    """How an op of laid-out IR uses shared memory; None if it does not."""
    if op.kind == "convert_layout":
        return _conversion(op, target)
    if op.kind in ("shared_load", "shared_store", "async_copy"):
        return _buffer(op, target)
    if op.kind == "shared_alloc":
        type = op.result.type
        assert isinstance(type, Shared)
        return Use(f"{type.stages} buffers for copies" if type.stages > 1 else "a buffer for copies", type.nbytes)
    if "scratch" in op.attrs:
        return Use("across warps, through shared memory", scratch_bytes(op, True))
    return None


def _conversion(op: Op, target: Target) -> Use | None:
    source = operand(op, 0)
    src, dst, size = layout_of(source), layout_of(op.result), element_of(source.type).itemsize
    kind = route(src, dst, size)
    if kind == "nothing":
        return None
    if kind != "shared":
        return Use({"registers": "renames registers", "lanes": "shuffles between lanes"}[kind], 0)
    stores = target.number >= 90 and element_of(source.type).kind != "b"
    shared = through_shared(src, dst, size, stores)
    return Use("another layout, through shared memory", scratch_bytes(op), _write(src, shared, size, stores),
               _read(dst, shared, size))


def _buffer(op: Op, target: Target) -> Use | None:
    buffer = operand(op, 0)
    type = buffer.type
    assert isinstance(type, Shared)
    if type.layout is None:
        return None
    size, nbytes = type.element.itemsize, type.nbytes // max(1, type.stages)
    if op.kind == "shared_load":
        return Use("read from shared memory", nbytes, 0, _read(layout_of(op.result), type.layout, size))
    tile = operand(op, 1)
    assert isinstance(tile.type, Tile)
    stores = target.number >= 90 and op.kind == "shared_store"
    how = "copied to shared memory ahead of use" if op.kind == "async_copy" else "written to shared memory"
    return Use(how, nbytes, _write(layout_of(tile), type.layout, size, stores), 0)


def _write(tile: Layout, shared: Layout, size: int, stores: bool) -> int:
    plan = stored_matrices(tile, shared, size) if stores else None
    return _rows(plan.rows, shared, size) if plan is not None else L.bank_conflicts(tile, shared, size)


def _read(tile: Layout, shared: Layout, size: int) -> int:
    plan = matrices_of(tile, shared, size)
    return _rows(plan.rows, shared, size) if plan is not None else L.bank_conflicts(tile, shared, size)


def _rows(rows: tuple[int, ...], shared: Layout, size: int) -> int:
    """How many of the eight rows of a matrix, 16 bytes each, lie in the same banks at worst."""
    columns = [L.xor_of(shared.offsets, b) * size for b in rows]
    found: dict[int, int] = {}
    for row in range(1 << len(rows)):
        bank = L.xor_of(columns, row) % BANKS_BYTES // ROW_BYTES
        found[bank] = found.get(bank, 0) + 1
    return max(found.values())
