"""Number formats in NumPy: rounding to bf16 and fp8, their bits, and C's integer division.

A bf16 or fp8 array travels as float32 values that the format can hold; `encode` gives its bytes, `decode` reads them.
Formats: bf16 is the upper half of f32; e4m3 (no infinity, 448 the largest) and e5m2 are OCP FP8. Rounding is to
nearest even; fp8 saturates, as `cvt.rn.satfinite` does (PTX ISA, cvt).
"""
from __future__ import annotations

from typing import Any

import numpy as np

from rtriton.types import DType, Scalar

Array = np.ndarray[Any, Any]


def value_dtype(type: Scalar) -> np.dtype[Any]:
    """The NumPy dtype that carries values of `type` in computations."""
    if type.kind == "p":
        return np.dtype(np.int64)
    assert isinstance(type, DType)
    if type.kind == "b":
        return np.dtype(np.bool_)
    if type.name in ("bf16", "fp8e5", "fp8e4nv"):
        return np.dtype(np.float32)
    return np.dtype(type.storage)


def round_to(x: Array, type: Scalar, rounding: str = "rtne") -> Array:
    """Float values rounded to what `type` can hold, in its computation dtype."""
    assert isinstance(type, DType)
    if type.name == "fp64":
        return np.asarray(x, np.float64)
    if type.name == "fp32":
        return np.asarray(x if rounding == "rtne" else _toward_zero(x, 23, -126, np.inf), np.float32)
    if type.name == "fp16":
        with np.errstate(over="ignore"):
            return np.asarray(x if rounding == "rtne" else _toward_zero(x, 10, -14, 65504.0), np.float16)
    if type.name == "bf16":
        return _bf16(np.asarray(x), rounding)
    largest = 57344.0 if type.name == "fp8e5" else 448.0
    return _round(x, type.fp_mantissa_width, 1 - type.exponent_bias, largest, rounding)


def _bf16(x: Array, rounding: str) -> Array:
    if x.dtype == np.float64:
        return _round(x, 7, -126, np.inf, rounding)
    bits = np.asarray(x, np.float32).view(np.uint32)
    if rounding == "rtne":
        to_even = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        bits = np.where(np.isnan(x), bits | np.uint32(0x400000), bits + to_even)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def _toward_zero(x: Array, mantissa: int, min_exponent: int, largest: float) -> Array:
    return _scaled(np.asarray(x, np.float64), mantissa, min_exponent, np.trunc, largest)


def _round(x: Array, mantissa: int, min_exponent: int, largest: float, rounding: str) -> Array:
    how = np.rint if rounding == "rtne" else np.trunc
    return _scaled(np.asarray(x, np.float64), mantissa, min_exponent, how, largest).astype(np.float32)


def _scaled(x: Array, mantissa: int, min_exponent: int, how: Any, largest: float) -> Array:
    """x on the grid of a format with `mantissa` bits; beyond `largest` finite inputs stay at it."""
    _, exponent = np.frexp(x)
    step = np.ldexp(1.0, np.maximum(exponent - 1, min_exponent) - mantissa)
    with np.errstate(invalid="ignore"):
        rounded = how(x / step) * step
    rounded = np.where(np.isfinite(x), rounded, x)
    if largest == np.inf:
        return rounded
    keep_inf = largest == 65504.0
    clipped = np.clip(rounded, -largest, largest)
    return np.where(np.isnan(x) | (keep_inf & np.isinf(x)), x, clipped)


def encode(x: Array, type: Scalar) -> Array:
    """The stored form: bf16 as uint16, fp8 as uint8, i1 as uint8, the rest as itself."""
    if type.name == "bf16" if isinstance(type, DType) else False:
        return (np.ascontiguousarray(x, np.float32).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    if isinstance(type, DType) and type.is_fp8():
        return _encode_fp8(np.asarray(x, np.float32), type)
    if type.kind == "b":
        return np.asarray(x, np.bool_).astype(np.uint8)
    return np.asarray(x, value_dtype(type))


def decode(bits: Array, type: Scalar) -> Array:
    """Values from their stored form."""
    if type.kind == "b":
        return bits != 0
    if isinstance(type, DType) and type.name == "bf16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if isinstance(type, DType) and type.is_fp8():
        return _FP8[type.name][bits]
    return bits


def _fp8_table(mantissa: int, bias: int, ieee: bool) -> Array:
    codes = np.arange(256)
    sign = np.where(codes & 128, -1.0, 1.0)
    exponent = (codes & 127) >> mantissa
    fraction = (codes & ((1 << mantissa) - 1)) / (1 << mantissa)
    values = sign * np.where(exponent == 0, np.ldexp(fraction, 1 - bias), np.ldexp(1 + fraction, exponent - bias))
    if ieee:
        top = exponent == (127 >> mantissa)
        values = np.where(top, np.where(fraction == 0, sign * np.inf, np.nan), values)
    else:
        values = np.where((codes & 127) == 127, np.nan, values)
    return values.astype(np.float32)


_FP8 = {"fp8e5": _fp8_table(2, 15, True), "fp8e4nv": _fp8_table(3, 7, False)}


def _encode_fp8(x: Array, type: DType) -> Array:
    mantissa, bias = type.fp_mantissa_width, type.exponent_bias
    magnitude = np.abs(x).astype(np.float64)
    _, exponent = np.frexp(magnitude)
    exponent = np.maximum(exponent - 1, 1 - bias)
    steps = np.where(np.isfinite(magnitude), np.ldexp(magnitude, mantissa - exponent), 0).astype(np.int64)
    code = np.where(steps >= 1 << mantissa, ((exponent + bias) << mantissa) + steps - (1 << mantissa), steps)
    code = np.where(np.isinf(x), 0x7C if type.name == "fp8e5" else 0x7F, code)
    code = np.where(np.isnan(x), 0x7F, code)
    return (code | np.where(np.signbit(x), 128, 0)).astype(np.uint8)


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
        return x * y + z
    with np.errstate(over="ignore", invalid="ignore"):
        return (x.astype(np.float64) * y.astype(np.float64) + z.astype(np.float64)).astype(x.dtype)


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
