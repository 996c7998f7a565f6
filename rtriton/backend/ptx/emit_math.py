"""Functions of one number: f32 by the special function unit where it is good enough, else by polynomials; f64 by
polynomials.

sin and cos reduce their argument by a quarter turn in three pieces, which holds up to about 100,000; erf and tanh
are within a few units in the last place of f32.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log, pi, sqrt

from rtriton.backend.ptx.emit import Emitter
from rtriton.backend.ptx.operands import Reg
from rtriton.language.extra.fits import FITS
from rtriton.types import BY_SHORT, DType

I32 = BY_SHORT["i32"]
LOG2E = 1.4426950408889634
LN2 = log(2.0)


def fma(e: Emitter, t: DType, a: Reg, b: Reg | float, c: Reg | float) -> Reg:
    """a * b + c rounded once."""
    return e.pure(f"fma.rn.{t.short}", a, b, c)


def mul(e: Emitter, t: DType, a: Reg, b: Reg | float) -> Reg:
    return e.pure(f"mul.{t.short}", a, b)


def horner(e: Emitter, t: DType, x: Reg, coefficients: Sequence[float]) -> Reg:
    """The polynomial with these coefficients, highest power first."""
    total = e.const(coefficients[0], t)
    for c in coefficients[1:]:
        total = fma(e, t, total, x, c)
    return total


def _ex2(e: Emitter, x: Reg) -> Reg:
    """2**x of f32; a subnormal result is 0 unless the launch says otherwise."""
    return e.pure("ex2.approx.ftz.f32" if e.kernel.attrs.get("reflect_ftz", True) else "ex2.approx.f32", x)


def _exp2(e: Emitter, t: DType, args: tuple[Reg, ...]) -> Reg:
    if t.short == "f32":
        return _ex2(e, args[0])
    x = e.pure("max.f64", e.pure("min.f64", args[0], 1026.0), -1078.0)
    k = e.pure("cvt.rni.f64.f64", x)
    return _power64(e, args[0], k, mul(e, t, e.pure("sub.f64", x, k), LN2))


def _exp(e: Emitter, t: DType, args: tuple[Reg, ...]) -> Reg:
    if t.short == "f32":
        return _ex2(e, mul(e, t, args[0], LOG2E))
    x = e.pure("max.f64", e.pure("min.f64", args[0], 710.0), -746.0)
    k = e.pure("cvt.rni.f64.f64", mul(e, t, x, LOG2E))
    r = fma(e, t, k, -6.93147180369123816490e-01, x)
    return _power64(e, args[0], k, fma(e, t, k, -1.90821492927058770002e-10, r))


def _power64(e: Emitter, x: Reg, k: Reg, r: Reg) -> Reg:
    """2**k * e**r; the power of two in two factors, so that subnormal results come out. k comes of an x that min and
    max held in range, and they lose a NaN: it is picked here."""
    t = BY_SHORT["f64"]
    power = horner(e, t, r, [1 / f for f in _factorials(13)])
    n = e.pure("cvt.rzi.s32.f64", k)
    half = e.pure("shr.s32", n, 1)
    for part in (half, e.pure("sub.s32", n, half)):
        bits = e.pure("shl.b32", e.pure("add.s32", part, 1023), 20)
        power = mul(e, t, power, e.pure("mov.b64", (e.const(0, I32), bits)))
    return e.pure("selp.f64", x, power, e.pure("setp.neu.f64", x, x))


def _factorials(n: int) -> list[float]:
    """n!, (n-1)! ... 0!"""
    out = [1.0]
    for k in range(1, n + 1):
        out.append(out[-1] * k)
    return out[::-1]


def _log2(e: Emitter, t: DType, args: tuple[Reg, ...]) -> Reg:
    if t.short == "f32":
        return e.pure("lg2.approx.f32", args[0])
    return mul(e, t, _log64(e, args[0]), LOG2E)


def _log(e: Emitter, t: DType, args: tuple[Reg, ...]) -> Reg:
    if t.short == "f32":
        return mul(e, t, e.pure("lg2.approx.f32", args[0]), LN2)
    return _log64(e, args[0])


def _log64(e: Emitter, x: Reg) -> Reg:
    """x = 2**k m with m near 1; log m = 2 atanh((m - 1) / (m + 1))."""
    t = BY_SHORT["f64"]
    small = e.pure("setp.lt.f64", x, 2.0**-1022)
    scaled = e.pure("selp.f64", mul(e, t, x, 2.0**54), x, small)
    shift = e.pure("add.s64", scaled, -0x3FE6A09E667F3BCD)  # sqrt(1/2): m lies in [sqrt(1/2), sqrt(2))
    k = e.pure("shr.s64", shift, 52)
    m = e.pure("sub.s64", scaled, e.pure("shl.b64", k, 52))
    whole = e.pure("sub.f64", e.pure("cvt.rn.f64.s64", k), e.pure("selp.f64", 54.0, 0.0, small))
    s = e.pure("div.rn.f64", e.pure("add.f64", m, -1.0), e.pure("add.f64", m, 1.0))
    square = mul(e, t, s, s)
    series = horner(e, t, square, [2 / n for n in range(21, 0, -2)])
    low = fma(e, t, whole, 1.90821492927058770002e-10, mul(e, t, s, series))
    result = fma(e, t, whole, 6.93147180369123816490e-01, low)
    result = e.pure("selp.f64", e.const(float("-inf"), t), result, e.pure("setp.eq.f64", x, 0.0))
    result = e.pure("selp.f64", x, result, e.pure("setp.eq.f64", x, float("inf")))
    return e.pure("selp.f64", e.const(float("nan"), t), result, e.pure("setp.ltu.f64", x, 0.0))


QUARTERS = {  # pi / 2 in pieces whose products with small integers are exact
    "f32": (1.57079601287841796875, 3.1391647326017846e-07, 5.390302529957764e-15),
    "f64": (1.5707963267341256, 6.077100506506192e-11, 2.0222662487959506e-21),
}
SINE = {
    "f32": (2.7183114939e-6, -1.9839334836e-4, 8.3333293855e-3, -1.6666666641e-1),
    "f64": (1.58969099521155010221e-10, -2.50507602534068634195e-08, 2.75573137070700676789e-06,
            -1.98412698298579493134e-04, 8.33333333332248946124e-03, -1.66666666666666324348e-01),
}  # fmt: skip
COSINE = {
    "f32": (2.44331571e-5, -1.38873162e-3, 4.16666456e-2, -0.5),
    "f64": (-1.13596475577881948265e-11, 2.08757232129817482790e-09, -2.75573143513906633035e-07,
            2.48015872894767294178e-05, -1.38888888888741095749e-03, 4.16666666666666019037e-02, -0.5),
}  # fmt: skip


def _turned(turns: int) -> Callable[[Emitter, DType, tuple[Reg, ...]], Reg]:
    """sin(x + turns * pi / 2)."""

    def lower(e: Emitter, t: DType, args: tuple[Reg, ...]) -> Reg:
        (x,), f = args, t.short
        k = e.pure(f"cvt.rni.{f}.{f}", mul(e, t, x, 2 / pi))
        r = x
        for piece in QUARTERS[f]:
            r = fma(e, t, k, -piece, r)
        square = mul(e, t, r, r)
        sine = fma(e, t, mul(e, t, square, r), horner(e, t, square, SINE[f]), r)
        cosine = fma(e, t, square, horner(e, t, square, COSINE[f]), 1.0)
        n = e.pure("add.s32", e.pure(f"cvt.rzi.s32.{f}", k), turns)
        odd = e.pure("setp.ne.s32", e.pure("and.b32", n, 1), 0)
        value = e.pure(f"selp.{f}", cosine, sine, odd)
        minus = e.pure("setp.ne.s32", e.pure("and.b32", n, 2), 0)
        return e.pure(f"selp.{f}", e.pure(f"neg.{f}", value), value, minus)

    return lower


def _sqrt(e: Emitter, t: DType, args: tuple[Reg, ...]) -> Reg:
    return e.pure("sqrt.approx.f32" if t.short == "f32" else "sqrt.rn.f64", args[0])


def _sqrt_rn(e: Emitter, t: DType, args: tuple[Reg, ...]) -> Reg:
    return e.pure(f"sqrt.rn.{t.short}", args[0])


def _rsqrt(e: Emitter, t: DType, args: tuple[Reg, ...]) -> Reg:
    if t.short == "f32":
        return e.pure("rsqrt.approx.f32", args[0])
    return e.pure("div.rn.f64", e.const(1.0, t), e.pure("sqrt.rn.f64", args[0]))


def _tanh(e: Emitter, t: DType, args: tuple[Reg, ...]) -> Reg:
    """1 - 2 / (exp(2|x|) + 1) with the sign of x; near 0 its odd series, where that would cancel."""
    (x,), f = args, t.short
    magnitude = e.pure(f"abs.{f}", x)
    grown = _exp(e, t, (mul(e, t, magnitude, 2.0),))
    divide = "div.full.f32" if f == "f32" else "div.rn.f64"
    far = fma(e, t, e.pure(divide, e.const(-2.0, t), e.pure(f"add.{f}", grown, 1.0)), 1.0, 1.0)
    square = mul(e, t, x, x)
    series = horner(e, t, square, _tanh_series(7 if f == "f32" else 13)[:-1])
    near = fma(e, t, mul(e, t, square, magnitude), series, magnitude)
    value = e.pure(f"selp.{f}", near, far, e.pure(f"setp.lt.{f}", magnitude, 0.4 if f == "f32" else 0.25))
    return e.pure(f"copysign.{f}", x, value)


def _tanh_series(terms: int) -> list[float]:
    """Coefficients of x**(2 terms - 1) ... x**3, x of tanh, from tanh' = 1 - tanh**2."""
    a = [0.0, 1.0]
    for n in range(1, 2 * terms - 1):
        a.append(-sum(a[i] * a[n - i] for i in range(n + 1)) / (n + 1))
    return a[1::2][::-1]


