"""Makes rtriton/language/extra/fits.py: the polynomials of libdevice's functions, Chebyshev fits at 60 digits.

    python scripts/fit_libdevice.py          # writes the file, prints each fit's relative error

Each row: a function, the interval it is fitted on, and how many coefficients serve f32 and f64 (0: no f32 form).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np

mp.mp.dps = 60
HALF_LN2 = mp.log(2) / 2
Function = Callable[[Any], Any]


def near(f: Function, at: Any, x: Any) -> Any:
    """f, by its value beside 0 where the quotient that defines it is 0/0."""
    return f(x) if abs(x) > mp.mpf(10) ** -25 else f(mp.mpf(at))


def floor(z: Any) -> Any:
    return max(z, mp.mpf(10) ** -14)


def odd(f: Function) -> Function:
    """(f(x) - x) / x**3 as a function of x**2."""
    def g(z: Any) -> Any:
        x = mp.sqrt(max(z, mp.mpf(10) ** -16))
        return (f(x) - x) / x**3
    return g


def erfcx(x: Any) -> Any:
    return mp.exp(x * x) * mp.erfc(x)


def scaled_erfcx(q: Any) -> Any:
    """(1 + 2x) erfcx(x) in q = (x - 4) / (x + 4)."""
    x = 4 * (1 + q) / (1 - q)
    if x < 100:
        return (1 + 2 * x) * erfcx(x)
    series = mp.nsum(lambda n: (-1) ** int(n) * mp.fac2(2 * int(n) - 1) / (2 * x * x) ** int(n), [0, 12])
    return (1 + 2 * x) / (x * mp.sqrt(mp.pi)) * series


def stirling(z: Any) -> Any:
    """x times what Stirling's formula for log gamma leaves, in z = 1 / x**2."""
    x = 1 / mp.sqrt(max(z, mp.mpf(10) ** -18))
    return x * (mp.loggamma(x) - (x - 0.5) * mp.log(x) + x - mp.log(2 * mp.pi) / 2)


def erfinv_ratio(w: Any) -> Any:
    """erfinv(x) / x where w = -log(1 - x**2)."""
    w = max(w, mp.mpf(10) ** -18)
    if w < 20:
        x = mp.sqrt(-mp.expm1(-w))
        return mp.erfinv(x) / x
    c = -mp.expm1(mp.log1p(-mp.exp(-w)) / 2)  # 1 - x
    y = mp.sqrt(w)
    for _ in range(60):
        step = (mp.log(mp.erfc(y)) - mp.log(c)) * mp.sqrt(mp.pi) / 2 * erfcx(y)
        y += step
        if abs(step) < mp.mpf(10) ** -40:
            break
    return y / (1 - c)


def log_ratio(z: Any) -> Any:
    s = mp.sqrt(max(z, mp.mpf(10) ** -16))
    return (mp.log((1 + s) / (1 - s)) / s - 2) / s**2


def lgamma_ratio(x: Any) -> Any:
    """log gamma without its zeros."""
    for root in (1, 2):
        if abs(x - root) < mp.mpf(10) ** -25:
            x = root + mp.mpf(10) ** -25
    return mp.loggamma(x) / ((x - 1) * (x - 2))


TAN = mp.tan(mp.pi / 8)
ROWS: dict[str, tuple[Function, Any, Any, int, int]] = {
    "exp": (lambda r: near(lambda v: (mp.expm1(v) - v) / v**2, mp.mpf(10) ** -25, r), -HALF_LN2, HALF_LN2, 6, 12),
    "log": (log_ratio, 0, 0.0295, 4, 8),
    "log_tail": (lambda z: (log_ratio(floor(z)) - mp.mpf(2) / 3) / floor(z), 0, 0.0295, 0, 8),
    "asin": (odd(mp.asin), 0, 0.25, 6, 14),
    "atan": (odd(mp.atan), 0, TAN**2, 6, 13),
    "sinh": (odd(mp.sinh), 0, 1, 4, 8),
    "sinpi": (lambda z: mp.sin(mp.pi * mp.sqrt(max(z, mp.mpf(10) ** -20))) / mp.sqrt(max(z, mp.mpf(10) ** -20)),
              0, 0.0625, 5, 9),
    "cospi": (lambda z: mp.cos(mp.pi * mp.sqrt(z)), 0, 0.0625, 5, 9),
    "cbrt": (mp.cbrt, 0.125, 1, 5, 7),
    "erfcx": (scaled_erfcx, -1, 1 - mp.mpf(10) ** -9, 0, 25),
    "erf_small": (lambda z: mp.erf(mp.sqrt(floor(z))) / mp.sqrt(floor(z)) - 1, 0, 1, 7, 0),
    "erf_far": (lambda x: -mp.log(mp.erfc(x), 2), 1, 4, 9, 0),
    "lgamma_low": (lambda t: lgamma_ratio(1.875 + t), -1.125, 1.125, 0, 34),
    "lgamma_mid": (lambda t: lgamma_ratio(5.5 + 2.5 * t), -1, 1, 0, 24),
    "stirling": (stirling, 0, 1 / mp.mpf(64), 0, 9),
    "gamma": (lambda t: mp.gamma(2.5 + t), -0.5, 0.5, 0, 19),
    "erfinv_mid": (lambda t: erfinv_ratio(t + 3), -3, 3, 0, 13),
    "erfinv_far": (lambda t: erfinv_ratio((5 * t + 7.4) ** 2), -1, 1, 0, 12),
    "erfinv_tail": (lambda t: erfinv_ratio((8 * t + 20) ** 2), -1, 1, 0, 8),
}


def fit(f: Function, low: Any, high: Any, count: int) -> list[Any]:
    """Coefficients, lowest power first, of the interpolation at Chebyshev's points."""
    return mp.chebyfit(f, [mp.mpf(low), mp.mpf(high)], count)[::-1]


def error(f: Function, low: Any, high: Any, coefficients: list[float]) -> float:
    """The largest relative error of the rounded coefficients at 200 points."""
    worst = mp.mpf(0)
    for k in range(200):
        x = mp.mpf(low) + (mp.mpf(high) - low) * k / 200
        value = mp.polyval([mp.mpf(c) for c in coefficients[::-1]], x)
        worst = max(worst, abs(value / f(x) - 1)) if f(x) != 0 else worst
    return float(worst)


def main() -> None:
    lines = ['"""Coefficients of polynomials, lowest power first, made by scripts/fit_libdevice.py.', '',
             'By name and type (fp32, fp64)."""', "from __future__ import annotations", "",
             "FITS: dict[tuple[str, str], tuple[float, ...]] = {"]  # fmt: skip
    for name, (f, low, high, short, long) in ROWS.items():
        for dtype, count in (("fp32", short), ("fp64", long)):
            if not count:  # this type goes through the other, or the function is the language's own
                continue
            exact = fit(f, low, high, count)
            given = [float(np.float32(float(c))) if dtype == "fp32" else float(c) for c in exact]
            print(f"{name:12} {dtype} {count:3d} {error(f, low, high, given):.1e}")
            lines.append(f'    ("{name}", "{dtype}"): (')
            lines += [f"        {c!r}," for c in given]
            lines.append("    ),")
    lines.append("}")
    path = Path(__file__).parents[1] / "rtriton" / "language" / "extra" / "fits.py"
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
