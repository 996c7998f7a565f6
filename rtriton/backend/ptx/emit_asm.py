"""Inline assembly: the user's text, once for each register of its tiles, with registers put in for its operands.

Inputs are read only: a tied input is moved into the output's register first, and an output that the text writes before
it has read everything has a register of its own. Bytes of a copy in another lane are computed twice; volatile assembly
runs once for each element, in the thread that owns it.
"""
from __future__ import annotations

from rtriton.assembly import REGISTERS, filled, parse_constraints
from rtriton.backend.ptx.emit import Emitter, lowering
from rtriton.backend.ptx.operands import Reg
from rtriton.errors import KernelError
from rtriton.ir import Op
from rtriton.types import Tile


@lowering("inline_asm", "inline_asm_volatile")
def _assembly(e: Emitter, op: Op) -> None:
    volatile = op.kind == "inline_asm_volatile"
    rules = parse_constraints(op.attrs["constraints"])
    operands = [e.regs(v) for v in op.operands]
    count = len(operands[0]) if operands else 1
    outs = [[e.m.reg(REGISTERS[letter]) for _ in range(count)] for letter in rules.outputs]
    owner = _owner(e, op) if volatile else None
    skip = e.m.label("assembled")
    if owner is not None:
        for reg in (r for regs in outs for r in regs):
            e.m(f"mov.{reg.type}", 0, dst=reg)
        e.m.bra(skip, pred=~owner)
    for r in range(count):
        results = [regs[r] for regs in outs]
        given = [regs[r] for regs in operands]
        for k, tied in enumerate(rules.tied):
            if tied is not None:
                e.m(f"mov.{results[tied].type}", given[k], dst=results[tied])
                given[k] = results[tied]
        try:
            text = filled(op.attrs["asm"], [str(reg) for reg in (*results, *given)])
        except ValueError as error:
            raise KernelError(str(error), op.span) from error
        e.m.raw("asm.volatile" if volatile else "asm", f"// inline assembly\n{text.strip()}", given, results)
    if owner is not None:
        e.m.place(skip)
    e.put(op, *outs)


def _owner(e: Emitter, op: Op) -> Reg | None:
    """Who runs volatile assembly on a tile. On scalars every thread does, as in Triton."""
    first = op.operands[0] if op.operands else None
    if first is None or not isinstance(first.type, Tile):
        return None
    return e.owner(e.layout(first))
