"""libdevice's fast functions of f32: the GPU's approximations, or on a CPU the language's own functions."""
from __future__ import annotations

import math

from rtriton.language.extra.tools import (
    bits, doubles, floats, fma as fused, from_bits, kernel, primitive, quotient, singles,
)
from rtriton.types import float32, float64


@kernel
def fast_dividef(x, y):
    """x / y."""
    x, y = singles("fast_dividef", x, y)
    return x / y


@kernel
def fast_expf(x):
    """e to the power x."""
    return primitive("exp", singles("fast_expf", x))


@kernel
def fast_exp10f(x):
    """10 to the power x."""
    return primitive("exp2", singles("fast_exp10f", x) * math.log2(10))


@kernel
def fast_logf(x):
    """The natural logarithm."""
    return primitive("log", singles("fast_logf", x))


@kernel
def fast_log2f(x):
    """The logarithm to base 2."""
    return primitive("log2", singles("fast_log2f", x))


@kernel
def fast_log10f(x):
    """The logarithm to base 10."""
    return primitive("log2", singles("fast_log10f", x)) * math.log10(2)


@kernel
def fast_powf(x, y):
    """x to the power y, for positive x."""
    x, y = singles("fast_powf", x, y)
    return primitive("exp2", y * primitive("log2", x))


@kernel
def fast_sinf(x):
    """The sine."""
    return primitive("sin", singles("fast_sinf", x))


@kernel
def fast_cosf(x):
    """The cosine."""
    return primitive("cos", singles("fast_cosf", x))


@kernel
def fast_tanf(x):
    """The tangent."""
    x = singles("fast_tanf", x)
    return primitive("sin", x) / primitive("cos", x)


@kernel
def sqrt(x):
    """The square root, rounded to nearest."""
    return primitive("sqrt_rn", floats("sqrt", x))


@kernel
def rsqrt(x):
    """1 / sqrt(x)."""
    return primitive("rsqrt", floats("rsqrt", x))


@kernel
def rsqrt_rn(x):
    """1 / sqrt(x) of f32, rounded to nearest."""
    from_wide = primitive("sqrt_rn", singles("rsqrt_rn", x).to(float64))
    return quotient(1.0, from_wide).to(float32)


@kernel
def rcp64h(x):
    """1 / x of f64 to about 20 bits, the lower half of the result zero."""
    value = quotient(1.0, doubles("rcp64h", x))
    return from_bits(bits(value) & (-1 << 32))


@kernel
def fma(x, y, z):
    """x * y + z rounded once."""
    x, y, z = floats("fma", x, y, z)
    return fused(x, y, z)
