"""libdevice's trigonometric functions and lengths of vectors, in f32 and f64.

sin and cos are the language's own (on a GPU for |x| up to 1e5 in f32). tan, hypot and the norms of f32 are computed in
f64; the rest reduces to a small interval and a fitted polynomial in its own type.
"""
from __future__ import annotations

import math

from rtriton.language.extra.bits import copysign
from rtriton.language.extra.tools import (
    bits, constant, floats, fma, kernel, pick, polynomial, primitive, product, quotient,
)
from rtriton.language.math import abs_, maximum, minimum, where
from rtriton.language.values import constexpr
from rtriton.types import float32, float64, int32

INF = constexpr(float("inf"))
# pi/2 in two floats
HALF_PI = constexpr((1.5707963705062866, 1.5707963267948966))
HALF_PI_LOW = constexpr((-4.371139000186241e-08, 6.123233995736766e-17))


@kernel
def sin(x):
    """The sine."""
    return primitive("sin", floats("sin", x))


@kernel
def cos(x):
    """The cosine."""
    return primitive("cos", floats("cos", x))


@kernel
def tan(x):
    """The tangent."""
    x = floats("tan", x)
    if x.dtype == float32:
        return tan(x.to(float64)).to(float32)
    else:
        return quotient(primitive("sin", x), primitive("cos", x))


@kernel
def _turn(x):
    """sin(pi t), cos(pi t) and the number of quarter turns that x is beyond t, |t| <= 1/4."""
    r = x - 2.0 * primitive("floor", x * 0.5 + 0.25)       # in [-1/2, 3/2]
    quarter = primitive("floor", 2.0 * r + 0.5)
    t = r - 0.5 * quarter
    square = t * t
    return t * polynomial(square, "sinpi"), polynomial(square, "cospi"), quarter.to(int32)


@kernel
def sinpi(x):
    """sin(pi x)."""
    x = floats("sinpi", x)
    s, c, quarter = _turn(abs_(x))
    value = where(quarter & 1 != 0, c, s)
    value = where(quarter & 2 != 0, -value, value)
    value = where(primitive("floor", x) == x, 0.0, value)
    return where(abs_(x) == INF, float("nan"), where(x != x, x, from_sign(value, x)))


@kernel
def from_sign(value, x):
    """value, negated where x is."""
    return where(bits(x) < 0, -value, value)


@kernel
def cospi(x):
    """cos(pi x)."""
    x = floats("cospi", x)
    s, c, quarter = _turn(abs_(x))
    value = where(quarter & 1 != 0, -s, c)
    value = where(quarter & 2 != 0, -value, value)
    return where(abs_(x) == INF, float("nan"), value)


@kernel
def _arc(a, b):
    """atan(a / b) for 0 <= a <= b, b > 0."""
    far = a > b * math.tan(math.pi / 8)
    t = quotient(where(far, a - b, a), where(far, a + b, b))
    square = t * t
    near = fma(t * square, polynomial(square, "atan"), t)
    quarter: constexpr = 0.5 * pick(a, HALF_PI)
    low: constexpr = 0.5 * pick(a, HALF_PI_LOW)
    return where(far, quarter + (near + low), near)


@kernel
def atan(x):
    """The angle with tangent x."""
    x = floats("atan", x)
    a = abs_(x)
    steep = a > 1.0
    r = _arc(where(steep, 1.0, a), where(steep, a, 1.0))
    r = where(a == INF, 0.0, r)
    return copysign(where(steep, pick(x, HALF_PI) - (r - pick(x, HALF_PI_LOW)), r), x)


@kernel
def atan2(y, x):
    """The angle of the point (x, y)."""
    y, x = floats("atan2", y, x)
    scale = where(maximum(abs_(x), abs_(y)) > pick(x, (2.0**100, 2.0**1000)), constant(x, 0.125), 1.0)
    a, b = abs_(x) * scale, abs_(y) * scale
    steep = b > a
    low, high = minimum(a, b), maximum(a, b)
    low, high = where(low == INF, 1.0, low), where(low == INF, 1.0, high)
    r = where(high == INF, 0.0, _arc(low, where((high == 0.0) | (high == INF), 1.0, high)))
    r = where(steep, pick(x, HALF_PI) - (r - pick(x, HALF_PI_LOW)), r)
    r = where(bits(x) < 0, 2.0 * pick(x, HALF_PI) - (r - 2.0 * pick(x, HALF_PI_LOW)), r)
    return where((x != x) | (y != y), x + y, copysign(r, y))


