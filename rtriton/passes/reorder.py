"""Loads start before what threads wait for: above reductions, conversions and loops that come first in the source.

    before:  %s = reduce %v                          after:  %p = addptr %ws, %c
             %p = addptr %ws, %c                             %w = load %p
             %w = load %p                                    %s = reduce %v
             ... %s, %w ...                                  ... %s, %w ...

A reduction across warps holds a barrier, over which ptxas moves no load, so the load's way to memory and back would
come after it instead of beside it.  With a load goes what its address and mask are made of, as far as that is cheap.
Nothing moves over an op that writes memory or orders threads.  What is loaded early occupies registers meanwhile: at
most `MOST` bytes of each thread, over loops and branches scalars alone.
"""
from __future__ import annotations

from dataclasses import replace

from rtriton.ir import Block, Kernel, Op, Value
from rtriton.language.table import BARRIER, OPS, READS, WRITES
from rtriton.passes import register
from rtriton.passes._facts import effects_of, reads_anew
from rtriton.passes.analysis.scratch import layout_of, scratch_bytes
from rtriton.target import Target
from rtriton.types import Tile, element_of

MOST = 64  # bytes of a thread that are loaded early
CONTROL = ("for", "while", "if")
WAITING = ("reduce", "scan", "sort", "dot", "mma", *CONTROL)
"""What takes long though no scratch in shared memory tells so."""


@register
def reorder(kernel: Kernel, target: Target) -> Kernel:
    """Move loads up, over what waits."""
    body = _block(kernel.body)
    return kernel if body is kernel.body else replace(kernel, body=body)


def _block(block: Block) -> Block:
    """The block, if something moved a new one."""
    done: list[Op] = []
    early = 0
    changed = False
    for op in block.ops:
        regions = tuple(_block(r) if op.kind in CONTROL else r for r in op.regions)
        if any(new is not old for new, old in zip(regions, op.regions, strict=True)):
            op, changed = replace(op, regions=regions), True
        size = _bytes(op.results[0]) if op.kind == "load" and not reads_anew(op) else MOST + 1
        moved = _above(done, op) if early + size <= MOST else None
        if moved is None:
            done.append(op)
        else:
            done, early, changed = moved, early + size, True
    return Block(block.params, tuple(done)) if changed else block


def _above(done: list[Op], load: Op) -> list[Op] | None:
    """`done` with a load put where it need not wait; None where it need not anyway."""
    wanted = {v for v in load.operands if v is not None}
    slice_: list[int] = []
    place: int | None = None
    for i in reversed(range(len(done))):
        op = done[i]
        if _orders(op):
            break
        if wanted.intersection(op.results):
            if op.regions or OPS[op.kind].effects & (READS | WRITES) or _waits(op):
                break
            slice_.append(i)
            wanted.update(v for v in op.operands if v is not None)
        elif _waits(op):
            if op.kind in CONTROL and isinstance(load.result.type, Tile):
                break
            place = i
    if place is None:
        return None
    with_it = [i for i in reversed(slice_) if i > place]
    rest = [op for i, op in enumerate(done) if i > place and i not in with_it]
    return [*done[:place], *(done[i] for i in with_it), load, done[place], *rest]


def _waits(op: Op) -> bool:
    return op.kind in WAITING or scratch_bytes(op) > 0


def _orders(op: Op) -> bool:
    """Whether no load may pass the op: it writes memory, or waits for what others write."""
    return op.kind != "assume" and bool(effects_of(op) & (WRITES | BARRIER))


def _bytes(value: Value) -> int:
    """Bytes of a value that one thread holds."""
    registers = layout_of(value).registers if isinstance(value.type, Tile) else 1
    return registers * element_of(value.type).itemsize
