"""tl.multiple_of, max_contiguous and max_constancy say something about the value itself, whoever reads it later.

    tl.multiple_of(offsets, 1024)       # a statement: `offsets` below are multiples of 1024
    x = tl.load(p + offsets)

In the tile IR a hint is an op that gives its operand back. Here later readers of the operand are made readers of the
hint; the hint holds where it was seen to be said: in its block, after it, and in the blocks inside.
"""
from __future__ import annotations

from dataclasses import replace

from rtriton.ir import Block, Op, Value

HINTS = ("multiple_of", "max_contiguous", "max_constancy")


def spread_hints(block: Block, said: dict[Value, Value] | None = None) -> Block:
    """The block, each value read through the hints given for it so far."""
    latest = dict(said or {})
    ops = tuple(_read_through(op, latest) for op in block.ops)
    return replace(block, ops=ops) if ops != block.ops else block


def _read_through(op: Op, latest: dict[Value, Value]) -> Op:
    operands = tuple(_last(v, latest) for v in op.operands)
    regions = tuple(spread_hints(r, latest) for r in op.regions)
    if op.kind in HINTS and operands[0] is not None:
        latest[operands[0]] = op.result
    return op if operands == op.operands and regions == op.regions else replace(op, operands=operands, regions=regions)


def _last(value: Value | None, latest: dict[Value, Value]) -> Value | None:
    while value is not None and value in latest:
        value = latest[value]
    return value
