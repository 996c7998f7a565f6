"""Axis info: what is known of the numbers in a tile along each axis, so that memory accesses may be wide.

axis_facts.py says what a fact is, axis_rules.py what each op makes of facts; here they go through loops and branches.
Loops: start from the initial value, meet with what is yielded until nothing changes.  What the kernel's author assumes
(`tl.assume(n % 16 == 0)`, `tl.assume(n > 0)`) outside of loops and branches holds from the value's making on.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import gcd

from rtriton.ir import Block, Kernel, Op, Value, definitions
from rtriton.passes.analysis.axis_facts import AxisInfo, Table, divisor, meet, unknown
from rtriton.passes.analysis.axis_rules import RULES
from rtriton.types import element_of

__all__ = ["AxisInfo", "Table", "axis_info"]

Claims = dict[Value, tuple[int, bool]]  # what an integer is divisible by, whether it is never negative
AT_LEAST = {"gt": -1, "ge": 0}  # x > -1, x >= 0


def axis_info(kernel: Kernel) -> Table:
    """The facts about every integer and pointer of a kernel (others are unknown, masks have constancy)."""
    walk = _Walk(_claims(kernel))
    divisible = kernel.attrs.get("divisible", {})
    for i, param in enumerate(kernel.params):
        walk.note(param, replace(unknown(param.type), divisibility=(divisor(divisible.get(i, 1)),)))
    walk.block(kernel.body)
    return walk.table


class _Walk:
    def __init__(self, claims: Claims) -> None:
        self.claims = claims
        self.table: Table = {}

    def note(self, value: Value, info: AxisInfo) -> None:
        if value in self.claims:
            by, positive = self.claims[value]
            divisibility = tuple(max(d, by) for d in info.divisibility)
            info = replace(info, divisibility=divisibility, positive=info.positive or positive)
        self.table[value] = info

    def get(self, op: Op, i: int) -> AxisInfo:
        value = op.operands[i]
        assert value is not None
        return self.table[value]

    def block(self, block: Block) -> None:
        for op in block.ops:
            self.op(op)

    def op(self, op: Op) -> None:
        if op.kind == "for":
            self.for_(op)
        elif op.kind == "while":
            self.while_(op)
        elif op.kind == "if":
            self.if_(op)
        else:
            rule = RULES.get(op.kind)
            info = rule(op, self.table) if rule is not None else None
            for i, result in enumerate(op.results):
                self.note(result, info if info is not None and i == 0 else unknown(result.type))
            for region in op.regions:
                for param in region.params:
                    self.note(param, unknown(param.type))
                self.block(region)

    def for_(self, op: Op) -> None:
        (body,) = op.regions
        low, step = self.get(op, 0), self.get(op, 2)
        index = replace(low, divisibility=(gcd(low.divisibility[0], step.divisibility[0]),), value=None)
        self.note(body.params[0], replace(index, positive=low.positive and step.positive))
        init = [self.table[v] for v in op.operands[3:] if v is not None]
        self.settle(init, body.params[1:], lambda: self.yields(body))
        for result, param in zip(op.results, body.params[1:], strict=True):
            self.note(result, self.table[param])

    def while_(self, op: Op) -> None:
        test, body = op.regions
        init = [self.table[v] for v in op.operands if v is not None]

        def turn() -> list[AxisInfo]:
            for mine, param in zip(test.params, body.params, strict=True):
                self.note(mine, self.table[param])
            self.block(test)
            return self.yields(body)

        self.settle(init, body.params, turn)
        for result, param in zip(op.results, body.params, strict=True):
            self.note(result, self.table[param])

    def if_(self, op: Op) -> None:
        for region in op.regions:
            self.block(region)
        then, otherwise = op.regions
        for result, a, b in zip(op.results, then.yielded, otherwise.yielded, strict=True):
            self.note(result, meet(self.table[a], self.table[b]))

    def yields(self, body: Block) -> list[AxisInfo]:
        self.block(body)
        return [self.table[v] for v in body.yielded]

    def settle(self, init: list[AxisInfo], params: Sequence[Value], turn: Callable[[], list[AxisInfo]]) -> None:
        """Meet the carried facts with what a turn of the loop yields until they stand still."""
        now = init
        while True:
            self.table.update(zip(params, now, strict=True))
            after = [meet(a, b) for a, b in zip(now, turn(), strict=True)]
            if after == now:
                return
            now = after


def _claims(kernel: Kernel) -> Claims:
    """What the kernel assumes of integers."""
    found: Claims = {}
    conditions = [op.operands[0] for op in kernel.body.ops if op.kind == "assume"]
    made = definitions(kernel.body) if conditions else {}
    while conditions:
        condition = conditions.pop()
        op = made.get(condition) if condition is not None else None
        if op is not None and op.kind == "and":
            conditions += op.operands
        claim = _claim(op, made) if op is not None else None
        if claim is not None:
            value, by, positive = claim
            before = found.get(value, (1, False))
            found[value] = (max(before[0], by), before[1] or positive)
    return found


def _claim(op: Op, made: dict[Value, Op]) -> tuple[Value, int, bool] | None:
    """The integer that a comparison says something of: a divisor, and whether it is never negative."""
    value, bound = (*op.operands, None, None)[:2]
    number = _number(bound, made)
    if value is None or number is None:
        return None
    if op.kind in AT_LEAST and number >= AT_LEAST[op.kind]:
        return value, 1, True
    rest = made.get(value)
    if op.kind != "eq" or number != 0 or rest is None or rest.kind not in ("rem", "and"):
        return None
    inner, by = rest.operands[:2]
    size = _number(by, made)
    if inner is None or size is None or size <= 0:
        return None
    return inner, divisor(size if rest.kind == "rem" else size + 1), False


def _number(value: Value | None, made: dict[Value, Op]) -> int | None:
    op = made.get(value) if value is not None else None
    if op is None or op.kind != "const" or element_of(op.result.type).kind not in "iu":
        return None
    return int(op.attrs["value"])
