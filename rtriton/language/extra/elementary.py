"""libdevice's exponentials, logarithms, powers and hyperbolic functions, in f32 and f64.

By reduction to a small interval, a fitted polynomial (fits.py) and scaling by powers of two. pow carries the logarithm
in two floats. asinh, acosh, atanh, cbrt and pow of f32 are computed in f64, the others in their own type.
"""
from __future__ import annotations

import math

from rtriton.language.extra.bits import copysign
from rtriton.language.extra.tools import (
    as_double, bits, constant, doubles, floats, fma, from_bits, kernel, pick, polynomial, primitive, product, quotient,
)
from rtriton.language.math import abs_, where
from rtriton.language.values import constexpr
from rtriton.types import float32, float64

LOG2E = constexpr(math.log2(math.e))
LOG2_10 = constexpr(math.log2(10.0))
_hex = float.fromhex
# log(2), log10(2) and 1/log(2), 1/log(10) in two parts; products of the first with small integers are exact
LN2_HIGH = constexpr((_hex("0x1.62e0p-1"), _hex("0x1.62e42fefa3000p-1")))
LN2_LOW = constexpr((_hex("0x1.0bfbe8e7bcd5ep-15"), _hex("0x1.3de6af278ece6p-42")))
LG2_HIGH = constexpr((_hex("0x1.344p-2"), _hex("0x1.34413509f7000p-2")))
LG2_LOW = constexpr((_hex("0x1.3509f79fef312p-18"), _hex("0x1.3fde623e2566bp-43")))
INVLN2_HIGH = constexpr((_hex("0x1.714p0"), _hex("0x1.71547p0")))
INVLN2_LOW = constexpr((_hex("0x1.47652b82fe177p-12"), _hex("0x1.94ae0bf85ddf4p-22")))
INVLN10_HIGH = constexpr((_hex("0x1.bcap-2"), _hex("0x1.bcb7b1p-2")))
INVLN10_LOW = constexpr((_hex("0x1.7b1526e50e32ap-14"), _hex("0x1.49b9438ca9aaep-28")))


@kernel
def nearest(x):
    """The nearest integer, for numbers far from the largest whole ones."""
    return primitive("floor", x + 0.5)


@kernel
def power_of_two(n):
    """2**n as a float of n's width, for n in the exponent's range."""
    return from_bits((n + pick(n, (127, 1023))) << pick(n, (23, 52)))


@kernel
def scaled(x, k):
    """x * 2**k with one rounding, for whole k in twice the exponent's range."""
    n = k.to(bits(x).dtype)
    half = n >> 1
    return product(product(x, power_of_two(half)), power_of_two(n - half))


@kernel
def held(x, low: constexpr, high: constexpr):
    """x between two numbers; NaN stays."""
    x = where(x < low, low, x)
    return where(x > high, high, x)


@kernel
def _exp_tail(r):
    """e**r - 1 for |r| < 0.35."""
    return fma(r * r, polynomial(r, "exp"), r)


@kernel
def _without_ln2(x, k):
    return fma(k, -pick(x, LN2_LOW), fma(k, -pick(x, LN2_HIGH), x))


@kernel
def exp_shifted(x, shift: constexpr):
    """e**x * 2**shift."""
    x = held(x, pick(x, (-105.0, -746.0)), pick(x, (90.0, 711.0)))
    k = nearest(x * LOG2E)
    return scaled(_exp_tail(_without_ln2(x, k)) + 1.0, k + shift)


@kernel
def exp(x):
    """e to the power x."""
    return exp_shifted(floats("exp", x), 0)


@kernel
def exp2(x):
    """2 to the power x."""
    x = floats("exp2", x)
    x = held(x, pick(x, (-151.0, -1076.0)), pick(x, (129.0, 1025.0)))
    k = nearest(x)
    return scaled(_exp_tail((x - k) * math.log(2)) + 1.0, k)


@kernel
def exp10(x):
    """10 to the power x."""
    x = floats("exp10", x)
    x = held(x, pick(x, (-46.0, -325.0)), pick(x, (39.0, 309.0)))
    k = nearest(x * LOG2_10)
    r = fma(k, -pick(x, LG2_LOW), fma(k, -pick(x, LG2_HIGH), x))
    return scaled(_exp_tail(r * math.log(10)) + 1.0, k)


@kernel
def expm1(x):
    """e**x - 1."""
    x = floats("expm1", x)
    y = held(x, pick(x, (-20.0, -46.0)), pick(x, (89.0, 710.0)))
    k = nearest(y * LOG2E)
    half = power_of_two(k.to(bits(x).dtype) - 1)
    return where(x == 0.0, x, fma(_exp_tail(_without_ln2(y, k)), half, half - 0.5) * 2.0)


