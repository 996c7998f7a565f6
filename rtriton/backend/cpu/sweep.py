"""Holding a value in passing: the first consumer that walks it anyway writes it to the arena as it goes.

exp(x - max) of a softmax is summed, then divided by the sum: it is held, because computing it twice costs more than
reading it back. Computing it in a loop of its own would walk the tile once more than needed. So a value to be held
waits until its first consumer: if that is a reduction or a store over the same places, the value is written there;
otherwise it is computed just before.
"""

from __future__ import annotations

from rtriton.backend.cpu.lower import Lowering
from rtriton.ir import Op, Value
from rtriton.language.table import OPS
from rtriton.types import shape_of

SWEEPING = ("reduce", "store")


def prepare(low: Lowering, op: Op) -> None:
    """Before a consumer is emitted: settle the waiting values that it reaches, in passing where that can be."""
    if op.kind not in SWEEPING:
        for value in list(low.waiting):
            settle(low, value)
        return
    operands = [v for v in op.operands if v is not None and shape_of(v.type)]
    if not operands:
        return
    shape = shape_of(operands[0].type)
    axis = low.axis_for(operands)
    lanes = low.lanes_for(shape, axis)
    for value in list(low.waiting):
        reached, elsewhere = _reached(low, operands, value)
        suits = (
            reached and not elsewhere and shape_of(value.type) == shape and lanes > 0 and low.axis_for([value]) == axis
        )
        if suits:
            low.sweep[value] = low.new_buffer(value, axis)
        elif reached or op.kind == "store":
            settle(low, value)


def finish(low: Lowering) -> None:
    """After the consumer: what it wrote is held."""
    for value, buffer in low.sweep.items():
        low.held[value] = buffer
        del low.waiting[value]
    low.sweep = {}


def settle(low: Lowering, value: Value) -> None:
    if value in low.waiting:
        del low.waiting[value]
        low.hold(value)


def _reached(low: Lowering, operands: list[Value], wanted: Value) -> tuple[bool, bool]:
    """Whether evaluating the operands reaches a value, and whether it does at other places than theirs."""
    seen: set[tuple[Value, bool]] = set()
    todo = [(v, False) for v in operands]
    found = {False: False, True: False}
    while todo:
        value, moved = todo.pop()
        if (value, moved) in seen or value in low.held:
            continue
        seen.add((value, moved))
        if value is wanted:
            found[moved] = True
            continue
        op = low.facts.definition.get(value)
        if op is None or not shape_of(value.type) or op.regions:
            continue
        row = OPS.get(op.kind)
        same_place = op.kind == "load" or (row is not None and row.elementwise)
        todo += [(v, moved or not same_place) for v in op.operands if v is not None]
    return found[False] or found[True], found[True]
