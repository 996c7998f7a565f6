"""Number formats and exact rounding: what makes float results here the bits that the hardware gives.

One rounding is right if the value before it is exact, or was rounded to odd with more bits (an inexact value gets an
odd last bit, which keeps it off every tie of a shorter format). So sums and products are made in float64, to odd where
float64 cannot hold them, and rounded once to f32, f16 or bf16 in the mode that the instruction names.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from rtriton import numerics
from rtriton.backend.ptx.emulate.state import Array, where
from rtriton.types import float8e4nv, float8e5

FP8 = {"e4m3": float8e4nv, "e5m2": float8e5}
LARGEST = {"f16": 65504.0, "bf16": float.fromhex("0x1.fep127"), "f32": float(np.finfo(np.float32).max),
           "tf32": float.fromhex("0x1.ffcp127"), "e4m3": 448.0, "e5m2": 57344.0}
MANTISSA = {"f16": 10, "bf16": 7, "tf32": 10, "e4m3": 3, "e5m2": 2, "f32": 23}
SMALLEST_EXPONENT = {"f16": -14, "bf16": -126, "tf32": -126, "e4m3": -6, "e5m2": -14, "f32": -126}
SPLITTER = 134217729.0  # 2**27 + 1, halves a float64's digits


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b as a rounded sum and what rounding lost, exactly; infinite where finite numbers overflow."""
    total = a + b
    back = total - a
    return total, _lost(total, (a - (total - back)) + (b - back), np.isfinite(a) & np.isfinite(b))


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """a * b as a rounded product and what rounding lost, exactly (short of underflow)."""
    product = a * b
    a_high, b_high = _upper(a), _upper(b)
    a_low, b_low = a - a_high, b - b_high
    lost = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, _lost(product, lost, np.isfinite(a) & np.isfinite(b))


def _lost(result: Array, lost: Array, finite: Array) -> Array:
    """What rounding lost: nothing where an operand was not finite, without end where the result overflowed."""
    return where(np.isfinite(result) & np.isfinite(lost), lost, where(np.isinf(result) & finite, -result, 0.0))


def _upper(a: Array) -> Array:
    scaled = a * SPLITTER
    return scaled - (scaled - a)


def to_odd(rounded: Array, lost: Array) -> Array:
    """A float64 rounded to odd, from the nearest one and what it lost."""
    bits = np.ascontiguousarray(rounded).view(np.int64)
    inexact = (lost != 0) & np.isfinite(rounded) & np.isfinite(lost) & (bits & 1 == 0)
    toward = where((lost > 0) == (rounded > 0), 1, -1)
    return where(inexact, bits + toward, bits).view(np.float64)


def exact_sum(a: Array, b: Array) -> Array:
    """a + b of float64 values, to odd."""
    return to_odd(*two_sum(a, b))


def fma64(a: Array, b: Array, c: Array) -> Array:
    """a * b + c in float64 with one rounding."""
    return fma_parts(a, b, c)[0]


def fma_parts(a: Array, b: Array, c: Array) -> tuple[Array, Array]:
    """a * b + c rounded once (Boldo and Melquiond: the low parts are summed to odd), and the sign of what it lost."""
    high, low = two_product(a, b)
    third, fourth = two_sum(c, low)
    top, rest = two_sum(high, third)
    small = to_odd(*two_sum(rest, fourth))
    nearest = where(np.isfinite(top) & np.isfinite(small), top + small, a * b + c)
    return nearest, _lost(nearest, (top - nearest) + small, np.isfinite(a) & np.isfinite(b) & np.isfinite(c))


def quotient_parts(a: Array, b: Array) -> tuple[Array, Array]:
    """a / b rounded, and the sign of what it lost."""
    nearest = a / b
    product, rest = two_product(nearest, b)
    lost = ((a - product) - rest) * np.sign(b)
    return nearest, _lost(nearest, lost, np.isfinite(a) & np.isfinite(b) & (b != 0))


def root_parts(x: Array) -> tuple[Array, Array]:
    """The square root rounded, and the sign of what it lost."""
    nearest = np.sqrt(x)
    square, rest = two_product(nearest, nearest)
    return nearest, _lost(nearest, (x - square) - rest, np.isfinite(x))


