"""Scans with any combine region, by doubling: after step k every run of 2**(k+1) elements along the axis is scanned.

In step k an element whose index has bit k set combines with the last element of the half run before it.  Where that
element is follows from the layout: another register, another lane, or both.  `coalesce` sees to it that no warp is
involved.
"""
from __future__ import annotations

from rtriton import layout as L
from rtriton.backend.ptx.emit import Emitter, lowering
from rtriton.backend.ptx.emit_convert import shuffle
from rtriton.backend.ptx.emit_elementwise import select
from rtriton.backend.ptx.emit_reduce import Item, combine
from rtriton.backend.ptx.operands import Reg
from rtriton.errors import KernelError
from rtriton.ir import Op
from rtriton.types import element_of


@lowering("scan")
def _scan(e: Emitter, op: Op) -> None:
    layout, axis = e.layout(op.operands[0]), op.attrs["axis"]
    plan = L.reduction_plan(layout, axis)
    if plan.warp:
        raise KernelError("a scan cannot cross warps: the pass coalesce has not laid it out", op.span)
    walked = [("register", k) for k in plan.register] + [("lane", k) for k in plan.lane]
    steps = sorted((layout[dim][k], dim, k) for dim, k in walked)
    items: list[Item] = list(zip(*(e.regs(v) for v in op.operands), strict=True))
    for n, (_, dim, bit) in enumerate(steps):
        below = steps[:n]
        registers = sum(1 << k for _, d, k in below if d == "register")
        lanes = sum(1 << k for _, d, k in below if d == "lane")
        items = _register_step(e, op, items, bit, registers, lanes) if dim == "register" else _lane_step(
            e, op, items, bit, registers, lanes)
    e.put(op, *([item[i] for item in items] for i in range(len(op.results))))


def _register_step(e: Emitter, op: Op, items: list[Item], bit: int, registers: int, lanes: int) -> list[Item]:
    """The half run before lies in other registers (and, below this bit, in other lanes)."""
    back = bool(op.attrs.get("reverse"))
    out = list(items)
    for r, item in enumerate(items):
        if bool(r >> bit & 1) == back:
            continue
        source = (r ^ 1 << bit) & ~registers | (0 if back else registers)
        end = _end_lane(e, lanes, 0, 0, back)
        out[r] = combine(e, op.regions[0], _fetch(e, op, items[source], end), item)
    return out


def _lane_step(e: Emitter, op: Op, items: list[Item], bit: int, registers: int, lanes: int) -> list[Item]:
    """The half run before lies in other lanes: all compute, those with the bit keep."""
    back = bool(op.attrs.get("reverse"))
    types = [element_of(v.type) for v in op.operands if v is not None]
    takes = e.pure("setp.eq.u32" if back else "setp.ne.u32", e.pure("and.b32", e.lane, 1 << bit), 0)
    end = _end_lane(e, lanes, 1 << bit, 1 << bit if back else 0, back)
    out: list[Item] = []
    for r, item in enumerate(items):
        source = r & ~registers | (0 if back else registers)
        both = combine(e, op.regions[0], _fetch(e, op, items[source], end), item)
        out.append(tuple(select(e, t, takes, b, i) for t, b, i in zip(types, both, item, strict=True)))
    return out


def _end_lane(e: Emitter, below: int, bit: int, value: int, back: bool) -> Reg | None:
    """The lane that holds the end of the half run before: bits below at their end, `bit` at `value`; None for the
    own one."""
    if not below and not bit:
        return None
    kept = e.pure("and.b32", e.lane, 31 & ~(below | bit))
    fixed = (0 if back else below) | value
    return e.pure("or.b32", kept, fixed) if fixed else kept


def _fetch(e: Emitter, op: Op, item: Item, lane: Reg | None) -> Item:
    if lane is None:
        return item
    types = [element_of(v.type) for v in op.operands if v is not None]
    return tuple(shuffle(e, "idx", reg, lane, t) for reg, t in zip(item, types, strict=True))
