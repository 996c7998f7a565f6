"""Block pointers against NumPy slices: boundaries, padding, loops, branches, functions."""

from __future__ import annotations

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.errors import CompilationError
from tests.memory.everywhere import backend, everywhere


@rtriton.jit
def copy_block(x, out, M, N, row, column, CHECK: tl.constexpr, PADDING: tl.constexpr):
    source = tl.make_block_ptr(x, (M, N), (N, 1), (row, column), (4, 8), (1, 0))
    target = tl.make_block_ptr(out, (4, 8), (8, 1), (0, 0), (4, 8), (1, 0))
    tl.store(target, tl.load(source, boundary_check=CHECK, padding_option=PADDING))


def block_of(x: np.ndarray, row: int, column: int, fill: float) -> np.ndarray:
    padded = np.pad(x, ((32, 32), (32, 32)), constant_values=fill)
    return padded[32 + row : 36 + row, 32 + column : 40 + column]


@pytest.mark.parametrize("place", [(0, 0), (3, 5), (4, 10), (-2, -3), (30, 30), (-9, 2)])
@pytest.mark.parametrize("padding", ["zero", "nan"])
def test_what_lies_outside_of_the_array_is_padding(place: tuple[int, int], padding: str) -> None:
    x = np.arange(6 * 12, dtype=np.float32).reshape(6, 12)
    out = np.full((4, 8), -1, np.float32)
    wanted = block_of(x, *place, 0.0 if padding == "zero" else np.nan)
    for name, (_, got, *_) in everywhere(copy_block, (1,), x, out, 6, 12, *place, (0, 1), padding):
        np.testing.assert_array_equal(got, wanted, name)


def test_only_the_axes_that_are_named_are_checked() -> None:
    x = np.arange(8 * 12, dtype=np.int32).reshape(8, 12)
    wanted = x[2:6, 6:14].copy() if x.shape[1] >= 14 else np.pad(x, ((0, 0), (0, 2)))[2:6, 6:14]
    out = np.full((4, 8), -1, np.int32)
    for name, (_, got, *_) in everywhere(copy_block, (1,), x, out, 3, 12, 2, 6, (1,), "zero"):
        np.testing.assert_array_equal(got, wanted, name)      # 3 rows were claimed, axis 0 is not looked at


@rtriton.jit
def column_sums(x, out, M, N, stride, BLOCK: tl.constexpr):
    block = tl.make_block_ptr(x, (M, N), (stride, 1), (0, tl.program_id(0) * 8), (BLOCK, 8), (1, 0))
    sums = tl.zeros((8,), tl.float32)
    for _ in range(0, M, BLOCK):
        sums += tl.sum(tl.load(block, boundary_check=(0, 1), padding_option="zero"), 0)
        block = tl.advance(block, (BLOCK, 0))
    target = tl.make_block_ptr(out, (N,), (1,), (tl.program_id(0) * 8,), (8,), (0,))
    tl.store(target, sums, boundary_check=(0,))


def test_a_loop_carries_and_advances_a_block_pointer() -> None:
    x = np.arange(19 * 32, dtype=np.float32).reshape(19, 32)
    for name, (_, got, *_) in everywhere(column_sums, (4,), x, np.full(27, -1, np.float32), 19, 27, 32, 4):
        np.testing.assert_array_equal(got, x[:, :27].sum(0), name)


@rtriton.jit
def moved(pointer, by):
    return pointer.advance((by,))


@rtriton.jit
def choose(x, out, take_second, by, BLOCK: tl.constexpr):
    block = tl.make_block_ptr(x, (64,), (1,), (0,), (BLOCK,), (0,))
    if take_second > 0:
        block = moved(block, by)
    else:
        block = moved(block, 8 * by)
    target = tl.make_block_ptr(out, (BLOCK,), (1,), (0,), (BLOCK,), (0,))
    target.store(tl.load(block).to(target.dtype.element_ty))


@pytest.mark.parametrize("second", [0, 5])
def test_a_branch_and_a_function_hand_on_a_block_pointer(second: int) -> None:
    x = np.arange(64, dtype=np.float32)
    first = 3 if second else 24
    for name, (_, got, *_) in everywhere(choose, (1,), x, np.zeros(16, np.float16), second, 3, BLOCK=16):
        np.testing.assert_array_equal(got, x[first : first + 16].astype(np.float16), name)


@rtriton.jit
def transposed_store(x, out, M, N):
    source = tl.make_block_ptr(x, (M, N), (N, 1), (0, 0), (8, 16), (1, 0))
    target = tl.make_block_ptr(out, (N, M), (1, N), (0, 0), (16, 8), (0, 1))
    tl.store(target, tl.trans(tl.load(source)) + 0.5, boundary_check=[0, 1])


def test_a_store_casts_and_leaves_what_is_outside() -> None:
    x = np.arange(8 * 16, dtype=np.float32).reshape(8, 16)
    out = np.full(8 * 16, -1, np.int32)
    for name, (_, got, *_) in everywhere(transposed_store, (1,), x, out, 5, 16):
        wanted = np.where(np.arange(8)[:, None] < 5, x.astype(np.int32), -1)
        np.testing.assert_array_equal(got.reshape(8, 16), wanted, name)