@kernel
def sinh(x):
    """The hyperbolic sine."""
    x = floats("sinh", x)
    a = abs_(x)
    square = a * a
    grown = exp_shifted(a, -1)
    small = fma(a * square, polynomial(where(a < 1.0, square, 0.0), "sinh"), a)
    return copysign(where(a < 1.0, small, grown - quotient(0.25, grown)), x)


@kernel
def cosh(x):
    """The hyperbolic cosine."""
    grown = exp_shifted(abs_(floats("cosh", x)), -1)
    return grown + quotient(0.25, grown)


@kernel
def tanh(x):
    """The hyperbolic tangent."""
    return primitive("tanh", floats("tanh", x))


# -- logarithms ------------------------------------------------------------------------------------------------------

@kernel
def split(x):
    """x = 2**k * (1 + f), 1 + f in [sqrt(1/2), sqrt(2)), for positive finite x: k as a float, and f."""
    small = x < pick(x, (2.0**-126, 2.0**-1022))
    whole = where(small, x * 2.0**54, x)
    root: constexpr = pick(x, (0x3F3504F3, 0x3FE6A09E667F3BCD))
    mantissa: constexpr = pick(x, (23, 52))
    offset = bits(whole) - root
    k = (offset >> mantissa).to(x.dtype) - where(small, constant(x, 54.0), 0.0)
    return k, from_bits((offset & ((1 << mantissa) - 1)) + root) - 1.0


@kernel
def _log_parts(f):
    """f**2 / 2 and s (f**2 / 2 + ...), of which log(1 + f) is f - first + second."""
    s = quotient(f, f + 2.0)
    z = s * s
    half = f * f * 0.5
    return half, s * (half + z * polynomial(z, "log"))


@kernel
def _log_ends(x, y):
    """The logarithm y of x, put right where x is infinite, NaN, zero or negative."""
    y = where(x < float("inf"), y, x)
    y = where(x == 0.0, -float("inf"), y)
    return where(x < 0.0, float("nan"), y)


@kernel
def log(x):
    """The natural logarithm."""
    x = floats("log", x)
    k, f = split(x)
    half, rest = _log_parts(f)
    return _log_ends(x, fma(k, pick(x, LN2_HIGH), f - (half - fma(k, pick(x, LN2_LOW), rest))))


@kernel
def log1p(x):
    """log(1 + x)."""
    x = floats("log1p", x)
    u = 1.0 + x
    back = u - 1.0
    lost = (1.0 - (u - back)) + (x - back)
    k, f = split(u)
    half, rest = _log_parts(f)
    y = fma(k, pick(x, LN2_HIGH), f - (half - (rest + fma(k, pick(x, LN2_LOW), quotient(lost, u)))))
    return where(x == 0.0, x, _log_ends(u, y))


@kernel
def _log_base(x, high: constexpr, low: constexpr, step_high: constexpr, step_low: constexpr):
    """log(x) times high + low, of which the first times 24 bits is exact; log(2) in that base is step_high + low."""
    k, f = split(x)
    half, rest = _log_parts(f)
    first = f - half
    keep: constexpr = pick(x, (-1 << 12, -1 << 27))
    head = from_bits(bits(first) & keep)
    rest = ((f - head) - half) + rest
    small = fma(rest + head, low, rest * high)
    big = product(head, high)
    whole = product(k, step_high)
    total = whole + big
    lost = big - (total - whole)
    return _log_ends(x, total + (lost + fma(k, step_low, small)))


@kernel
def log2(x):
    """The logarithm to base 2."""
    x = floats("log2", x)
    return _log_base(x, pick(x, INVLN2_HIGH), pick(x, INVLN2_LOW), 1.0, 0.0)


@kernel
def log10(x):
    """The logarithm to base 10."""
    x = floats("log10", x)
    return _log_base(x, pick(x, INVLN10_HIGH), pick(x, INVLN10_LOW), pick(x, LG2_HIGH), pick(x, LG2_LOW))


@kernel
def asinh(x):
    """The inverse of sinh."""
    x = floats("asinh", x)
    if x.dtype == float32:
        return asinh(x.to(float64)).to(float32)
    else:
        a = abs_(x)
        square = a * a
        near = log1p(a + quotient(square, 1.0 + primitive("sqrt_rn", square + 1.0)))
        far = log(a) + math.log(2)
        return copysign(where(a < 2.0**28, near, far), x)


@kernel
def acosh(x):
    """The inverse of cosh; NaN below 1."""
    x = floats("acosh", x)
    if x.dtype == float32:
        return acosh(x.to(float64)).to(float32)
    else:
        t = x - 1.0
        near = log1p(t + primitive("sqrt_rn", fma(t, t, 2.0 * t)))
        return where(x < 1.0, float("nan"), where(x < 2.0**28, near, log(x) + math.log(2)))


