"""Axis info: what is known of the numbers in a tile along each axis, so that memory accesses may be wide.

    contiguity[d]    runs of this many elements along d rise by one
    divisibility[d]  divides the first element of each such run (a pointer: in bytes)
    constancy[d]     runs of this many elements along d are equal
    value            the number itself where it is one constant
    positive         never negative (so that C's truncating division is floor)

A scalar has one axis of size 1.  Pointers count contiguity in elements.  Facts hold if the 32-bit arithmetic of
offsets does not wrap, which a kernel's author owes, and divisors are taken to be positive.  Loops: start from the
initial value, meet with what is yielded until nothing changes.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import gcd

from rtriton.ir import Block, Kernel, Op, Value
from rtriton.types import Pointer, Type, element_of, shape_of

MOST = 1 << 30
"""What 0 is divisible by: more than anyone asks."""


@dataclass(frozen=True)
class AxisInfo:
    contiguity: tuple[int, ...]
    divisibility: tuple[int, ...]
    constancy: tuple[int, ...]
    value: int | None = None
    positive: bool = False

    @property
    def rank(self) -> int:
        return len(self.contiguity)

    def divides(self, axis: int) -> int:
        """What every element along `axis` is divisible by, not only the first of each run."""
        return self.divisibility[axis] if self.contiguity[axis] == 1 else 1

    @property
    def divides_all(self) -> int:
        return max(self.divides(d) for d in range(self.rank))


Table = dict[Value, AxisInfo]


def shape_at(type: Type) -> tuple[int, ...]:
    return shape_of(type) or (1,)


def unknown(type: Type) -> AxisInfo:
    ones = (1,) * len(shape_at(type))
    return AxisInfo(ones, ones, ones)


def divisor(n: int) -> int:
    """The largest power of two that divides n, at most MOST."""
    return min(n & -n, MOST) if n else MOST


def constant(value: int, shape: tuple[int, ...]) -> AxisInfo:
    return AxisInfo((1,) * len(shape), (divisor(value),) * len(shape), shape, value, value >= 0)


def meet(a: AxisInfo, b: AxisInfo) -> AxisInfo:
    """What holds of both."""
    contiguity = tuple(map(gcd, a.contiguity, b.contiguity))
    return AxisInfo(
        contiguity,
        tuple(gcd(_starts(a, d, c), _starts(b, d, c)) for d, c in enumerate(contiguity)),
        tuple(map(gcd, a.constancy, b.constancy)),
        a.value if a.value == b.value else None,
        a.positive and b.positive,
    )


def _starts(info: AxisInfo, axis: int, run: int) -> int:
    """What divides the first elements of runs of `run`, shorter than the known ones."""
    known = info.contiguity[axis]
    return info.divisibility[axis] if known == run or known == 1 else gcd(info.divisibility[axis], run)


def axis_info(kernel: Kernel) -> Table:
    """The facts about every integer and pointer of a kernel (others are unknown, masks have constancy)."""
    table: Table = {}
    divisible = kernel.attrs.get("divisible", {})
    for i, param in enumerate(kernel.params):
        table[param] = replace(unknown(param.type), divisibility=(divisor(divisible.get(i, 1)),))
    _block(kernel.body, table)
    return table


def _block(block: Block, table: Table) -> None:
    for op in block.ops:
        if op.kind == "for":
            _for(op, table)
        elif op.kind == "while":
            _while(op, table)
        elif op.kind == "if":
            _if(op, table)
        else:
            rule = RULES.get(op.kind)
            infos = rule(op, table) if rule is not None else None
            for i, result in enumerate(op.results):
                table[result] = infos if infos is not None and i == 0 else unknown(result.type)
            for region in op.regions:
                for param in region.params:
                    table[param] = unknown(param.type)
                _block(region, table)


def _get(op: Op, i: int, table: Table) -> AxisInfo:
    value = op.operands[i]
    assert value is not None
    return table[value]


def _for(op: Op, table: Table) -> None:
    (body,) = op.regions
    low, step = _get(op, 0, table), _get(op, 2, table)
    rises = step.value is not None and step.value > 0
    index = replace(low, divisibility=(gcd(low.divisibility[0], step.divisibility[0]),), value=None)
    table[body.params[0]] = replace(index, positive=low.positive and rises)
    init = [table[v] for v in op.operands[3:] if v is not None]
    _settle(init, body.params[1:], lambda: _yields(body, table), table)
    for result, param in zip(op.results, body.params[1:], strict=True):
        table[result] = table[param]


def _yields(body: Block, table: Table) -> list[AxisInfo]:
    _block(body, table)
    return [table[v] for v in body.yielded]


def _while(op: Op, table: Table) -> None:
    test, body = op.regions
    init = [table[v] for v in op.operands if v is not None]

    def turn() -> list[AxisInfo]:
        for mine, param in zip(test.params, body.params, strict=True):
            table[mine] = table[param]
        _block(test, table)
        return _yields(body, table)

    _settle(init, body.params, turn, table)
    for result, param in zip(op.results, body.params, strict=True):
        table[result] = table[param]


def _settle(init: list[AxisInfo], params: Sequence[Value], turn: Callable[[], list[AxisInfo]], table: Table) -> None:
    """Meet the carried facts with what a turn of the loop yields until they stand still."""
    now = init
    while True:
        table.update(zip(params, now, strict=True))
        after = [meet(a, b) for a, b in zip(now, turn(), strict=True)]
        if after == now:
            return
        now = after


def _if(op: Op, table: Table) -> None:
    for region in op.regions:
        _block(region, table)
    then, otherwise = op.regions
    for result, a, b in zip(op.results, then.yielded, otherwise.yielded, strict=True):
        table[result] = meet(table[a], table[b])


# -- one rule per op -------------------------------------------------------------------------------------------------

Rule = Callable[[Op, Table], AxisInfo]


def _two(op: Op, table: Table) -> tuple[AxisInfo, AxisInfo, tuple[int, ...]]:
    return _get(op, 0, table), _get(op, 1, table), shape_at(op.result.type)


def _const(op: Op, table: Table) -> AxisInfo:
    value = op.attrs["value"]
    type = op.result.type
    return constant(int(value), shape_at(type)) if element_of(type).kind in "biu" else _same(type)


def _same(type: Type) -> AxisInfo:
    return replace(unknown(type), constancy=shape_at(type))


def _arange(op: Op, table: Table) -> AxisInfo:
    start, size = op.attrs["start"], op.attrs["end"] - op.attrs["start"]
    return AxisInfo((size,), (divisor(start),), (1,), None, start >= 0)


def _program_id(op: Op, table: Table) -> AxisInfo:
    return AxisInfo((1,), (1,), (1,), None, True)


def _add(op: Op, table: Table) -> AxisInfo:
    a, b, shape = _two(op, table)
    scale = 1
    if op.kind == "addptr":
        element = element_of(op.result.type)
        assert isinstance(element, Pointer)
        scale = element.element.itemsize
    sign = -1 if op.kind == "sub" else 1
    contiguity: list[int] = []
    divisibility: list[int] = []
    for d in range(a.rank):
        forward = gcd(a.contiguity[d], b.constancy[d])
        backward = gcd(a.constancy[d], b.contiguity[d]) if sign > 0 else 1
        run = max(forward, backward)
        contiguity.append(run)
        divisibility.append(gcd(_starts_bytes(a, d, run, scale), _starts(b, d, run) * scale))
    value = None
    if a.value is not None and b.value is not None and op.kind != "addptr":
        return constant(a.value + sign * b.value, shape)
    positive = a.positive and b.positive and sign > 0
    return AxisInfo(tuple(contiguity), tuple(min(n, MOST) for n in divisibility), _both(a, b), value, positive)


def _starts_bytes(info: AxisInfo, axis: int, run: int, scale: int) -> int:
    known = info.contiguity[axis]
    return info.divisibility[axis] if known in (run, 1) else gcd(info.divisibility[axis], run * scale)


def _both(a: AxisInfo, b: AxisInfo) -> tuple[int, ...]:
    return tuple(map(gcd, a.constancy, b.constancy))


def _mul(op: Op, table: Table) -> AxisInfo:
    a, b, shape = _two(op, table)
    if a.value is not None and b.value is not None:
        return constant(a.value * b.value, shape)
    for one, other in ((a, b), (b, a)):
        if one.value == 1:
            return other
    ones = (1,) * a.rank
    divisibility = tuple(min(a.divides(d) * b.divides(d), MOST) for d in range(a.rank))
    return AxisInfo(ones, divisibility, _both(a, b), None, a.positive and b.positive)


def _shl(op: Op, table: Table) -> AxisInfo:
    a, b, _ = _two(op, table)
    if b.value is None or not 0 <= b.value < 31:
        return replace(unknown(op.result.type), constancy=_both(a, b))
    divisibility = tuple(min(a.divides(d) << b.value, MOST) for d in range(a.rank))
    return AxisInfo((1,) * a.rank, divisibility, _both(a, b), None, a.positive)


def _div(op: Op, table: Table) -> AxisInfo:
    a, b, shape = _two(op, table)
    positive = a.positive  # divisors are taken to be positive
    by = b.value
    if not by or by < 0 or not positive:
        return replace(unknown(op.result.type), constancy=_both(a, b), positive=positive)
    if a.value is not None:
        return constant(a.value // by, shape)
    constancy = tuple(
        max(gcd(a.constancy[d], shape[d]), gcd(gcd(a.contiguity[d], divisor(by)), _starts(a, d, a.contiguity[d])))
        for d in range(a.rank)
    )
    divisibility = tuple(max(1, a.divides(d) // by) if a.divides(d) % by == 0 else 1 for d in range(a.rank))
    return AxisInfo((1,) * a.rank, divisibility, constancy, None, positive)


def _rem(op: Op, table: Table) -> AxisInfo:
    a, b, shape = _two(op, table)
    if not (a.positive and b.divides_all > 1):
        return replace(unknown(op.result.type), constancy=_both(a, b), positive=a.positive)
    contiguity = tuple(
        gcd(gcd(a.contiguity[d], a.divisibility[d]), b.divides_all) if b.constancy[d] == shape[d] else 1
        for d in range(a.rank)
    )
    divisibility = tuple(gcd(_starts(a, d, contiguity[d]), b.divides_all) for d in range(a.rank))
    return AxisInfo(contiguity, divisibility, _both(a, b), None, True)


def _compare(op: Op, table: Table) -> AxisInfo:
    a, b, shape = _two(op, table)
    constancy = list(_both(a, b))
    for d in range(a.rank):
        if op.kind in ("lt", "ge"):  # x < y for a run x, x + 1 ... and a y that multiples of the run's length reach
            constancy[d] = max(constancy[d], _steady(a, b, d))
        elif op.kind in ("gt", "le"):
            constancy[d] = max(constancy[d], _steady(b, a, d))
    return AxisInfo((1,) * len(shape), (1,) * len(shape), tuple(constancy))


def _steady(run: AxisInfo, bound: AxisInfo, axis: int) -> int:
    width = gcd(gcd(run.contiguity[axis], run.divisibility[axis]), bound.constancy[axis])
    return gcd(width, bound.divides(axis))


def _pointwise(op: Op, table: Table) -> AxisInfo:
    """Nothing but constancy survives."""
    infos = [table[v] for v in op.operands if v is not None]
    constancy = infos[0].constancy
    for info in infos[1:]:
        constancy = tuple(map(gcd, constancy, info.constancy))
    return replace(unknown(op.result.type), constancy=constancy)


def _where(op: Op, table: Table) -> AxisInfo:
    condition, a, b = (_get(op, i, table) for i in range(3))
    both = meet(a, b)
    contiguity = tuple(map(gcd, both.contiguity, condition.constancy))
    divisibility = tuple(gcd(_starts(a, d, c), _starts(b, d, c)) for d, c in enumerate(contiguity))
    return AxisInfo(
        contiguity, divisibility, tuple(map(gcd, both.constancy, condition.constancy)), both.value, both.positive
    )


def _smaller(op: Op, table: Table) -> AxisInfo:
    info = _pointwise(op, table)
    a, b = _get(op, 0, table), _get(op, 1, table)
    if op.kind == "maximum":
        return replace(info, positive=a.positive or b.positive)
    return replace(info, positive=a.positive and b.positive)


def _cast(op: Op, table: Table) -> AxisInfo:
    info = _get(op, 0, table)
    old, new = element_of(_type(op, 0)), element_of(op.result.type)
    if old.kind in "biu" and new.kind in "biu" and new.bits >= old.bits and old.kind != "b":
        return replace(info, positive=info.positive or new.kind == "u")
    if old.kind in "biup" and new.kind in "iup" and old.bits == new.bits:
        return info
    return _pointwise(op, table)


def _type(op: Op, i: int) -> Type:
    value = op.operands[i]
    assert value is not None
    return value.type


def _splat(op: Op, table: Table) -> AxisInfo:
    info = _get(op, 0, table)
    shape = shape_at(op.result.type)
    return AxisInfo((1,) * len(shape), info.divisibility * len(shape), shape, info.value, info.positive)


def _expand(op: Op, table: Table) -> AxisInfo:
    info, axis = _get(op, 0, table), op.attrs["axis"]

    def insert(of: tuple[int, ...], new: int) -> tuple[int, ...]:
        return (*of[:axis], new, *of[axis:])

    return replace(
        info,
        contiguity=insert(info.contiguity, 1),
        divisibility=insert(info.divisibility, info.divides_all),
        constancy=insert(info.constancy, 1),
    )


def _broadcast(op: Op, table: Table) -> AxisInfo:
    info, shape = _get(op, 0, table), shape_at(op.result.type)
    source = shape_at(_type(op, 0))
    constancy = tuple(c if m == n else n for c, m, n in zip(info.constancy, source, shape, strict=True))
    return replace(info, constancy=constancy)


def _trans(op: Op, table: Table) -> AxisInfo:
    info = _get(op, 0, table)
    order: tuple[int, ...] = op.attrs["order"]

    def turn(of: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(of[i] for i in order)

    return replace(
        info, contiguity=turn(info.contiguity), divisibility=turn(info.divisibility), constancy=turn(info.constancy)
    )


def _reshape(op: Op, table: Table) -> AxisInfo:
    """Facts survive where only axes of size 1 come or go, and along the last axis where it is cut or merged."""
    info = _get(op, 0, table)
    source, shape = shape_at(_type(op, 0)), shape_at(op.result.type)
    if info.constancy == source:
        return AxisInfo((1,) * len(shape), (info.divides_all,) * len(shape), shape, info.value, info.positive)
    wide = [d for d, n in enumerate(source) if n > 1]
    if [source[d] for d in wide] == [n for n in shape if n > 1]:
        return _stretched(info, wide, shape)
    result, last = unknown(op.result.type), len(shape) - 1
    contiguity = gcd(info.contiguity[-1], shape[last])
    return replace(
        result,
        contiguity=(*result.contiguity[:last], contiguity),
        divisibility=(*result.divisibility[:last], _starts(info, info.rank - 1, contiguity)),
        constancy=(*result.constancy[:last], gcd(info.constancy[-1], shape[last])),
        positive=info.positive,
    )


def _stretched(info: AxisInfo, wide: list[int], shape: tuple[int, ...]) -> AxisInfo:
    """`info` of the axes `wide` put where `shape` is larger than 1."""
    rest = iter(wide)
    axes = [next(rest) if n > 1 else None for n in shape]
    return replace(
        info,
        contiguity=tuple(1 if d is None else info.contiguity[d] for d in axes),
        divisibility=tuple(info.divides_all if d is None else info.divisibility[d] for d in axes),
        constancy=tuple(1 if d is None else info.constancy[d] for d in axes),
    )


def _load(op: Op, table: Table) -> AxisInfo:
    """Equal pointers (under equal masks) load equal values."""
    constancy = _get(op, 0, table).constancy
    for i in range(1, len(op.operands)):
        if op.operands[i] is not None:
            constancy = tuple(map(gcd, constancy, _get(op, i, table).constancy))
    return replace(unknown(op.result.type), constancy=constancy)


def _hint(op: Op, table: Table) -> AxisInfo:
    info = _get(op, 0, table)
    values: int | tuple[int, ...] = op.attrs["values"]
    given = (values,) if isinstance(values, int) else tuple(values)
    if len(given) != info.rank:
        raise ValueError(f"{op.kind} needs one number for each of {info.rank} axes, got {given}")
    if op.kind == "multiple_of":
        pairs = zip(info.divisibility, given, strict=True)
        return replace(info, divisibility=tuple(max(a, divisor(b)) for a, b in pairs))
    field = "contiguity" if op.kind == "max_contiguous" else "constancy"
    old = getattr(info, field)
    new = tuple(max(a, divisor(b)) for a, b in zip(old, given, strict=True))
    return replace(info, **{field: new})


def _first(op: Op, table: Table) -> AxisInfo:
    return _get(op, 0, table)


RULES: dict[str, Rule] = {
    "const": _const, "arange": _arange, "program_id": _program_id, "num_programs": _program_id,
    "add": _add, "sub": _add, "addptr": _add, "mul": _mul, "shl": _shl, "div": _div, "rem": _rem,
    "where": _where, "cast": _cast, "splat": _splat, "expand_dims": _expand, "broadcast": _broadcast,
    "trans": _trans, "reshape": _reshape, "load": _load, "convert_layout": _first,
    "multiple_of": _hint, "max_contiguous": _hint, "max_constancy": _hint,
    "minimum": _smaller, "maximum": _smaller,
}  # fmt: skip
RULES.update(dict.fromkeys(("lt", "le", "gt", "ge"), _compare))
RULES.update(dict.fromkeys(("eq", "ne", "and", "or", "xor", "shr", "neg", "abs", "bitcast", "umulhi"), _pointwise))
