"""The five formats of 8 bits, as data, and their arithmetic in NumPy: rounding to them, their codes, and back.

    fp8e5     1-5-2, bias 15   infinities and NaN as in IEEE (OCP e5m2)
    fp8e4nv   1-4-3, bias 7    no infinity, NaN is 0x7F and 0xFF, the largest number 448 (OCP e4m3)
    fp8e5b16  1-5-2, bias 16   no infinity, no negative zero: its code, 0x80, is the only NaN
    fp8e4b8   1-4-3, bias 8    likewise, the largest number 240
    fp8e4b15  1-4-3, bias 15   no infinity, no NaN; a number rounded to it is at most 1.75 (its largest code is 1.875)

Conversions saturate. fp8e4b15 is rounded as Triton's code for NVIDIA does it whatever rounding is asked for: to fp16
towards zero, then to nearest with halves away from zero. fp8e5 rounded towards zero keeps an infinity, again as there.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rtriton.types import DTYPES, DType

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Format:
    """What a format's name, mantissa width and bias do not say. Codes are without the sign bit."""

    largest: float
    nan: int | None          # the code written for NaN; None where there is no such thing
    infinity: int | None = None
    negative_zero: bool = True


FORMATS: dict[str, Format] = {
    "fp8e5": Format(57344.0, 0x7F, infinity=0x7C),
    "fp8e4nv": Format(448.0, 0x7F),
    "fp8e5b16": Format(57344.0, 0x80, negative_zero=False),
    "fp8e4b8": Format(240.0, 0x80, negative_zero=False),
    "fp8e4b15": Format(1.75, None),
}


def is_scaled_half(type: DType) -> bool:
    """Is it fp16 with seven bits fewer, rounded its own way (fp8e4b15)?"""
    return type.name == "fp8e4b15"


def round_to(x: Array, type: DType, rounding: str) -> Array:
    """x as the numbers of the format nearest to it (or next to it towards zero), carried in float32."""
    if is_scaled_half(type):
        return decode(_half_code(x), type)
    form, wide = FORMATS[type.name], np.asarray(x, np.float64)
    _, exponent = np.frexp(wide)
    step = np.ldexp(1.0, np.maximum(exponent - 1, 1 - type.exponent_bias) - type.fp_mantissa_width)
    with np.errstate(invalid="ignore"):
        near = (np.rint if rounding == "rtne" else np.trunc)(wide / step) * step
    value = np.clip(np.where(np.isfinite(wide), near, wide), -form.largest, form.largest)
    if rounding == "rtz" and form.infinity is not None:
        value = np.where(np.isinf(wide), wide, value)
    if not form.negative_zero:
        value = value + 0.0
    return np.asarray(value, np.float32)


def _half_code(x: Array) -> Array:
    """The code of fp8e4b15: the upper bits of fp16, at most 1.75 (which a NaN becomes), halves rounded up."""
    half = _to_half_toward_zero(np.where(np.isnan(x), 2.0, np.asarray(x, np.float64)))
    bits = half.view(np.uint16)
    size = np.minimum(bits & np.uint16(0x7FFF), np.uint16(0x3F00))
    return (((size + np.uint16(0x40)) >> np.uint16(7)) | ((bits >> np.uint16(8)) & np.uint16(0x80))).astype(np.uint8)


def _to_half_toward_zero(x: Array) -> Array:
    """fp16 next to x towards zero; enough here: everything beyond 2 is the same."""
    near = np.clip(x, -2.0, 2.0).astype(np.float16)
    over = np.abs(near.astype(np.float64)) > np.abs(np.clip(x, -2.0, 2.0))
    return (np.asarray(near).view(np.uint16) - over.astype(np.uint16)).view(np.float16)


def encode(x: Array, type: DType) -> Array:
    """The codes of numbers that the format holds."""
    if is_scaled_half(type):
        bits = np.asarray(x, np.float16).view(np.uint16)
        return ((bits >> np.uint16(7)) & np.uint16(0x7F) | ((bits >> np.uint16(8)) & np.uint16(0x80))).astype(np.uint8)
    form, mantissa, bias = FORMATS[type.name], type.fp_mantissa_width, type.exponent_bias
    magnitude = np.abs(x).astype(np.float64)
    _, exponent = np.frexp(magnitude)
    exponent = np.maximum(exponent - 1, 1 - bias)
    steps = np.where(np.isfinite(magnitude), np.ldexp(magnitude, mantissa - exponent), 0).astype(np.int64)
    code = np.where(steps >= 1 << mantissa, ((exponent + bias) << mantissa) + steps - (1 << mantissa), steps)
    code = np.where(np.isinf(x), 0x7F if form.infinity is None else form.infinity, code)
    code = np.where(np.isnan(x), form.nan or 0, code)
    sign = np.signbit(x) if form.negative_zero else np.signbit(x) & (code != 0)
    return (code | np.where(sign, 128, 0)).astype(np.uint8)


def decode(codes: Array, type: DType) -> Array:
    """The numbers that codes stand for, as float32."""
    return _TABLES[type.name][codes]


def _table(type: DType) -> Array:
    form, mantissa, bias = FORMATS[type.name], type.fp_mantissa_width, type.exponent_bias
    codes = np.arange(256)
    sign = np.where(codes & 128, -1.0, 1.0)
    exponent = (codes & 127) >> mantissa
    fraction = (codes & ((1 << mantissa) - 1)) / (1 << mantissa)
    values = sign * np.where(exponent == 0, np.ldexp(fraction, 1 - bias), np.ldexp(1 + fraction, exponent - bias))
    if form.infinity is not None:
        top = exponent == 127 >> mantissa
        values = np.where(top, np.where(fraction == 0, sign * np.inf, np.nan), values)
    elif form.nan is not None:
        values = np.where(codes & 127 == 127 if form.negative_zero else codes == form.nan, np.nan, values)
    return values.astype(np.float32)


_TABLES = {t.name: _table(t) for t in DTYPES if t.is_fp8()}
