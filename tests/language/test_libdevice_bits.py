"""libdevice's integer functions, its bits of floats, its directed roundings and conversions, against Python's integers
and fractions, in every execution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.errors import CompilationError
from rtriton.language.extra import libdevice
from tests.language.executions import EXECUTIONS
from tests.language.test_libdevice import binary, run, unary

N = 128
MODES = ("rn", "rz", "ru", "rd")


@rtriton.jit
def ternary(x, y, z, out, f: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, f(tl.load(x + i), tl.load(y + i), tl.load(z + i)))


def every(monkeypatch: pytest.MonkeyPatch, name: str, *args: np.ndarray, result: str):
    """What a function gives, by execution."""
    kernel = (unary, binary, ternary)[len(args) - 1]
    for execution in EXECUTIONS:
        out = np.zeros(len(args[0]), result)
        run(monkeypatch, execution, kernel, *args, out, f=getattr(libdevice, name), N=len(out))
        yield execution, out


def integers(dtype: str, seed: int = 0) -> np.ndarray:
    rng, info = np.random.default_rng(seed), np.iinfo(dtype)
    x = rng.integers(info.min, info.max, N, dtype=dtype, endpoint=True) >> rng.integers(0, info.bits, N).astype(dtype)
    x[:4] = [0, 1, info.min, info.max]
    return x


def unsigned(v: Any, bits: int) -> int:
    return int(v) % (1 << bits)


COUNTS: dict[str, Callable[[int, int], int]] = {
    "popc": lambda v, bits: v.bit_count(), "clz": lambda v, bits: bits - v.bit_length(),
    "ffs": lambda v, bits: (v & -v).bit_length(),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("name", COUNTS)
def test_bits_are_counted_as_int32(monkeypatch, name: str, dtype: str) -> None:
    x = integers(dtype)
    bits = 8 * x.itemsize
    wanted = [COUNTS[name](unsigned(v, bits), bits) for v in x]
    for execution, out in every(monkeypatch, name, x, result="int32"):
        np.testing.assert_array_equal(out, wanted, execution)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_brev_reverses_the_bits(monkeypatch, dtype: str) -> None:
    x = integers(dtype)
    bits = 8 * x.itemsize
    wanted = np.array([int(f"{unsigned(v, bits):0{bits}b}"[::-1], 2) for v in x], f"u{dtype}").view(dtype)
    for execution, out in every(monkeypatch, "brev", x, result=dtype):
        np.testing.assert_array_equal(out, wanted, execution)


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64"])
def test_mulhi_is_the_upper_half_of_the_product(monkeypatch, dtype: str) -> None:
    x, y = integers(dtype), integers(dtype, 1)
    bits = 8 * x.itemsize
    wanted = [int(a) * int(b) >> bits for a, b in zip(x, y, strict=True)]
    for execution, out in every(monkeypatch, "mulhi", x, y, result=dtype):
        np.testing.assert_array_equal(out, np.array(wanted, object).astype(dtype), execution)


def test_small_integer_functions(monkeypatch) -> None:
    x, y = integers("int32"), integers("int32", 1)
    a, b = x.astype(np.int64), y.astype(np.int64)
    low = [((v << 40) >> 40) for v in (a, b)]
    wanted = {"hadd": (a + b) >> 1, "rhadd": (a + b + 1) >> 1, "mul24": low[0] * low[1]}
    for name, result in wanted.items():
        for execution, out in every(monkeypatch, name, x, y, result="int32"):
            np.testing.assert_array_equal(out, result.astype(np.int32), f"{execution} {name}")
    z = integers("uint32", 2)
    for execution, out in every(monkeypatch, "sad", x, y, z, result="uint32"):
        np.testing.assert_array_equal(out, (np.abs(a - b) + z).astype(np.uint32), execution)


def test_byte_perm_chooses_bytes(monkeypatch) -> None:
    x, y, s = integers("int32"), integers("int32", 1), integers("int32", 2)
    for execution, out in every(monkeypatch, "byte_perm", x, y, s, result="int32"):
        for k in range(N):
            source = int(x[k]).to_bytes(4, "little", signed=True) + int(y[k]).to_bytes(4, "little", signed=True)
            chosen = bytes(source[int(s[k]) >> 4 * i & 7] for i in range(4))
            assert int(out[k]).to_bytes(4, "little", signed=True) == chosen, execution


def test_floats_and_their_bits(monkeypatch) -> None:
    f = np.random.default_rng(0).standard_normal(N).astype(np.float32)
    d = np.random.default_rng(1).standard_normal(N)
    high, low = (d.view(np.int64) >> 32).astype(np.int32), d.view(np.int64).astype(np.int32)
    cases: list[tuple[str, tuple[np.ndarray, ...], np.ndarray]] = [
        ("float_as_int", (f,), f.view(np.int32)), ("float_as_uint", (f,), f.view(np.int32)),
        ("int_as_float", (f.view(np.int32),), f), ("uint_as_float", (f.view(np.uint32),), f),
        ("double_as_longlong", (d,), d.view(np.int64)), ("longlong_as_double", (d.view(np.int64),), d),
        ("double2hiint", (d,), high), ("double2loint", (d,), low), ("hiloint2double", (high, low), d),
        ("signbit", (f,), np.signbit(f).astype(np.int32)), ("signbit", (d,), np.signbit(d).astype(np.int32)),
        ("ilogb", (f,), np.frexp(f)[1] - 1), ("ilogb", (d,), np.frexp(d)[1] - 1),
        ("saturatef", (f,), np.clip(f, 0, 1)), ("llrint", (4 * d,), np.rint(4 * d).astype(np.int64)),
    ]  # fmt: skip
    for name, args, wanted in cases:
        for execution, out in every(monkeypatch, name, *args, result=wanted.dtype.name):
            np.testing.assert_array_equal(out, wanted, f"{execution} {name}")


def test_classes_of_floats(monkeypatch) -> None:
    x = np.resize(np.array([0.0, 1.0, np.inf, -np.inf, np.nan, 1e-40]), N)
    for name, dtypes, f in (("isnan", ("float32", "float64"), np.isnan), ("isinf", ("float32", "float64"), np.isinf),
                            ("finitef", ("float32",), np.isfinite), ("isfinited", ("float64",), np.isfinite)):
        for dtype in dtypes:
            for execution, out in every(monkeypatch, name, x.astype(dtype), result="bool"):
                np.testing.assert_array_equal(out, f(x), f"{execution} {name}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["ldexp", "scalbn"])
def test_scaling_by_a_power_of_two_rounds_once(monkeypatch, name: str, dtype: str) -> None:
    rng = np.random.default_rng(4)
    x = (rng.standard_normal(N) * np.exp2(rng.integers(-100, 100, N))).astype(dtype)
    x[:3] = [np.inf, 0.0, np.nan]
    n = rng.integers(-400, 400, N).astype(np.int32) * (1 if dtype == "float32" else 4)
    with np.errstate(all="ignore"):
        wanted = np.ldexp(x.astype(np.float64), n).astype(dtype) if dtype == "float32" else np.ldexp(x, n)
    for execution, out in every(monkeypatch, name, x, n, result=dtype):
        np.testing.assert_array_equal(out, wanted, execution)


# -- directed rounding -----------------------------------------------------------------------------------------------

def rounded(exact: Fraction, dtype: str, mode: str) -> float:
    """An exact number as a float of the type, in the direction that `mode` says."""
    near = np.dtype(dtype).type(float(exact)) if dtype == "float64" else _single(exact)
    have = Fraction(float(near))
    up = mode == "ru" or (mode == "rz" and exact < 0)
    down = mode == "rd" or (mode == "rz" and exact > 0)
    if have < exact and up:
        near = np.nextafter(near, np.dtype(dtype).type(np.inf))
    if have > exact and down:
        near = np.nextafter(near, np.dtype(dtype).type(-np.inf))
    return float(near)


def _single(exact: Fraction) -> np.float32:
    """The nearest f32, by comparing neighbours."""
    guess = np.float32(float(exact))
    around = [guess, np.nextafter(guess, np.float32(np.inf)), np.nextafter(guess, np.float32(-np.inf))]
    return min(around, key=lambda v: (abs(Fraction(float(v)) - exact), int(v.view(np.uint32)) & 1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", MODES)
def test_arithmetic_rounds_in_the_direction_of_its_name(monkeypatch, mode: str, dtype: str) -> None:
    rng = np.random.default_rng(6)
    x, y, z = (rng.standard_normal(N).astype(dtype) * np.exp2(rng.integers(-6, 6, N)).astype(dtype) for _ in range(3))
    a, b, c = ([Fraction(float(v)) for v in values] for values in (x, y, z))
    exact: dict[str, list[Fraction]] = {
        "add": [p + q for p, q in zip(a, b, strict=True)], "sub": [p - q for p, q in zip(a, b, strict=True)],
        "mul": [p * q for p, q in zip(a, b, strict=True)], "div": [p / q for p, q in zip(a, b, strict=True)],
        "fma": [p * q + r for p, q, r in zip(a, b, c, strict=True)], "rcp": [1 / p for p in a],
    }  # fmt: skip
    for stem, results in exact.items():
        args = {"fma": (x, y, z), "rcp": (x,)}.get(stem, (x, y))
        wanted = [rounded(v, dtype, mode) for v in results]
        for execution, out in every(monkeypatch, f"{stem}_{mode}", *args, result=dtype):
            np.testing.assert_array_equal(out, np.array(wanted, dtype), f"{execution} {stem}_{mode}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_square_roots_bracket_the_exact_root(monkeypatch, dtype: str) -> None:
    x = np.random.default_rng(8).uniform(0.1, 9, N).astype(dtype)
    for (execution, down), (_, up) in zip(every(monkeypatch, "sqrt_rd", x, result=dtype),
                                          every(monkeypatch, "sqrt_ru", x, result=dtype), strict=True):
        for v, low, high in zip(x, down, up, strict=True):
            assert Fraction(float(low)) ** 2 <= Fraction(float(v)) <= Fraction(float(high)) ** 2, execution
        assert ((up == down) | (up == np.nextafter(down, np.dtype(dtype).type(np.inf)))).all()


def test_overflow_towards_zero_stops_at_the_largest_number(monkeypatch) -> None:
    x = np.full(N, 3e38, np.float32)
    for execution, out in every(monkeypatch, "mul_rz", x, x, result="float32"):
        assert (out == np.finfo(np.float32).max).all(), execution


WHOLE: dict[str, Callable[[float], float]] = {"rn": lambda v: float(np.rint(v)), "rz": math.trunc, "ru": math.ceil,
                                              "rd": math.floor}  # fmt: skip
RANGE = {"int": (-(2**31), 2**31 - 1), "uint": (0, 2**32 - 1), "ll": (-(2**63), 2**63 - 1), "ull": (0, 2**64 - 1)}
RESULT = {"int": "int32", "uint": "int32", "ll": "int64", "ull": "int64"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", RANGE)
@pytest.mark.parametrize("source", ["float", "double"])
def test_floats_become_integers_in_the_direction_of_the_name(monkeypatch, source: str, kind: str, mode: str) -> None:
    x = np.random.default_rng(9).uniform(-1000, 1000, N).astype("float32" if source == "float" else "float64")
    x[:8] = [0.5, 1.5, -0.5, -1.5, 1e30, -1e30, np.nan, 2.5]
    low, high = RANGE[kind]
    whole = [0 if math.isnan(v) else max(low, min(high, int(WHOLE[mode](float(v))))) for v in x]
    wanted = np.array(whole, object).astype("u" + RESULT[kind] if low == 0 else RESULT[kind]).view(RESULT[kind])
    for execution, out in every(monkeypatch, f"{source}2{kind}_{mode}", x, result=RESULT[kind]):
        # cvt's NaN is the sign bit there
        on_gpu = execution in ("emulate", "cuda") and ("ll" in kind or source == "double")
        number = ~np.isnan(x) if on_gpu else np.ones(N, bool)
        np.testing.assert_array_equal(out[number], wanted[number], execution)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("kind", "target"), [(k, "float") for k in RANGE] + [("ll", "double"), ("ull", "double")])
def test_integers_become_floats_in_the_direction_of_the_name(monkeypatch, kind: str, target: str, mode: str) -> None:
    dtype = {"int": "int32", "uint": "uint32", "ll": "int64", "ull": "uint64"}[kind]
    x, result = integers(dtype), "float32" if target == "float" else "float64"
    wanted = [rounded(Fraction(int(v)), result, mode) for v in x]
    for execution, out in every(monkeypatch, f"{kind}2{target}_{mode}", x, result=result):
        np.testing.assert_array_equal(out, np.array(wanted, result), execution)


@pytest.mark.parametrize("mode", MODES)
def test_doubles_become_floats_in_the_direction_of_the_name(monkeypatch, mode: str) -> None:
    x = np.random.default_rng(10).standard_normal(N) * 1e3
    wanted = [rounded(Fraction(float(v)), "float32", mode) for v in x]
    for execution, out in every(monkeypatch, f"double2float_{mode}", x, result="float32"):
        np.testing.assert_array_equal(out, np.array(wanted, np.float32), execution)


# -- arguments -------------------------------------------------------------------------------------------------------

@rtriton.jit
def with_numbers(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    v = tl.load(x + i)
    tl.store(out + i, tl.extra.libdevice.pow(v, 3) + libdevice.hypot(3.0, v) + libdevice.pow(v, 0.5))


def test_numbers_take_the_type_of_the_tile_and_pow_takes_integers(monkeypatch) -> None:
    x = np.random.default_rng(11).uniform(0.1, 5, N)
    for execution in EXECUTIONS:
        out = np.zeros(N)
        run(monkeypatch, execution, with_numbers, x, out, N=N)
        np.testing.assert_allclose(out, x**3 + np.hypot(3, x) + np.sqrt(x), rtol=1e-15, err_msg=execution)


def test_half_floats_and_integers_are_refused_by_name(monkeypatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "interpret")
    for dtype, shown in (("float16", "128xf16"), ("int32", "128xi32")):
        x = np.zeros(N, dtype)
        with pytest.raises(CompilationError, match=f"libdevice.tanh needs f32 or f64, got {shown}"):
            unary[(1,)](x, x, f=libdevice.tanh, N=N)
