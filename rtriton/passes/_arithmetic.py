"""canonicalize's rules for elementwise ops: constants folded, identities, one spelling for equal expressions.

Constants fold by the table's `meaning` where every machine gives that very result: integers, comparisons, and the
correctly rounded float ops. Float identities are those that hold for -0.0, infinities and NaN too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rtriton.ir import Builder, Op, Value
from rtriton.language import OPS
from rtriton.numerics import value_dtype
from rtriton.passes._facts import Facts, Given, Operands, is_integer
from rtriton.types import DType, Type, element_of, int1, shape_of, with_element

SWAPPED = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le", "eq": "eq", "ne": "ne"}
OPPOSITE = {"lt": "ge", "ge": "lt", "gt": "le", "le": "gt", "eq": "ne", "ne": "eq"}
ON_SELF = {"eq": True, "le": True, "ge": True, "ne": False, "lt": False, "gt": False}
REASSOCIATE = frozenset({"add", "mul", "and", "or", "xor"})
Rule = Callable[[Op, Operands, Builder, Facts], Given]


def fold(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """An op of constants is a constant."""
    if op.kind == "const" or not OPS[op.kind].elementwise or op.kind == "addptr":
        return None
    numbers = [facts.const(v) for v in args]
    if any(n is None for n in numbers) or not _foldable(op, numbers):
        return None
    result = _evaluate(op, [n for n in numbers if n is not None])
    return None if result is None else [build.const(result, op.result.type)]


def _foldable(op: Op, numbers: Sequence[int | float | bool | None]) -> bool:
    assert op.operands[0] is not None
    source, result = element_of(op.operands[0].type), element_of(op.result.type)
    if source.kind == "p" or result.kind == "p":
        return False
    integers = source.kind in "biu" and result.kind in "biu"
    if op.kind in ("div", "rem") and not numbers[1]:
        return False
    if op.kind in ("shl", "shr") and not 0 <= (numbers[1] or 0) < source.bits:
        return False
    if op.kind == "cast" and source.kind == "f" and result.kind in "iu":
        assert isinstance(result, DType)
        value = numbers[0]
        return value is not None and result.get_int_min_value() <= value <= result.get_int_max_value()
    if op.kind == "cast":
        return abs(numbers[0] or 0) < 2**53 or not np.isfinite(
            numbers[0] or 0
        )  # larger integers would be rounded twice
    return integers or OPS[op.kind].exact


def _evaluate(op: Op, numbers: Sequence[int | float | bool]) -> int | float | bool | None:
    from rtriton.interpret.elementwise import apply

    sources = [element_of(v.type) for v in op.operands if v is not None]
    arrays = [_array(n, t) for n, t in zip(numbers, sources, strict=True)]
    with np.errstate(all="ignore"):
        result = apply(op.kind, arrays, sources, element_of(op.result.type), op.attrs)
    value: int | float | bool = result[0].item()
    return None if value != value else value  # which NaN it is differs between machines


def _array(number: int | float | bool, type: Type) -> np.ndarray[tuple[int], np.dtype[np.generic]]:
    dtype = value_dtype(element_of(type))
    if dtype.kind in "iu":
        return np.array([int(number) & (1 << 64) - 1], np.uint64).astype(dtype)
    return np.array([number], dtype)


def constants(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """A constant's number is of its type's kind: 0.0 where the type is a float."""
    if op.kind != "const":
        return None
    value, kind = op.attrs["value"], element_of(op.attrs["type"]).kind
    wanted = {"f": float, "b": bool}.get(kind, int)
    return None if type(value) is wanted else [build.const(wanted(value), op.attrs["type"])]


def identities(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """x + 0, x * 1, x * 0, x - x, x & x ... and comparisons of x with itself."""
    if len(args) != 2 or op.kind == "addptr" or not OPS[op.kind].elementwise:
        return None
    x, y = args
    assert x is not None and y is not None
    whole, number = is_integer(x.type), facts.const(y)
    if x is y:
        return _on_self(op, x, build, whole)
    if number is None:
        return None
    if op.kind in ("add", "sub") and not whole:
        # x + 0.0 makes 0.0 of -0.0, x + -0.0 does not
        return [x] if number == 0 and str(number).startswith("-") == (op.kind == "add") else None
    if number == OPS[op.kind].unit and element_of(x.type) != int1:
        return [x]
    return _absorbed(op, x, y, number, build) if whole else None


def _on_self(op: Op, x: Value, build: Builder, whole: bool) -> Given:
    if op.kind in ("and", "or", "minimum", "maximum"):
        return [x]
    if op.kind in ("sub", "xor") and whole:
        return [build.const(0, x.type)]
    if op.kind in ON_SELF and whole:
        return [build.const(ON_SELF[op.kind], op.result.type)]
    return None


def _absorbed(op: Op, x: Value, y: Value, number: int | float, build: Builder) -> Given:
    """Integer ops whose constant settles the result, or changes nothing."""
    element = element_of(x.type)
    assert isinstance(element, DType)
    ones = number == (-1 if element.kind == "i" else element.get_int_max_value())
    if op.kind in ("mul", "and") and number == 0:
        return [y]
    if op.kind == "and" and ones:
        return [x]
    if op.kind == "or":
        return [y] if ones else [x] if number == 0 else None
    if op.kind == "xor" and number == 0:
        return [x]
    if op.kind == "rem" and number == 1:
        return [build.const(0, x.type)]
    return None


def constants_right(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """c + x -> x + c and c < x -> x > c for constants and splats; x - c -> x + (-c) for integers."""
    if len(args) != 2 or not OPS[op.kind].elementwise:
        return None
    x, y = args
    assert x is not None and y is not None
    if _filled(x, facts) and not _filled(y, facts):
        if op.kind in SWAPPED:
            return [build.one(SWAPPED[op.kind], y, x)]
        return [build.one(op.kind, y, x)] if OPS[op.kind].commutative else None
    number = facts.const(y)
    if op.kind == "sub" and number is not None and element_of(x.type).kind in "iu":
        return [build.one("add", x, build.const(_wrapped(-int(number), y.type), y.type))]
    return None


def _wrapped(number: int, type: Type) -> int:
    return int(_array(number, type)[0].item())


def reassociate(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """(x + c1) + c2 -> x + (c1 + c2), and the same with splats of scalars, for integers."""
    if op.kind not in REASSOCIATE or not is_integer(op.result.type):
        return None
    if op.kind in ("add", "mul") and element_of(op.result.type).kind == "b":
        return None
    inner = facts.by(args[0], op.kind)
    if inner is None or not _filled(args[1], facts) or not _filled(inner.operands[1], facts):
        return None
    return [build.one(op.kind, inner.operands[0], build.one(op.kind, inner.operands[1], args[1]))]


def _filled(value: Value | None, facts: Facts) -> bool:
    return facts.by(value, "const", "splat") is not None


def negations(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """not (x < y) -> x >= y for integers, not (x == y) -> x != y; -(-x) -> x."""
    if op.kind == "neg" and (inner := facts.by(args[0], "neg")) is not None:
        assert inner.operands[0] is not None
        return [inner.operands[0]]
    if op.kind != "xor" or element_of(op.result.type) != int1 or not facts.const(args[1]):
        return None
    test = facts.by(args[0], *OPPOSITE)
    if test is None or test.operands[0] is None:
        return None
    if not is_integer(test.operands[0].type) and test.kind not in ("eq", "ne"):
        return None  # of floats that are NaN neither x < y nor x >= y holds
    return [build.one(OPPOSITE[test.kind], *test.operands)]


def selections(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """where of a known condition, of two equal values, of true and false; the condition's negation swaps the values."""
    if op.kind != "where":
        return None
    condition, x, y = args
    assert condition is not None and x is not None and y is not None
    known = facts.const(condition)
    if known is not None:
        return [x if known else y]
    if x is y:
        return [x]
    if x.type == condition.type and facts.const(x) is True and facts.const(y) is False:
        return [condition]
    negated = facts.by(condition, "xor")
    if negated is not None and facts.const(negated.operands[1]):
        return [build.one("where", negated.operands[0], y, x)]
    return None