def test_an_advance_in_a_loop_moves_one_scalar_and_the_tile_of_offsets_stays_outside() -> None:
    x, out = np.zeros((16, 32), np.float32), np.zeros(32, np.float32)
    with backend("cpu"):
        kernel = column_sums.warmup(x, out, 16, 32, 32, 4, grid=(1,)).kernel
    loop = next(op for op in kernel.body.ops if op.kind == "for")
    assert len(loop.results) == 2          # the sums and the offset of the rows


@rtriton.jit
def bytes_of_bools(x, out):
    block = tl.make_block_ptr(x, (16,), (1,), (0,), (16,), (0,))
    tl.store(tl.make_block_ptr(out, (16,), (1,), (0,), (16,), (0,)), tl.load(block))


def test_a_block_pointer_to_bools_reads_bytes() -> None:
    x = np.arange(16) % 3 == 0
    for name, (_, got) in everywhere(bytes_of_bools, (1,), x, np.full(16, 7, np.int8)):
        np.testing.assert_array_equal(got, x.astype(np.int8), name)


# -- rules -----------------------------------------------------------------------------------------------------------


@rtriton.jit
def with_mask(x):
    block = tl.make_block_ptr(x, (16,), (1,), (0,), (16,), (0,))
    tl.load(block, mask=True)


@rtriton.jit
def nan_for_integers(x):
    block = tl.make_block_ptr(x, (16,), (1,), (0,), (16,), (0,))
    tl.load(block, boundary_check=(0,), padding_option="nan")


@rtriton.jit
def boundary_without_block(x):
    tl.load(x + tl.arange(0, 16), boundary_check=(0,))


@rtriton.jit
def axis_twice(x):
    tl.load(tl.make_block_ptr(x, (16,), (1,), (0,), (16,), (0,)), boundary_check=(0, 0))


@rtriton.jit
def no_such_axis(x):
    tl.load(tl.make_block_ptr(x, (16,), (1,), (0,), (16,), (0,)), boundary_check=(1,))


@rtriton.jit
def ranks_differ(x):
    tl.make_block_ptr(x, (16, 16), (1,), (0,), (16,), (0,))


@rtriton.jit
def bad_order(x):
    tl.make_block_ptr(x, (16, 16), (16, 1), (0, 0), (16, 16), (0, 2))


@rtriton.jit
def tile_as_base(x):
    tl.make_block_ptr(x + tl.arange(0, 16), (16,), (1,), (0,), (16,), (0,))


@rtriton.jit
def another_shape_in_a_branch(x):
    block = tl.make_block_ptr(x, (16,), (1,), (0,), (16,), (0,))
    if tl.program_id(0) > 0:
        block = tl.make_block_ptr(x, (16,), (1,), (0,), (8,), (0,))
    tl.load(block)


@rtriton.jit
def another_shape_in_a_loop(x):
    block = tl.make_block_ptr(x, (16,), (1,), (0,), (16,), (0,))
    for _ in range(tl.program_id(0)):
        block = tl.make_block_ptr(x, (16,), (1,), (0,), (8,), (0,))
    tl.load(block)


@rtriton.jit
def store_of_another_shape(x):
    tl.store(tl.make_block_ptr(x, (16,), (1,), (0,), (16,), (0,)), tl.arange(0, 8))


@rtriton.jit
def store_with_mask(x):
    tl.store(tl.make_block_ptr(x, (16,), (1,), (0,), (16,), (0,)), tl.arange(0, 16), mask=True)


BAD = [
    (with_mask, "`mask` and `other` cannot be specified for block pointers"),
    (nan_for_integers, "padding_option 'nan' is for floats, got 16xi32"),
    (boundary_without_block, "boundary_check is for block pointers"),
    (axis_twice, r"an axis is named twice in \(0, 0\)"),
    (no_such_axis, "axis 1 is not an axis of a block of 1 axes"),
    (ranks_differ, "block_shape has 1 axes, so shape needs 1 numbers, got 2"),
    (bad_order, r"order is a permutation of 0 to 1, got \(0, 2\)"),
    (tile_as_base, r"the base is a scalar pointer, got 16x\*i32"),
    (another_shape_in_a_branch, "block is a block pointer to 8xi32 in one branch of an if and a block pointer to 16x"),
    (another_shape_in_a_loop, "loop-carried variable block is a block pointer to 16xi32 but becomes a block pointer"),
    (store_of_another_shape, "takes a tile of its shape or a scalar, got 8xi32"),
    (store_with_mask, "`mask` and `other` cannot be specified for block pointers"),
]


@pytest.mark.parametrize(("kernel", "message"), BAD, ids=[k.__name__ for k, _ in BAD])
def test_a_broken_rule_is_told_by_name(kernel: rtriton.JITFunction, message: str) -> None:
    with pytest.raises(CompilationError, match=message):
        kernel.warmup(np.zeros(64, np.int32), grid=(1,))
