"""Comparisons into predicates, and selections."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rtriton.backend.ptx.emulate.decode import Decoder, family
from rtriton.backend.ptx.emulate.floating import Kind
from rtriton.backend.ptx.emulate.formats import decode, flush
from rtriton.backend.ptx.emulate.integer import halves
from rtriton.backend.ptx.emulate.program import Instruction
from rtriton.backend.ptx.emulate.state import Index, Step, where

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": np.equal, "ne": lambda a, b: (a < b) | (a > b), "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
    "equ": lambda a, b: ~((a < b) | (a > b)), "neu": np.not_equal, "ltu": lambda a, b: ~(a >= b),
    "leu": lambda a, b: ~(a > b), "gtu": lambda a, b: ~(a <= b), "geu": lambda a, b: ~(a < b),
    "num": lambda a, b: ~(np.isnan(a) | np.isnan(b)), "nan": lambda a, b: np.isnan(a) | np.isnan(b),
}
JOINS: dict[str, Callable[[Any, Any], Any]] = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}


@family("setp")
def setp(d: Decoder, inst: Instruction) -> Step:
    """Compare, join with a predicate if one is given; the second result is the opposite, joined likewise."""
    type, compare = inst.parts[-1], COMPARISONS[inst.parts[1]]
    join = JOINS.get(inst.parts[2])
    if type in ("f16x2", "bf16x2"):
        return _packed(d, inst, compare)
    first, second = d.results(inst.operands[0])
    put, put_opposite = d.put(first, "pred"), d.put(second, "pred")
    a, b = d.get(inst.operands[1], type), d.get(inst.operands[2], type)
    third = d.get(inst.operands[3], "pred") if join else None
    ftz = "ftz" in inst.parts and type == "f32"

    def run(index: Index) -> None:
        left, right = a(index), b(index)
        if type == "bf16":
            left, right = decode(left, type), decode(right, type)
        elif ftz:
            left, right = flush(left), flush(right)
        holds = compare(left, right)
        opposite = ~holds
        if join and third:
            joined = third(index)
            holds, opposite = join(holds, joined), join(opposite, joined)
        put(index, holds)
        put_opposite(index, opposite)

    return run


def _packed(d: Decoder, inst: Instruction, compare: Callable[[Any, Any], Any]) -> Step:
    """One predicate for each half."""
    kind = Kind.of(inst)
    puts = [d.put(result, "pred") for result in d.results(inst.operands[0])]
    gets = [d.get(operand, kind.name) for operand in inst.operands[1:3]]
    dtype = np.float16 if kind.type == "f16" else np.uint16

    def run(index: Index) -> None:
        values = [decode(halves(get(index), dtype), kind.type) for get in gets]
        holds = compare(values[0], values[1])
        for i, put in enumerate(puts):
            put(index, holds[i::2].copy())

    return run


@family("selp")
def selp(d: Decoder, inst: Instruction) -> Step:
    """The first where the predicate holds, else the second."""
    type = inst.parts[1]
    put, which = d.put(inst.operands[0], type), d.get(inst.operands[3], "pred")
    a, b = d.get(inst.operands[1], type), d.get(inst.operands[2], type)
    return lambda index: put(index, where(which(index), a(index), b(index)))


@family("slct")
def slct(d: Decoder, inst: Instruction) -> Step:
    """The first where the third operand is not negative, else the second."""
    type, sign = inst.parts[-2], inst.parts[-1]
    put, which = d.put(inst.operands[0], type), d.get(inst.operands[3], sign)
    a, b = d.get(inst.operands[1], type), d.get(inst.operands[2], type)
    return lambda index: put(index, where(which(index) >= 0, a(index), b(index)))
