"""Number formats in NumPy: rounding to bf16 and fp8, their bits, and C's integer division.

A bf16 or fp8 array travels as float32 values that the format can hold; `encode` gives its bytes, `decode` reads them.
bf16 is the upper half of f32; rtriton/fp8.py has the formats of 8 bits. Rounding is to nearest even.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rtriton import fp8
from rtriton.types import DType, Scalar, bfloat16

Array = np.ndarray[Any, Any]


def value_dtype(type: Scalar) -> np.dtype[Any]:
    """The NumPy dtype that carries values of `type` in computations."""
    if type.kind == "p":
        return np.dtype(np.int64)
    assert isinstance(type, DType)
    if type.kind == "b":
        return np.dtype(np.bool_)
    if type.name == "bf16" or type.is_fp8():
        return np.dtype(np.float32)
    return np.dtype(type.storage)


def round_to(x: Array, type: Scalar, rounding: str = "rtne") -> Array:
    """Float values rounded to what `type` can hold, in its computation dtype."""
    assert isinstance(type, DType)
    if type.name == "fp64":
        return np.asarray(x, np.float64)
    if type.name in ("fp32", "fp16"):
        with np.errstate(over="ignore"):
            near = x if rounding == "rtne" else _toward_zero(x, type)
            return np.asarray(near, np.float32 if type.name == "fp32" else np.float16)
    if type.name == "bf16":
        return _bf16(np.asarray(x), rounding)
    return fp8.round_to(x, type, rounding)


def _bf16(x: Array, rounding: str) -> Array:
    if x.dtype == np.float64:
        wide = _on_grid(x, 7, -126, np.rint) if rounding == "rtne" else _toward_zero(x, bfloat16)
        with np.errstate(over="ignore"):
            return wide.astype(np.float32)
    bits = np.asarray(x, np.float32).view(np.uint32)
    to_even = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    near = bits + to_even if rounding == "rtne" else bits
    bits = np.where(np.isnan(x), bits | np.uint32(0x400000), near)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def _toward_zero(x: Array, type: DType) -> Array:
    """x in float64, on the grid of the format, no finite number beyond its largest."""
    wide, mantissa = np.asarray(x, np.float64), type.fp_mantissa_width
    largest = np.ldexp(2.0 - 2.0 ** -mantissa, type.exponent_bias)
    cut = np.clip(_on_grid(wide, mantissa, 1 - type.exponent_bias, np.trunc), -largest, largest)
    return np.where(np.isfinite(wide), cut, wide)


def _on_grid(x: Array, mantissa: int, min_exponent: int, how: Callable[[Array], Array]) -> Array:
    """x on the grid of a format with `mantissa` bits."""
    _, exponent = np.frexp(x)
    step = np.ldexp(1.0, np.maximum(exponent - 1, min_exponent) - mantissa)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(x), how(x / step) * step, x)


def encode(x: Array, type: Scalar) -> Array:
    """The stored form: bf16 as uint16, fp8 as uint8, i1 as uint8, the rest as itself."""
    if type.name == "bf16" if isinstance(type, DType) else False:
        return (np.ascontiguousarray(x, np.float32).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    if isinstance(type, DType) and type.is_fp8():
        return fp8.encode(np.asarray(x, np.float32), type)
    if type.kind == "b":
        return np.asarray(x, np.bool_).astype(np.uint8)
    return np.asarray(x, value_dtype(type))


def narrow_bits(value: float, type: DType) -> int:
    """The bits of one number as a float of 16 or 8 bits, rounded to nearest."""
    rounded = round_to(np.asarray([value], np.float64), type)
    coded = rounded.view(np.uint16) if type.name == "fp16" else encode(rounded, type)
    return int(coded[0])


def decode(bits: Array, type: Scalar) -> Array:
    """Values from their stored form."""
    if type.kind == "b":
        return bits != 0
    if isinstance(type, DType) and type.name == "bf16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if isinstance(type, DType) and type.is_fp8():
        return fp8.decode(bits, type)
    return bits


def divide(x: Array, y: Array) -> Array:
    """x / y for floats; C's truncating division for integers (0 where y is 0)."""
    if x.dtype.kind == "f":
        with np.errstate(all="ignore"):
            return np.divide(x, y)
    if x.dtype.kind == "b":
        return x & y
    safe = np.where(y == 0, np.ones_like(y), y)
    if x.dtype.kind == "u":
        return np.where(y == 0, np.zeros_like(x), x // safe)
    with np.errstate(over="ignore"):
        quotient = np.floor_divide(x, safe)
        quotient = quotient + ((x - quotient * safe != 0) & ((x < 0) != (safe < 0))).astype(x.dtype)
    return np.where(y == 0, np.zeros_like(x), quotient)


def remainder(x: Array, y: Array) -> Array:
    """x - trunc(x / y) * y."""
    if x.dtype.kind == "f":
        with np.errstate(all="ignore"):
            return np.fmod(x, y)
    if x.dtype.kind == "b":
        return np.zeros_like(x)
    safe = np.where(y == 0, np.ones_like(y), y)
    return np.where(y == 0, np.zeros_like(x), np.fmod(x, safe))


def fma(x: Array, y: Array, z: Array) -> Array:
    """x * y + z with one rounding, up to float64's (a double rounding of f32 is possible in 1 of 2**29 cases)."""
    if x.dtype == np.float64:
        return _fma64(*np.broadcast_arrays(x, y, z))
    with np.errstate(over="ignore", invalid="ignore"):
        return (x.astype(np.float64) * y.astype(np.float64) + z.astype(np.float64)).astype(x.dtype)


def _fma64(x: Array, y: Array, z: Array) -> Array:
    """The product as the sum of two floats, then all three added with one rounding: to odd before the last. Where the
    product's lower half is no normal number or something is infinite, the sum is rounded twice."""
    with np.errstate(all="ignore"):
        product = x * y
        low = _product_error(x, y, product)
        total, rest = _two_sum(product, z)
        tail, lost = _two_sum(rest, low)
        bits = np.ascontiguousarray(tail).view(np.int64)
        beyond = (lost != 0) & ((lost > 0) != (tail > 0))     # the exact tail is nearer to zero than `tail`
        odd = np.where(lost != 0, (bits - beyond) | 1, bits).view(np.float64)
        exact = total + odd
        return np.where(np.isfinite(exact) & np.isfinite(low) & (np.abs(product) > 2.0**-960), exact, product + z)


def _two_sum(x: Array, y: Array) -> tuple[Array, Array]:
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


def _product_error(x: Array, y: Array, product: Array) -> Array:
    """x * y - product, exactly, by halves of 26 bits."""
    (a, b), (c, d) = _halves(x), _halves(y)
    return ((a * c - product) + a * d + b * c) + b * d


def _halves(x: Array) -> tuple[Array, Array]:
    big = x * 134217729.0
    high = big - (big - x)
    return high, x - high


def minimum(x: Array, y: Array) -> Array:
    return np.fmin(x, y) if x.dtype.kind == "f" else np.minimum(x, y)


def maximum(x: Array, y: Array) -> Array:
    return np.fmax(x, y) if x.dtype.kind == "f" else np.maximum(x, y)


def umulhi(x: Array, y: Array) -> Array:
    """The upper half of x * y as unsigned integers."""
    bits = 8 * x.dtype.itemsize
    unsigned = np.dtype(f"uint{bits}")
    if bits < 64:
        wide = np.dtype(f"uint{2 * bits}")
        product = x.view(unsigned).astype(wide) * y.view(unsigned).astype(wide)
        return (product >> wide.type(bits)).astype(unsigned).view(x.dtype)
    a, b, low, half = x.view(np.uint64), y.view(np.uint64), np.uint64(0xFFFFFFFF), np.uint64(32)
    with np.errstate(over="ignore"):
        cross = (a & low) * (b >> half) + (((a & low) * (b & low)) >> half)
        cross2 = (a >> half) * (b & low) + (cross & low)
        return ((a >> half) * (b >> half) + (cross >> half) + (cross2 >> half)).view(x.dtype)


def rsqrt(x: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return (1.0 / np.sqrt(x.astype(np.float64))).astype(x.dtype)


def erf(x: Array) -> Array:
    import math

    values = [math.erf(v) for v in x.astype(np.float64).ravel()]
    return np.array(values, np.float64).reshape(x.shape).astype(x.dtype)
