"""libdevice's functions of bits and integers, and those that look at a float's sign, exponent and class."""
from __future__ import annotations

from rtriton.language.extra.tools import (
    bits, constant, doubles, floats, from_bits, integers, kernel, long_words, pick, primitive, product, singles, words,
)
from rtriton.language.math import abs_ as absolute, maximum, minimum, umulhi, where
from rtriton.language.values import constexpr, static_range
from rtriton.types import int32, int64, uint32, uint64

INF = constexpr(float("inf"))


# -- integers --------------------------------------------------------------------------------------------------------

@kernel
def _unsigned(x):
    return x.to(pick(x, (uint32, uint64)), bitcast=True)


@kernel
def popc(x):
    """How many bits are set, as int32."""
    v = _unsigned(integers("popc", x))
    v = v - ((v >> 1) & pick(v, (0x55555555, 0x5555555555555555)))
    v = (v & pick(v, (0x33333333, 0x3333333333333333))) + ((v >> 2) & pick(v, (0x33333333, 0x3333333333333333)))
    v = (v + (v >> 4)) & pick(v, (0x0F0F0F0F, 0x0F0F0F0F0F0F0F0F))
    return ((v * pick(v, (0x01010101, 0x0101010101010101))) >> pick(v, (24, 56))).to(int32)


@kernel
def clz(x):
    """How many zeros stand before the first set bit, as int32 (32 or 64 for 0)."""
    v = _unsigned(integers("clz", x))
    v = v | (v >> 1)
    v = v | (v >> 2)
    v = v | (v >> 4)
    v = v | (v >> 8)
    v = v | (v >> 16)
    if v.dtype == uint64:
        v = v | (v >> 32)
    return popc(~v)


@kernel
def ffs(x):
    """The place of the lowest set bit, counted from 1, as int32; 0 for 0."""
    x = integers("ffs", x)
    return where(x == 0, 0, popc((x ^ (x - 1)).to(x.dtype)))


@kernel
def brev(x):
    """The bits in reverse order."""
    v = _unsigned(integers("brev", x))
    ones: constexpr = pick(v, (0x55555555, 0x5555555555555555))
    v = ((v >> 1) & ones) | ((v & ones) << 1)
    twos: constexpr = pick(v, (0x33333333, 0x3333333333333333))
    v = ((v >> 2) & twos) | ((v & twos) << 2)
    fours: constexpr = pick(v, (0x0F0F0F0F, 0x0F0F0F0F0F0F0F0F))
    v = ((v >> 4) & fours) | ((v & fours) << 4)
    eights: constexpr = pick(v, (0x00FF00FF, 0x00FF00FF00FF00FF))
    v = ((v >> 8) & eights) | ((v & eights) << 8)
    if v.dtype == uint64:
        halves: constexpr = 0x0000FFFF0000FFFF
        v = ((v >> 16) & halves) | ((v & halves) << 16)
        v = (v >> 32) | (v << 32)
    else:
        v = (v >> 16) | (v << 16)
    return v.to(x.dtype, bitcast=True)


@kernel
def byte_perm(x, y, s):
    """Four bytes of the eight of x (0 to 3) and y (4 to 7), each chosen by three bits of one of s's lower nibbles."""
    x, y, s = words("byte_perm", x, y, s)
    both = _unsigned(x).to(uint64) | (_unsigned(y).to(uint64) << 32)
    out = _unsigned(x) * 0
    for k in static_range(4):
        place = ((_unsigned(s) >> (4 * k)) & 7) * 8
        out = out | ((both >> place.to(uint64)).to(uint32) & 0xFF) << (8 * k)
    return out.to(x.dtype, bitcast=True)


@kernel
def mulhi(x, y):
    """The upper half of the full product, signed or unsigned."""
    x, y = integers("mulhi", x, y)
    high = umulhi(x, y)
    if x.dtype == int32 or x.dtype == int64:
        high = high - where(x < 0, y, 0) - where(y < 0, x, 0)
    return high


@kernel
def mul24(x, y):
    """The lower 32 bits of the product of the lower 24 bits."""
    x, y = words("mul24", x, y)
    return ((x << 8) >> 8) * ((y << 8) >> 8)


@kernel
def sad(x, y, z):
    """|x - y| + z."""
    x, y = words("sad", x, y)
    distance = maximum(x, y) - minimum(x, y)
    return z + distance.to(z.dtype, bitcast=True)


