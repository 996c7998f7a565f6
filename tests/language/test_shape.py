"""What takes elements to other places: against NumPy, in every execution."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.errors import CompilationError
from rtriton.types import BY_NAME
from tests.kernels.everywhere import everywhere, optimised, typed
from tests.language.executions import on_each

RNG = np.random.default_rng(14)
DTYPES = ("int8", "uint16", "int32", "int64", "float16", "float32", "float64", "bool")


def numbers(dtype: str, *shape: int) -> np.ndarray:
    return RNG.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)


@rtriton.jit
def gathers(x, index, out, M: tl.constexpr, N: tl.constexpr, P: tl.constexpr, Q: tl.constexpr, AXIS: tl.constexpr):
    tile = tl.load(x + tl.arange(0, M)[:, None] * N + tl.arange(0, N))
    i = tl.arange(0, P)[:, None] * Q + tl.arange(0, Q)
    tl.store(out + i, tl.gather(tile, tl.load(index + i), AXIS))


@pytest.mark.parametrize("dtype", DTYPES)
def test_gather_of_every_type_along_each_axis(dtype: str) -> None:
    for shape, wanted, axis in (((4, 4), (8, 4), 0), ((128, 64), (256, 64), 0), ((128, 64), (128, 128), 1),
                                ((1, 1), (1, 2), -1), ((64, 2), (1, 2), -2)):  # fmt: skip
        x = numbers(dtype, *shape)
        index = RNG.integers(0, shape[axis], wanted).astype(np.int64 if dtype == "int64" else np.int32)
        constants = dict(zip("MNPQ", (*shape, *wanted), strict=True)) | {"AXIS": axis}
        for name, arrays in everywhere(gathers, {"x": x, "index": index, "out": np.zeros(wanted, dtype)}, constants):
            np.testing.assert_array_equal(arrays["out"], np.take_along_axis(x, index, axis), err_msg=name)


@rtriton.jit
def gathers_of_three(x, index, out, A: tl.constexpr, B: tl.constexpr, C: tl.constexpr, AXIS: tl.constexpr):
    i = tl.arange(0, A * B * C).reshape(A, B, C)
    tl.store(out + i, tl.load(x + i).gather(tl.load(index + i), AXIS))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_gather_along_each_of_three_axes(axis: int, dtype: str) -> None:
    x = numbers("float32", 8, 4, 16)
    index = RNG.integers(0, x.shape[axis], x.shape).astype(dtype)
    constants = dict(zip("ABC", x.shape, strict=True)) | {"AXIS": axis}
    for name, arrays in everywhere(gathers_of_three, {"x": x, "index": index, "out": x}, constants):
        np.testing.assert_array_equal(arrays["out"], np.take_along_axis(x, index.astype(int), axis), err_msg=name)


@rtriton.jit
def counts(x, mask, plain, some, N: tl.constexpr, BINS: tl.constexpr):
    i = tl.arange(0, N)
    tile = tl.load(x + i)
    tl.store(plain + tl.arange(0, BINS), tl.histogram(tile, BINS))
    tl.store(some + tl.arange(0, BINS), tile.histogram(BINS, mask=tl.load(mask + i) > 0))


@pytest.mark.parametrize("dtype", ["int32", "uint8", "int64", "int16"])
@pytest.mark.parametrize(("size", "bins"), [(1, 1), (4, 64), (1024, 2), (2048, 128), (512, 4096)])
def test_histogram_counts_with_and_without_a_mask(size: int, bins: int, dtype: str) -> None:
    x = RNG.integers(0, min(bins, 100), size).astype(dtype)
    mask = RNG.integers(0, 2, size).astype(np.int32)
    zeros = np.zeros(bins, np.int32)
    wanted = [np.bincount(v, minlength=bins) for v in (x.astype(int), x[mask > 0].astype(int))]
    args = {"x": x, "mask": mask, "plain": zeros, "some": zeros}
    for name, arrays in everywhere(counts, args, {"N": size, "BINS": bins}):
        np.testing.assert_array_equal(arrays["plain"], wanted[0], err_msg=name)
        np.testing.assert_array_equal(arrays["some"], wanted[1], err_msg=name)


@rtriton.jit
def permutes(x, out, SHAPE: tl.constexpr, ORDER: tl.constexpr, N: tl.constexpr):
    tile = tl.load(x + tl.arange(0, N)).reshape(SHAPE)
    tl.store(out + tl.arange(0, N), tl.permute(tile, ORDER).ravel())


@pytest.mark.parametrize("shape", [(4, 8), (2, 8, 4), (4, 2, 1, 8)], ids=str)
def test_every_permutation(shape: tuple[int, ...]) -> None:
    x = numbers("int32", *shape)
    for order in permutations(range(len(shape))):
        constants = {"SHAPE": shape, "ORDER": order, "N": x.size}
        for name, arrays in everywhere(permutes, {"x": x.ravel(), "out": x.ravel()}, constants, num_warps=2):
            np.testing.assert_array_equal(arrays["out"], x.transpose(order).ravel(), err_msg=f"{order} on {name}")


@pytest.mark.parametrize("order", [(4, 3, 2, 1, 0, 5), (5, 0, 4, 1, 3, 2), (-1, 0, 1, 2, 3, 4), (0, 1, 2, 3, 5, 4)])
@pytest.mark.parametrize("dtype", ["int8", "float64", "bool"])
def test_permutations_of_six_axes(order: tuple[int, ...], dtype: str) -> None:
    x = numbers(dtype, 2, 4, 2, 8, 1, 4)
    constants = {"SHAPE": x.shape, "ORDER": order, "N": x.size}
    for name, arrays in everywhere(permutes, {"x": x.ravel(), "out": x.ravel()}, constants):
        np.testing.assert_array_equal(arrays["out"], x.transpose(order).ravel(), err_msg=name)


@rtriton.jit
def transposes(x, out, M: tl.constexpr, N: tl.constexpr):
    tile = tl.load(x + tl.arange(0, M)[:, None] * N + tl.arange(0, N))
    o = tl.arange(0, N)[:, None] * M + tl.arange(0, M)
    tl.store(out + o, tile.T)
    tl.store(out + M * N + o, tl.trans(tile))
    tl.store(out + 2 * M * N + o, tile.trans(1, 0))
    tl.store(out + 3 * M * N + o, tl.permute(tile, (1, 0)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_spellings_of_a_transposition(dtype: str) -> None:
    for shape in ((1, 1), (64, 32), (2, 128)):
        x = numbers(dtype, *shape)
        constants = {"M": shape[0], "N": shape[1]}
        for name, arrays in everywhere(transposes, {"x": x, "out": np.zeros(4 * x.size, dtype)}, constants):
            np.testing.assert_array_equal(arrays["out"].reshape(4, -1), [x.T.ravel()] * 4, err_msg=name)


@rtriton.jit
def joins(x, y, out, first, second, N: tl.constexpr):
    i = tl.arange(0, N)
    a, b = tl.load(x + i), tl.load(y + i)
    both = tl.join(a, b)
    tl.store(out + i[:, None] * 2 + tl.arange(0, 2), both)
    tl.store(out + 2 * N + tl.arange(0, 2 * N), tl.interleave(a, b))
    tl.store(out + 4 * N + tl.arange(0, 2 * N), tl.cat(a, b, can_reorder=True))
    left, right = tl.split(both)
    tl.store(first + i, left)
    tl.store(second + i, right)


@pytest.mark.parametrize("dtype", DTYPES)
def test_join_split_interleave_and_cat(dtype: str) -> None:
    for size in (1, 2, 128, 1024):
        x, y = numbers(dtype, size), numbers(dtype, size)
        args = {"x": x, "y": y, "out": np.zeros(6 * size, dtype), "first": x, "second": y}
        wanted = np.stack((x, y), -1).ravel()
        for name, arrays in everywhere(joins, args, {"N": size}):
            made = arrays["out"].reshape(3, -1)
            np.testing.assert_array_equal(made[:2], [wanted] * 2, err_msg=name)
            np.testing.assert_array_equal(np.sort(made[2]), np.sort(wanted), err_msg=name)
            np.testing.assert_array_equal(arrays["first"], x, err_msg=name)
            np.testing.assert_array_equal(arrays["second"], y, err_msg=name)


@rtriton.jit
def joins_of_two(x, out, M: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, M)[:, None] * N + tl.arange(0, N)
    tile = tl.load(x + i)
    merged = tl.interleave(tile, tile + 1)
    tl.static_assert(merged.shape == [M, 2 * N])
    tl.store(out + tl.arange(0, M)[:, None] * 2 * N + tl.arange(0, 2 * N), merged)
    a, b = tl.split(merged.reshape(M, N, 2))
    tl.store(x + i, a * b)


@pytest.mark.parametrize("shape", [(1, 1), (4, 32), (64, 2)], ids=str)
def test_interleaving_tiles_of_two_axes(shape: tuple[int, int]) -> None:
    x = numbers("int32", *shape)
    constants = {"M": shape[0], "N": shape[1]}
    for name, arrays in everywhere(joins_of_two, {"x": x, "out": np.zeros(2 * x.size, np.int32)}, constants):
        np.testing.assert_array_equal(arrays["out"], np.stack((x, x + 1), -1).ravel(), err_msg=name)
        np.testing.assert_array_equal(arrays["x"], x * (x + 1), err_msg=name)


@rtriton.jit
def scalars(x, out):
    a, b = tl.load(x), tl.load(x + 1)
    tl.store(out + tl.arange(0, 2), tl.join(a, b))
    tl.store(out + 2 + tl.arange(0, 2), tl.interleave(b, a))
    left, right = tl.split(tl.join(a, b))
    tl.store(out + 4, left)
    tl.store(out + 5, right)
    tl.store(out + 6, tl.full((1, 1), 7, tl.int32).item())
    tl.store(out + 7, tl.reshape(a[None, None], (1,)).item())
    tl.store(out + 8 + tl.arange(0, 2), tl.broadcast_to(a, 2))
    tl.store(out + 10 + tl.arange(0, 1)[:, None], tl.expand_dims(b, (0, 1)))
    tl.store(out[None, :] + 11, tl.full((), b, tl.int32)[None, None, :].reshape(1))


def test_scalars_join_split_and_grow_axes() -> None:
    x = np.array([3, 5], np.int32)
    for name, arrays in everywhere(scalars, {"x": x, "out": np.zeros(12, np.int32)}):
        np.testing.assert_array_equal(arrays["out"], [3, 5, 5, 3, 3, 5, 7, 3, 3, 3, 5, 5], err_msg=name)


@rtriton.jit
def reshapes(x, out, FROM: tl.constexpr, TO: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    tile = tl.reshape(tl.load(x + i), FROM)
    tl.store(out + i, tl.ravel(tl.reshape(tile, TO)))
    tl.store(out + N + i, tile.reshape(TO, can_reorder=True).ravel(can_reorder=True))
    tl.store(out + 2 * N + i, tl.view(tile, TO).reshape([N]))


@pytest.mark.parametrize(("before", "after"), [
    ((64,), (8, 8)), ((2, 32), (16, 4)), ((512,), (2,) * 9), ((64, 32), (16, 8, 16)), ((1,), (1, 1, 1)),
])  # fmt: skip
def test_reshape_keeps_the_row_major_order(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    x = numbers("int32", int(np.prod(before)))
    args = {"x": x, "out": np.zeros(3 * x.size, np.int32)}
    for name, arrays in everywhere(reshapes, args, {"FROM": before, "TO": after, "N": x.size}):
        first, free, viewed = arrays["out"].reshape(3, -1)
        np.testing.assert_array_equal(first, x, err_msg=name)
        np.testing.assert_array_equal(np.sort(free), np.sort(x), err_msg=name)
        np.testing.assert_array_equal(np.sort(viewed), np.sort(x), err_msg=name)


@rtriton.jit
def grows(x, out, N: tl.constexpr):
    line = tl.load(x + tl.arange(0, N))
    tl.static_assert(line[None, :, None].shape == [1, N, 1])
    tl.static_assert(tl.expand_dims(line, (0, 2)).shape == [1, N, 1])
    tl.static_assert(tl.expand_dims(line, [0, -1]).shape == [1, N, 1])
    tl.static_assert(line.expand_dims(-2).shape == [1, N])
    a, b = tl.broadcast(line[:, None], line[None, :])
    tl.static_assert(a.shape == [N, N] and b.shape == [N, N])
    square = tl.arange(0, N)[:, None] * N + tl.arange(0, N)
    tl.store(out + square, a - b)
    tl.store(out + N * N + square, tl.broadcast_to(line[:, None], N, N) - line.broadcast_to((N, N)))
    tl.store(out + 2 * N * N + square, tl.where(line[:, None] > line, line[:, None], 0))


@pytest.mark.parametrize("size", [1, 4, 32])
def test_axes_of_size_one_stretch(size: int) -> None:
    x = numbers("int32", size)
    column = x[:, None]
    wanted = np.stack((column - x, column - x, np.where(column > x, column, 0)))
    for name, arrays in everywhere(grows, {"x": x, "out": np.zeros(3 * size * size, np.int32)}, {"N": size}):
        np.testing.assert_array_equal(arrays["out"], wanted.ravel(), err_msg=name)


@rtriton.jit
def fills(out, value, N: tl.constexpr, DTYPE: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.full((N,), 3, DTYPE))
    tl.store(out + N + i, tl.full([N], value, DTYPE))
    tl.store(out + 2 * N + i, tl.zeros((N,), DTYPE))
    tl.store(out + 3 * N + i, tl.zeros_like(tl.full((N,), 3, DTYPE)))
    tl.store(out + 4 * N + i, tl.full((N,), tl.full((), 1, tl.int32), DTYPE))


@pytest.mark.parametrize("dtype", ["int1", "int8", "uint8", "int16", "int32", "uint64", "fp16", "bf16", "fp32", "fp64",
                                   "fp8e5", "fp8e4nv"])  # fmt: skip
def test_full_and_zeros_of_every_type(dtype: str) -> None:
    wanted = BY_NAME[dtype]
    for size in (1, 128):
        out = typed(np.zeros(5 * size), wanted)
        for name, arrays in everywhere(fills, {"out": out, "value": 2}, {"N": size, "DTYPE": wanted}):
            rows = arrays["out"].reshape(5, -1).astype(np.float64)
            expected = [1, 1, 0, 0, 1] if dtype == "int1" else [3, 2, 0, 0, 1]
            np.testing.assert_array_equal(rows, np.repeat(np.array(expected, float)[:, None], size, 1), err_msg=name)


@rtriton.jit
def ranges(out, N: tl.constexpr):
    tl.store(out + tl.arange(0, N), tl.arange(N // 2, N // 2 + N))
    tl.store(out + tl.arange(N, 2 * N), tl.arange(-N, 0))


def test_ranges_may_begin_anywhere() -> None:
    for size in (1, 64, 512):
        for name, arrays in everywhere(ranges, {"out": np.zeros(2 * size, np.int32)}, {"N": size}):
            start = size // 2
            np.testing.assert_array_equal(arrays["out"], [*range(start, start + size), *range(-size, 0)], err_msg=name)


@rtriton.jit
def functional(x, out, N: tl.constexpr):
    i = tl.core.arange(0, N)
    tile = tl.core.load(x + i)
    square = tl.core.reshape(tile, (N // 2, 2))
    a, b = tl.core.split(square)
    tl.core.store(out + i, tl.core.reshape(tl.core.join(b, a), (N,)) + tl.core.full((N,), 1, tl.int32))


def test_the_functions_are_those_of_core_too() -> None:
    x = numbers("int32", 64)
    for name, arrays in everywhere(functional, {"x": x, "out": x}, {"N": 64}):
        np.testing.assert_array_equal(arrays["out"], x.reshape(-1, 2)[:, ::-1].ravel() + 1, err_msg=name)


@rtriton.jit
def swizzles(out, size_i, size_j, size_g):
    for i in range(size_i):
        for j in range(size_j):
            to_i, to_j = tl.swizzle2d(i, j, size_i, size_j, size_g)
            tl.store(out + to_i * size_j + to_j, i * size_j + j)


def test_swizzle2d_goes_down_groups_of_rows() -> None:
    wanted = [[0, 3, 6, 9, 12, 15, 18], [1, 4, 7, 10, 13, 16, 19], [2, 5, 8, 11, 14, 17, 20],
              [21, 23, 25, 27, 29, 31, 33], [22, 24, 26, 28, 30, 32, 34]]  # fmt: skip
    args: dict[str, Any] = {"out": np.zeros((5, 7), np.int32), "size_i": 5, "size_j": 7, "size_g": 3}
    for name, arrays in everywhere(swizzles, args):
        np.testing.assert_array_equal(arrays["out"], wanted, err_msg=name)


@rtriton.jit
def refuses(x, WHAT: tl.constexpr):
    tile = tl.arange(0, 32)
    if WHAT == "axis":
        tl.expand_dims(tile, 2)
    elif WHAT == "twice":
        tl.expand_dims(tile, (0, 0))
    elif WHAT == "permute":
        tl.permute(tile.reshape(4, 8), (0, 0))
    elif WHAT == "reshape":
        tl.reshape(tile, (4, 4))
    elif WHAT == "three":
        tl.reshape(tile, (3, 11))
    elif WHAT == "split":
        tl.split(tile.reshape(8, 4))
    elif WHAT == "join":
        tl.join(tile, tl.arange(0, 16))
    elif WHAT == "gather":
        tl.gather(tile.reshape(4, 8), tile.reshape(8, 4), 0)
    elif WHAT == "float":
        tl.gather(tile, tile.to(tl.float32), 0)
    elif WHAT == "histogram":
        tl.histogram(tile.to(tl.float32), 8)
    elif WHAT == "range":
        tl.arange(0, 24)
    elif WHAT == "empty":
        tl.arange(8, 8)
    elif WHAT == "item":
        tile.item()
    elif WHAT == "xor":
        tl.xor_sum(tile.to(tl.float32))


@pytest.mark.parametrize(("what", "message"), [
    ("axis", "invalid axis 2"), ("twice", r"duplicate axes, normalized axes = \[0, 0\]"),
    ("permute", "needs a permutation of 2 axes"), ("reshape", "reshape keeps the number of elements"),
    ("three", r"keeps the number of elements, got \(32,\) to \(3, 11\)"),
    ("split", "needs a last axis of size 2"), ("join", "shapes do not fit together"),
    ("gather", "agree but along axis 0"), ("float", "needs integer indices"),
    ("histogram", "1-d tile of integers"), ("range", "power of 2"), ("empty", "end > start"),
    ("item", "a tile of one element"), ("xor", "integers"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_where_it_stands(what: str, message: str) -> None:
    with pytest.raises(CompilationError, match=message) as caught:
        optimised(refuses, {"x": np.zeros(1, np.int32)}, {"WHAT": what})
    assert caught.value.span is not None and caught.value.span.file.endswith("test_shape.py")


@rtriton.jit
def sliced(x, out, M: tl.constexpr, N: tl.constexpr):
    i, j = tl.arange(0, M), tl.arange(0, N)
    tile = tl.load(x + i[:, None] * N + j)
    rows = tile[M // 2:M // 2 + 2] * 2
    tl.store(out + tl.arange(0, 2)[:, None] * N + j, rows)
    tl.store(out + 2 * N + j, tile[3] + tile[-1])
    tl.store(out + 3 * N + tl.arange(0, 2)[:, None] * N + j, tile[1:3])        # a run that is not aligned
    tl.store(out + 5 * N + i[:, None] * (N // 2) + tl.arange(0, N // 2), tile[:, N // 2:])


@pytest.mark.parametrize("warps", [1, 4])
@pytest.mark.parametrize("dtype", ["int8", "float16", "float32", "int64"])
def test_slices_take_aligned_runs_and_others(dtype: str, warps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = numbers(dtype, 16, 128)
    wanted = np.concatenate([x[8:10] * np.array(2, dtype), (x[3] + x[-1])[None], x[1:3], x[:, 64:].reshape(8, 128)])
    results = on_each(monkeypatch, sliced, x, np.zeros_like(wanted), 16, 128, num_warps=warps)
    for name, (_, got) in results.items():
        np.testing.assert_array_equal(got, wanted, err_msg=name)


@rtriton.jit
def halves(x, out, M: tl.constexpr, N: tl.constexpr):
    j = tl.arange(0, N)
    tile = tl.load(x + tl.arange(0, M)[:, None] * N + j)
    upper, lower = tile[:M // 2], tile[M // 2:]
    tl.store(out + tl.arange(0, M // 2)[:, None] * N + j, upper - lower)
    tl.store(out + M // 2 * N + j, tile[5])


def test_slices_of_what_threads_hold_in_registers_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = numbers("float32", 8, 128)
    wanted = np.concatenate([x[:4] - x[4:], x[5:6]])
    for name, (_, got) in on_each(monkeypatch, halves, x, np.zeros_like(wanted), 8, 128, num_warps=1).items():
        np.testing.assert_array_equal(got, wanted, err_msg=name)
    monkeypatch.setenv("RTRITON_BACKEND", "emulate")
    text = halves[(1,)](x, np.zeros_like(wanted), 8, 128, num_warps=1).asm["ptx"]
    assert ".shared" not in text and "shfl" not in text and "bar.sync" not in text
