"""PTX of the user's own."""
from __future__ import annotations

from rtriton.language.table import READS, WRITES, Const, Operand, op, same_shape
from rtriton.types import Type, with_element


def _assembly(*xs: Operand, asm: Const, constraints: Const, types: Const) -> tuple[Type, ...]:
    if xs:
        same_shape("inline_asm", *xs)
    return tuple(with_element(xs[0], t) if xs else t for t in types)


@op("inline_asm")
def inline_asm(*xs: Operand, asm: Const, constraints: Const, types: Const) -> tuple[Type, ...]:
    """PTX of the user's run on each element, a register an operand, by LLVM's `constraints`; results of `types`."""
    return _assembly(*xs, asm=asm, constraints=constraints, types=types)


@op("inline_asm_volatile", effects=READS | WRITES)
def inline_asm_volatile(*xs: Operand, asm: Const, constraints: Const, types: Const) -> tuple[Type, ...]:
    """inline_asm that does more than give results: it stays where it stands, once for each element."""
    return _assembly(*xs, asm=asm, constraints=constraints, types=types)
