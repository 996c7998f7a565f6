"""fuse: reductions of one tile shape along one axis that stand in a block become one reduction.

Two sums over the same elements (a mean and a mean of squares, a maximum and a checksum) would each walk the tile,
load it and compute what they share. A reduction of several tiles walks it once. They are joined where the later one
reads nothing that comes after the earlier one and depends on it, and no memory is written between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rtriton.ir import Block, Builder, Kernel, Op, Value, clone, free_values
from rtriton.language import infer
from rtriton.language.table import BARRIER, WRITES
from rtriton.passes import register
from rtriton.passes._facts import effects_of
from rtriton.types import shape_of


@register
def fuse(kernel: Kernel, target: Any) -> Kernel:
    """Join sibling reductions.

    before:  %s: f32 = reduce %x {axis = 0} (add)
             %y: 64xf32 = mul %x, %x
             %q: f32 = reduce %y {axis = 0} (add)
    after:   %y: 64xf32 = mul %x, %x
             %s: f32, %q: f32 = reduce %x, %y {axis = 0} (both)
    """
    body = _block(kernel.body)
    return kernel if body is kernel.body else replace(kernel, body=body)


def _block(block: Block) -> Block:
    ops = [_inside(op) for op in block.ops]
    changed = any(a is not b for a, b in zip(ops, block.ops, strict=True))
    joined = _joined(ops)
    return Block(block.params, tuple(joined)) if changed or len(joined) != len(ops) else block


def _inside(op: Op) -> Op:
    if op.kind not in ("for", "while", "if"):
        return op
    regions = tuple(_block(r) for r in op.regions)
    return op if all(a is b for a, b in zip(regions, op.regions, strict=True)) else replace(op, regions=regions)


def _joined(ops: Sequence[Op]) -> list[Op]:
    """Each reduction moved down to the next one that it may be joined with."""
    left = list(ops)
    k = 0
    while k < len(left):
        partner = _partner(left, k)
        if partner is not None:
            left[partner] = _both(left[k], left[partner])
            del left[k]
        else:
            k += 1
    return left


def _partner(ops: Sequence[Op], k: int) -> int | None:
    first = ops[k]
    if first.kind != "reduce":
        return None
    waiting = set(first.results)  # what may not be read before the joined op
    for j in range(k + 1, len(ops)):
        op = ops[j]
        reads = {v for v in op.operands if v is not None} | {v for r in op.regions for v in free_values(r)}
        if reads & waiting:
            return None
        if op.kind == "reduce" and _alike(first, op):
            return j
        if effects_of(op) & (WRITES | BARRIER):
            return None
    return None


def _alike(a: Op, b: Op) -> bool:
    x, y = a.operands[0], b.operands[0]
    assert x is not None and y is not None
    return a.attrs["axis"] == b.attrs["axis"] and shape_of(x.type) == shape_of(y.type)


def _both(a: Op, b: Op) -> Op:
    """One reduction of the tiles of both; its region holds both combine functions."""
    build = Builder(infer)
    params: list[Value] = []
    halves = [[Value(v.type, v.name) for v in op.regions[0].params] for op in (a, b)]
    for side in range(2):
        for op, half in zip((a, b), halves, strict=True):
            width = len(op.operands)
            params += half[side * width : (side + 1) * width]
    yielded: list[Value] = []
    for op, half in zip((a, b), halves, strict=True):
        yielded += clone(op.regions[0], dict(zip(op.regions[0].params, half, strict=True)), build)
    build.op("yield", *yielded)
    region = Block(tuple(params), tuple(build.ops))
    return Op("reduce", a.operands + b.operands, a.attrs, (region,), a.results + b.results, b.span)
