"""Loops and branches. Conditions are the same in all threads of a CTA by construction, so branches are.

What a loop carries owns one register set for the whole loop.  Integers and pointers first try to carry only the
registers that differ by more than a constant (16 pointers of a thread are often one and 16 constants); if the body
breaks that pattern, it is emitted again with a register for each.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rtriton.backend.ptx.emit import Emitter, lowering
from rtriton.backend.ptx.emit_elementwise import count
from rtriton.backend.ptx.operands import Reg
from rtriton.errors import KernelError
from rtriton.ir import Block, Op, Value
from rtriton.types import element_of


@dataclass
class Carried:
    """The registers a carried value owns; register r of the tile is `own[member[r]] + constant[r]`."""

    value: Value
    own: list[Reg]
    member: list[int]
    constant: list[int]

    def regs(self, e: Emitter) -> list[Reg]:
        return [e.plus(self.own[m], c) if c else self.own[m] for m, c in zip(self.member, self.constant, strict=True)]


def carry(e: Emitter, value: Value, init: Sequence[Reg], shared: bool) -> tuple[Carried, list[Reg]]:
    """Fresh registers for a carried value, and what to put into them at first."""
    element = element_of(value.type)
    bases: dict[Reg, int] = {}
    member: list[int] = []
    constant: list[int] = []
    for i, reg in enumerate(init):
        base, offset = e.split_affine(reg) if element.kind in "iup" and element.bits >= 32 else (reg, 0)
        if not shared or element.kind not in "iup":
            member.append(i)
            constant.append(0)
            continue
        member.append(bases.setdefault(base, len(bases)))
        constant.append(offset)
    first = list(bases) if bases else list(init)
    return Carried(value, [e.m.reg(reg.type) for reg in first], member, constant), first


def next_values(e: Emitter, carried: Carried, regs: Sequence[Reg]) -> list[Reg] | None:
    """What goes into the owned registers so that the value becomes `regs`; None if no choice does."""
    found: dict[int, tuple[Reg, int]] = {}
    for reg, member, constant in zip(regs, carried.member, carried.constant, strict=True):
        base, offset = e.split_affine(reg)
        if constant == 0 and carried.member.count(member) == 1:
            base, offset = reg, 0
        if found.setdefault(member, (base, offset - constant)) != (base, offset - constant):
            return None
    return [e.plus(*found[m]) if found[m][1] else found[m][0] for m in range(len(carried.own))]


def move_all(e: Emitter, into: Sequence[Reg], values: Sequence[Reg]) -> None:
    """Parallel moves: what is overwritten before it is read goes through a fresh register."""
    targets = set(into)
    safe: list[Reg] = []
    for target, value in zip(into, values, strict=True):
        if value in targets and value != target:
            value = e.m(f"mov.{value.type}", value)
        safe.append(value)
    for target, value in zip(into, safe, strict=True):
        if target != value:
            e.m(f"mov.{target.type}", value, dst=target)


def attempt(e: Emitter, op: Op, init: Sequence[Value], emit: Callable[[bool], bool]) -> None:
    """Emit a loop with shared registers; if the body does not keep the pattern, take it back and emit it without."""
    place = len(e.m.body)
    if emit(True):
        return
    del e.m.body[place:]
    if not emit(False):
        raise KernelError("a loop's carried values changed shape", op.span)


def _given(op: Op, first: int) -> list[Value]:
    return [v for v in op.operands[first:] if v is not None]


def _finish(e: Emitter, carried: list[Carried], body: Block) -> bool:
    """Move what the body yields into the owned registers; False if it does not fit them."""
    into: list[Reg] = []
    values: list[Reg] = []
    for item, value in zip(carried, body.yielded, strict=True):
        following = next_values(e, item, e.regs(value))
        if following is None:
            return False
        into += item.own
        values += following
    move_all(e, into, values)
    return True


def _start(e: Emitter, params: Sequence[Value], init: Sequence[Value], shared: bool) -> list[Carried]:
    carried: list[Carried] = []
    for param, value in zip(params, init, strict=True):
        item, first = carry(e, param, e.regs(value), shared)
        move_all(e, item.own, first)
        carried.append(item)
    return carried


@lowering("for")
def _for(e: Emitter, op: Op) -> None:
    init = _given(op, 3)
    attempt(e, op, init, lambda shared: _for_body(e, op, init, shared))


def _for_body(e: Emitter, op: Op, init: list[Value], shared: bool) -> bool:
    (body,) = op.regions
    low, high, step = (e.one(v) for v in op.operands[:3])
    carried = _start(e, body.params[1:], init, shared)
    index = e.m(f"mov.{low.type}", low)
    head, end = e.m.label("loop"), e.m.label("done")
    with e.scope():
        e.m.bra(end, pred=~_goes_on(e, op, index, high, step))
    e.m.place(head)
    with e.scope():
        e.values[body.params[0]] = [index]
        for item in carried:
            e.values[item.value] = item.regs(e)
        e.block(body)
        if not _finish(e, carried, body):
            return False
    kind = element_of(body.params[0].type)
    e.m(f"add.s{kind.bits}", index, step, dst=index)
    with e.scope():
        e.m.bra(head, pred=_goes_on(e, op, index, high, step))
    e.m.place(end)
    e.put(op, *(item.regs(e) for item in carried))
    return True


def _goes_on(e: Emitter, op: Op, index: Reg, high: Reg, step: Reg) -> Reg:
    """Whether the loop runs for this index; the direction is that of the step."""
    low, _, by = op.operands[:3]
    assert low is not None and by is not None
    kind = element_of(low.type)
    t = f"{'s' if kind.kind == 'i' else 'u'}{kind.bits}"
    if kind.kind == "u" or e.info[by].positive:
        return e.m(f"setp.lt.{t}", index, high)
    if step in e.constants:
        return e.m(f"setp.gt.{t}", index, high)
    up, below, above = e.m(f"setp.gt.{t}", step, 0), e.m(f"setp.lt.{t}", index, high), e.m(f"setp.gt.{t}", index, high)
    return e.m("or.pred", e.m("and.pred", up, below), e.m("and.pred", e.m("not.pred", up), above))


@lowering("while")
def _while(e: Emitter, op: Op) -> None:
    init = _given(op, 0)
    attempt(e, op, init, lambda shared: _while_body(e, op, init, shared))


def _while_body(e: Emitter, op: Op, init: list[Value], shared: bool) -> bool:
    test, body = op.regions
    carried = _start(e, body.params, init, shared)
    head, end = e.m.label("while"), e.m.label("done")
    e.m.place(head)
    with e.scope():
        for mine, item in zip(test.params, carried, strict=True):
            e.values[mine] = e.values[item.value] = item.regs(e)
        e.block(test)
        (condition,) = test.yielded
        e.m.bra(end, pred=~e.one(condition))
        e.block(body)
        if not _finish(e, carried, body):
            return False
    e.m.bra(head)
    e.m.place(end)
    e.put(op, *(item.regs(e) for item in carried))
    return True


@lowering("if")
def _if(e: Emitter, op: Op) -> None:
    condition = e.one(op.operands[0])
    then, otherwise = op.regions
    owned = [[e.m.reg(reg) for reg in _classes(e, v)] for v in op.results]
    other, end = e.m.label("else"), e.m.label("endif")
    e.m.bra(other, pred=~condition)
    _branch(e, then, owned)
    e.m.bra(end)
    e.m.place(other)
    _branch(e, otherwise, owned)
    e.m.place(end)
    e.put(op, *owned)


def _classes(e: Emitter, value: Value) -> list[str]:
    element = element_of(value.type)
    kind = "pred" if element.kind == "b" else f"b{max(16, element.bits)}"
    return [kind] * count(e, value)


def _branch(e: Emitter, block: Block, owned: list[list[Reg]]) -> None:
    with e.scope():
        e.block(block)
        for into, value in zip(owned, block.yielded, strict=True):
            move_all(e, into, e.regs(value))


@lowering("barrier")
def _barrier(e: Emitter, op: Op) -> None:
    e.barrier()


@lowering("assume")
def _assume(e: Emitter, op: Op) -> None:
    """Nothing is emitted: the analyses that could use it have run."""
