"""Packed weights mean what the index formulas of ops/quant.py say, and rounding stays within half a step."""

import numpy as np
import pytest

from ops.quant import KINDS, dense, dequantize, dequantize_rows, pack_int4, pack_int8, quantize

RNG = np.random.default_rng(7)


def half_step(real: np.ndarray, kind: str) -> np.ndarray:
    """The largest error each element may have: half a step of its scale, and the float16 rounding of that scale."""
    blocks = real.reshape(real.shape[0], -1, 32).astype(np.float64)
    largest = np.abs(blocks).max(axis=2, keepdims=True)
    if kind == "int4":
        step = (blocks.max(axis=2, keepdims=True) - blocks.min(axis=2, keepdims=True)) / 15
        return (0.5 * step + largest * 3e-3 + 0 * blocks).reshape(real.shape)
    if kind == "int8":
        return (0.5 * largest / 127 + largest * 1e-3 + 0 * blocks).reshape(real.shape)
    if kind == "fp8":
        row = np.abs(real).max(axis=1, keepdims=True)
        return np.maximum(np.abs(real) * 2.0**-4, row / 448 * 2.0**-10) * 1.001
    return np.abs(real) * {"bf16": 2.0**-8, "f16": 2.0**-11, "f32": 0.0}[kind] + 1e-7


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 16, 37])
def test_quantize_then_dequantize_stays_within_half_a_step(kind: str, n: int) -> None:
    real = RNG.standard_normal((n, 96)).astype(np.float32)
    back = dequantize(quantize(real, kind))
    assert back.dtype == np.float32 and back.shape == real.shape
    assert (np.abs(back - real) <= half_step(real, kind)).all()


def test_int4_bytes_lie_where_the_index_formula_says() -> None:
    n_rows, groups = 21, 3
    q = RNG.integers(0, 16, (n_rows, groups, 32)).astype(np.uint8)
    scale = RNG.standard_normal((n_rows, groups)).astype(np.float16)
    minimum = RNG.standard_normal((n_rows, groups)).astype(np.float16)
    weight = pack_int4(q[..., :16] | q[..., 16:] << 4, scale, minimum)
    flat, d, m = weight.data.ravel(), weight.scale, weight.minimum
    expected = np.zeros((n_rows, groups * 32), np.float32)
    for n in range(n_rows):
        for k in range(groups * 32):
            p, lane, g, j = n // 16, n % 16, k // 32, k % 32
            byte = flat[((p * groups + g) * 16 + j % 16) * 16 + lane]
            code = byte & 15 if j < 16 else byte >> 4
            assert code == q[n, g, j]
            expected[n, k] = np.float32(d[p, g, lane]) * np.float32(code) + np.float32(m[p, g, lane])
    assert np.array_equal(dequantize(weight), expected)


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_one_byte_codes_lie_where_the_index_formula_says(kind: str) -> None:
    real = RNG.standard_normal((18, 64)).astype(np.float32)
    weight = quantize(real, kind)
    flat, whole = weight.data.ravel(), dequantize(weight)
    for n, k in [(0, 0), (3, 40), (17, 63), (16, 31)]:
        p, lane, g, j = n // 16, n % 16, k // 32, k % 32
        scale = weight.scale[p, g, lane] if kind == "int8" else weight.scale[p, lane]
        assert whole[n, k] == np.float32(scale) * np.float32(flat[((p * 2 + g) * 32 + j) * 16 + lane])


@pytest.mark.parametrize("kind", ["int4", "int8", "fp8"])
def test_padding_rows_are_zero(kind: str) -> None:
    weight = quantize(np.ones((5, 32), np.float32), kind)
    assert weight.tiles == 1 and weight.shape == (5, 32)
    assert not weight.data[..., 5:].view(np.uint8).any()
    assert not weight.scale[..., 5:].any()
    assert weight.minimum is None or not weight.minimum[..., 5:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_looked_up_equal_rows_of_the_whole(kind: str) -> None:
    weight = quantize(RNG.standard_normal((40, 64)).astype(np.float32), kind)
    rows = np.array([39, 0, 17, 17, 16])
    assert np.array_equal(dequantize_rows(weight, rows), dequantize(weight)[rows])


@pytest.mark.parametrize("kind", KINDS)
def test_a_zero_matrix_comes_back_as_zero(kind: str) -> None:
    assert not dequantize(quantize(np.zeros((16, 32), np.float32), kind)).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(0, 32), (3, 0)])
def test_a_matrix_of_nothing_is_one(kind: str, shape: tuple[int, int]) -> None:
    assert dequantize(quantize(np.zeros(shape, np.float32), kind)).shape == shape


def test_data_begins_on_a_cache_line() -> None:
    assert all(quantize(np.ones((16, 32), np.float32), kind).data.ctypes.data % 64 == 0 for kind in KINDS)


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"unknown weight kind 'int3'.*int4"):
        quantize(np.ones((16, 32), np.float32), "int3")
    with pytest.raises(ValueError, match="multiple of 32, got 33"):
        quantize(np.ones((16, 33), np.float32), "int4")
    with pytest.raises(ValueError, match="not finite"):
        quantize(np.full((16, 32), np.nan, np.float32), "fp8")
    with pytest.raises(ValueError, match="too large for float16"):
        quantize(np.full((16, 32), 1e30, np.float32), "int8")
    with pytest.raises(ValueError, match="cannot keep the matrix as f16: it holds values beyond its range"):
        quantize(np.full((16, 32), 1e6, np.float32), "f16")
    with pytest.raises(ValueError, match=r"a NumPy matrix \(N, K\), got list"):
        quantize([[1.0] * 32], "int8")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bf16, f16 or f32"):
        dense(np.ones((2, 2), np.float64))
    with pytest.raises(ValueError, match="one scale and minimum per group"):
        pack_int8(np.zeros((2, 1, 32), np.int8), np.zeros((2, 2), np.float16))