def casts(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """A cast to the type it has; a bitcast of a bitcast."""
    if op.kind not in ("cast", "bitcast"):
        return None
    (x,) = args
    assert x is not None
    if element_of(x.type) == op.attrs["to"]:
        return [x]
    inner = facts.by(x, "bitcast") if op.kind == "bitcast" else None
    return None if inner is None else [build.one("bitcast", inner.operands[0], to=op.attrs["to"])]


def splat_through(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """f(splat a, splat b) -> splat f(a, b): index arithmetic becomes scalar."""
    if not OPS[op.kind].elementwise or not args or not shape_of(op.result.type):
        return None
    if any(facts.by(v, "const", "splat") is None for v in args) or all(facts.by(v, "const") is not None for v in args):
        return None
    scalars = [facts.scalar(v, build) for v in args]
    result = build.one(op.kind, *scalars, **op.attrs)
    return [build.one("splat", result, shape=shape_of(op.result.type))]


def offsets(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """addptr by 0; by two constants; by a scalar after a tile, which goes to the base instead."""
    if op.kind != "addptr":
        return None
    pointer, offset = args
    assert pointer is not None and offset is not None
    number, inner = facts.const(offset), facts.by(pointer, "addptr")
    if number == 0:
        return [pointer]
    if inner is None or inner.operands[1] is None:
        return None
    before = facts.const(inner.operands[1])
    if number is not None and before is not None and inner.operands[1].type == offset.type:
        return _sum(inner, offset, int(number) + int(before), build)
    if offset.type == inner.operands[1].type and element_of(offset.type).bits == 64:
        return [build.one("addptr", inner.operands[0], build.one("add", inner.operands[1], offset))]
    base = facts.by(inner.operands[0], "splat")
    scalar = facts.scalar(offset, build) if base is not None and before is None else None
    if base is None or scalar is None:
        return None
    moved = build.one("splat", build.one("addptr", base.operands[0], scalar), shape=shape_of(pointer.type))
    return [build.one("addptr", moved, inner.operands[1])]


def _sum(inner: Op, offset: Value, total: int, build: Builder) -> Given:
    element = element_of(offset.type)
    assert isinstance(element, DType)
    if not element.get_int_min_value() <= total <= element.get_int_max_value():
        return None
    return [build.one("addptr", inner.operands[0], build.const(total, with_element(offset.type, element)))]


RULES: tuple[Rule, ...] = (
    constants, fold, casts, selections, constants_right, identities, negations, reassociate, offsets, splat_through
)  # fmt: skip