def _erf(e: Emitter, t: DType, args: tuple[Reg, ...]) -> Reg:
    """f32: x + x times a polynomial of x**2 up to 1, beyond it 1 - 2**-p(|x|), whose error is small beside 1."""
    (x,), f = args, t.short
    if f == "f64":
        return _erf64(e, x)
    magnitude = e.pure("min.f32", e.pure("abs.f32", x), 4.0)
    factor = horner(e, t, mul(e, t, magnitude, magnitude), FITS["erf_small", "fp32"][::-1])
    near = fma(e, t, magnitude, factor, magnitude)
    power = horner(e, t, magnitude, FITS["erf_far", "fp32"][::-1])
    far = e.pure("sub.f32", e.const(1.0, t), _ex2(e, e.pure("neg.f32", power)))
    value = e.pure("selp.f32", near, far, e.pure("setp.lt.f32", magnitude, 1.0))
    value = e.pure("selp.f32", value, x, e.pure("setp.num.f32", x, x))
    return e.pure("copysign.f32", x, value)


def _erf64(e: Emitter, x: Reg) -> Reg:
    """2 / sqrt(pi) exp(-x**2) x (1 + 2x**2/3 + (2x**2)**2/15 ...): no term cancels another; 1 beyond 6."""
    t = BY_SHORT["f64"]
    magnitude = e.pure("min.f64", e.pure("abs.f64", x), 6.0)
    square = mul(e, t, magnitude, magnitude)
    coefficients = [2 / sqrt(pi)]
    for n in range(1, 130):
        coefficients.append(coefficients[-1] * 2 / (2 * n + 1))
    series = horner(e, t, square, coefficients[::-1])
    bell = _exp(e, t, (e.pure("neg.f64", square),))
    value = e.pure("min.f64", mul(e, t, mul(e, t, magnitude, series), bell), 1.0)
    value = e.pure("selp.f64", value, x, e.pure("setp.num.f64", x, x))
    return e.pure("copysign.f64", x, value)


def _fma(e: Emitter, t: DType, args: tuple[Reg, ...]) -> Reg:
    return e.pure(f"fma.rn.{t.short}", *args)


MATH: dict[str, Callable[[Emitter, DType, tuple[Reg, ...]], Reg]] = {
    "exp": _exp, "exp2": _exp2, "log": _log, "log2": _log2, "sin": _turned(0), "cos": _turned(1),
    "sqrt": _sqrt, "sqrt_rn": _sqrt_rn, "rsqrt": _rsqrt, "tanh": _tanh, "erf": _erf, "fma": _fma,
}  # fmt: skip