@kernel
def hadd(x, y):
    """(x + y) >> 1 without overflow."""
    x, y = words("hadd", x, y)
    return (x & y) + ((x ^ y) >> 1)


@kernel
def rhadd(x, y):
    """(x + y + 1) >> 1 without overflow."""
    x, y = words("rhadd", x, y)
    return (x | y) - ((x ^ y) >> 1)


# -- bits of floats --------------------------------------------------------------------------------------------------

@kernel
def float_as_int(x):
    """The bits of an f32 as int32."""
    return bits(singles("float_as_int", x))


@kernel
def float_as_uint(x):
    """The bits of an f32 as int32, which is what Triton gives."""
    return bits(singles("float_as_uint", x))


@kernel
def int_as_float(x):
    """The f32 with these bits."""
    return from_bits(words("int_as_float", x))


@kernel
def uint_as_float(x):
    """The f32 with these bits."""
    return from_bits(words("uint_as_float", x))


@kernel
def double_as_longlong(x):
    """The bits of an f64 as int64."""
    return bits(doubles("double_as_longlong", x))


@kernel
def longlong_as_double(x):
    """The f64 with these bits."""
    return from_bits(long_words("longlong_as_double", x))


@kernel
def double2hiint(x):
    """The upper 32 bits of an f64."""
    return (bits(doubles("double2hiint", x)) >> 32).to(int32)


@kernel
def double2loint(x):
    """The lower 32 bits of an f64."""
    return bits(doubles("double2loint", x)).to(int32)


@kernel
def hiloint2double(high, low):
    """The f64 with these upper and lower 32 bits."""
    high, low = words("hiloint2double", high, low)
    return from_bits((high.to(int64) << 32) | _unsigned(low).to(int64))


@kernel
def copysign(x, y):
    """|x| with the sign of y."""
    x, y = floats("copysign", x, y)
    sign: constexpr = pick(x, (-1 << 31, -1 << 63))
    return from_bits((bits(x) & (-1 - sign)) | (bits(y) & sign))


@kernel
def signbit(x):
    """1 where the sign bit is set, else 0, as int32."""
    return (bits(floats("signbit", x)) < 0).to(int32)


@kernel
def isnan(x):
    """Is it NaN? (int1)"""
    x = floats("isnan", x)
    return x != x


@kernel
def isinf(x):
    """Is it infinite? (int1)"""
    return absolute(floats("isinf", x)) == INF


@kernel
def finitef(x):
    """Is an f32 finite? (int1)"""
    return absolute(singles("finitef", x)) < INF


@kernel
def isfinited(x):
    """Is an f64 finite? (int1)"""
    return absolute(doubles("isfinited", x)) < INF


@kernel
def saturatef(x):
    """An f32 held in [0, 1]; NaN gives 0."""
    return minimum(maximum(singles("saturatef", x), 0.0), 1.0)


@kernel
def nextafter(x, y):
    """The float next to x in the direction of y."""
    x, y = floats("nextafter", x, y)
    b = bits(x)
    away = (y > x) == (x > 0.0)
    step = b + where(away, constant(b, 1), -1)
    first = (bits(y) & pick(x, (-1 << 31, -1 << 63))) | 1      # the smallest denormal, towards y
    moved = from_bits(where(x == 0.0, first, step))
    return where((x != x) | (y != y), x + y, where(x == y, y, moved))


@kernel
def _exponent(x):
    """floor(log2 |x|) of a finite number that is not zero, as a signed integer of x's width."""
    small = absolute(x) < pick(x, (2.0**-126, 2.0**-1022))
    whole = absolute(where(small, x * 2.0**54, x))
    biased = (bits(whole) >> pick(x, (23, 52))) - pick(x, (127, 1023))
    return biased - where(small, constant(biased, 54), 0)


@kernel
def ilogb(x):
    """The exponent as int32; the least int32 for 0 and NaN, the largest for infinities."""
    x = floats("ilogb", x)
    value = _exponent(x).to(int32)
    value = where(absolute(x) == INF, 2147483647, value)
    return where((x == 0.0) | (x != x), -2147483648, value)


@kernel
def logb(x):
    """The exponent as a float; -inf for 0, inf for infinities."""
    x = floats("logb", x)
    value = where(absolute(x) == INF, INF, _exponent(x).to(x.dtype))
    return where(x == 0.0, -INF, where(x != x, x, value))


@kernel
def _power(x, n):
    """2**n for n in the exponent's range, as x's type."""
    return from_bits((n + pick(x, (127, 1023))) << pick(x, (23, 52)))


