"""dce: what nobody needs goes.

Needed are ops that write memory, print, assert or wait, and whatever they read, directly or through others. A result
of `if`, `for` or `while` that nobody reads goes with all that computes it, around the loop too; reads of memory go
when their value is not needed (volatile ones stay).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rtriton.ir import Block, Kernel, Op, Value
from rtriton.language.table import BARRIER, WRITES
from rtriton.passes import register
from rtriton.passes._facts import effects_of

CARRYING = ("for", "while")


@register
def dce(kernel: Kernel, target: Any) -> Kernel:
    """Keep only what is needed.

    before:  %s, %t = for %a, %b, %c, %x, %y (%i: i32, %p: f32, %q: f32) {
               %r = add %p, %p
               %u = mul %q, %q
               yield %r, %u
             }
             store %out, %s
    after:   %s = for %a, %b, %c, %x (%i: i32, %p: f32) {
               %r = add %p, %p
               yield %r
             }
             store %out, %s
    """
    needed = _Needed(kernel.body)
    body = _kept(kernel.body, needed)
    return kernel if body is kernel.body else replace(kernel, body=body)


class _Needed:
    """Which ops and values are needed, to a fixed point over a worklist."""

    def __init__(self, body: Block) -> None:
        self.makers: dict[Value, tuple[Op, int]] = {}  # result -> op, position
        self.carried: dict[Value, tuple[Op, int]] = {}  # region parameter -> loop, position
        self.parents: dict[Op, Op] = {}
        self.values: set[Value] = set()
        self.ops: set[Op] = set()
        self.work: list[Value] = []
        self.index(body, None)
        for op in [*self.parents, *body.ops]:
            if not op.regions and effects_of(op) & (WRITES | BARRIER):
                self.need_op(op)
        while self.work:
            self.spread(self.work.pop())

    def index(self, block: Block, parent: Op | None) -> None:
        for op in block.ops:
            if parent is not None:
                self.parents[op] = parent
            self.makers.update({v: (op, i) for i, v in enumerate(op.results)})
            for region in op.regions:
                first = 1 if op.kind == "for" else 0
                if op.kind in CARRYING:
                    self.carried.update({v: (op, i) for i, v in enumerate(region.params[first:])})
                self.index(region, op)

    def need(self, value: Value | None) -> None:
        if value is not None and value not in self.values:
            self.values.add(value)
            self.work.append(value)

    def need_op(self, op: Op) -> None:
        """The op stays, with what it always reads; so do the ops around it."""
        if op in self.ops:
            return
        self.ops.add(op)
        if op in self.parents:
            self.need_op(self.parents[op])
        if op.kind == "if":
            self.need(op.operands[0])
        elif op.kind == "for":
            for value in op.operands[:3]:
                self.need(value)
        elif op.kind == "while":
            self.need(op.regions[0].yielded[0])
        else:
            for value in (*op.operands, *(y for r in op.regions for y in r.yielded)):
                self.need(value)

    def spread(self, value: Value) -> None:
        if value in self.carried:
            loop, at = self.carried[value]
            self.need(loop.results[at])
            return
        if value not in self.makers:
            return
        op, at = self.makers[value]
        self.need_op(op)
        if op.kind == "if":
            for region in op.regions:
                self.need(region.yielded[at])
        elif op.kind in CARRYING:
            self.need(op.operands[at + (3 if op.kind == "for" else 0)])
            self.need(op.regions[-1].yielded[at])

    def positions(self, op: Op) -> list[int]:
        """The results of a region op that stay."""
        return [i for i, v in enumerate(op.results) if v in self.values]


def _kept(block: Block, needed: _Needed) -> Block:
    ops: list[Op] = []
    for op in block.ops:
        if op.kind == "yield":
            ops.append(op)  # narrowed by the op it belongs to
        elif op in needed.ops:
            ops.append(_narrowed(op, needed))
    same = len(ops) == len(block.ops) and all(a is b for a, b in zip(ops, block.ops, strict=True))
    return block if same else Block(block.params, tuple(ops))


def _narrowed(op: Op, needed: _Needed) -> Op:
    regions = tuple(_kept(r, needed) for r in op.regions)
    at = needed.positions(op)
    if op.kind not in (*CARRYING, "if") or len(at) == len(op.results):
        return op if regions == op.regions else replace(op, regions=regions)
    first, lead = (1, 3) if op.kind == "for" else (0, 0)
    made: list[Block] = []
    for region in regions:
        params = region.params if op.kind == "if" else (*region.params[:first], *(region.params[first + i] for i in at))
        is_test = op.kind == "while" and not made
        end = region.ops[-1]
        values = end.operands if is_test else tuple(end.operands[i] for i in at)
        made.append(Block(params, (*region.ops[:-1], replace(end, operands=values))))
    operands = op.operands if op.kind == "if" else (*op.operands[:lead], *(op.operands[lead + i] for i in at))
    return replace(op, operands=operands, regions=tuple(made), results=tuple(op.results[i] for i in at))
