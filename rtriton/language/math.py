"""Public arithmetic: `tl.exp(x)`, `tl.maximum(x, y)`, `tl.where(c, x, y)`, `x.to(dtype)` ..."""
from __future__ import annotations

from typing import Any

from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.values import METHODS, PUBLIC, Context, Public, public, unwrap
from rtriton.types import (
    DType, bfloat16, element_of, float8e4b15, float32, float64, int1, int8, int32, int64, show_type, show_types, uint32,
    uint64,
)


class PropagateNan:
    """How `minimum` and `maximum` treat a NaN: NONE gives the other operand, ALL gives NaN."""

    NONE = "none"
    ALL = "all"


def _only(name: str, x: Any, allowed: tuple[DType, ...]) -> None:
    """A ValueError unless x is a Python number or of one of the types."""
    if isinstance(x, Value) and element_of(x.type) not in allowed:
        names = " or ".join(t.short for t in allowed)
        raise ValueError(f"tl.{name} needs {names}, got {s.describe(x)}: cast it with .to(tl.{_spelled(allowed[0])})")


def _spelled(dtype: DType) -> str:
    return dtype.name.replace("fp", "float")


def _unary(name: str, doc: str, allowed: tuple[DType, ...] = (float32, float64)) -> None:
    def fn(b: Context, x: Any) -> Value:
        value = s.to_value(b, x)
        _only(name, value, allowed)
        return b.build.one(name, value)

    fn.__name__, fn.__doc__ = name, doc
    PUBLIC[name] = METHODS[name] = Public(fn, True)


for _name, _doc in (("exp", "e to the power x."), ("exp2", "2 to the power x."), ("log", "The natural logarithm."),
                    ("log2", "The logarithm to base 2."), ("sin", "The sine."), ("cos", "The cosine."),
                    ("sqrt", "The square root (fast)."), ("rsqrt", "1 / sqrt(x)."), ("erf", "The error function."),
                    ("floor", "The largest integer not above x, as a float."),
                    ("ceil", "The smallest integer not below x, as a float.")):
    _unary(_name, _doc)
_unary("sqrt_rn", "The square root, rounded to nearest.", (float32,))


@public(method=True)
def abs_(b: Context, x: Any) -> Any:
    """|x|."""
    x = unwrap(x)
    if isinstance(x, s.Number):
        return x if x >= 0 else -x
    value = s.to_value(b, x)
    if element_of(value.type) == float8e4b15:  # its largest code is above what rounding to it gives: only the sign goes
        bits = b.build.one("bitcast", value, to=int8)
        bits = b.build.one("and", bits, b.build.const(0x7F, bits.type))
        return b.build.one("bitcast", bits, to=float8e4b15)
    return value if element_of(value.type).kind in "bu" else b.build.one("abs", value)


@public()
def add(b: Context, x: Any, y: Any, sanitize_overflow: Any = True) -> Value:
    """x + y. With debug=True an integer overflow stops the kernel, unless `sanitize_overflow` is false."""
    return s.add(b, x, y, bool(unwrap(sanitize_overflow)))


@public()
def sub(b: Context, x: Any, y: Any, sanitize_overflow: Any = True) -> Value:
    """x - y; see `add`."""
    return s.sub(b, x, y, bool(unwrap(sanitize_overflow)))


@public()
def mul(b: Context, x: Any, y: Any, sanitize_overflow: Any = True) -> Value:
    """x * y; see `add`."""
    return s.mul(b, x, y, bool(unwrap(sanitize_overflow)))


def _comparable(b: Context, x: Any) -> Value:
    """x as minimum, maximum and clamp see it: a Python number has its own natural type, bf16 is looked at in f32."""
    value = s.to_value(b, x)
    return s.cast(b, value, float32) if element_of(value.type) == bfloat16 else value


def _extreme(b: Context, kind: str, x: Any, y: Any, propagate_nan: Any) -> Value:
    left, right = s.pair(b, _comparable(b, x), _comparable(b, y))
    how = unwrap(propagate_nan)
    if how not in (PropagateNan.NONE, PropagateNan.ALL):
        raise ValueError(f"propagate_nan is tl.PropagateNan.NONE or ALL, got {s.describe(how)}")
    kind += "_nan" if how == PropagateNan.ALL and element_of(left.type).is_floating() else ""
    return b.build.one(kind, left, right)


@public()
def minimum(b: Context, x: Any, y: Any, propagate_nan: Any = PropagateNan.NONE) -> Value:
    """The smaller of x and y, element by element."""
    return _extreme(b, "minimum", x, y, propagate_nan)


@public()
def maximum(b: Context, x: Any, y: Any, propagate_nan: Any = PropagateNan.NONE) -> Value:
    """The larger of x and y, element by element."""
    return _extreme(b, "maximum", x, y, propagate_nan)


@public()
def clamp(b: Context, x: Any, min: Any, max: Any, propagate_nan: Any = PropagateNan.NONE) -> Value:
    """x held between min and max (floats)."""
    low, high = s.pair(b, _comparable(b, min), _comparable(b, max))
    value, low = s.pair(b, _comparable(b, x), low)
    if not element_of(value.type).is_floating():
        raise TypeError(f"tl.clamp is for floats, got {s.describe(value)}: use tl.minimum(tl.maximum(x, low), high)")
    return _extreme(b, "minimum", _extreme(b, "maximum", value, low, propagate_nan), high, propagate_nan)


