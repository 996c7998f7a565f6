"""Sorting, the largest k, and what reverses an axis: against NumPy, in every execution."""

from __future__ import annotations

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.backend.ptx.emit import lower_to_ptx
from rtriton.backend.ptx.ptxas import assemble
from rtriton.errors import CompilationError
from rtriton.target import Target
from rtriton.types import BY_NAME
from tests.kernels.everywhere import everywhere, optimised, typed

RNG = np.random.default_rng(11)
NUMBERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64")


@rtriton.jit
def sorts(x, out, M: tl.constexpr, N: tl.constexpr, DIM: tl.constexpr, DESCENDING: tl.constexpr):
    i = tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :]
    tl.store(out + i, tl.sort(tl.load(x + i), DIM, DESCENDING))


@rtriton.jit
def largest(x, out, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    i = tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :]
    o = tl.arange(0, M)[:, None] * K + tl.arange(0, K)[None, :]
    tl.store(out + o, tl.topk(tl.load(x + i), K))


@rtriton.jit
def largest_of_columns(x, out, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    i = tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :]
    o = tl.arange(0, K)[:, None] * N + tl.arange(0, N)[None, :]
    tl.store(out + o, tl.topk(tl.load(x + i), K, 0))


@rtriton.jit
def merges(x, out, N: tl.constexpr, DESCENDING: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.bitonic_merge(tl.load(x + i), descending=DESCENDING))


@rtriton.jit
def flips(x, out, A: tl.constexpr, B: tl.constexpr, C: tl.constexpr, DIM: tl.constexpr):
    i = (tl.arange(0, A) * B * C)[:, None, None] + (tl.arange(0, B) * C)[:, None] + tl.arange(0, C)
    tl.store(out + i, tl.flip(tl.load(x + i), DIM))


def numbers(dtype: str, *shape: int) -> np.ndarray:
    """Numbers over the whole range of a type, some of them equal."""
    if dtype.startswith("float"):
        return (RNG.standard_normal(shape) * 50).round().astype(dtype)
    info = np.iinfo(dtype)
    few = RNG.integers(info.min, info.max, 8, dtype, endpoint=True)
    return np.where(RNG.random(shape) < 0.3, few[RNG.integers(0, 8, shape)],
                    RNG.integers(info.min, info.max, shape, dtype, endpoint=True))  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (2, 64), (64, 8)], ids=str)
@pytest.mark.parametrize("dtype", NUMBERS)
def test_sort_orders_numbers_of_every_type(dtype: str, shape: tuple[int, int]) -> None:
    x = numbers(dtype, *shape)
    for name, arrays in everywhere(sorts, {"x": x, "out": x}, {"M": shape[0], "N": shape[1], "DIM": None,
                                                               "DESCENDING": False}):  # fmt: skip
        np.testing.assert_array_equal(arrays["out"], np.sort(x, 1), err_msg=name)


@pytest.mark.parametrize("dim", [0, 1, -2])
@pytest.mark.parametrize("warps", [1, 8])
def test_sort_takes_any_axis_in_both_directions(dim: int, warps: int) -> None:
    x = numbers("float32", 32, 16)
    constants = {"M": 32, "N": 16, "DIM": dim, "DESCENDING": True}
    for name, arrays in everywhere(sorts, {"x": x, "out": x}, constants, num_warps=warps):
        np.testing.assert_array_equal(arrays["out"], np.flip(np.sort(x, dim), dim), err_msg=name)


@pytest.mark.parametrize("size", [512, 2048])
def test_a_line_longer_than_a_warp_holds_is_sorted_across_warps(size: int) -> None:
    x = numbers("float32", 1, size)
    constants = {"M": 1, "N": size, "DIM": 1, "DESCENDING": False}
    for name, arrays in everywhere(sorts, {"x": x, "out": x}, constants, num_warps=8):
        np.testing.assert_array_equal(arrays["out"], np.sort(x, 1), err_msg=name)


def test_a_long_line_is_sorted_by_native_code() -> None:
    x = numbers("int32", 1, 1 << 17)
    constants = {"M": 1, "N": 1 << 17, "DIM": 1, "DESCENDING": False}
    for name, arrays in everywhere(sorts, {"x": x, "out": x}, constants, only=("interpret", "cpu")):
        np.testing.assert_array_equal(arrays["out"], np.sort(x, 1), err_msg=name)


def test_sort_loses_no_element_and_puts_nans_last() -> None:
    x = numbers("float32", 1, 64)
    x[0, :12] = [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, np.nan, 0.0, -0.0, np.inf, -np.inf, 1e-45]
    constants = {"M": 1, "N": 64, "DIM": 1, "DESCENDING": False}
    for name, arrays in everywhere(sorts, {"x": x, "out": x}, constants):
        np.testing.assert_array_equal(arrays["out"], np.sort(x, 1), err_msg=name)
        zeros = arrays["out"][arrays["out"] == 0]
        np.testing.assert_array_equal(np.signbit(zeros), np.sort(np.signbit(x[x == 0]))[::-1], err_msg=name)


