"""cse: the same thing is computed once.

Two ops are the same if kind, operands, attributes, result types and regions are. An op sees those above it in its own
block and in the blocks around it. A load is the same as an earlier one while no op between them writes memory or
waits for other threads; in a loop whose body writes, what was loaded before the loop is not reused.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Hashable
from dataclasses import replace
from typing import Any

from rtriton.ir import Block, Kernel, Op, Value
from rtriton.language.table import BARRIER, CONTROL, READS, WRITES
from rtriton.passes import register
from rtriton.passes._facts import attrs_key, effects_of

LOOPS = ("for", "while")


@register
def cse(kernel: Kernel, target: Any) -> Kernel:
    """Replace an op by an equal one above it.

    before:  %a: 128xi32 = splat %n {shape = (128,)}
             %b: 128xi32 = splat %n {shape = (128,)}
             %c: 128xi32 = add %a, %b
    after:   %a: 128xi32 = splat %n {shape = (128,)}
             %c: 128xi32 = add %a, %a
    """
    work = _Cse()
    body = work.block(kernel.body, ChainMap())
    return replace(kernel, body=body) if work.changed else kernel


class _Cse:
    def __init__(self) -> None:
        self.now: dict[Value, Value] = {}
        self.epoch = 0  # how often memory may have changed
        self.changed = False

    def block(self, block: Block, seen: ChainMap[Hashable, Op]) -> Block:
        ops: list[Op] = []
        for op in block.ops:
            ops += self.op(op, seen)
        return Block(block.params, tuple(ops))

    def op(self, op: Op, seen: ChainMap[Hashable, Op]) -> list[Op]:
        operands = tuple(self.now.get(v, v) if v is not None else None for v in op.operands)
        effects = effects_of(op)
        if op.kind in LOOPS and effects & (WRITES | BARRIER):
            self.epoch += 1  # a turn sees what the one before it wrote
        regions = tuple(self.block(r, seen.new_child()) for r in op.regions)
        if effects & (WRITES | BARRIER):
            self.epoch += 1
        now = Op(op.kind, operands, op.attrs, regions, op.results, op.span)
        if effects & (WRITES | BARRIER | CONTROL) or op.kind in (*LOOPS, "if"):
            return [now]
        key = (_key(now, {}), self.epoch if effects & READS else None)
        if key not in seen:
            seen[key] = now
            return [now]
        self.now.update(zip(op.results, seen[key].results, strict=True))
        self.changed = True
        return []


def _key(op: Op, inside: dict[Value, int]) -> Hashable:
    """What equal ops have in common; values made inside a region are numbered, others are themselves."""
    operands = tuple(inside.get(v, v) if v is not None else None for v in op.operands)
    types = tuple(v.type for v in op.results)
    return (op.kind, operands, attrs_key(op.attrs), types, tuple(_region_key(r, dict(inside)) for r in op.regions))


def _region_key(block: Block, inside: dict[Value, int]) -> Hashable:
    for value in block.params:
        inside[value] = len(inside)
    keys: list[Hashable] = [tuple(v.type for v in block.params)]
    for op in block.ops:
        keys.append(_key(op, inside))
        for value in op.results:
            inside[value] = len(inside)
    return tuple(keys)