@kernel
def _arcsine(x, square):
    """asin(x) of |x| <= 1/2, whose square is given."""
    return fma(x * square, polynomial(square, "asin"), x)


@kernel
def _near_one(a):
    """acos(a) of 1/2 <= a <= 1: twice the arcsine of the root of (1 - a) / 2, which is taken in two floats."""
    half = 0.5 * (1.0 - a)
    root = primitive("sqrt_rn", half)
    lost = where(half > 0.0, quotient(fma(-root, root, half), 2.0 * root), 0.0)
    return 2.0 * (root + fma(root * half, polynomial(half, "asin"), lost))


@kernel
def asin(x):
    """The arcsine; NaN beyond 1."""
    x = floats("asin", x)
    a = abs_(x)
    far = pick(x, HALF_PI) - (_near_one(where(a > 0.5, a, 1.0)) - pick(x, HALF_PI_LOW))
    near = _arcsine(a, where(a > 0.5, 0.0, a * a))
    return where(a > 1.0, float("nan"), copysign(where(a > 0.5, far, near), x))


@kernel
def acos(x):
    """The arccosine; NaN beyond 1."""
    x = floats("acos", x)
    a = abs_(x)
    far = _near_one(where(a > 0.5, a, 1.0))
    far = where(x < 0.0, 2.0 * pick(x, HALF_PI) - (far - 2.0 * pick(x, HALF_PI_LOW)), far)
    near = pick(x, HALF_PI) - (_arcsine(x, where(a > 0.5, 0.0, a * a)) - pick(x, HALF_PI_LOW))
    return where(a > 1.0, float("nan"), where(a > 0.5, far, near))


# -- lengths ---------------------------------------------------------------------------------------------------------

@kernel
def _length(a, b, c, d):
    """The root of the sum of four squares of f64."""
    most = maximum(maximum(abs_(a), abs_(b)), maximum(abs_(c), abs_(d)))
    up = where(most < 2.0**-500, constant(a, 2.0**600), where(most > 2.0**500, constant(a, 2.0**-600), 1.0))
    a, b, c, d = a * up, b * up, c * up, d * up
    total = product(a, a)
    lost = fma(a, a, -total)
    for part in (b, c, d):
        square = product(part, part)
        more = total + square
        back = more - total
        lost = lost + (fma(part, part, -square) + ((total - (more - back)) + (square - back)))
        total = more
    root = primitive("sqrt_rn", total + lost)
    return where(most == INF, INF, root * quotient(1.0, up))


@kernel
def hypot(x, y):
    """The length of (x, y)."""
    x, y = floats("hypot", x, y)
    zero = constant(x.to(float64), 0.0)
    return _length(x.to(float64), y.to(float64), zero, zero).to(x.dtype)


@kernel
def norm3d(x, y, z):
    """The length of (x, y, z)."""
    x, y, z = floats("norm3d", x, y, z)
    return _length(x.to(float64), y.to(float64), z.to(float64), constant(x.to(float64), 0.0)).to(x.dtype)


@kernel
def norm4d(x, y, z, w):
    """The length of (x, y, z, w)."""
    x, y, z, w = floats("norm4d", x, y, z, w)
    return _length(x.to(float64), y.to(float64), z.to(float64), w.to(float64)).to(x.dtype)


@kernel
def rhypot(x, y):
    """1 / hypot(x, y)."""
    x, y = floats("rhypot", x, y)
    return quotient(1.0, hypot(x.to(float64), y.to(float64))).to(x.dtype)


@kernel
def rnorm3d(x, y, z):
    """1 / norm3d(x, y, z)."""
    x, y, z = floats("rnorm3d", x, y, z)
    return quotient(1.0, norm3d(x.to(float64), y.to(float64), z.to(float64))).to(x.dtype)


@kernel
def rnorm4d(x, y, z, w):
    """1 / norm4d(x, y, z, w)."""
    x, y, z, w = floats("rnorm4d", x, y, z, w)
    return quotient(1.0, norm4d(x.to(float64), y.to(float64), z.to(float64), w.to(float64))).to(x.dtype)
