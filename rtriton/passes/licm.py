"""licm: what is the same in every turn of a loop is done before it.

An op without effects moves if all it reads is made outside the loop. Ops that may fault do not run where they did not
before: integer division moves only by a constant, a load only if the loop surely runs, its body writes no memory and
the load is done in every turn. Inner loops go first, so what they give up can leave the outer ones too. A loop with
`disable_licm` gives nothing up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rtriton.ir import Block, Kernel, Op, Value, free_values
from rtriton.passes import register
from rtriton.passes._facts import is_integer, is_pure, reads_anew, writes_memory

LOOPS = ("for", "while")


@register
def licm(kernel: Kernel, target: Any) -> Kernel:
    """Move loop-invariant ops out.

    before:  %r: f32 = for %a, %b, %c, %x (%i: i32, %p: f32) {
               %t: f32 = mul %y, %z
               %q: f32 = add %p, %t
               yield %q
             }
    after:   %t: f32 = mul %y, %z
             %r: f32 = for %a, %b, %c, %x (%i: i32, %p: f32) {
               %q: f32 = add %p, %t
               yield %q
             }
    """
    work = _Licm()
    body = work.block(kernel.body)
    return replace(kernel, body=body) if work.changed else kernel


class _Licm:
    def __init__(self) -> None:
        self.consts: dict[Value, Any] = {}
        self.changed = False

    def block(self, block: Block) -> Block:
        ops: list[Op] = []
        for op in block.ops:
            if op.kind == "const":
                self.consts[op.result] = op.attrs["value"]
            if op.kind == "splat" and op.operands[0] in self.consts:
                self.consts[op.result] = self.consts[op.operands[0]]
            if op.regions:
                op = replace(op, regions=tuple(self.block(r) for r in op.regions))
            if op.kind in LOOPS and not op.attrs.get("disable_licm"):
                moved, op = self.loop(op)
                ops += moved
            ops.append(op)
        return Block(block.params, tuple(ops))

    def loop(self, op: Op) -> tuple[list[Op], Op]:
        """The ops that leave a loop, and the loop without them."""
        moved: list[Op] = []
        regions: list[Block] = []
        for region in op.regions:
            inside = _made_in(region)
            may_load = self.surely_runs(op) and not writes_memory(region)
            stay: list[Op] = []
            for inner in region.ops:
                if self.may_leave(inner, may_load) and not inside.intersection(_reads(inner)):
                    moved.append(inner)
                    inside.difference_update(inner.results)
                else:
                    stay.append(inner)
            regions.append(Block(region.params, tuple(stay)))
        self.changed |= bool(moved)
        return moved, replace(op, regions=tuple(regions))

    def surely_runs(self, op: Op) -> bool:
        if op.kind != "for":
            return False
        low, high, step = (self.consts.get(v) if v is not None else None for v in op.operands[:3])
        return low is not None and high is not None and bool(step) and len(range(low, high, step)) > 0

    def may_leave(self, op: Op, may_load: bool) -> bool:
        if op.kind == "load":
            return may_load and not reads_anew(op)
        if op.kind in ("div", "rem") and is_integer(op.results[0].type):
            return bool(self.consts.get(op.operands[1])) if op.operands[1] is not None else False
        return is_pure(op) and op.kind not in (*LOOPS, "if")


def _made_in(block: Block) -> set[Value]:
    return {*block.params, *(v for op in block.ops for v in op.results)}


def _reads(op: Op) -> list[Value]:
    return [*(v for v in op.operands if v is not None), *(v for r in op.regions for v in free_values(r))]
