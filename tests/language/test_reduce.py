"""Reductions and scans of every type, axis and size: against NumPy, in every execution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.ir import walk
from rtriton.types import BY_NAME
from tests.kernels.everywhere import everywhere, optimised, run_everywhere, typed

RNG = np.random.default_rng(13)
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
FLOATS = ("float16", "float32", "float64")
SHAPES = ((1, 1), (1, 64), (128, 2), (16, 32))


def numbers(dtype: str, *shape: int) -> np.ndarray:
    """Numbers whose sums are exact whatever the order."""
    low = 0 if dtype.startswith("u") else -9
    return RNG.integers(low, 10, shape).astype(dtype)


@rtriton.jit
def reduces(x, total, least, most, first_least, first_most, M: tl.constexpr, N: tl.constexpr, AXIS: tl.constexpr,
            LEFT: tl.constexpr):  # fmt: skip
    tile = tl.load(x + tl.arange(0, M)[:, None] * N + tl.arange(0, N))
    i = tl.arange(0, LEFT)
    tl.store(total + i, tl.sum(tile, AXIS))
    tl.store(least + i, tile.min(AXIS))
    tl.store(most + i, tl.max(tile, axis=AXIS))
    tl.store(first_least + i, tl.argmin(tile, AXIS))
    tl.store(first_most + i, tile.argmax(AXIS))


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_sum_min_max_and_their_places(dtype: str, axis: int) -> None:
    for shape in SHAPES:
        x = numbers(dtype, *shape)
        left = x.size // shape[axis]
        wide = "float64" if dtype.startswith("f") else "int64"
        index = np.zeros(left, np.int32)
        args = {"x": x, "total": np.zeros(left, wide), "least": np.zeros(left, dtype), "most": np.zeros(left, dtype),
                "first_least": index, "first_most": index}  # fmt: skip
        wanted = {"total": x.sum(axis), "least": x.min(axis), "most": x.max(axis), "first_least": x.argmin(axis),
                  "first_most": x.argmax(axis)}  # fmt: skip
        constants = {"M": shape[0], "N": shape[1], "AXIS": axis, "LEFT": left}
        for name, arrays in everywhere(reduces, args, constants):
            for key, value in wanted.items():
                np.testing.assert_array_equal(arrays[key], value, err_msg=f"{key} of {shape} on {name}")


@pytest.mark.parametrize("dtype", ["bf16", "fp8e5", "fp8e4nv"])
def test_reductions_of_types_that_numpy_lacks(dtype: str) -> None:
    x = numbers("float32", 8, 16) % 4
    args: dict[str, Any] = {"x": typed(x, BY_NAME[dtype]), "total": np.zeros(8, np.float32)}
    for name, arrays in everywhere(sums_wide, args, {"M": 8, "N": 16}):
        np.testing.assert_array_equal(arrays["total"], x.sum(1) + x.max(1), err_msg=name)


@rtriton.jit
def sums_wide(x, total, M: tl.constexpr, N: tl.constexpr):
    tile = tl.load(x + tl.arange(0, M)[:, None] * N + tl.arange(0, N))
    tl.store(total + tl.arange(0, M), tl.sum(tile, 1, dtype=tl.float32) + tl.max(tile.to(tl.float32), 1))


@rtriton.jit
def of_everything(x, out, kept, N: tl.constexpr, M: tl.constexpr):
    tile = tl.load(x + tl.arange(0, M)[:, None] * N + tl.arange(0, N))
    tl.store(out, tl.sum(tile))
    tl.store(out + 1, tl.max(tile))
    tl.store(out + 2, tile.xor_sum())
    tl.store(out + 3, tl.reduce_or(tile, None))
    square = tl.sum(tile, keep_dims=True)
    tl.static_assert(square.shape == [1, 1])
    tl.store(kept + tl.arange(0, 1)[:, None] + tl.arange(0, 1), square)
    column = tl.min(tile, 1, keep_dims=True)
    tl.static_assert(column.shape == [M, 1])
    tl.store(kept + 1 + tl.arange(0, M)[:, None], column)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (8, 64), (64, 256)], ids=str)
def test_axis_none_reduces_everything_and_keep_dims_keeps_axes(shape: tuple[int, int]) -> None:
    x = RNG.integers(0, 1 << 20, shape).astype(np.int32)
    args = {"x": x, "out": np.zeros(4, np.int32), "kept": np.zeros(1 + shape[0], np.int32)}
    total = [x.sum(dtype=np.int32), x.max(), np.bitwise_xor.reduce(x.ravel()), np.bitwise_or.reduce(x.ravel())]
    for name, arrays in everywhere(of_everything, args, {"M": shape[0], "N": shape[1]}, num_warps=8):
        np.testing.assert_array_equal(arrays["out"], total, err_msg=name)
        np.testing.assert_array_equal(arrays["kept"], [x.sum(dtype=np.int32), *x.min(1)], err_msg=name)


@rtriton.jit
def places(x, values, first, any_, N: tl.constexpr):
    tile = tl.load(x + tl.arange(0, N))
    value, where = tl.max(tile, 0, return_indices=True)
    tl.store(values, value)
    tl.store(first, where)
    value, where = tl.min(tile, 0, return_indices=True, return_indices_tie_break_left=False)
    tl.store(values + 1, value)
    tl.store(any_, tl.load(x + where))
    tl.store(any_ + 1, tl.load(x + tl.argmax(tile, 0, tie_break_left=False)))


@pytest.mark.parametrize("dtype", ["int32", "float32", "float16", "uint8", "int64"])
@pytest.mark.parametrize("size", [1, 32, 1024])
def test_ties_go_to_the_left_or_to_any(dtype: str, size: int) -> None:
    x = (numbers(dtype, size) > 0).astype(dtype)
    args = {"x": x, "values": np.zeros(2, dtype), "first": np.zeros(1, np.int32), "any_": np.zeros(2, dtype)}
    for name, arrays in everywhere(places, args, {"N": size}):
        np.testing.assert_array_equal(arrays["values"], [x.max(), x.min()], err_msg=name)
        np.testing.assert_array_equal(arrays["first"], [x.argmax()], err_msg=name)
        np.testing.assert_array_equal(arrays["any_"], [x.min(), x.max()], err_msg=name)


@rtriton.jit
def extremes(x, out, N: tl.constexpr):
    tile = tl.load(x + tl.arange(0, N))
    tl.store(out, tl.max(tile, 0))
    tl.store(out + 1, tl.min(tile, 0))


@pytest.mark.parametrize("dtype", FLOATS)
def test_extremes_ignore_nan_unless_there_is_nothing_else(dtype: str) -> None:
    for size in (1, 16, 512):
        x = numbers(dtype, size)
        x[RNG.random(size) < 0.5] = np.nan
        x[0] = np.nan
        with np.errstate(all="ignore"):
            wanted = [np.fmax.reduce(x), np.fmin.reduce(x)]
        for name, arrays in everywhere(extremes, {"x": x, "out": np.zeros(2, dtype)}, {"N": size}):
            np.testing.assert_array_equal(arrays["out"], wanted, err_msg=name)


@rtriton.jit
def of_five(x, out, A: tl.constexpr, B: tl.constexpr, C: tl.constexpr, D: tl.constexpr, E: tl.constexpr,
            AXIS: tl.constexpr, LEFT: tl.constexpr):  # fmt: skip
    tile = tl.load(x + tl.arange(0, A * B * C * D * E)).reshape(A, B, C, D, E)
    tl.store(out + tl.arange(0, LEFT), tl.sum(tile, AXIS).ravel())
    tl.store(x + tl.arange(0, A * B * C * D * E), tl.cumsum(tile, AXIS, reverse=True).ravel())


@pytest.mark.parametrize("axis", [0, 1, 2, 3, 4, -2])
@pytest.mark.parametrize("shape", [(2, 4, 1, 8, 2), (1, 1, 1, 1, 1), (8, 2, 2, 4, 16)], ids=str)
def test_five_axes(shape: tuple[int, ...], axis: int) -> None:
    x = numbers("int32", *shape)
    left = x.size // shape[axis]
    running = np.flip(np.cumsum(np.flip(x, axis), axis, dtype=np.int32), axis)
    constants = dict(zip("ABCDE", shape, strict=True)) | {"AXIS": axis, "LEFT": left}
    for name, arrays in everywhere(of_five, {"x": x, "out": np.zeros(left, np.int32)}, constants):
        np.testing.assert_array_equal(arrays["out"], x.sum(axis).ravel(), err_msg=name)
        np.testing.assert_array_equal(arrays["x"], running, err_msg=name)


@rtriton.jit
def welford(mean, m2, weight, other_mean, other_m2, other_weight):
    delta = other_mean - mean
    total = weight + other_weight
    share = other_weight / total
    return mean + delta * share, m2 + other_m2 + delta * delta * weight * share, total


@rtriton.jit
def moments(x, out, M: tl.constexpr, N: tl.constexpr):
    tile = tl.load(x + tl.arange(0, M)[:, None] * N + tl.arange(0, N))
    mean, m2, weight = tl.reduce((tile, tl.zeros_like(tile), tl.full(tile.shape, 1, tl.float32)), 1, welford)
    i = tl.arange(0, M)
    tl.store(out + i, mean)
    tl.store(out + M + i, m2 / weight)


@pytest.mark.parametrize("shape", [(1, 512), (64, 16), (4, 1)], ids=str)
def test_a_tuple_is_reduced_together(shape: tuple[int, int]) -> None:
    x = RNG.standard_normal(shape).astype(np.float32)
    for name, arrays in everywhere(moments, {"x": x, "out": np.zeros(2 * shape[0], np.float32)}, {
            "M": shape[0], "N": shape[1]}):  # fmt: skip
        wide = x.astype(np.float64)
        wanted = np.concatenate((wide.mean(1), wide.var(1)))
        np.testing.assert_allclose(arrays["out"], wanted, rtol=1e-5, atol=1e-6, err_msg=name)


@rtriton.jit
def affine(a, b, c, d):
    """x -> a x + b, then x -> c x + d: does not commute."""
    return a * c, b * c + d


@rtriton.jit
def composed(a, b, out, N: tl.constexpr, REVERSE: tl.constexpr):
    i = tl.arange(0, N)
    _, last = tl.associative_scan((tl.load(a + i), tl.load(b + i)), 0, affine, REVERSE)
    tl.store(out + i, last)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", [1, 2, 64, 1024])
def test_a_scan_combines_in_order(size: int, reverse: bool) -> None:
    a, b = np.where(RNG.random(size) < 0.5, 1, -1).astype(np.int32), numbers("int64", size)

    def running(pairs: list[tuple[int, int]]) -> list[int]:
        value, values = 0, []
        for k, (c, d) in enumerate(pairs):
            value = d if k == 0 else value * c + d
            values.append(value)
        return values

    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    wanted = running(pairs[::-1])[::-1] if reverse else running(pairs)
    args = {"a": a, "b": b, "out": np.zeros(size, np.int64)}
    for name, arrays in everywhere(composed, args, {"N": size, "REVERSE": reverse}):
        np.testing.assert_array_equal(arrays["out"], wanted, err_msg=name)


@rtriton.jit
def scans(x, sums, products, M: tl.constexpr, N: tl.constexpr, AXIS: tl.constexpr, REVERSE: tl.constexpr):
    i = tl.arange(0, M)[:, None] * N + tl.arange(0, N)
    tile = tl.load(x + i)
    tl.store(sums + i, tl.cumsum(tile, AXIS, REVERSE))
    tl.store(products + i, tile.cumprod(AXIS, reverse=REVERSE))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_running_sums_and_products(dtype: str, axis: int, reverse: bool) -> None:
    for shape in SHAPES:
        x = (numbers(dtype, *shape) % 3 - (0 if dtype.startswith("u") else 1)).astype(dtype)
        if dtype.startswith("u"):
            x = (x > 0).astype(dtype)
        turned = np.flip(x, axis) if reverse else x
        wide = "float64" if dtype.startswith("f") else "int64"
        wanted = [f(turned, axis) for f in (np.cumsum, np.cumprod)]
        wanted = [np.flip(w, axis) if reverse else w for w in wanted]
        args = {"x": x, "sums": np.zeros(shape, wide), "products": np.zeros(shape, wide)}
        constants = {"M": shape[0], "N": shape[1], "AXIS": axis, "REVERSE": reverse}
        for name, arrays in everywhere(scans, args, constants):
            np.testing.assert_array_equal(arrays["sums"], wanted[0], err_msg=f"{shape} on {name}")
            np.testing.assert_array_equal(arrays["products"], wanted[1], err_msg=f"{shape} on {name}")


@rtriton.jit
def of_masks(x, out, N: tl.constexpr):
    mask = tl.load(x + tl.arange(0, N)) > 0
    tl.store(out, tl.sum(mask))
    tl.store(out + 1, tl.max(mask.to(tl.int32), 0))
    tl.store(out + 2, tl.reduce_or(mask, 0))
    tl.store(out + 3, tl.xor_sum(mask, 0))
    tl.store(out + 4 + tl.arange(0, N), tl.cumsum(mask, 0))


@pytest.mark.parametrize("size", [1, 8, 256])
def test_masks_are_counted(size: int) -> None:
    x = numbers("int32", size)
    mask = x > 0
    wanted = [mask.sum(), mask.max(), mask.any(), mask.sum() & 1, *np.cumsum(mask)]
    for name, arrays in everywhere(of_masks, {"x": x, "out": np.zeros(4 + size, np.int32)}, {"N": size}):
        np.testing.assert_array_equal(arrays["out"], wanted, err_msg=name)


@rtriton.jit
def types_of_results(x, DTYPE: tl.constexpr):
    tile = tl.full((4, 4), 1, DTYPE)
    narrow: tl.constexpr = DTYPE.primitive_bitwidth < 32
    wide: tl.constexpr = (tl.float32 if DTYPE.is_floating() else tl.int32) if narrow else DTYPE
    total: tl.constexpr = (tl.int32 if DTYPE.is_int_signed() else tl.uint32) if narrow and DTYPE.is_int() else DTYPE
    kept: tl.constexpr = tl.float32 if DTYPE == tl.bfloat16 else DTYPE
    tl.static_assert(tl.max(tile, 0).dtype == wide and tl.min(tile).dtype == wide)
    tl.static_assert(tl.sum(tile, 0).dtype == total and tl.sum(tile, 0, dtype=tl.int64).dtype == tl.int64)
    value, index = tl.max(tile, 1, return_indices=True)
    tl.static_assert(value.dtype == kept and index.dtype == tl.int32)
    tl.static_assert(tl.argmin(tile, 1).dtype == tl.int32)
    tl.static_assert(tl.cumsum(tile, 1).dtype == (tl.float32 if DTYPE == tl.bfloat16 else total))
    tl.static_assert(tl.cumsum(tile, 1, dtype=tl.float64).dtype == tl.float64 and tl.cumprod(tile, 1).dtype == kept)
    tl.static_assert(tl.sort(tile).dtype == DTYPE)
    tl.static_assert(tl.topk(tile, 4).dtype == DTYPE and tl.topk(tile, 2).dtype == wide)


@pytest.mark.parametrize("dtype", ["int1", "int8", "uint8", "int16", "int32", "uint32", "uint64", "fp16", "bf16",
                                   "fp32", "fp64"])  # fmt: skip
def test_results_have_the_types_that_triton_gives(dtype: str) -> None:
    optimised(types_of_results, {"x": np.zeros(1, np.int32)}, {"DTYPE": BY_NAME[dtype]})


@rtriton.jit
def whole(x, out, N: tl.constexpr):
    tile = tl.load(x + tl.arange(0, N))
    tl.store(out, tl.sum(tile))
    tl.store(out + 1, tl.argmax(tile, 0))
    tl.store(out + 2, tl.max(tl.cumsum(tile), 0))


@pytest.mark.parametrize("size", [1 << 13, 1 << 15])
def test_large_tiles(size: int) -> None:
    x = numbers("int32", size)
    wanted = [x.sum(), x.argmax(), np.cumsum(x).max()]
    for name, arrays in everywhere(whole, {"x": x, "out": np.zeros(3, np.int32)}, {"N": size}, num_warps=8):
        np.testing.assert_array_equal(arrays["out"], wanted, err_msg=name)


def test_very_large_tiles_in_native_code() -> None:
    x = numbers("int32", 1 << 20)
    wanted = [x.sum(), x.argmax(), np.cumsum(x).max()]
    args = {"x": x, "out": np.zeros(3, np.int32)}
    for name, arrays in everywhere(whole, args, {"N": 1 << 20}, only=("interpret", "cpu")):
        np.testing.assert_array_equal(arrays["out"], wanted, err_msg=name)


@rtriton.jit
def composed_lines(a, b, out, M: tl.constexpr, N: tl.constexpr, AXIS: tl.constexpr, REVERSE: tl.constexpr):
    i = tl.arange(0, M)[:, None] * N + tl.arange(0, N)
    _, last = tl.associative_scan((tl.load(a + i), tl.load(b + i)), AXIS, affine, REVERSE)
    tl.store(out + i, last)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("shape", "warps"), [((512, 16), 4), ((8, 1024), 8), ((64, 128), 16), ((2, 4), 8)], ids=str)
def test_long_lines_are_scanned_across_warps_in_order(
    shape: tuple[int, int], warps: int, axis: int, reverse: bool
) -> None:
    a, b = np.where(RNG.random(shape) < 0.5, 1, -1).astype(np.int8), numbers("int64", *shape)
    turned = [np.flip(v, axis) if reverse else v for v in (a, b)]
    signs, terms = (np.moveaxis(v.astype(np.int64), axis, -1) for v in turned)
    wanted = np.zeros(terms.shape, np.int64)
    value = np.zeros(terms.shape[:-1], np.int64)
    for k in range(shape[axis]):
        value = terms[..., k] if k == 0 else value * signs[..., k] + terms[..., k]
        wanted[..., k] = value
    wanted = np.moveaxis(wanted, -1, axis)
    wanted = np.flip(wanted, axis) if reverse else wanted
    constants = {"M": shape[0], "N": shape[1], "AXIS": axis, "REVERSE": reverse}
    args = {"a": a, "b": b, "out": np.zeros(shape, np.int64)}
    for name, arrays in everywhere(composed_lines, args, constants, num_warps=warps):
        np.testing.assert_array_equal(arrays["out"], wanted, err_msg=name)


@rtriton.jit
def checked_add(a, b):
    wide = a.to(tl.int64) + b.to(tl.int64)
    tl.device_assert((wide >= -(2**31)) & (wide <= 2**31 - 1), "overflow")
    return a + b


@rtriton.jit
def checked_sums(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.associative_scan(tl.load(x + i), 0, checked_add))
    tl.store(out + N, tl.reduce(tl.load(x + i), 0, checked_add))


def test_a_combine_function_asserts_only_on_what_it_combines() -> None:
    x = np.zeros(512, np.int32)
    x[:31] = 1 << 26  # their sum is near the limit: adding a part of it twice would pass it
    x[32:] = -1
    wanted = np.cumsum(x)
    kernel = optimised(checked_sums, {"x": x, "out": np.zeros(513, np.int32)}, {"N": 512}, debug=True)
    assert any(op.kind == "assert" for op in walk(kernel.body))
    for name, arrays in run_everywhere(kernel, {"x": x, "out": np.zeros(513, np.int32)}):
        np.testing.assert_array_equal(arrays["out"], [*wanted, wanted[-1]], err_msg=name)
