"""The vector polynomials against float64 (f32) and against NumPy's float64 functions (f64): error in ulp, and the
edges.
"""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest

from rtriton.backend.cpu import jit
from rtriton.backend.cpu.llvm import Builder
from rtriton.backend.cpu.target import named
from rtriton.backend.cpu.vector_math import MATH, Math

from .harness import TARGETS

RNG = np.random.default_rng(0)
EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0]


def native(name: str, element: str, target: str) -> ctypes._CFuncPtr:
    """A loop that applies the function to whole vectors of `count` numbers."""
    b, t = Builder(), named(target)
    size = 4 if element == "float" else 8
    with b.function("apply", ("ptr", "ptr", "i64")) as (source, result, count):
        (i,) = b.open_loop(b.int(0))
        x = b.load(b.gep(source, i, size), element, t.lanes, size)
        b.store(MATH[name](Math(b, t), x), b.gep(result, i, size), size)
        following = b.op("add", i, b.int(t.lanes))
        b.close_loop(following, again=b.cmp("icmp slt", following, count))
    code = jit.load(b.module(), t, ("apply",))
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(code.address["apply"])
    function.code = code  # keeps the code linked
    return function


def applied(name: str, element: str, target: str, x: np.ndarray) -> np.ndarray:
    padded = np.concatenate([x, np.ones(-len(x) % 16, x.dtype)])
    out = np.empty_like(padded)
    function = native(name, element, target)
    function(padded.ctypes.data, out.ctypes.data, len(padded))
    return out[: len(x)]


def domain(name: str, dtype: type) -> np.ndarray:
    n, single = 4096, dtype is np.float32
    if name in ("log", "log2", "sqrt", "sqrt_rn", "rsqrt"):
        x = [np.exp(RNG.uniform(-85, 85, n)), RNG.uniform(0.5, 2, n), 1 + RNG.uniform(-1e-3, 1e-3, n), [1e-40, 1e-45]]
    elif name in ("sin", "cos"):
        far = 1e8 if single else 5e5
        x = [
            RNG.uniform(-10, 10, n),
            RNG.uniform(-far, far, n),
            np.exp(RNG.uniform(-60, 0, n)),
            np.arange(-99, 99) * np.pi / 2,
        ]
    elif name in ("exp", "exp2"):
        low, high = (-150, 128) if single else (-1080, 1024)
        scale = 1.0 if name == "exp2" else math.log(2)
        x = [RNG.uniform(-1, 1, n), RNG.uniform(low * scale, high * scale, n), [1e30, -1e30]]
    else:
        x = [RNG.uniform(-1.5, 1.5, n), RNG.uniform(-7, 7, n), np.exp(RNG.uniform(-60, 3, n))]
    return np.concatenate([*x, EDGES]).astype(dtype)


REFERENCE = {"erf": np.vectorize(math.erf, otypes=[np.float64]), "rsqrt": lambda x: 1 / np.sqrt(x), "sqrt_rn": np.sqrt}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", MATH)
def test_f32_functions_are_within_one_and_a_half_ulp(name: str, target: str) -> None:
    x = domain(name, np.float32)
    with np.errstate(all="ignore"):
        exact = REFERENCE.get(name, getattr(np, name, None))(x.astype(np.float64))
        wanted = exact.astype(np.float32)
    got = applied(name, "float", target, x)
    finite = np.isfinite(wanted)
    assert ((got == wanted) | (np.isnan(got) & np.isnan(wanted)))[~finite].all()
    error = np.abs(got.astype(np.float64) - exact)[finite] / np.spacing(np.abs(wanted[finite])).astype(np.float64)
    assert error.max() <= 1.5


@pytest.mark.parametrize("name", MATH)
def test_f64_functions_agree_with_numpys(name: str) -> None:
    """NumPy's own error (up to 1 ulp, erf's up to 2) adds to ours."""
    x = domain(name, np.float64)
    with np.errstate(all="ignore"):
        wanted = REFERENCE.get(name, getattr(np, name, None))(x)
    got = applied(name, "double", "host", x)
    finite = np.isfinite(wanted) & (np.abs(wanted) > 1e-300)
    assert ((got == wanted) | (np.isnan(got) & np.isnan(wanted)))[~np.isfinite(wanted)].all()
    error = np.abs(got - wanted)[finite] / np.spacing(np.abs(wanted[finite]))
    assert error.max() <= 4


@pytest.mark.parametrize("name", ["sin", "tanh", "erf"])
def test_odd_functions_keep_the_sign_of_zero(name: str) -> None:
    x = np.array([0.0, -0.0] * 8, np.float32)
    assert (np.signbit(applied(name, "float", "host", x)) == np.signbit(x)).all()