def fma32(a: Array, b: Array, c: Array) -> Array:
    """a * b + c in float32 with one rounding."""
    product = np.multiply(a, b, dtype=np.float64)
    total = product + c
    bits = np.asarray(total).view(np.uint64)
    # Rounding twice can go wrong only where float64 gave a tie of float32, or the result is subnormal.
    risky = ((bits & np.uint64(0x1FFFFFFF)) == np.uint64(0x10000000)) | (np.abs(total) < float.fromhex("0x1p-126"))
    if risky.any():
        total = exact_sum(product, np.asarray(c, np.float64))
    return total.astype(np.float32)


def directed(x: Array, rounded: Array, mode: str) -> Array:
    """The neighbour of `rounded` (the nearest value to x in its format) that a directed mode asks for."""
    back = rounded.astype(np.float64)
    infinity = rounded.dtype.type(np.inf)
    if mode == "rm":
        return where(back > x, np.nextafter(rounded, -infinity), rounded)
    if mode == "rp":
        return where(back < x, np.nextafter(rounded, infinity), rounded)
    return where(np.abs(back) > np.abs(x), np.nextafter(rounded, rounded.dtype.type(0)), rounded)


def odd32(x: Array) -> Array:
    """float64 to float32, to odd: a next rounding to fewer bits is then as if from x."""
    rounded = x.astype(np.float32)
    back = rounded.astype(np.float64)
    bits = np.ascontiguousarray(rounded).view(np.int32)
    inexact = (back != x) & ~np.isnan(x) & (bits & 1 == 0)
    return where(inexact, bits + where(np.abs(back) < np.abs(x), 1, -1), bits).astype(np.int32).view(np.float32)


def grid(x: Array, type: str, mode: str) -> Array:
    """x on the grid of a format, as float64, without its overflow."""
    _, exponent = np.frexp(x)
    step = np.ldexp(1.0, np.maximum(exponent - 1, SMALLEST_EXPONENT[type]) - MANTISSA[type])
    scaled = x / step
    ways: dict[str, Callable[[Any], Any]] = {
        "rn": np.rint, "rz": np.trunc, "rm": np.floor, "rp": np.ceil,
        "rna": lambda y: np.copysign(np.floor(np.abs(y) + 0.5), y)}
    return where(np.isfinite(x), ways[mode](scaled) * step, x)


def narrow(x: Array, type: str, mode: str, saturate: bool = False) -> Array:
    """float64 values rounded to a short format, overflow included."""
    rounded, largest = grid(x, type, mode), LARGEST[type]
    over = np.abs(rounded) > largest
    if saturate:
        return where(over, np.copysign(largest, rounded), rounded)
    stays = np.isfinite(x) & ((mode == "rz") | ((mode == "rm") & (x > 0)) | ((mode == "rp") & (x < 0)))
    return where(over, where(stays, np.copysign(largest, x), np.copysign(np.inf, x)), rounded)


def encode(x: Any, type: str, mode: str = "rn", saturate: bool = False) -> Any:
    """Values (float64, or float32 where that is exact) to what a register of this type holds."""
    if type == "f64":
        return np.asarray(x, np.float64)
    if type in ("f32", "f16") and not saturate:
        x = np.asarray(x)
        rounded = x.astype(np.float32 if type == "f32" else np.float16)
        return rounded if mode == "rn" or rounded.dtype == x.dtype else directed(x.astype(np.float64), rounded, mode)
    if type == "bf16" and mode == "rn" and not saturate:
        bits = odd32(np.asarray(x, np.float64)).view(np.uint32)
        nearest = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        return where(np.isnan(x), np.uint16(0x7FFF), nearest.astype(np.uint16))
    value = narrow(np.asarray(x, np.float64), type, mode, saturate)
    if type == "f16":
        return value.astype(np.float16)
    if type in FP8:
        return numerics.encode(value.astype(np.float32), FP8[type])
    bits = where(np.isnan(value), np.uint32(0x7FFFFFFF), value.astype(np.float32).view(np.uint32))
    return (bits >> np.uint32(16)).astype(np.uint16) if type == "bf16" else bits


def decode(raw: Any, type: str) -> Any:
    """Register contents of a type as float values: f16, f32 and f64 as they are, the others as float32."""
    if type == "bf16":
        return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if type in FP8:
        return numerics.decode(raw, FP8[type])
    if type == "tf32":  # the last 13 bits are not looked at
        return (raw & np.uint32(0xFFFFE000)).view(np.float32)
    return raw


def flush(x: Any) -> Any:
    """Subnormal float32 values become zero of their sign."""
    return where(np.abs(x) < np.float32(2.0 ** -126), np.copysign(x.dtype.type(0), x), x)
