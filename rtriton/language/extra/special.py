"""libdevice's special functions: error functions and their inverses, the normal distribution, gamma.

All are computed in f64; f32 is rounded from that. Largest errors seen in f64, in units of the last place: erfc and
erfcx 3, normcdf 6, erfinv and erfcinv 4, normcdfinv 5, tgamma 8, lgamma 4 (below -2.3 the error is absolute: log
gamma has zeros there).
"""
from __future__ import annotations

import math

from rtriton.language.extra.bits import copysign
from rtriton.language.extra.elementary import exp, log, positive_power
from rtriton.language.extra.tools import constant, floats, fma, kernel, polynomial, primitive, product, quotient
from rtriton.language.extra.trigonometry import sinpi
from rtriton.language.math import abs_, minimum, where
from rtriton.language.values import constexpr, static_range
from rtriton.types import float64

INF = constexpr(float("inf"))
TWO_OVER_ROOT_PI = constexpr(2 / math.sqrt(math.pi))


@kernel
def erf(x):
    """The error function."""
    return primitive("erf", floats("erf", x))


@kernel
def _bell(x, sign):
    """exp(sign x**2), the square taken in two floats."""
    square = product(x, x)
    lost = fma(x, x, -square)
    return exp(sign * minimum(square, 1000.0)) * (1.0 + sign * where(square < 1000.0, lost, 0.0))


@kernel
def _erfcx(x):
    """exp(x**2) erfc(x) of x >= 0."""
    y = minimum(x, 1e300)
    return quotient(polynomial(quotient(y - 4.0, y + 4.0), "erfcx"), fma(2.0, y, 1.0))


@kernel
def _erfc(x):
    a = abs_(x)
    far = _bell(a, -1.0) * _erfcx(a)
    return where(x < 0.5, where(x < -0.5, 2.0 - far, 1.0 - primitive("erf", x)), far)


@kernel
def erfc(x):
    """1 - erf(x)."""
    x = floats("erfc", x)
    value = _erfc(x.to(float64)).to(x.dtype)
    return where(x != x, x, value)


@kernel
def erfcx(x):
    """exp(x**2) erfc(x)."""
    x = floats("erfcx", x)
    wide = x.to(float64)
    near = _erfcx(abs_(wide))
    value = where(wide < 0.0, 2.0 * _bell(wide, 1.0) - near, near).to(x.dtype)
    return where(x != x, x, value)


@kernel
def normcdf(x):
    """The distribution function of the standard normal distribution."""
    x = floats("normcdf", x)
    wide = x.to(float64)
    high = product(wide, -0.7071067811865476)
    low = fma(wide, -0.7071067811865476, -high) + wide * 4.833646656726457e-17
    low = where(abs_(wide) < 50.0, low, 0.0)
    value = 0.5 * (_erfc(high) - low * TWO_OVER_ROOT_PI * _bell(high, -1.0))
    return where(x != x, x, value.to(x.dtype))


@kernel
def _ratio(w):
    """erfinv(x) / x where w = -log(1 - x**2)."""
    root = primitive("sqrt_rn", w)
    near = polynomial(minimum(w, 6.0) - 3.0, "erfinv_mid")
    far = polynomial((minimum(root, 12.4) - 7.4) / 5.0, "erfinv_far")
    tail = polynomial((root - 20.0) / 8.0, "erfinv_tail")
    return where(w < 6.0, near, where(root < 12.4, far, tail))


@kernel
def _inverse(a, c):
    """The y with erf(y) = a and erfc(y) = c, for 0 <= a, c = 1 - a: a first approximation, then Halley's steps."""
    y = a * _ratio(-log(c * (1.0 + a)))
    for _ in static_range(2):
        small = primitive("erf", y) - a
        near = small * exp(minimum(y * y, 1.0))
        far = exp(fma(y, y, log(c))) - _erfcx(y)
        step = where(a < 0.5, near, far) * (1.0 / TWO_OVER_ROOT_PI)
        y = y - quotient(step, fma(y, step, 1.0))
    return y


@kernel
def erfinv(x):
    """The inverse of erf; infinite at 1, NaN beyond."""
    x = floats("erfinv", x)
    wide = abs_(x.to(float64))
    inside = (wide < 1.0) & (wide > 1e-300)
    a = where(inside, wide, 0.5)
    y = _inverse(a, 1.0 - a)
    y = where(wide == 1.0, INF, where(wide > 1.0, float("nan"), where(inside, y, wide * 0.886226925452758)))
    return where(x != x, x, copysign(y.to(x.dtype), x))


