"""Drops instructions whose results nobody reads, so that lowerings may compute what only some users need.

What changes memory, orders threads or steers control flow stays, and everything it reads, and so on back.
"""
from __future__ import annotations

from rtriton.backend.ptx.module import Module
from rtriton.backend.ptx.operands import Inst, Reg, registers

EFFECTS = frozenset((
    "st", "atom", "red", "bar", "barrier", "bra", "ret", "exit", "trap", "cp", "fence", "membar", "stmatrix",
    "nanosleep", "mbarrier", "wgmma", "prefetch",
))  # fmt: skip


def drop_unread(module: Module) -> None:
    """Remove from `module` what has no effect."""
    insts = [item for item in module.body if isinstance(item, Inst)]
    makers: dict[Reg, list[Inst]] = {}
    for inst in insts:
        for reg in written(inst):
            makers.setdefault(reg, []).append(inst)
    todo = [inst for inst in insts if has_effect(inst)]
    live = set(map(id, todo))
    while todo:
        for reg in read(todo.pop()):
            for inst in makers.get(reg, ()):
                if id(inst) not in live:
                    live.add(id(inst))
                    todo.append(inst)
    module.body = [item for item in module.body if not isinstance(item, Inst) or id(item) in live]


def has_effect(inst: Inst) -> bool:
    head, *rest = inst.opcode.split(".")
    if head == "asm":
        return bool(rest) or not inst.dsts
    return head in EFFECTS or (head == "ld" and rest[0] in ("volatile", "acquire", "relaxed")) or not inst.dsts


def written(inst: Inst) -> list[Reg]:
    return [reg for dst in inst.dsts for reg in registers(dst)]


def read(inst: Inst) -> list[Reg]:
    guard = [] if inst.pred is None else list(registers(inst.pred))
    return [reg for src in inst.srcs for reg in registers(src)] + guard
