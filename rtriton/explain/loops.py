"""Loops: which are pipelined, over how many stages, and why the others are not, which the pass itself says."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rtriton.ir import Kernel, Op, Span, walk
from rtriton.passes.analysis.axis_info import Table
from rtriton.types import Shared

LOOPS = ("for", "while")


@dataclass(frozen=True)
class Loop:
    """A loop of the final IR. `turns` where that is known when compiling; `stages`: the buffers of each load that is
    copied ahead, 0 where the loop is not pipelined, and then `reason`."""

    op: Op
    turns: int | None
    stages: int
    reason: str


def loops_of(kernel: Kernel, table: Table, reasons: Mapping[Span, str]) -> list[Loop]:
    """Every loop, outer ones first. `reasons`: what `passes.pipeline.why_not` says."""
    return [_loop(op, table, reasons) for op in walk(kernel.body) if op.kind in LOOPS]


def _loop(op: Op, table: Table, reasons: Mapping[Span, str]) -> Loop:
    copies = [inner for inner in op.regions[-1].ops if inner.kind == "async_copy"]
    stages = max((_stages(copy) for copy in copies), default=0)
    reason = "" if stages else reasons.get(op.span, "the pass pipeline was left out")
    return Loop(op, turns_of(op, table), stages, reason)


def turns_of(op: Op, table: Table) -> int | None:
    """How many turns a loop does, where its bounds are known when compiling."""
    if op.kind != "for":
        return None
    low, high, step = (table[v].value if v is not None else None for v in op.operands[:3])
    if low is None or high is None or not step:
        return None
    return max(0, -(-(high - low) // step))


def _stages(copy: Op) -> int:
    buffer = copy.operands[0]
    assert buffer is not None and isinstance(buffer.type, Shared)
    return buffer.type.stages