@public()
def where(b: Context, condition: Any, x: Any, y: Any) -> Value:
    """x where the condition holds, else y. A condition that is no i1 warns, as in Triton."""
    if isinstance(condition, Value) and element_of(condition.type) != int1:
        b.warn(f"tl.where with a condition of {show_type(condition.type)} is deprecated: compare it with 0")
    test = s.truth(b, condition)
    left, right = s.pair(b, x, y, pointers=True)
    shape = s.broadcast_shape(test.type, left.type)
    return b.build.one("where", *(s.broadcast_to(b, v, shape) for v in (test, left, right)))


@public(method=True)
def fma(b: Context, x: Any, y: Any, z: Any) -> Value:
    """x * y + z, rounded once."""
    left, right = s.pair(b, s.to_value(b, x), s.to_value(b, y))
    left, third = s.pair(b, left, s.to_value(b, z))
    left, right = s.pair(b, left, right)
    right, third = s.pair(b, right, third)
    return b.build.one("fma", left, right, third)


@public()
def fdiv(b: Context, x: Any, y: Any, ieee_rounding: Any = False) -> Value:
    """x / y for floats."""
    left, right = s.pair(b, x, y)
    if not element_of(left.type).is_floating():
        raise TypeError(f"fdiv needs floats, got {s.describe(x)} and {s.describe(y)}")
    return b.build.one("div_rn" if unwrap(ieee_rounding) else "div", left, right)


@public()
def div_rn(b: Context, x: Any, y: Any) -> Value:
    """x / y in f32, rounded to nearest."""
    for v in (x, y):
        _only("div_rn", v, (float32,))
    left, right = s.pair(b, s.to_value(b, x), s.to_value(b, y))
    return b.build.one("div_rn", left, right)


@public()
def umulhi(b: Context, x: Any, y: Any) -> Value:
    """The upper half of the product of two integers of 32 or 64 bits, taken as unsigned."""
    for v in (x, y):
        _only("umulhi", v, (int32, int64, uint32, uint64))
    return s.integers(b, "umulhi", s.to_value(b, x), s.to_value(b, y))


@public(method=True)
def logical_and(b: Context, x: Any, y: Any) -> Value:
    """Both are not zero."""
    return b.build.one("and", *s.broadcast_pair(b, s.truth(b, x), s.truth(b, y)))


@public(method=True)
def logical_or(b: Context, x: Any, y: Any) -> Value:
    """One is not zero."""
    return b.build.one("or", *s.broadcast_pair(b, s.truth(b, x), s.truth(b, y)))


@public(method=True)
def cast(b: Context, input: Any, dtype: Any, fp_downcast_rounding: Any = None, bitcast: Any = False) -> Value:
    """`input` converted to `dtype`, or its bits read as `dtype` with bitcast=True."""
    return to(b, input, dtype, fp_downcast_rounding, bitcast)


def to(b: Context, input: Any, dtype: Any, fp_downcast_rounding: Any = None, bitcast: Any = False) -> Value:
    """See `cast`."""
    value, target = s.to_value(b, input), unwrap(dtype)
    if isinstance(target, s.Pointer):
        return s.cast(b, value, target)
    wanted = s.need_dtype(target, "cast")
    if unwrap(bitcast):
        return value if element_of(value.type) == wanted else b.build.one("bitcast", value, to=wanted)
    rounding = unwrap(fp_downcast_rounding)
    source = element_of(value.type)
    if rounding is not None and not (isinstance(source, DType) and source.is_floating() and wanted.is_floating()
                                     and wanted.bits < source.bits):
        raise ValueError(f"fp_downcast_rounding is for narrowing a float, got {show_types((source, wanted), ' to ')}")
    if source.is_ptr() and wanted not in (int64, uint64, int1):
        raise TypeError(f"a pointer converts to i64 or u64, not to {show_type(wanted)}")
    if source.is_ptr() and wanted == int1:
        return s.truth(b, s.cast(b, value, int64))
    return s.cast(b, value, wanted, rounding or "rtne")


METHODS["to"] = Public(to, True)


@public()
def to_tensor(b: Context, x: Any) -> Value:
    """A Python number as a scalar of the kernel."""
    return s.to_value(b, x)


def _hint(name: str, doc: str) -> None:
    def fn(b: Context, input: Any, values: Any) -> Value:
        given = s.sizes_from([values])
        return b.build.one(name, s.to_value(b, input), values=given)

    fn.__name__, fn.__doc__ = name, doc
    PUBLIC[name] = Public(fn, False)


_hint("multiple_of", "Tell the compiler that the first elements of `input` are multiples of `values`.")
_hint("max_contiguous", "Tell the compiler that `input` rises by one in runs of `values`.")
_hint("max_constancy", "Tell the compiler that `input` is constant in runs of `values`.")


def __getattr__(name: str) -> Any:
    """`tl.math.exp`: what is registered here by a loop, or under a name of Python's, is found by its public name."""
    if name in PUBLIC and PUBLIC[name].__module__ == __name__:
        return PUBLIC[name]
    raise AttributeError(f"the kernel language has no tl.math.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(n for n, f in PUBLIC.items() if f.__module__ == __name__)})
