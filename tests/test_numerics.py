"""Number formats against ml_dtypes and exact arithmetic."""

import math

import ml_dtypes
import numpy as np
import pytest

from rtriton import numerics
from rtriton.types import (
    DTYPES, bfloat16, float8e4b8, float8e4b15, float8e4nv, float8e5, float8e5b16, float16, float32, int1,
)

FORMATS = [(bfloat16, ml_dtypes.bfloat16), (float8e5, ml_dtypes.float8_e5m2), (float8e4nv, ml_dtypes.float8_e4m3fn),
           (float8e4b8, ml_dtypes.float8_e4m3fnuz), (float8e5b16, ml_dtypes.float8_e5m2fnuz)]
NAMES = ["bf16", "e5m2", "e4m3", "e4m3fnuz", "e5m2fnuz"]


@pytest.mark.parametrize(("type", "reference"), FORMATS, ids=NAMES)
def test_every_code_decodes_as_the_reference_does(type, reference):
    codes = np.arange(1 << type.bits, dtype=type.storage)
    np.testing.assert_array_equal(numerics.decode(codes, type), codes.view(reference).astype(np.float32))


@pytest.mark.parametrize(("type", "reference"), FORMATS, ids=NAMES)
def test_every_number_encodes_to_its_code(type, reference):
    codes = np.arange(1 << type.bits, dtype=type.storage)
    values = numerics.decode(codes, type)
    number = ~np.isnan(values)
    np.testing.assert_array_equal(numerics.encode(values[number], type), codes[number])
    assert np.isnan(numerics.decode(numerics.encode(values[~number], type), type)).all()


@pytest.mark.parametrize(("type", "reference"), FORMATS, ids=NAMES)
def test_rounding_is_to_nearest_even_in_range(type, reference):
    rng = np.random.default_rng(0)
    largest = float(ml_dtypes.finfo(reference).max) if type.bits == 8 else 1e30
    x = (rng.standard_normal(20000) * np.exp2(rng.uniform(-20, 8, 20000))).astype(np.float32)
    x = np.clip(x, -largest, largest)
    np.testing.assert_array_equal(numerics.round_to(x, type), x.astype(reference).astype(np.float32))


def test_halfway_cases_round_to_even():
    x = np.array([1 + 2**-8, 1 + 3 * 2**-8], np.float32)
    np.testing.assert_array_equal(numerics.round_to(x, bfloat16), [1.0, 1 + 2**-6])


def test_fp8_saturates():
    np.testing.assert_array_equal(numerics.round_to(np.array([1e6, -1e6], np.float32), float8e4nv), [448, -448])
    np.testing.assert_array_equal(numerics.round_to(np.array([1e6], np.float32), float8e5), [57344])


def test_fp8e4b15_is_half_with_seven_bits_fewer_rounded_half_up():
    codes = np.arange(256, dtype=np.uint8)
    wide = ((codes.astype(np.uint16) & 0x7F) << 7 | (codes.astype(np.uint16) & 0x80) << 8).view(np.float16)
    np.testing.assert_array_equal(numerics.decode(codes, float8e4b15), wide.astype(np.float32))
    np.testing.assert_array_equal(numerics.encode(numerics.decode(codes, float8e4b15), float8e4b15), codes)
    given = np.array([1.0625, 1.0624, -1.0625, 1.8, -7.0, np.inf, np.nan, 0.4 * 2.0**-17, 0.5 * 2.0**-17], np.float32)
    wanted = [1.125, 1.0, -1.125, 1.75, -1.75, 1.75, 1.75, 0, 2.0**-17]
    np.testing.assert_array_equal(numerics.round_to(given, float8e4b15), wanted)


def test_infinities_rounded_towards_zero_stay_only_in_e5m2_and_wider():
    for type, wanted in ((float8e5, np.inf), (float8e4nv, 448), (float16, np.inf), (bfloat16, np.inf)):
        assert numerics.round_to(np.array([np.inf], np.float32), type, "rtz")[0] == wanted
    assert numerics.round_to(np.array([1e300]), float32, "rtz")[0] == np.finfo(np.float32).max
    assert np.isnan(numerics.round_to(np.array([0x7F800001], np.uint32).view(np.float32), bfloat16, "rtz"))[0]


def test_rounding_toward_zero_truncates():
    x = np.array([1.99999, -1.99999], np.float32)
    np.testing.assert_array_equal(numerics.round_to(x, bfloat16, "rtz"), [1.9921875, -1.9921875])
    np.testing.assert_array_equal(numerics.round_to(x, float16, "rtz"), [1.9990234375, -1.9990234375])
    assert numerics.round_to(np.array([1.0 + 2**-24 + 2**-30]), float32, "rtz")[0] == 1.0


def test_nan_and_infinity_stay():
    for type in (float16, bfloat16, float32):
        rounded = numerics.round_to(np.array([np.nan, np.inf, -np.inf], np.float32), type)
        assert np.isnan(rounded[0]) and np.isposinf(rounded[1]) and np.isneginf(rounded[2])


def test_masks_are_stored_as_bytes():
    np.testing.assert_array_equal(numerics.encode(np.array([True, False]), int1), np.array([1, 0], np.uint8))
    np.testing.assert_array_equal(numerics.decode(np.array([0, 7], np.uint8), int1), [False, True])


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32])
def test_division_truncates_and_the_remainder_fits_it(dtype):
    rng = np.random.default_rng(1)
    info = np.iinfo(dtype)
    x = rng.integers(max(info.min, -1000), min(info.max, 1000), 500).astype(dtype)
    y = rng.integers(max(info.min, -9), 9, 500).astype(dtype)
    y[y == 0] = 3
    want = [math.trunc(int(a) / int(b)) for a, b in zip(x, y, strict=True)]
    np.testing.assert_array_equal(numerics.divide(x, y), want)
    np.testing.assert_array_equal(
        numerics.remainder(x, y), [int(a) - q * int(b) for a, b, q in zip(x, y, want, strict=True)]
    )


def test_division_by_zero_gives_zero_for_integers():
    x = np.array([5, -5], np.int32)
    np.testing.assert_array_equal(numerics.divide(x, np.zeros_like(x)), [0, 0])


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_umulhi_is_the_upper_half_of_the_exact_product(dtype):
    rng = np.random.default_rng(2)
    info, bits = np.iinfo(dtype), 8 * np.dtype(dtype).itemsize
    x = rng.integers(info.min, info.max, 200, dtype=dtype, endpoint=True)
    y = rng.integers(info.min, info.max, 200, dtype=dtype, endpoint=True)
    mask = (1 << bits) - 1
    want = [((int(a) & mask) * (int(b) & mask)) >> bits for a, b in zip(x, y, strict=True)]
    np.testing.assert_array_equal(numerics.umulhi(x, y).view(f"uint{bits}"), want)


def test_minimum_and_maximum_prefer_the_number():
    x, y = np.array([np.nan, 1.0], np.float32), np.array([2.0, np.nan], np.float32)
    np.testing.assert_array_equal(numerics.minimum(x, y), [2, 1])
    np.testing.assert_array_equal(numerics.maximum(x, y), [2, 1])


def test_fma_rounds_once():
    x = np.array([1 + 2**-12], np.float32)
    assert numerics.fma(x, x, -np.array([1 + 2**-11], np.float32))[0] == np.float32(2**-24)


def test_every_type_has_a_numpy_dtype_to_compute_in():
    for type in DTYPES:
        assert numerics.value_dtype(type).kind == {"b": "b", "i": "i", "u": "u", "f": "f"}[type.kind]