@kernel
def ldexp(x, n):
    """x * 2**n, rounded once."""
    x = floats("ldexp", x)
    most: constexpr = pick(x, (126, 1022))
    n = minimum(maximum(n, -3 * most), 3 * most).to(pick(x, (int32, int64)))
    first = minimum(maximum(n, -most), most)
    rest = n - first
    second = minimum(maximum(rest, -most), most)
    grown = product(product(product(x, _power(x, first)), _power(x, second)), _power(x, rest - second))
    # downwards: first to where the result is still normal, so that only the last factor rounds
    shift: constexpr = pick(x, (60, 200))
    low = minimum(maximum(n + shift, -most), most)
    next_low = maximum(n + shift - low, -most)
    tiny = product(product(x, _power(x, low)), _power(x, minimum(next_low, 0)))
    return where(n < 0, product(tiny, pick(x, (2.0**-60, 2.0**-200))), grown)


@kernel
def scalbn(x, n):
    """x * 2**n, rounded once."""
    return ldexp(x, n)


# -- whole numbers ---------------------------------------------------------------------------------------------------

@kernel
def abs(x):
    """|x| of a float or an integer."""
    return absolute(x)


@kernel
def floor(x):
    """The largest whole number not above x."""
    return primitive("floor", floats("floor", x))


@kernel
def ceil(x):
    """The smallest whole number not below x."""
    return primitive("ceil", floats("ceil", x))


@kernel
def trunc(x):
    """x without its fraction."""
    x = floats("trunc", x)
    return copysign(primitive("floor", absolute(x)), x)


@kernel
def round(x):
    """The nearest whole number, halves away from zero."""
    x = floats("round", x)
    a = absolute(x)
    whole = primitive("floor", a)
    return copysign(where(a - whole >= 0.5, whole + 1.0, whole), x)


@kernel
def rint(x):
    """The nearest whole number, halves to even."""
    x = floats("rint", x)
    a = absolute(x)
    whole = primitive("floor", a)
    rest = a - whole
    up = (rest > 0.5) | ((rest == 0.5) & (primitive("floor", whole * 0.5) != whole * 0.5))
    return copysign(where(up, whole + 1.0, whole), x)


@kernel
def nearbyint(x):
    """The nearest whole number, halves to even."""
    return rint(x)


@kernel
def llrint(x):
    """The nearest integer as int64, halves to even."""
    return rint(x).to(int64)


@kernel
def llround(x):
    """The nearest integer as int64, halves away from zero."""
    return round(x).to(int64)


@kernel
def fdim(x, y):
    """x - y where that is positive, else 0."""
    x, y = floats("fdim", x, y)
    return where((x != x) | (y != y), x + y, where(x > y, x - y, 0.0))


@kernel
def fmod(x, y):
    """The remainder of the truncated division, with the sign of x. On a GPU it is exact while x / y is below 2**24 in
    f32 and 2**53 in f64."""
    x, y = floats("fmod", x, y)
    rest = x % y
    wrong = (rest != 0.0) & ((bits(rest) < 0) != (bits(x) < 0))     # the quotient was rounded up
    rest = where(wrong, rest + copysign(y, x), rest)
    rest = where((absolute(x) < INF) & (absolute(y) == INF), x, rest)
    return where(rest == 0.0, copysign(rest, x), rest)


@kernel
def remainder(x, y):
    """x - n y for the whole n nearest to x / y, halves to even n."""
    x, y = floats("remainder", x, y)
    size = absolute(y)
    huge = size >= pick(x, (2.0**127, 2.0**1023))       # twice which is no number, and no x beyond it either
    rest = absolute(where(huge, x, fmod(x, where(huge, 1.0, size * 2.0))))
    above = rest - size + rest > 0.0
    rest = where(above, rest - size, rest)
    rest = where(above & (rest - size + rest >= 0.0), rest - size, rest)
    value = from_bits(bits(rest) ^ (bits(x) & pick(x, (-1 << 31, -1 << 63))))
    return where((x != x) | (y != y) | (y == 0.0) | (absolute(x) == INF), float("nan"), value)


@kernel
def fmax(x, y):
    """The larger; of a NaN and a number the number."""
    x, y = floats("fmax", x, y)
    return maximum(x, y)


@kernel
def fmin(x, y):
    """The smaller; of a NaN and a number the number."""
    x, y = floats("fmin", x, y)
    return minimum(x, y)
