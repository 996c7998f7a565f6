"""libdevice's functions against mpmath, in units in the last place: dense samples and edges, in every execution."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.language.extra import libdevice
from tests.language.executions import EXECUTIONS

N = 256
MP: dict[str, Callable[[Any], Any]] = {
    "exp": mp.exp, "exp2": lambda x: mp.power(2, x), "exp10": lambda x: mp.power(10, x), "expm1": mp.expm1,
    "log": mp.log, "log2": lambda x: mp.log(x, 2), "log10": mp.log10, "log1p": mp.log1p,
    "sinh": mp.sinh, "cosh": mp.cosh, "tanh": mp.tanh, "asinh": mp.asinh, "acosh": mp.acosh, "atanh": mp.atanh,
    "sin": mp.sin, "cos": mp.cos, "tan": mp.tan, "sinpi": mp.sinpi, "cospi": mp.cospi,
    "asin": mp.asin, "acos": mp.acos, "atan": mp.atan,
    "sqrt": mp.sqrt, "rsqrt": lambda x: 1 / mp.sqrt(x), "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)),
    "rcbrt": lambda x: mp.sign(x) / mp.cbrt(abs(x)),
    "erf": mp.erf, "erfc": mp.erfc, "erfcx": lambda x: mp.exp(x * x) * mp.erfc(x), "erfinv": mp.erfinv,
    "erfcinv": lambda x: _erfcinv(x), "normcdf": lambda x: mp.erfc(-x / mp.sqrt(2)) / 2,
    "normcdfinv": lambda x: -mp.sqrt(2) * _erfcinv(2 * x),
    "lgamma": lambda x: mp.log(abs(mp.gamma(x))), "tgamma": mp.gamma,
}  # fmt: skip
WIDE = ("wide",)
# the samples (a range, or numbers of every size), and the error allowed in f32 and f64
ROWS: dict[str, tuple[Any, float, float]] = {
    "exp": ((-100, 88), 2, 2), "exp2": ((-140, 127), 2, 2), "exp10": ((-44, 38), 2, 2), "expm1": ((-30, 88), 2, 2),
    "log": (("positive",), 2, 2), "log2": (("positive",), 2, 2), "log10": (("positive",), 2, 2),
    "log1p": ((-0.999, 20), 2, 2), "sinh": ((-88, 88), 2, 2), "cosh": ((-88, 88), 2, 2), "tanh": ((-5, 5), 2, 3),
    "asinh": (WIDE, 1, 3), "acosh": ((1, 30), 1, 3), "atanh": ((-0.999, 0.999), 1, 3), "sin": ((-50, 50), 2, 2),
    "cos": ((-50, 50), 2, 2), "tan": ((-50, 50), 1, 3), "sinpi": ((-9, 9), 2, 2), "cospi": ((-9, 9), 2, 2),
    "asin": ((-1, 1), 2, 2), "acos": ((-1, 1), 2, 2), "atan": (WIDE, 2, 2), "sqrt": (("positive",), 0.5, 0.5),
    "rsqrt": (("positive",), 2, 2), "cbrt": (WIDE, 1, 2), "rcbrt": (WIDE, 1, 2), "erf": ((-4, 4), 2, 2),
    "erfc": ((-4, 9), 1, 4), "erfcx": ((-5, 60), 1, 4), "erfinv": ((-0.9999, 0.9999), 1, 5),
    "erfcinv": ((0.001, 1.999), 1, 5), "normcdf": ((-12, 5), 1, 6), "normcdfinv": ((0.001, 0.999), 1, 6),
    "lgamma": ((0.1, 60), 1, 5), "tgamma": ((-4.9, 34), 1, 10),
}  # fmt: skip
# Functions whose f32 form is the GPU's approximation keep their own tests; what PTX computes by it is wider here.
ON_GPU = {("tanh", "float32"): 4, ("erf", "float32"): 8, ("sin", "float32"): 4, ("cos", "float32"): 4,
          ("erf", "float64"): 6, ("tanh", "float64"): 8, ("sin", "float64"): 4, ("cos", "float64"): 4,
          ("tan", "float64"): 6}  # fmt: skip


def _erfcinv(c: Any) -> Any:
    if c > 0.1:
        return mp.erfinv(1 - c)
    y = mp.sqrt(-mp.log(c))
    for _ in range(40):
        y += (mp.log(mp.erfc(y)) - mp.log(c)) * mp.sqrt(mp.pi) / 2 * mp.exp(y * y) * mp.erfc(y)
    return y


@rtriton.jit
def unary(x, out, f: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, f(tl.load(x + i)))


@rtriton.jit
def binary(x, y, out, f: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, f(tl.load(x + i), tl.load(y + i)))


def samples(domain: Any, dtype: str, n: int = N) -> np.ndarray:
    rng = np.random.default_rng(7)
    info = np.finfo(dtype)
    if domain[0] in ("wide", "positive"):
        x = np.exp2(rng.uniform(math.log2(info.tiny) - 10, math.log2(info.max) - 1, n)) * rng.uniform(0.7, 1.0, n)
        x[: n // 4] = rng.uniform(0.3, 3, n // 4)
        x = x if domain[0] == "positive" else x * rng.choice([-1, 1], n)
    else:
        x = rng.uniform(*domain, n)
        x[: n // 4] = np.clip(rng.standard_normal(n // 4) * np.exp2(rng.uniform(-20, 0, n // 4)), *domain)
    return x.astype(dtype)


def ulps(got: np.ndarray, exact: list[Any], dtype: str) -> np.ndarray:
    """Distances in units in the last place of the exact values."""
    info = np.finfo(dtype)
    out = []
    for g, e in zip(got, exact, strict=True):
        exponent = mp.frexp(e)[1] - 1 if e else -2000
        unit = mp.ldexp(1, max(exponent, info.minexp) - info.nmant)
        beyond = abs(e) >= mp.mpf(float(info.max)) and np.isinf(g)
        out.append(0.0 if beyond or (e == 0 and g == 0) else float(abs(mp.mpf(float(g)) - e) / unit))
    return np.array(out)


def run(monkeypatch: pytest.MonkeyPatch, execution: str, kernel: Any, *args: Any, **options: Any) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", execution)
    kernel[(1,)](*args, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ROWS)
def test_functions_of_one_number_are_close_to_mpmath(monkeypatch, name: str, dtype: str) -> None:
    domain, single, double = ROWS[name]
    x = samples(domain, dtype)
    with mp.workdps(40):
        exact = [MP[name](mp.mpf(float(v))) for v in x]
        for execution in EXECUTIONS:
            out = np.zeros_like(x)
            run(monkeypatch, execution, unary, x, out, f=getattr(libdevice, name), N=N)
            error = ulps(out, exact, dtype)
            allowed = single if dtype == "float32" else double
            allowed = max(allowed, ON_GPU.get((name, dtype), 0)) if execution in ("emulate", "cuda") else allowed
            worst = int(np.nanargmax(np.where(np.isnan(error), np.inf, error)))
            assert error[worst] <= allowed, (execution, error[worst], x[worst], out[worst], float(exact[worst]))


EDGES = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 1e-38, -1e-38, 1e-45,
                  1e38, -1e38, 2.5, -2.5, 0.49999997, 8388609.0, 1.5, -1.5, 4.5, 1e-20, -1e-20, 100.0, -100.0, 1e10,
                  -1e10, 171.0])  # fmt: skip
EXACT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "trunc": np.trunc, "rint": np.rint, "nearbyint": np.rint, "floor": np.floor, "ceil": np.ceil, "abs": np.abs,
    "round": lambda x: np.copysign(np.floor(np.abs(x.astype(np.float64)) + 0.5), x).astype(x.dtype),
    "logb": lambda x: np.where(x == 0, -np.inf, np.where(np.isfinite(x), np.frexp(x)[1] - 1.0, np.abs(x))),
}  # fmt: skip


def edges(dtype: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.resize(EDGES, N).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EXACT)
def test_whole_numbers_and_exponents_are_exact(monkeypatch, name: str, dtype: str) -> None:
    x = edges(dtype)
    for execution in EXECUTIONS:
        out = np.zeros_like(x)
        run(monkeypatch, execution, unary, x, out, f=getattr(libdevice, name), N=N)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(out, EXACT[name](x).astype(dtype), execution)
        signed = ~np.isnan(x) & (name != "abs") & (name != "logb")
        np.testing.assert_array_equal(np.signbit(out[signed]), np.signbit(EXACT[name](x)[signed]), execution)


def _of(f: Callable[[float], float], outside: float = math.nan) -> Callable[[np.ndarray], np.ndarray]:
    """C's function by Python's: out of its domain `outside`, beyond the largest number infinite."""
    def one(v: float) -> float:
        try:
            return f(v)
        except OverflowError:
            return math.inf
        except ValueError:
            return outside

    return lambda x: np.array([one(float(v)) for v in x])


AT_EDGES = {
    "exp": np.exp, "exp2": np.exp2, "exp10": lambda x: np.power(10.0, x), "expm1": np.expm1, "log": np.log,
    "log2": np.log2, "log10": np.log10, "log1p": np.log1p, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "sqrt": np.sqrt, "cbrt": np.cbrt, "erf": _of(math.erf), "erfc": _of(math.erfc),
    "lgamma": _of(math.lgamma, math.inf),
    "tgamma": _of(math.gamma),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", AT_EDGES)
def test_zeros_infinities_nan_and_numbers_out_of_the_domain_give_what_c_gives(monkeypatch, name: str, dtype: str):
    x = edges(dtype)
    with np.errstate(all="ignore"):
        wanted = np.asarray(AT_EDGES[name](x.astype(np.float64))).astype(dtype)
    for k in np.flatnonzero(x == 0):
        if name == "tgamma":
            wanted[k] = np.copysign(np.inf, x[k])
    for execution in EXECUTIONS:
        out = np.zeros_like(x)
        run(monkeypatch, execution, unary, x, out, f=getattr(libdevice, name), N=N)
        close = 2e-6 if dtype == "float32" else 2e-14
        np.testing.assert_allclose(out, wanted, rtol=close, atol=1e-44, err_msg=execution)
        zero = (wanted == 0) & (x == 0)
        np.testing.assert_array_equal(np.signbit(out[zero]), np.signbit(wanted[zero]), execution)


TWO: dict[str, Callable[..., Any]] = {
    "pow": np.power, "atan2": np.arctan2, "hypot": np.hypot, "fmod": np.fmod, "copysign": np.copysign,
    "remainder": np.frompyfunc(lambda a, b: _remainder(a, b), 2, 1), "nextafter": np.nextafter,
    "fdim": lambda x, y: np.where(np.isnan(x) | np.isnan(y), np.nan, np.where(x > y, x - y, 0.0)),
    "fmax": np.fmax, "fmin": np.fmin, "fast_dividef": np.divide,
}  # fmt: skip


def _remainder(a: float, b: float) -> float:
    try:
        return math.remainder(a, b)
    except ValueError:
        return math.nan


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TWO)
def test_functions_of_two_numbers_at_all_pairs_of_edges_and_dense_samples(monkeypatch, name: str, dtype: str) -> None:
    if name == "fast_dividef" and dtype == "float64":
        return
    rng = np.random.default_rng(3)
    first, second = (v.ravel() for v in np.meshgrid(EDGES, EDGES))
    x = np.concatenate([first, rng.uniform(0, 9, 512), rng.standard_normal(512) * 1e3])
    y = np.concatenate([second, rng.uniform(-30, 30, 512), rng.standard_normal(512)])
    with np.errstate(all="ignore"):
        x, y = x.astype(dtype), y.astype(dtype)
        wide = (x, y) if name == "nextafter" else (x.astype(np.float64), y.astype(np.float64))
        wanted = np.asarray(TWO[name](*wide)).astype(dtype)
    for execution in EXECUTIONS:
        out = np.zeros_like(x)
        run(monkeypatch, execution, binary, x, y, out, f=getattr(libdevice, name), N=x.size)
        keep = np.ones(x.size, bool)
        if execution in ("emulate", "cuda") and name in ("fmod", "remainder"):    # the documented limit on a GPU
            with np.errstate(all="ignore"):
                keep = ~(np.abs(x.astype(np.float64) / y) >= 2.0 ** (24 if dtype == "float32" else 53)) | np.isinf(x)
            keep |= y == 0
        close = {"pow": 4e-16, "atan2": 5e-16, "hypot": 3e-16}.get(name, 0) if dtype == "float64" else 2.5e-7
        tiny = 1e-45 if name == "fast_dividef" else 0
        np.testing.assert_allclose(out[keep], wanted[keep], rtol=close, atol=tiny, err_msg=f"{execution} {name}")
        if name in ("pow", "fmod", "atan2", "copysign", "remainder"):
            zero = keep & (wanted == 0)
            np.testing.assert_array_equal(np.signbit(out[zero]), np.signbit(wanted[zero]), execution)


def test_pow_stays_within_one_and_a_half_ulp_where_the_result_is_largest(monkeypatch) -> None:
    rng = np.random.default_rng(5)
    x = np.exp2(rng.uniform(-60, 60, N))
    y = rng.uniform(-700, 700, N) / np.abs(np.log(x))
    with mp.workdps(60):
        exact = [mp.power(mp.mpf(float(a)), mp.mpf(float(b))) for a, b in zip(x, y, strict=True)]
        for execution in EXECUTIONS:
            out = np.zeros_like(x)
            run(monkeypatch, execution, binary, x, y, out, f=libdevice.pow, N=N)
            assert ulps(out, exact, "float64").max() < 1.5, execution
