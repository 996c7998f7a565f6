"""What libdevice's functions are written with: checked arguments, ops with constants of the operand's own type, bits.

`floats` and `integers` check what a function was given; `fma`, `product`, `quotient` and `primitive` build the ops
whose rounding an error analysis rests on, never contracted with a neighbour.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rtriton.guards import is_tuple
from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.extra.fits import FITS
from rtriton.language.values import Context, Public, unwrap
from rtriton.source import KernelFunction
from rtriton.types import DType, Scalar, element_of, float32, float64, int32, int64, show_type, uint32, uint64

INTEGER = {float32: int32, float64: int64, int32: int32, int64: int64, uint32: int32, uint64: int64}
FLOAT = {int32: float32, int64: float64, uint32: float32, uint64: float64}


def tool(fn: Callable[..., Any]) -> Public:
    """A function of the compiler's context that kernel code can call; no name of `tl`."""
    return Public(fn, False)


def kernel(fn: Callable[..., Any]) -> KernelFunction:
    """A function in the kernel language; no name of `tl`."""
    return KernelFunction(fn)


def named(fn: KernelFunction, name: str, doc: str) -> KernelFunction:
    """A function made by a factory, under its own name."""
    fn.__name__ = fn.__qualname__ = name     # the disk cache tells functions of rtriton apart by these
    fn.__doc__ = doc
    return fn


def _checked(b: Context, name: str, xs: Sequence[Any], allowed: tuple[DType, ...]) -> tuple[Value, ...]:
    wanted = " or ".join(t.short for t in allowed)
    given = [x for x in map(unwrap, xs) if isinstance(x, Value)]
    for x in given:
        if element_of(x.type) not in allowed:
            raise ValueError(f"libdevice.{name} needs {wanted}, got {show_type(x.type)}")
    if not given:
        raise ValueError(f"libdevice.{name} needs a scalar or a tile of {wanted}, got {', '.join(map(s.describe, xs))}")
    common = given[0]
    for x in given[1:]:
        common, _ = s.pair(b, common, x)
    return tuple(s.pair(b, common, x)[1] for x in xs)


def _one_or_all(xs: tuple[Value, ...]) -> Any:
    return xs if len(xs) > 1 else next(iter(xs))


@tool
def floats(b: Context, name: str, *xs: Any) -> Any:
    """f32 or f64 values of one type and shape; a Python number takes the type of the others."""
    return _one_or_all(_checked(b, name, xs, (float32, float64)))


@tool
def singles(b: Context, name: str, *xs: Any) -> Any:
    """As `floats`, f32 only."""
    return _one_or_all(_checked(b, name, xs, (float32,)))


@tool
def doubles(b: Context, name: str, *xs: Any) -> Any:
    """As `floats`, f64 only."""
    return _one_or_all(_checked(b, name, xs, (float64,)))


@tool
def integers(b: Context, name: str, *xs: Any) -> Any:
    """Integers of 32 or 64 bits, of one type and shape."""
    return _one_or_all(_checked(b, name, xs, (int32, int64, uint32, uint64)))


@tool
def words(b: Context, name: str, *xs: Any) -> Any:
    """As `integers`, 32 bits only."""
    return _one_or_all(_checked(b, name, xs, (int32, uint32)))


@tool
def long_words(b: Context, name: str, *xs: Any) -> Any:
    """As `integers`, 64 bits only."""
    return _one_or_all(_checked(b, name, xs, (int64, uint64)))


def _alike(b: Context, xs: Sequence[Any]) -> list[Value]:
    """Values of one type and shape; numbers as constants of it."""
    first = next(x for x in map(unwrap, xs) if isinstance(x, Value))
    common: Any = first
    for x in xs:
        common, _ = s.pair(b, common, x)
    return [s.pair(b, common, x)[1] for x in xs]


@tool
def fma(b: Context, x: Any, y: Any, z: Any) -> Value:
    """x * y + z rounded once; numbers are constants of the type of the others."""
    return b.build.one("fma", *_alike(b, (x, y, z)))


@tool
def product(b: Context, x: Any, y: Any) -> Value:
    """x * y rounded, and not fused into what is added to it."""
    left, right = _alike(b, (x, y))
    return b.build.one("fma", left, right, b.build.const(-0.0, left.type))


@tool
def quotient(b: Context, x: Any, y: Any) -> Value:
    """x / y rounded to nearest."""
    return b.build.one("div_rn", *_alike(b, (x, y)))


@tool
def primitive(b: Context, kind: str, x: Value) -> Value:
    """An op of the table that takes one float."""
    return b.build.one(unwrap(kind), x)


@tool
def polynomial(b: Context, x: Value, name: str) -> Value:
    """The fitted polynomial of this name at x, by Horner's rule."""
    coefficients = FITS[unwrap(name), str(element_of(x.type))]
    total = b.build.const(coefficients[-1], x.type)
    for c in reversed(coefficients[:-1]):
        total = b.build.one("fma", total, x, b.build.const(c, x.type))
    return total


def _as(b: Context, x: Value, to: Scalar) -> Value:
    return x if element_of(x.type) == to else b.build.one("bitcast", x, to=to)


@tool
def bits(b: Context, x: Value) -> Value:
    """The bits of a float (or an unsigned integer) as a signed integer."""
    return _as(b, x, INTEGER[s.need_dtype(element_of(x.type), "bits")])


@tool
def from_bits(b: Context, x: Value) -> Value:
    """The float with these bits."""
    return _as(b, x, FLOAT[s.need_dtype(element_of(x.type), "from_bits")])


@tool
def pick(b: Context, x: Any, choices: Any) -> Any:
    """The first of two compile-time values where x is 32 bits wide, else the second."""
    pair = unwrap(choices)
    assert is_tuple(pair)
    return unwrap(pair[0 if element_of(x.type).bits == 32 else 1])


@tool
def constant(b: Context, x: Value, number: Any) -> Value:
    """A number everywhere in the shape and type of x."""
    return s.to_value(b, b.build.const(unwrap(number), x.type))


@tool
def as_double(b: Context, x: Any) -> Any:
    """A number of the kernel as f64; a Python number stays one."""
    return s.cast(b, x, float64) if isinstance(unwrap(x), Value) else x
