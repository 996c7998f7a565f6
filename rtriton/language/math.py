"""Public arithmetic: `tl.exp(x)`, `tl.maximum(x, y)`, `tl.where(c, x, y)`, `x.to(dtype)` ..."""
from __future__ import annotations

from typing import Any

from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.values import METHODS, PUBLIC, Context, Public, public, unwrap
from rtriton.types import DType, bfloat16, element_of, float32, float64, int1, int64, show_type, show_types, uint64


class PropagateNan:
    """How `minimum` and `maximum` treat a NaN: NONE gives the other operand, ALL gives NaN."""

    NONE = "none"
    ALL = "all"


def _unary(name: str, doc: str) -> None:
    def fn(b: Context, x: Any) -> Value:
        value = s.to_value(b, x)
        if element_of(value.type) not in (float32, float64):
            raise ValueError(f"tl.{name} needs f32 or f64, got {s.describe(x)}: cast it with .to(tl.float32)")
        return b.build.one(name, value)

    fn.__name__, fn.__doc__ = name, doc
    PUBLIC[name] = METHODS[name] = Public(fn, True)


for _name, _doc in (("exp", "e to the power x."), ("exp2", "2 to the power x."), ("log", "The natural logarithm."),
                    ("log2", "The logarithm to base 2."), ("sin", "The sine."), ("cos", "The cosine."),
                    ("sqrt", "The square root (fast)."), ("sqrt_rn", "The square root, rounded to nearest."),
                    ("rsqrt", "1 / sqrt(x)."), ("erf", "The error function.")):
    _unary(_name, _doc)


@public(method=True)
def floor(b: Context, x: Any) -> Value:
    """The largest integer not above x, as a float."""
    return b.build.one("floor", s.to_value(b, x))


@public(method=True)
def ceil(b: Context, x: Any) -> Value:
    """The smallest integer not below x, as a float."""
    return b.build.one("ceil", s.to_value(b, x))


@public(method=True)
def abs_(b: Context, x: Any) -> Any:
    """|x|."""
    x = unwrap(x)
    if isinstance(x, s.Number):
        return x if x >= 0 else -x
    value = s.to_value(b, x)
    return value if element_of(value.type).kind in "bu" else b.build.one("abs", value)


@public()
def add(b: Context, x: Any, y: Any, sanitize_overflow: Any = True) -> Value:
    """x + y."""
    return s.add(b, x, y)


@public()
def sub(b: Context, x: Any, y: Any, sanitize_overflow: Any = True) -> Value:
    """x - y."""
    return s.sub(b, x, y)


@public()
def mul(b: Context, x: Any, y: Any, sanitize_overflow: Any = True) -> Value:
    """x * y."""
    return s.binary(b, "mul", x, y)


def _extreme(b: Context, kind: str, x: Any, y: Any, propagate_nan: Any) -> Value:
    left, right = s.pair(b, x, y)
    element = element_of(left.type)
    if unwrap(propagate_nan) == PropagateNan.ALL and element.is_floating():
        kind += "_nan"
    if element != bfloat16:
        return b.build.one(kind, left, right)
    wide = b.build.one(kind, s.cast(b, left, float32), s.cast(b, right, float32))
    return s.cast(b, wide, bfloat16)


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
    return _extreme(b, "minimum", _extreme(b, "maximum", x, min, propagate_nan), max, propagate_nan)


@public()
def where(b: Context, condition: Any, x: Any, y: Any) -> Value:
    """x where the condition holds, else y."""
    test = s.truth(b, condition)
    left, right = s.pair(b, x, y, pointers=True)
    shape = s.broadcast_shape(test.type, left.type)
    return b.build.one("where", *(s.broadcast_to(b, v, shape) for v in (test, left, right)))


@public(method=True)
def fma(b: Context, x: Any, y: Any, z: Any) -> Value:
    """x * y + z, rounded once."""
    left, right = s.pair(b, x, y)
    left, third = s.pair(b, left, z)
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
    """x / y, rounded to nearest."""
    left, right = s.pair(b, x, y)
    return b.build.one("div_rn", left, right)


@public()
def umulhi(b: Context, x: Any, y: Any) -> Value:
    """The upper half of the product of two unsigned integers."""
    return s.integers(b, "umulhi", x, y)


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

