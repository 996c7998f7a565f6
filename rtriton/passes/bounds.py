"""Comparisons that the ranges of both sides decide: masks of tiles whose sizes are constants.

    before:  %c: 128xi32 = arange {start = 0, end = 128}        after:  %m: 128xi1 = const {value = true, ...}
             %n: 128xi32 = const {value = 128, ...}
             %m: 128xi1 = lt %c, %n

Every integer gets the smallest and the largest number that it may be, where that is known: of constants, ranges,
indexes of loops with constant ends, remainders, bits, and what is computed from them without leaving its type.  A mask
that always holds then costs nothing: no predicate, no register for what is loaded instead, no narrower access.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rtriton.ir import Block, Builder, Kernel, Op, Value, rebuild
from rtriton.language import infer
from rtriton.passes import register
from rtriton.types import DType, Type, element_of

Range = tuple[int, int]
Table = dict[Value, Range]
MOST_PROGRAMS = 2**31 - 1


@register
def bounds(kernel: Kernel, target: Any) -> Kernel:
    """Make constants of comparisons that always come out alike."""
    table: Table = {}
    decided: dict[Op, bool] = {}
    _walk(kernel.body, table, decided)
    if not decided:
        return kernel
    answers = {op.result: answer for op, answer in decided.items()}

    def rule(op: Op, operands: tuple[Value | None, ...], build: Builder) -> list[Value] | None:
        answer = answers.get(op.results[0]) if op.results else None
        return None if answer is None else [build.const(answer, op.result.type)]

    return rebuild(kernel, rule, infer)


def _walk(block: Block, table: Table, decided: dict[Op, bool]) -> None:
    for op in block.ops:
        if op.kind == "for":
            index = _index(op, table)
            if index is not None:
                table[op.regions[0].params[0]] = index
        for region in op.regions:
            _walk(region, table, decided)
        if op.kind in COMPARE:
            a, b = (table.get(v) if v is not None else None for v in op.operands[:2])
            answer = COMPARE[op.kind](a, b) if a is not None and b is not None else None
            if answer is not None:
                decided[op] = answer
        elif op.kind == "if":
            _join(op, table)
        elif len(op.results) == 1 and op.kind in RULES:
            found = RULES[op.kind](op, [table.get(v) if v is not None else None for v in op.operands])
            if found is not None and _fits(found, op.result.type):
                table[op.result] = found


def _index(loop: Op, table: Table) -> Range | None:
    """Of a loop that rises by a constant: from its lower end to the last number that is reached."""
    low, high, step = (table.get(v) if v is not None else None for v in loop.operands[:3])
    if low is None or high is None or step is None or step[0] != step[1] or step[0] <= 0:
        return None
    last = high[1] - 1
    if low[0] == low[1]:
        last -= (last - low[0]) % step[0]
    return low[0], max(low[0], last)


def _join(op: Op, table: Table) -> None:
    then, otherwise = op.regions
    for result, a, b in zip(op.results, then.yielded, otherwise.yielded, strict=True):
        if a in table and b in table:
            table[result] = (min(table[a][0], table[b][0]), max(table[a][1], table[b][1]))


def _fits(found: Range, type: Type) -> bool:
    element = element_of(type)
    if not isinstance(element, DType) or element.kind not in "iu":
        return False
    return element.get_int_min_value() <= found[0] and found[1] <= element.get_int_max_value()


# -- one rule per op -------------------------------------------------------------------------------------------------

Given = list[Range | None]


def _same(op: Op, given: Given) -> Range | None:
    return given[0]


def _const(op: Op, given: Given) -> Range | None:
    value = op.attrs["value"]
    return (int(value), int(value)) if isinstance(value, int) else None


def _corners(combine: Callable[[int, int], int]) -> Callable[[Op, Given], Range | None]:
    """Of what rises or falls with each side: the extremes are at the ends of both."""

    def rule(op: Op, given: Given) -> Range | None:
        a, b = given[:2]
        if a is None or b is None:
            return None
        found = [combine(x, y) for x in a for y in b]
        return min(found), max(found)

    return rule


def _div(op: Op, given: Given) -> Range | None:
    a, b = given[:2]
    if a is None or b is None or a[0] < 0 or b[0] <= 0:
        return None
    return a[0] // b[1], a[1] // b[0]


def _rem(op: Op, given: Given) -> Range | None:
    a, b = given[:2]
    if a is None or b is None or a[0] < 0 or b[0] <= 0:
        return None
    return (a[0], a[1]) if a[1] < b[0] else (0, min(a[1], b[1] - 1))


def _and(op: Op, given: Given) -> Range | None:
    """With a number that is not negative: no more than that."""
    most = [r[1] for r in given if r is not None and r[0] >= 0]
    return (0, min(most)) if most else None


def _shift(op: Op, given: Given) -> Range | None:
    a, b = given[:2]
    if a is None or b is None or b[0] != b[1] or not 0 <= b[0] < 63:
        return None
    return (a[0] << b[0], a[1] << b[0]) if op.kind == "shl" else (a[0] >> b[0], a[1] >> b[0])


def _where(op: Op, given: Given) -> Range | None:
    _, a, b = given
    return None if a is None or b is None else (min(a[0], b[0]), max(a[1], b[1]))


RULES: dict[str, Callable[[Op, Given], Range | None]] = {
    "const": _const, "arange": lambda op, _: (op.attrs["start"], op.attrs["end"] - 1),
    "program_id": lambda op, _: (0, MOST_PROGRAMS - 1), "num_programs": lambda op, _: (1, MOST_PROGRAMS),
    "add": _corners(lambda x, y: x + y), "sub": _corners(lambda x, y: x - y), "mul": _corners(lambda x, y: x * y),
    "minimum": _corners(min), "maximum": _corners(max), "div": _div, "rem": _rem, "and": _and, "where": _where,
    "shl": _shift, "shr": _shift,
    **dict.fromkeys(("splat", "expand_dims", "broadcast", "reshape", "trans", "cast"), _same),
}  # fmt: skip


def _less(a: Range, b: Range) -> bool | None:
    return True if a[1] < b[0] else False if a[0] >= b[1] else None


def _equal(a: Range, b: Range) -> bool | None:
    if a[1] < b[0] or b[1] < a[0]:
        return False
    return True if a[0] == a[1] == b[0] == b[1] else None


def _not(answer: bool | None) -> bool | None:
    return None if answer is None else not answer


COMPARE: dict[str, Callable[[Range, Range], bool | None]] = {
    "lt": _less, "gt": lambda a, b: _less(b, a), "ge": lambda a, b: _not(_less(a, b)),
    "le": lambda a, b: _not(_less(b, a)), "eq": _equal, "ne": lambda a, b: _not(_equal(a, b)),
}  # fmt: skip
