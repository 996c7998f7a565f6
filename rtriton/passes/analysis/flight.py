"""How many bytes a thread has under way from memory at once: what says how many threads keep the memory busy.

    loads of 32 bytes; reduce; loads of 96 bytes      32: the leaner of the stretches between which threads wait

A stretch is what runs between two ops that wait for other threads, between loops and branches, or one turn of a loop.
Those of the innermost loops that load count, where time is spent: what a kernel loads once is soon there.
Copies that a loop starts ahead are under way in each turn, so many turns deep.  A kernel that multiplies tiles is bound
by other things: 0, as for one that loads no tiles.
"""
from __future__ import annotations

from rtriton.ir import Block, Kernel, Op, Value
from rtriton.passes.analysis.scratch import layout_of, scratch_bytes
from rtriton.types import Shared, Tile, element_of

CONTROL = ("for", "while", "if")
WAITING = ("reduce", "scan", "barrier", "async_wait")


def bytes_under_way(kernel: Kernel) -> int:
    """Bytes of a thread, at the leanest stretch; 0 where that says nothing. Of a kernel that is laid out."""
    stretches: list[tuple[int, int]] = []
    if not _walk(kernel.body, stretches, 0):
        return 0
    loading = [(depth, n) for depth, n in stretches if n]
    innermost = max((depth for depth, _ in loading), default=0)
    return min((n for depth, n in loading if depth == innermost), default=0)


def _walk(block: Block, stretches: list[tuple[int, int]], depth: int) -> bool:
    """Add the bytes of the block's stretches, each with the loops around it; False where a product is met."""
    now = 0
    for op in block.ops:
        if op.kind in ("mma", "dot"):
            return False
        if op.kind in CONTROL or op.kind in WAITING or scratch_bytes(op) > 0:
            stretches.append((depth, now))
            now = 0
        inner = depth + (op.kind in ("for", "while"))
        if op.kind in CONTROL and not all(_walk(region, stretches, inner) for region in op.regions):
            return False
        now += _loaded(op)
    stretches.append((depth, now))
    return True


def _loaded(op: Op) -> int:
    if op.kind == "load" and isinstance(op.result.type, Tile):
        return held(op.result)
    if op.kind == "async_copy":
        buffer, pointer = op.operands[:2]
        assert buffer is not None and pointer is not None and isinstance(buffer.type, Shared)
        return held(pointer, buffer.type.element.itemsize) * buffer.type.stages
    return 0


def held(value: Value, size: int = 0) -> int:
    """Bytes of a tile's different elements in one thread, or of so many things of `size` bytes."""
    different = sum(1 for basis in layout_of(value)["register"] if basis)
    return (size or element_of(value.type).itemsize) << different
