"""cvt in the emulator: against exact fractions, and against ml_dtypes for the short formats."""

from fractions import Fraction
from math import ceil, floor

import ml_dtypes
import numpy as np
import pytest

from tests.backend.ptx.exactly import interesting_floats, rounded
from tests.backend.ptx.one_opcode import compute

COUNT = 300
STORED = {"f64": np.float64, "f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}
FP8 = {"e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2}
MODES = ("rn", "rz", "rm", "rp")


def stored(values: np.ndarray, type: str) -> np.ndarray:
    array = values.astype(STORED[type])
    return array.view(f"u{array.itemsize}")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("source,to", [("f32", "f16"), ("f64", "f32"), ("f64", "f16")])
def test_floats_to_shorter_floats(source: str, to: str, mode: str) -> None:
    x = interesting_floats(source, COUNT, 0)
    got = compute(f"cvt.{mode}.{to}.{source}", stored(x, source)).view(STORED[to]).astype(np.float64)
    assert got.tolist() == [rounded(Fraction(float(value)), to, mode) for value in x]


@pytest.mark.parametrize("mode", ["rn", "rz"])
def test_floats_to_bf16(mode: str) -> None:
    x = interesting_floats("f32", COUNT, 1)
    got = compute(f"cvt.{mode}.bf16.f32", stored(x, "f32")).view(ml_dtypes.bfloat16).astype(np.float64)
    assert got.tolist() == [rounded(Fraction(float(value)), "bf16", mode) for value in x]


def test_to_tf32_the_ties_go_away_from_zero() -> None:
    x = np.concatenate([interesting_floats("f32", COUNT, 2), [1 + 2.0 ** -11, -1 - 2.0 ** -11]])
    got = compute("cvt.rna.tf32.f32", stored(x, "f32")).view(np.float32)
    assert got.tolist() == [rounded(Fraction(float(value)), "tf32", "rna") for value in x]


def test_floats_to_longer_floats_are_exact() -> None:
    for source, to in (("f16", "f32"), ("f16", "f64"), ("f32", "f64"), ("bf16", "f32")):
        x = interesting_floats(source, COUNT, 3)
        assert np.array_equal(compute(f"cvt.{to}.{source}", stored(x, source)).view(STORED[to]).astype(np.float64), x)


@pytest.mark.parametrize("to", ["f16", "bf16"])
def test_pairs_put_the_first_operand_above(to: str) -> None:
    a, b = np.random.default_rng(4).standard_normal((2, COUNT)).astype(np.float32)
    got = compute(f"cvt.rn.{to}x2.f32", a, b).view(np.uint16)
    assert np.array_equal(got[0::2], stored(b, to)) and np.array_equal(got[1::2], stored(a, to))
    relu = compute(f"cvt.rn.relu.{to}x2.f32", a, b).view(np.uint16)
    assert np.array_equal(relu[0::2], stored(np.maximum(b, 0), to))


@pytest.mark.parametrize("to", list(FP8))
def test_pairs_of_fp8_saturate(to: str) -> None:
    rng = np.random.default_rng(5)
    a, b = (np.ldexp(rng.standard_normal(COUNT), rng.integers(-18, 18, COUNT)).astype(np.float32) for _ in range(2))
    largest = float(ml_dtypes.finfo(FP8[to]).max)
    got = compute(f"cvt.rn.satfinite.{to}x2.f32", a, b).view(np.uint8)
    for part, x in ((got[0::2], b), (got[1::2], a)):
        assert np.array_equal(part, np.clip(x, -largest, largest).astype(FP8[to]).view(np.uint8))
    special = np.asarray([np.inf, -np.inf], np.float32)
    assert compute(f"cvt.rn.satfinite.{to}x2.f32", special, special).view(FP8[to]).astype(float).tolist() == [
        largest, largest, -largest, -largest]


@pytest.mark.parametrize("source", list(FP8))
def test_fp8_pairs_to_f16_and_back(source: str) -> None:
    codes = np.arange(256, dtype=np.uint8).view(np.uint16)
    values = compute(f"cvt.rn.f16x2.{source}x2", codes).view(np.float16)
    want = np.arange(256, dtype=np.uint8).view(FP8[source]).astype(np.float16)
    assert np.array_equal(values, want, equal_nan=True)
    finite = np.where(np.isfinite(want), want, 0).astype(np.float16)
    back = compute(f"cvt.rn.satfinite.{source}x2.f16x2", finite.view(np.uint32)).view(np.uint8)
    assert np.array_equal(back, finite.astype(FP8[source]).view(np.uint8))


ROUND = {"rni": round, "rzi": int, "rmi": floor, "rpi": ceil}


@pytest.mark.parametrize("mode", list(ROUND))
@pytest.mark.parametrize("to", ["s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64"])
def test_floats_to_integers_round_and_clamp(to: str, mode: str) -> None:
    bits = int(to[1:])
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if to[0] == "s" else (0, (1 << bits) - 1)
    rng = np.random.default_rng(6)
    wide = np.ldexp(rng.uniform(-1, 1, 200), rng.integers(0, 70, 200))
    x = np.concatenate([rng.uniform(-5, 5, 100), rng.integers(-9, 9, 100) + 0.5, wide])
    for source in ("f32", "f64", "f16"):
        with np.errstate(over="ignore"):
            values = x.astype(STORED[source])
        values = values[np.isfinite(values)]
        got = compute(f"cvt.{mode}.{to}.{source}", values).tolist()
        want = [min(max(ROUND[mode](Fraction(float(v))), low), high) & (1 << bits) - 1 for v in values]
        assert got == want


def test_nan_to_integers() -> None:
    nan32, nan64 = np.full(2, np.nan, np.float32), np.full(2, np.nan)
    assert compute("cvt.rzi.s32.f32", nan32)[0] == 0
    assert compute("cvt.rzi.s64.f32", nan32)[0] == 1 << 63
    assert compute("cvt.rzi.s32.f64", nan64)[0] == 1 << 31


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("source", ["s32", "u32", "s64", "u64"])
def test_integers_to_floats(source: str, mode: str) -> None:
    bits = int(source[1:])
    rng = np.random.default_rng(7)
    raw = rng.integers(0, 1 << 63, COUNT, np.uint64) * np.uint64(2) >> rng.integers(0, bits, COUNT).astype(np.uint64)
    raw = raw.astype(f"u{bits // 8}")
    values = raw.view(f"i{bits // 8}") if source[0] == "s" else raw
    for to in ("f32", "f16", "f64", "bf16"):
        if to == "f64" and (mode != "rn" or bits == 32):
            continue
        got = compute(f"cvt.{mode}.{to}.{source}", raw).view(STORED[to]).astype(np.float64).tolist()
        assert got == [rounded(Fraction(int(v)), to, mode) for v in values]


def test_rounding_to_integral_floats() -> None:
    x = np.asarray([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 1e30], np.float32)
    for mode, way in (("rni", np.rint), ("rzi", np.trunc), ("rmi", np.floor), ("rpi", np.ceil)):
        assert np.array_equal(compute(f"cvt.{mode}.f32.f32", x).view(np.float32), way(x))
    assert compute("cvt.sat.f32.f16", np.asarray([-1, 0.5, 3], np.float16)).view(np.float32).tolist() == [0, 0.5, 1]
