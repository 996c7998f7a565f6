"""What each op makes of the axis info of its operands: one rule per op."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import gcd

from rtriton.ir import Op
from rtriton.passes.analysis.axis_facts import (
    MOST,
    AxisInfo,
    Table,
    constant,
    divisor,
    meet,
    shape_at,
    starts,
    unknown,
)
from rtriton.types import Pointer, Type, element_of

def get(op: Op, i: int, table: Table) -> AxisInfo:
    value = op.operands[i]
    assert value is not None
    return table[value]


Rule = Callable[[Op, Table], AxisInfo]


def _two(op: Op, table: Table) -> tuple[AxisInfo, AxisInfo, tuple[int, ...]]:
    return get(op, 0, table), get(op, 1, table), shape_at(op.result.type)


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
        divisibility.append(gcd(_starts_bytes(a, d, run, scale), starts(b, d, run) * scale))
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
    """Divisors are taken to be positive."""
    a, b, _ = _two(op, table)
    if not b.value or b.value < 0 or not a.positive:
        return replace(unknown(op.result.type), constancy=_both(a, b), positive=a.positive)
    return _floor(op, a, b.value)


def _shr(op: Op, table: Table) -> AxisInfo:
    a, b, _ = _two(op, table)
    if b.value is None or not 0 <= b.value < 31:
        return replace(unknown(op.result.type), constancy=_both(a, b), positive=a.positive)
    return _floor(op, a, 1 << b.value)


def _floor(op: Op, a: AxisInfo, by: int) -> AxisInfo:
    """a / by, rounded down."""
    shape = shape_at(op.result.type)
    if a.value is not None:
        return constant(a.value // by, shape)
    constancy = tuple(
        max(gcd(a.constancy[d], shape[d]), gcd(gcd(a.contiguity[d], divisor(by)), starts(a, d, a.contiguity[d])))
        for d in range(a.rank)
    )
    divisibility = tuple(max(1, a.divides(d) // by) if a.divides(d) % by == 0 else 1 for d in range(a.rank))
    return AxisInfo((1,) * a.rank, divisibility, constancy, None, a.positive)


def _rem(op: Op, table: Table) -> AxisInfo:
    a, b, shape = _two(op, table)
    if not (a.positive and b.divides_all > 1):
        return replace(unknown(op.result.type), constancy=_both(a, b), positive=a.positive)
    contiguity = tuple(
        gcd(gcd(a.contiguity[d], a.divisibility[d]), b.divides_all) if b.constancy[d] == shape[d] else 1
        for d in range(a.rank)
    )
    divisibility = tuple(gcd(starts(a, d, contiguity[d]), b.divides_all) for d in range(a.rank))
    return AxisInfo(contiguity, divisibility, _both(a, b), None, True)


def _and(op: Op, table: Table) -> AxisInfo:
    """With 2**k - 1 a remainder, with -2**k a multiple of 2**k: what runs of so many rise to before."""
    a, b, shape = _two(op, table)
    plain = _pointwise(op, table)
    if element_of(op.result.type).kind == "b":
        return plain
    for x, mask in ((a, b.value), (b, a.value)):
        if mask is None:
            continue
        low = divisor(mask)
        if mask >= 0 and divisor(mask + 1) == mask + 1:
            contiguity = tuple(gcd(gcd(x.contiguity[d], x.divisibility[d]), mask + 1) for d in range(x.rank))
            divisibility = tuple(gcd(starts(x, d, contiguity[d]), mask + 1) for d in range(x.rank))
            return AxisInfo(contiguity, divisibility, x.constancy, None, True)
        runs = tuple(max(x.constancy[d], gcd(x.contiguity[d], gcd(starts(x, d, x.contiguity[d]), low)))
                     for d in range(x.rank)) if mask == -low else plain.constancy
        divisibility = tuple(max(low, x.divides(d)) for d in range(x.rank))
        return AxisInfo((1,) * len(shape), divisibility, runs, None, x.positive or mask >= 0)
    return plain


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
    condition, a, b = (get(op, i, table) for i in range(3))
    both = meet(a, b)
    contiguity = tuple(map(gcd, both.contiguity, condition.constancy))
    divisibility = tuple(gcd(starts(a, d, c), starts(b, d, c)) for d, c in enumerate(contiguity))
    return AxisInfo(
        contiguity, divisibility, tuple(map(gcd, both.constancy, condition.constancy)), both.value, both.positive
    )


def _smaller(op: Op, table: Table) -> AxisInfo:
    a, b, _ = _two(op, table)
    divisibility = tuple(gcd(a.divides(d), b.divides(d)) for d in range(a.rank))
    positive = a.positive or b.positive if op.kind == "maximum" else a.positive and b.positive
    return replace(_pointwise(op, table), divisibility=divisibility, positive=positive)


def _neg(op: Op, table: Table) -> AxisInfo:
    info = get(op, 0, table)
    divisibility = tuple(info.divides(d) for d in range(info.rank))
    return replace(_pointwise(op, table), divisibility=divisibility)


def _cast(op: Op, table: Table) -> AxisInfo:
    info = get(op, 0, table)
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
    info = get(op, 0, table)
    shape = shape_at(op.result.type)
    return AxisInfo((1,) * len(shape), info.divisibility * len(shape), shape, info.value, info.positive)


def _expand(op: Op, table: Table) -> AxisInfo:
    info, axis = get(op, 0, table), op.attrs["axis"]

    def insert(of: tuple[int, ...], new: int) -> tuple[int, ...]:
        return (*of[:axis], new, *of[axis:])

    return replace(
        info,
        contiguity=insert(info.contiguity, 1),
        divisibility=insert(info.divisibility, info.divides_all),
        constancy=insert(info.constancy, 1),
    )


def _broadcast(op: Op, table: Table) -> AxisInfo:
    info, shape = get(op, 0, table), shape_at(op.result.type)
    source = shape_at(_type(op, 0))
    constancy = tuple(c if m == n else n for c, m, n in zip(info.constancy, source, shape, strict=True))
    return replace(info, constancy=constancy)


def _trans(op: Op, table: Table) -> AxisInfo:
    info = get(op, 0, table)
    order: tuple[int, ...] = op.attrs["order"]

    def turn(of: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(of[i] for i in order)

    return replace(
        info, contiguity=turn(info.contiguity), divisibility=turn(info.divisibility), constancy=turn(info.constancy)
    )


def _reshape(op: Op, table: Table) -> AxisInfo:
    """Facts survive where only axes of size 1 come or go, and along the last axis where it is cut or merged."""
    info = get(op, 0, table)
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
        divisibility=(*result.divisibility[:last], starts(info, info.rank - 1, contiguity)),
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
    constancy = get(op, 0, table).constancy
    for i in range(1, len(op.operands)):
        if op.operands[i] is not None:
            constancy = tuple(map(gcd, constancy, get(op, i, table).constancy))
    return replace(unknown(op.result.type), constancy=constancy)


def _hint(op: Op, table: Table) -> AxisInfo:
    info = get(op, 0, table)
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
    return get(op, 0, table)


RULES: dict[str, Rule] = {
    "const": _const, "arange": _arange, "program_id": _program_id, "num_programs": _program_id,
    "add": _add, "sub": _add, "addptr": _add, "mul": _mul, "shl": _shl, "div": _div, "rem": _rem,
    "where": _where, "cast": _cast, "splat": _splat, "expand_dims": _expand, "broadcast": _broadcast,
    "trans": _trans, "reshape": _reshape, "load": _load, "convert_layout": _first,
    "multiple_of": _hint, "max_contiguous": _hint, "max_constancy": _hint,
    "minimum": _smaller, "maximum": _smaller, "shr": _shr, "and": _and, "neg": _neg,
}  # fmt: skip
RULES.update(dict.fromkeys(("lt", "le", "gt", "ge"), _compare))
RULES.update(dict.fromkeys(("eq", "ne", "or", "xor", "abs", "bitcast", "umulhi"), _pointwise))
