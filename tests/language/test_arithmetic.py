"""What operators and functions of numbers do where types differ, overflow or are NaN: every execution against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from tests.language.executions import EXECUTIONS, on_each

N = 64


@rtriton.jit
def shift_right(x, y, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, (tl.load(x + i) >> tl.load(y + i)).to(tl.int64, bitcast=True))


def test_a_shift_to_the_right_keeps_the_sign_of_a_signed_left_operand_in_an_unsigned_type(monkeypatch) -> None:
    x = np.random.default_rng(0).integers(-(2**15), 2**15, N).astype(np.int16)
    y = np.arange(N).astype(np.uint64)
    for name, (_, _, out) in on_each(monkeypatch, shift_right, x, y, np.zeros(N, np.int64), N=N).items():
        np.testing.assert_array_equal(out, x.astype(np.int64) >> y.astype(np.int64), name)


@rtriton.jit
def compares(x, h, out, N: tl.constexpr):
    i = tl.arange(0, N)
    small, half = tl.load(x + i), tl.load(h + i)
    tl.store(out + i, (small == -1).to(tl.int32) + 2 * (small < 300).to(tl.int32) + 4 * (half < 0.1).to(tl.int32))


def test_a_number_is_compared_as_its_own_type_and_not_as_the_tile_s(monkeypatch) -> None:
    """uint8 is never -1 and always below 300; the half nearest to 0.1 is below the f32 nearest to it."""
    x, h = np.arange(N).astype(np.uint8) + np.uint8(192), np.full(N, 0.1, np.float16)
    wanted = 2 + 4 * (h.astype(np.float32) < np.float32(0.1)).astype(np.int32)
    for name, (_, _, out) in on_each(monkeypatch, compares, x, h, np.zeros(N, np.int32), N=N).items():
        np.testing.assert_array_equal(out, wanted, name)


@rtriton.jit
def extremes(x, y, out, N: tl.constexpr):
    i = tl.arange(0, N)
    a, b = tl.load(x + i), tl.load(y + i)
    every: tl.constexpr = tl.PropagateNan.ALL
    tl.store(out + i, tl.minimum(a, b))
    tl.store(out + N + i, tl.maximum(a, b))
    tl.store(out + 2 * N + i, tl.minimum(a, b, propagate_nan=every))
    tl.store(out + 3 * N + i, tl.maximum(a, b, propagate_nan=every))
    tl.store(out + 4 * N + i, tl.clamp(a, -0.5, 0.5))
    tl.store(out + 5 * N + i, tl.clamp(a, -0.5, 0.5, propagate_nan=every))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_minimum_maximum_and_clamp_drop_or_propagate_nan_in_every_float(monkeypatch, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    x, y = (torch.tensor(rng.standard_normal(N), dtype=getattr(torch, dtype)) for _ in range(2))
    x[::5], y[::7] = float("nan"), float("nan")
    a, b = x.double().numpy(), y.double().numpy()
    cut = np.where(np.isnan(a), -0.5, np.clip(a, -0.5, 0.5))
    wanted = [np.fmin(a, b), np.fmax(a, b), np.minimum(a, b), np.maximum(a, b), cut, np.clip(a, -0.5, 0.5)]
    for execution in EXECUTIONS:
        monkeypatch.setenv("RTRITON_BACKEND", execution)
        out = torch.zeros(6 * N, dtype=x.dtype)
        extremes[(1,)](x, y, out, N=N)
        np.testing.assert_array_equal(out.double().numpy().reshape(6, N), np.array(wanted), execution)


@rtriton.jit
def adds(x, y, out):
    tl.store(out, tl.load(x) + tl.load(y))


@rtriton.jit
def multiplies(x, y, out):
    tl.store(out, tl.load(x) * tl.load(y))


@rtriton.jit
def adds_unchecked(x, y, out):
    tl.store(out, tl.add(tl.load(x), tl.load(y), sanitize_overflow=False))


@pytest.mark.parametrize("execution", ["interpret", "cpu"])
def test_integer_overflow_is_a_failed_assertion_in_debug_mode_only(monkeypatch, execution: str) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", execution)
    x, y, out = np.array([2**31 - 1], np.int32), np.array([2], np.int32), np.zeros(1, np.int32)
    adds[(1,)](x, y, out)
    assert out[0] == -(2**31) + 1
    adds_unchecked[(1,)](x, y, out, debug=True)
    for kernel, name in ((adds, "add"), (multiplies, "mul")):
        with pytest.raises(Exception, match=f"int32 overflow detected for operation {name}"):
            kernel[(1,)](x, y, out, debug=True)
    adds[(1,)](x, -y, out, debug=True)
    assert out[0] == 2**31 - 3


@rtriton.jit
def divides(x, y, out, N: tl.constexpr):
    i = tl.arange(0, N)
    a, b = tl.load(x + i), tl.load(y + i)
    tl.store(out + i, a // b)
    tl.store(out + N + i, a % b)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"])
def test_integer_division_truncates_and_the_remainder_has_the_sign_of_the_dividend(monkeypatch, dtype: str) -> None:
    rng, info = np.random.default_rng(2), np.iinfo(dtype)
    x, y = (rng.integers(info.min, info.max, N, dtype=dtype, endpoint=True) for _ in range(2))
    y[: N // 2] = rng.integers(1, 12, N // 2)
    y[y == 0] = 3
    quotient = [abs(int(a)) // abs(int(b)) * (-1 if (a < 0) != (b < 0) else 1) for a, b in zip(x, y, strict=True)]
    rest = [int(a) - q * int(b) for a, b, q in zip(x, y, quotient, strict=True)]
    for name, (_, _, out) in on_each(monkeypatch, divides, x, y, np.zeros(2 * N, dtype), N=N).items():
        np.testing.assert_array_equal(out, np.array([*quotient, *rest], object).astype(dtype), name)


@rtriton.jit
def shifted_bits(x, y, out):
    i = tl.arange(0, 4)
    tl.store(out + i, tl.load(x + i) >> tl.load(y + i))
    tl.store(out + 4 + i, tl.load(x + i) << tl.load(y + i))
    tl.store(out + 8 + i, tl.load(x + i) >> (i < 0))
    tl.store(out + 12 + i, tl.load(x + i) << (i >= 0))


@pytest.mark.parametrize("backend", ["interpret", "cpu", "emulate"])
def test_one_bit_is_shifted_by_none_or_one(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    x, y, out = np.array([1, 0, 1, 0], bool), np.array([1, 1, 0, 0], bool), np.zeros(16, bool)
    shifted_bits[(1,)](x, y, out)
    assert out.reshape(4, 4).tolist() == [(x & ~y).tolist(), (x & ~y).tolist(), x.tolist(), [False] * 4]


@rtriton.jit
def magnitudes(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    there = out.to(tl.pointer_type(tl.float8e4b15), bitcast=True)
    tl.store(there + i, tl.abs(tl.load(x.to(tl.pointer_type(tl.float8e4b15), bitcast=True) + i)))


def test_abs_of_fp8e4b15_takes_the_sign_from_every_code_and_rounds_none(monkeypatch) -> None:
    codes = np.arange(256).astype(np.uint8)  # 0x7f is 1.875, and a number rounded to the type is at most 1.75
    for name, (_, out) in on_each(monkeypatch, magnitudes, codes, np.zeros_like(codes), N=256).items():
        np.testing.assert_array_equal(out, codes & 0x7F, name)