@kernel
def _erfcinv(x):
    c = where(x > 1.0, 2.0 - x, x)
    inside = (c > 0.0) & (c < 1.0)
    c = where(inside, c, 0.5)
    y = where(inside, _inverse(1.0 - c, c), 0.0)
    y = where((x == 0.0) | (x == 2.0), INF, where((x < 0.0) | (x > 2.0) | (x != x), float("nan"), y))
    return where(x > 1.0, -y, y)


@kernel
def erfcinv(x):
    """The inverse of erfc; infinite at 0 and 2, NaN beyond."""
    x = floats("erfcinv", x)
    return _erfcinv(x.to(float64)).to(x.dtype)


@kernel
def normcdfinv(x):
    """The inverse of normcdf; infinite at 0 and 1, NaN beyond."""
    x = floats("normcdfinv", x)
    return (-1.4142135623730951 * _erfcinv(2.0 * x.to(float64))).to(x.dtype)


# -- gamma -----------------------------------------------------------------------------------------------------------

@kernel
def _stirling(x):
    """What Stirling's formula for log gamma leaves, for x >= 8."""
    inverse = quotient(1.0, x)
    return inverse * polynomial(inverse * inverse, "stirling")


@kernel
def _lgamma_positive(x):
    """log gamma of 0 < x < inf."""
    low = x < 0.75
    y = where(low, x + 1.0, x)
    zeros = (y - 1.0) * (y - 2.0)
    small = zeros * polynomial(where(y < 3.0, y, 2.0) - 1.875, "lgamma_low")
    small = where(low, (where(low, x * x - x, 1.0)) * 0.0 + small - log(where(low, x, 1.0)), small)
    middle = zeros * polynomial((minimum(where(y < 3.0, 5.5, y), 8.0) - 5.5) / 2.5, "lgamma_mid")
    big = where(x < 8.0, 8.0, x)
    large = (big - 0.5) * (log(big) - 1.0) + (0.4189385332046727 + _stirling(big))
    return where(x < 8.0, where(y < 3.0, small, middle), large)


@kernel
def _lgamma(x):
    a = abs_(x)
    inside = (a > 0.0) & (a < INF)
    positive = _lgamma_positive(where(inside, a, 1.0))
    sine = abs_(sinpi(where(inside, a, 0.5)))
    mirrored = log(quotient(math.pi, where(inside, a, 1.0) * sine)) - positive
    value = where(x < 0.0, mirrored, positive)
    tiny = a < 1e-20
    value = where(tiny & inside, -log(where(inside, a, 1.0)), value)
    pole = (x <= 0.0) & (primitive("floor", x) == x)
    return where((a == INF) | pole, INF, where(x != x, x, value))


@kernel
def lgamma(x):
    """The logarithm of |gamma(x)|; infinite at 0 and the negative integers."""
    x = floats("lgamma", x)
    return _lgamma(x.to(float64)).to(x.dtype)


@kernel
def _gamma_positive(x):
    """Gamma of 0 < x < 172: between 2 and 3, from where it is a product; above 12 by Stirling's formula."""
    y = minimum(x, 12.0)
    factor, divisor = constant(x, 1.0), constant(x, 1.0)
    for _ in static_range(9):
        down = y >= 3.0
        y = where(down, y - 1.0, y)
        factor = where(down, factor * y, factor)
    for _ in static_range(2):
        up = y < 2.0
        divisor = where(up, divisor * y, divisor)
        y = where(up, y + 1.0, y)
    near = quotient(factor * polynomial(y - 2.5, "gamma"), divisor)
    big = where(x < 12.0, 12.0, x)
    half = positive_power(big, 0.5 * big - 0.25)
    far = half * exp(-big) * half * (2.5066282746310002 * exp(_stirling(big)))
    return where(x < 12.0, near, far)


@kernel
def _tgamma(x):
    a = minimum(abs_(x), 190.0)
    inside = a > 1e-300
    positive = _gamma_positive(where(inside, a, 1.0))
    sine = sinpi(x)
    mirrored = quotient(math.pi, where(inside, a, 1.0) * positive * where(sine == 0.0, 1.0, sine))
    value = where(x < 0.0, mirrored, positive)
    value = where(x > 171.7, INF, value)
    value = where(inside, value, quotient(1.0, x))
    whole = primitive("floor", x) == x
    value = where((x < 0.0) & whole, float("nan"), value)
    return where(x == INF, INF, where((x == -INF) | (x != x), float("nan"), value))


@kernel
def tgamma(x):
    """The gamma function; infinite at 0, NaN at the negative integers."""
    x = floats("tgamma", x)
    return _tgamma(x.to(float64)).to(x.dtype)