@pytest.mark.parametrize("dtype", ["bf16", "fp8e5", "fp8e4nv", "int1"])
def test_sort_orders_types_that_numpy_lacks(dtype: str) -> None:
    values = RNG.integers(-8, 8, 64) * (dtype != "int1") + RNG.integers(0, 2, 64)
    x = typed(values.astype(np.float32), BY_NAME[dtype])
    wanted = np.sort(values != 0) if dtype == "int1" else np.sort(values)
    for name, arrays in everywhere(sorts, {"x": x, "out": x}, {"M": 1, "N": 64, "DIM": 1, "DESCENDING": False}):
        np.testing.assert_array_equal(arrays["out"], wanted.astype(arrays["out"].dtype), err_msg=name)


@pytest.mark.parametrize("k", [1, 8, 64])
@pytest.mark.parametrize("dtype", ["int32", "uint8", "float16", "float32", "int64"])
def test_topk_gives_the_largest_in_descending_order(dtype: str, k: int) -> None:
    x = numbers(dtype, 8, 64)
    out = np.zeros((8, k), dtype)
    for name, arrays in everywhere(largest, {"x": x, "out": out}, {"M": 8, "N": 64, "K": k}):
        np.testing.assert_array_equal(arrays["out"], np.sort(x, 1)[:, ::-1][:, :k], err_msg=name)


def test_topk_of_columns() -> None:
    x = numbers("int32", 64, 8)
    out = np.zeros((4, 8), np.int32)
    for name, arrays in everywhere(largest_of_columns, {"x": x, "out": out}, {"M": 64, "N": 8, "K": 4}):
        np.testing.assert_array_equal(arrays["out"], np.sort(x, 0)[::-1][:4], err_msg=name)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("size", [2, 128, 1024])
def test_bitonic_merge_orders_what_rises_and_falls(size: int, descending: bool) -> None:
    x = np.sort(numbers("float32", size))
    x[size // 2 :] = x[size // 2 :][::-1].copy()
    constants = {"N": size, "DESCENDING": descending}
    for name, arrays in everywhere(merges, {"x": x, "out": x}, constants):
        np.testing.assert_array_equal(arrays["out"], np.sort(x)[:: -1 if descending else 1], err_msg=name)


@pytest.mark.parametrize("shape", [(1, 16, 64), (8, 2, 32), (32, 1, 2), (64, 8, 1)], ids=str)
@pytest.mark.parametrize("dim", [0, 1, 2, -2, None])
def test_flip_reverses_an_axis(shape: tuple[int, int, int], dim: int | None) -> None:
    for dtype in ("int32", "float16", "uint8"):
        x = numbers(dtype, *shape)
        constants = {"A": shape[0], "B": shape[1], "C": shape[2], "DIM": dim}
        for name, arrays in everywhere(flips, {"x": x, "out": np.zeros_like(x)}, constants):
            np.testing.assert_array_equal(arrays["out"], np.flip(x, -1 if dim is None else dim), err_msg=name)


@rtriton.jit
def flips_itself(x, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(x + i, tl.flip(tl.load(x + i)))


@rtriton.jit
def sorts_itself(x, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(x + i, tl.sort(tl.load(x + i)))


@rtriton.jit
def transposes_itself(x, N: tl.constexpr):
    i = tl.arange(0, N)[:, None] * N + tl.arange(0, N)
    tl.store(x + i, tl.trans(tl.load(x + i)))


def test_a_tile_may_be_flipped_sorted_and_transposed_in_place() -> None:
    x = numbers("int32", 1024)
    square = x.reshape(32, 32)
    for kernel, n, before, after in ((flips_itself, 1024, x, x[::-1]), (sorts_itself, 1024, x, np.sort(x)),
                                     (transposes_itself, 32, square, square.T)):  # fmt: skip
        for name, arrays in everywhere(kernel, {"x": before}, {"N": n}):
            np.testing.assert_array_equal(arrays["x"], after, err_msg=name)


def test_topk_of_more_than_there_are_is_refused() -> None:
    with pytest.raises(CompilationError, match="k is a power of two, at most the axis's size"):
        optimised(largest, {"x": np.zeros(8, np.int32), "out": np.zeros(8, np.int32)}, {"M": 1, "N": 8, "K": 16})


@pytest.mark.parametrize("sm", ["sm_80", "sm_89", "sm_90a"])
def test_networks_assemble(sm: str) -> None:
    x = np.zeros((4, 256), np.float16)
    constants = {"M": 4, "N": 256, "DIM": 1, "DESCENDING": False}
    assemble(str(lower_to_ptx(optimised(sorts, {"x": x, "out": x}, constants), Target.of(sm))), sm)
    assemble(str(lower_to_ptx(optimised(largest, {"x": x, "out": x}, {"M": 4, "N": 256, "K": 8}), Target.of(sm))), sm)