@kernel
def atanh(x):
    """The inverse of tanh; NaN beyond 1."""
    x = floats("atanh", x)
    if x.dtype == float32:
        return atanh(x.to(float64)).to(float32)
    else:
        a = abs_(x)
        return copysign(0.5 * log1p(quotient(2.0 * a, 1.0 - a)), x)


# -- roots and powers ------------------------------------------------------------------------------------------------

@kernel
def cbrt(x):
    """The cube root."""
    x = floats("cbrt", x)
    if x.dtype == float32:
        return cbrt(x.to(float64)).to(float32)
    else:
        a = abs_(x)
        small = a < 2.0**-1000
        whole = where(small, a * 2.0**54, a)
        e = (bits(whole) >> 52) - 1022
        third = (e + 3074) // 3 - 1024      # the exponent's third, rounded up
        m = scaled(from_bits((bits(whole) & ((1 << 52) - 1)) | (1022 << 52)), e - 3 * third)
        y = polynomial(m, "cbrt")
        for _ in range(2):
            cube = y * y * y
            y = y - y * quotient(cube - m, 2.0 * cube + m)
        square = product(y, y)
        over = fma(square, y, -m) + fma(y, y, -square) * y
        y = y - quotient(over, 3.0 * square)
        y = scaled(y, third - where(small, 18, 0).to(third.dtype))
        return copysign(where((a > 0.0) & (a < float("inf")), y, a), x)


@kernel
def rcbrt(x):
    """1 / cbrt(x)."""
    x = floats("rcbrt", x)
    if x.dtype == float32:
        return quotient(1.0, cbrt(x.to(float64))).to(float32)
    else:
        return quotient(1.0, cbrt(x))


@kernel
def _sum_exact(a, b):
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@kernel
def log_pair(x):
    """log(x) of a positive finite f64 as two floats, to about 2**-65 of itself."""
    k, f = split(x)
    m = f + 1.0
    den = m + 1.0
    den_low = m - (den - 1.0)
    s = quotient(f, den)
    s_low = quotient(fma(-s, den, f) - s * den_low, den)
    z = product(s, s)
    z_low = fma(s, s, -z) + 2.0 * s * s_low
    cube = product(z, s)
    cube_low = fma(z, s, -cube) + (z * s_low + z_low * s)
    third = product(cube, 0.6666666666666666)
    third_low = fma(cube, 0.6666666666666666, -third) + (cube * 3.700743415417188e-17 + cube_low * 0.6666666666666666)
    tail = cube * z * polynomial(z, "log_tail")
    high, low = _sum_exact(2.0 * s, third)
    low = low + (2.0 * s_low + (third_low + tail))
    high, rest = _sum_exact(product(k, LN2_HIGH[1]), high)
    low = rest + fma(k, LN2_LOW[1], low)
    total = high + low
    return total, low - (total - high)


@kernel
def _exp_pair(high, low):
    """e**(high + low)."""
    inside = (high > -760.0) & (high < 720.0)
    x = held(high, -760.0, 720.0)
    k = nearest(x * LOG2E)
    r = _without_ln2(x, k) + where(inside, low, 0.0)
    return scaled(_exp_tail(r) + 1.0, k)


@kernel
def positive_power(x, y):
    """x**y of f64 for positive finite x."""
    high, low = log_pair(x)
    p = product(y, high)
    return _exp_pair(p, fma(y, high, -p) + y * low)


@kernel
def pow(x, y):
    """x to the power y, with C's results for zeros, infinities and NaN; y may be an integer."""
    if x.dtype == float64:
        return _pow(x, y)
    else:
        return _pow(floats("pow", x).to(float64), y).to(float32)


@kernel
def _pow(x, y):
    x, y = doubles("pow", x, as_double(y))
    a = abs_(x)
    inf: constexpr = float("inf")
    whole = primitive("floor", y) == y
    odd = whole & (primitive("floor", y * 0.5) != y * 0.5) & (abs_(y) < 2.0**53)
    value = positive_power(where((a > 0.0) & (a < inf), a, 1.0), where(abs_(y) < inf, y, 0.0))
    value = where((a == 0.0) | (a == inf), where((a == 0.0) == (y > 0.0), constant(x, 0.0), inf), value)
    value = where(abs_(y) == inf, where(a == 1.0, 1.0, where((a > 1.0) == (y > 0.0), constant(x, inf), 0.0)), value)
    negative = bits(x) < 0
    value = where(negative & odd, -value, value)
    value = where((x < 0.0) & (a < inf) & (abs_(y) < inf) & (whole == 0), float("nan"), value)
    value = where((x != x) | (y != y), float("nan"), value)
    return where((x == 1.0) | (y == 0.0), 1.0, value)

