"""Loops: which are pipelined, over how many stages, and why the others are not."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rtriton.explain.access import Access
from rtriton.ir import Kernel, Op, walk
from rtriton.passes.analysis.axis_info import Table
from rtriton.target import Target
from rtriton.types import Shared, Tile

LOOPS = ("for", "while")
COPIES = 4  # bytes of the narrowest copy


@dataclass(frozen=True)
class Loop:
    """A loop of the final IR. `turns` where that is known when compiling; `stages`: the buffers of each load that is
    copied ahead, 0 where the loop is not pipelined, and then `reason`."""

    op: Op
    turns: int | None
    stages: int
    reason: str


def loops_of(kernel: Kernel, table: Table, accesses: Mapping[Op, Access], target: Target) -> list[Loop]:
    """Every loop, outer ones first."""
    return [_loop(op, kernel, table, accesses, target) for op in walk(kernel.body) if op.kind in LOOPS]


def _loop(op: Op, kernel: Kernel, table: Table, accesses: Mapping[Op, Access], target: Target) -> Loop:
    copies = [inner for inner in op.regions[-1].ops if inner.kind == "async_copy"]
    stages = max((_stages(copy) for copy in copies), default=0)
    reason = "" if stages else _why_not(op, kernel, table, accesses, target)
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


def _why_not(op: Op, kernel: Kernel, table: Table, accesses: Mapping[Op, Access], target: Target) -> str:
    """The first thing that keeps a loop from copying ahead."""
    inside = list(walk(op.regions[-1]))
    loads = [load for load in op.regions[-1].ops if load.kind == "load" and isinstance(load.result.type, Tile)]
    if op.kind == "while":
        return "a while loop: which turns come is not known ahead"
    if any(inner.kind in LOOPS for inner in inside):
        return "there is a loop inside: only innermost loops are"
    if not loads:
        return "it loads no tiles"
    if int(op.attrs.get("num_stages") or kernel.attrs.get("num_stages") or 3) < 2:
        return "num_stages is 1"
    step = op.operands[2]
    if step is None or not table[step].positive or table[step].value == 0:
        return "its step is not known to be positive"
    if not op.attrs.get("num_stages") and not any(inner.kind == "mma" for inner in inside):
        return ("no load feeds a tensor core product, and the loop does not ask for it by tl.range(..., num_stages=): "
                "other warps hide the latency of its loads")
    return _why_no_copy(loads, accesses, target)


def _why_no_copy(loads: Sequence[Op], accesses: Mapping[Op, Access], target: Target) -> str:
    """Why the loads of a loop with products do not become copies."""
    narrow = [load for load in loads if load in accesses and accesses[load].width < COPIES]
    if len(narrow) == len(loads):
        lines = ", ".join(dict.fromkeys(str(load.span.line) for load in narrow))
        return f"a copy ahead moves {COPIES}, 8 or 16 bytes at once, and the loads (line {lines}) are narrower"
    if sum(accesses[load].bytes for load in loads if load in accesses) * 2 > target.shared_bytes:
        return f"two stages of its loads do not fit into {target.shared_bytes >> 10} KiB of shared memory"
    return ("its loads feed more than products, give another value than 0 where masked, have addresses that depend on "
            "what the turn loads, or come after what it stores")
