"""Arithmetic on fractions, as the standard defines it: what the emulator's floats and integers are compared with."""

from fractions import Fraction
from math import isqrt

import numpy as np

# mantissa bits without the hidden one, least exponent, greatest exponent
FORMATS = {"f64": (52, -1022, 1023), "f32": (23, -126, 127), "f16": (10, -14, 15), "bf16": (7, -126, 127),
           "tf32": (10, -126, 127), "e4m3": (3, -6, 8), "e5m2": (2, -14, 15)}


def rounded(x: Fraction, type: str, mode: str = "rn") -> float:
    """The value of a format that a rounding mode gives; past the greatest, what the mode says."""
    mantissa, least, most = FORMATS[type]
    if x == 0:
        return 0.0
    size = abs(x)
    exponent = max(size.numerator.bit_length() - size.denominator.bit_length(), least)
    while Fraction(2) ** exponent > size and exponent > least:
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= size:
        exponent += 1
    step = Fraction(2) ** (exponent - mantissa)
    low = size // step
    rest = size - low * step
    up = {"rn": rest > step / 2 or (rest == step / 2 and low % 2 == 1), "rna": rest >= step / 2, "rz": False,
          "rm": rest > 0 and x < 0, "rp": rest > 0 and x > 0}[mode]
    result = (low + up) * step
    largest = (2 - Fraction(2) ** -mantissa) * Fraction(2) ** most if type != "e4m3" else Fraction(448)
    sign = 1 if x > 0 else -1
    if result <= largest:
        return sign * float(result)
    stays = mode == "rz" or (mode == "rm" and x > 0) or (mode == "rp" and x < 0)
    return sign * (float(largest) if stays else float("inf"))


def root(x: Fraction) -> Fraction:
    """A square root good enough to round: exact if it can be, else between the same neighbours as the true one."""
    scale = 1 << 400
    scaled = x * scale * scale
    whole = isqrt(scaled.numerator // scaled.denominator)
    exact = scaled.denominator == 1 and whole * whole == scaled.numerator
    return Fraction(whole, scale) if exact else Fraction(2 * whole + 1, 2 * scale)


def signed(value: int, bits: int) -> int:
    """Bits read as a two's complement number."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def interesting_floats(type: str, count: int, seed: int) -> np.ndarray:
    """Finite float64 values that a format can hold: near each other, far apart, tiny and huge."""
    rng = np.random.default_rng(seed)
    mantissa, least, most = FORMATS[type]
    numbers = rng.integers(1 << mantissa, 2 << mantissa, count).astype(np.float64)
    spread = np.where(rng.random(count) < 0.6, rng.integers(-3, 4, count), rng.integers(least - mantissa, most, count))
    values = np.ldexp(numbers * rng.choice([-1.0, 1.0], count), (spread - mantissa).astype(np.int32))
    tiny = np.ldexp(rng.integers(0, 1 << mantissa, count).astype(np.float64), least - mantissa)
    values = np.where((rng.random(count) < 0.1) | (np.abs(values) < 2.0 ** least), tiny, values)
    values[:6] = [0.0, 1.0, -1.0, 0.5, 2.0 ** least, (2 - 2.0 ** -mantissa) * 2.0 ** most]
    return values
