"""Tensor descriptors, made in kernels and on the host, against NumPy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.errors import CompilationError
from rtriton.tools.tensor_descriptor import TensorDescriptor
from tests.memory.everywhere import BACKENDS, backend, copied, everywhere


@rtriton.jit
def copy_blocks(x, out, shape, strides, places, BLOCK: tl.constexpr, PADDING: tl.constexpr):
    source = tl.make_tensor_descriptor(x, shape, strides, BLOCK, PADDING)
    target = tl.make_tensor_descriptor(out, shape, strides, BLOCK)
    target.store(places, source.load(places) + 1)


CASES = [
    ((13,), (8,), (8,)),
    ((5, 20), (4, 8), (3, 16)),
    ((3, 5, 12), (2, 4, 8), (2, 2, 8)),
    ((2, 3, 5, 12), (1, 2, 4, 8), (1, 2, 4, 8)),
    ((2, 2, 3, 5, 12), (1, 2, 2, 4, 8), (1, 1, 2, 4, -4)),
]


@pytest.mark.parametrize(("shape", "block", "place"), CASES, ids=lambda x: "x".join(map(str, x)))
def test_blocks_of_every_rank_are_read_and_written_within_the_array(
    shape: tuple[int, ...], block: tuple[int, ...], place: tuple[int, ...]
) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    strides = tuple(n // 4 for n in x.strides)
    wanted = np.zeros(shape, np.float32)
    box = tuple(slice(max(p, 0), max(p + n, 0)) for p, n in zip(place, block, strict=True))
    wanted[box] = x[box] + 1
    for name, got in everywhere(copy_blocks, (1,), x, np.zeros_like(x), shape, strides, place, block, "zero"):
        np.testing.assert_array_equal(got[1], wanted, name)


@rtriton.jit
def read_block(desc, out, row, column):
    block = desc.load([row, column])
    rows = tl.arange(0, desc.block_shape[0])[:, None]
    columns = tl.arange(0, desc.block_shape[1])[None, :]
    tl.store(out + rows * desc.block_shape[1] + columns, block)


@pytest.mark.parametrize("padding", ["zero", "nan"])
@pytest.mark.parametrize("place", [(0, 0), (4, 12), (-3, -4), (100, 0)])
@pytest.mark.parametrize("name", BACKENDS)
def test_a_descriptor_of_the_host_pads_what_is_outside(name: str, place: tuple[int, int], padding: str) -> None:
    x = copied(np.arange(6 * 20, dtype=np.float32).reshape(6, 20))
    out = np.full((4, 8), -1, np.float32)
    with backend(name):
        read_block[(1,)](TensorDescriptor.from_tensor(x, [4, 8], padding), out, *place)
    fill = 0.0 if padding == "zero" else np.nan
    padded = np.pad(x, 128, constant_values=fill)[128 + place[0] : 132 + place[0], 128 + place[1] : 136 + place[1]]
    np.testing.assert_array_equal(out, padded)


class Pair(NamedTuple):
    first: Any
    rest: Any


@rtriton.jit
def add_blocks(pair, out, n, BLOCK: tl.constexpr):
    total = tl.zeros((BLOCK,), tl.float32)
    current = pair.first
    for i in range(n):
        if i % 2 == 1:
            current = pair.rest[0]
        else:
            current = pair.first
        total += current.load([i * BLOCK])
    tl.store(out + tl.arange(0, BLOCK), total)


@pytest.mark.parametrize("name", BACKENDS)
def test_descriptors_go_through_tuples_loops_and_branches(name: str) -> None:
    a, b = copied(np.arange(64, dtype=np.float32)), copied(np.arange(64, dtype=np.float32) * 100)
    out = np.zeros(16, np.float32)
    given = Pair(TensorDescriptor.from_tensor(a, [16]), (TensorDescriptor.from_tensor(b, [16]),))
    with backend(name):
        add_blocks[(1,)](given, out, 4, 16)
    rows_a, rows_b = a.reshape(4, 16), b.reshape(4, 16)
    np.testing.assert_array_equal(out, rows_a[0] + rows_b[1] + rows_a[2] + rows_b[3])


@rtriton.jit
def gather_rows(x, rows, out, M, N, column, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    desc = tl.make_tensor_descriptor(x, [M, N], [N, 1], [1, COLUMNS])
    picked = desc.gather(tl.load(rows + tl.arange(0, ROWS)), column)
    tl.store(out + tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :], picked)


def test_a_gather_reads_rows_and_pads_those_outside() -> None:
    x = np.random.default_rng(1).normal(size=(6, 24)).astype(np.float32)
    rows = np.array([5, 0, 7, -1, 3, 3, 2, 100], np.int32)
    wanted = np.stack([np.pad(x, ((0, 0), (0, 8)))[r, 12:28] if 0 <= r < 6 else np.zeros(16) for r in rows])
    for name, got in everywhere(gather_rows, (1,), x, rows, np.zeros((8, 16), np.float32), 6, 24, 12, 8, 16):
        np.testing.assert_array_equal(got[2], wanted.astype(np.float32), name)


@rtriton.jit
def scatter_rows(x, rows, out, M, N, column, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    desc = tl.make_tensor_descriptor(out, [M, N], [N, 1], [1, COLUMNS])
    value = tl.load(x + tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :])
    desc.scatter(value, tl.load(rows + tl.arange(0, ROWS)), column)


def test_a_scatter_writes_rows_and_drops_those_outside() -> None:
    x = np.random.default_rng(2).normal(size=(8, 16)).astype(np.float32)
    rows = np.array([5, 0, 7, -1, 3, 4, 2, 100], np.int32)
    wanted = np.zeros((6, 24), np.float32)
    for i, row in enumerate(rows):
        if 0 <= row < 6:
            wanted[row, 12:24] = x[i, :12]
    for name, got in everywhere(scatter_rows, (1,), x, rows, np.zeros((6, 24), np.float32), 6, 24, 12, 8, 16):
        np.testing.assert_array_equal(got[2], wanted, name)


@rtriton.jit
def combine(x, out, M, N, HOW: tl.constexpr):
    desc = tl.make_tensor_descriptor(out, [M, N], [N, 1], [4, 8])
    value = tl.load(x + tl.arange(0, 4)[:, None] * 8 + tl.arange(0, 8)[None, :])
    if HOW == "add":
        desc.atomic_add([2, 4], value)
    elif HOW == "min":
        desc.atomic_min([2, 4], value)
    elif HOW == "max":
        desc.atomic_max([2, 4], value)
    elif HOW == "and":
        desc.atomic_and([2, 4], value)
    elif HOW == "or":
        desc.atomic_or([2, 4], value)
    else:
        desc.atomic_xor([2, 4], value)


NUMPY = {"add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and, "or": np.bitwise_or,
         "xor": np.bitwise_xor}  # fmt: skip


@pytest.mark.parametrize("how", NUMPY)
@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.uint64])
def test_blocks_are_combined_atomically_with_what_is_there(how: str, dtype: type) -> None:
    rng = np.random.default_rng(3)
    x, out = (rng.integers(0, 1000, s).astype(dtype) for s in ((4, 8), (5, 10)))
    wanted = out.copy()
    wanted[2:5, 4:10] = NUMPY[how](out[2:5, 4:10], x[:3, :6])
    for name, got in everywhere(combine, (1,), x, out, 5, 10, how):
        np.testing.assert_array_equal(got[1], wanted, name)


@rtriton.jit
def store_numbers(desc, M):
    tl.store_tensor_descriptor(desc, [0, 8], (tl.arange(0, 4)[:, None] * 100 + tl.arange(0, 8)[None, :]).to(tl.float32))


@pytest.mark.parametrize("name", BACKENDS)
def test_a_store_casts_to_the_type_of_the_array(name: str) -> None:
    out = copied(np.zeros((4, 16), np.float16))
    with backend(name):
        store_numbers[(1,)](TensorDescriptor.from_tensor(out, [4, 8]), 4)
    np.testing.assert_array_equal(out[:, 8:], np.arange(4)[:, None] * 100 + np.arange(8))
    assert not out[:, :8].any()


def test_a_descriptor_is_compiled_once_for_arrays_of_one_type_and_alignment() -> None:
    read_block.cache.clear()
    out = np.zeros((4, 8), np.float32)
    with backend("cpu"):
        for rows in (32, 64):
            x = copied(np.ones((rows, 64), np.float32))
            read_block[(1,)](TensorDescriptor.from_tensor(x, [4, 8]), out, 2, 3)
    assert len(read_block.cache) == 1


@rtriton.jit
def copy_through(source, target):
    place = [tl.program_id(0) * 32, tl.program_id(1) * 64]
    target.store(place, source.load(place))


def test_blocks_inside_of_aligned_arrays_are_moved_in_vectors() -> None:
    x = copied(np.zeros((64, 128), np.float32))
    desc = TensorDescriptor.from_tensor(x, [32, 64])
    with backend("emulate"):
        ptx = copy_through.warmup(desc, desc, grid=(2, 2)).asm["ptx"]
    assert ptx.count("ld.global.v4") == ptx.count("ld.global") > 0
    assert ptx.count("st.global.v4") == ptx.count("st.global") > 0


# -- rules -----------------------------------------------------------------------------------------------------------


@rtriton.jit
def last_stride(x, n):
    tl.make_tensor_descriptor(x, [n, n], [1, n], [8, 8])


@rtriton.jit
def six_axes(x):
    tl.make_tensor_descriptor(x, [1] * 1 + [1, 1, 1, 1, 8], [8, 8, 8, 8, 8, 1], [1, 1, 1, 1, 1, 8])


@rtriton.jit
def short_block(x):
    tl.make_tensor_descriptor(x, [8, 8], [8, 1], [8, 2])


@rtriton.jit
def too_few_strides(x):
    tl.make_tensor_descriptor(x, [8, 8], [1], [8, 8])


@rtriton.jit
def odd_block(x):
    tl.make_tensor_descriptor(x, [8, 8], [8, 1], [3, 8])


@rtriton.jit
def nan_for_integers(x):
    tl.make_tensor_descriptor(x, [8, 8], [8, 1], [8, 8], padding_option="nan")


@rtriton.jit
def too_few_offsets(x):
    tl.make_tensor_descriptor(x, [8, 8], [8, 1], [8, 8]).load([0])


@rtriton.jit
def wide_offsets(x):
    tl.make_tensor_descriptor(x, [8, 8], [8, 1], [8, 8]).load([0, tl.program_id(0).to(tl.int64)])


@rtriton.jit
def value_of_another_shape(x):
    tl.make_tensor_descriptor(x, [8, 8], [8, 1], [8, 8]).store([0, 0], tl.zeros((8, 4), tl.int32))


@rtriton.jit
def few_rows(x):
    tl.make_tensor_descriptor(x, [8, 8], [8, 1], [1, 8]).gather(tl.arange(0, 4), 0)


@rtriton.jit
def rows_of_tall_blocks(x):
    tl.make_tensor_descriptor(x, [8, 8], [8, 1], [2, 8]).gather(tl.arange(0, 8), 0)


@rtriton.jit
def load_of_a_pointer(x):
    tl.load_tensor_descriptor(x, [0, 0])


BAD = [
    (last_stride, "the last stride must be the constant 1, got i32"),
    (short_block, r"must have at least 16 bytes in the last dimension, but got 2 \* 4 = 8 bytes"),
    (too_few_strides, "block_shape has 2 axes, so strides needs 2 numbers, got 1"),
    (odd_block, "must be a power of 2"),
    (nan_for_integers, "padding_option 'nan' is for floats, got 8x8xi32"),
    (too_few_offsets, "expected 2 offsets, but got 1"),
    (wide_offsets, r"offsets are 32-bit integers, got i64: add .to\(tl.int32\)"),
    (value_of_another_shape, "wanted a value of the block's shape 8x8, got 8x4xi32"),
    (few_rows, "descriptor gather must have at least 8 rows, but got 4"),
    (rows_of_tall_blocks, "needs a 2-d descriptor whose blocks have 1 row, got a tensor descriptor with blocks of 2x8"),
    (load_of_a_pointer, r"load_tensor_descriptor needs a tensor descriptor, got \*i32"),
]


@pytest.mark.parametrize(("kernel", "message"), BAD, ids=[k.__name__ for k, _ in BAD])
def test_a_broken_rule_is_told_by_name(kernel: rtriton.JITFunction, message: str) -> None:
    given = [np.zeros(64, np.int32), 8][: len(kernel.arg_names)]
    with pytest.raises(CompilationError, match=message):
        kernel.warmup(*given, grid=(1,))


def test_who_catches_interpreter_errors_as_in_triton_catches_broken_rules() -> None:
    with pytest.raises(rtriton.InterpreterError) as caught:
        short_block.warmup(np.zeros(64, np.int32), grid=(1,))
    assert "Descriptor block shape must have at least 16 bytes" in str(caught.value.__cause__)


def test_six_axes_are_too_many() -> None:
    with pytest.raises(CompilationError, match="a descriptor has 1 to 5 axes, got 6"):
        six_axes.warmup(np.zeros(64, np.float32), grid=(1,))


@rtriton.jit
def add_to_i64(desc):
    desc.atomic_add([0], tl.zeros((8,), tl.int64))


def test_a_type_that_is_not_combined_is_told() -> None:
    desc = TensorDescriptor.from_tensor(copied(np.zeros(64, np.int64)), [8])
    with pytest.raises(CompilationError, match="atomic_add works on u32, i32, u64, f32, f16, bf16, got i64"):
        add_to_i64.warmup(desc, grid=(1,))


HOST = [
    ([4, 8], [8], [4, 8], "zero", "rank mismatch"),
    ([4, 8], [6, 1], [4, 8], "zero", "strides must be 16-byte aligned, got a stride of 6"),
    ([4, 8], [8, 2], [4, 8], "zero", "Last dimension must be contiguous, got a stride of 2"),
    ([0, 8], [8, 1], [4, 8], "zero", "shape must be positive"),
    ([4, 8], [8, 1], [4, 6], "zero", "Shape element 1 must be a power of 2, got 6"),
    ([4, 8], [8, 1], [4, 8], "ones", "Illegal value for padding"),
    ([4, 8], [8, 1], [4, 8], "nan", "only supported for floating point"),
]


@pytest.mark.parametrize(("shape", "strides", "block", "padding", "message"), HOST)
def test_the_host_refuses_what_no_descriptor_describes(
    shape: list[int], strides: list[int], block: list[int], padding: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TensorDescriptor(copied(np.zeros(64, np.int32)), shape, strides, block, padding)


def test_a_base_that_is_not_aligned_is_refused() -> None:
    with pytest.raises(ValueError, match="base must be 16-byte aligned"):
        TensorDescriptor(copied(np.zeros(64, np.int32))[1:], [8], [1], [8])


def test_an_allocator_must_be_a_function_and_is_asked_with_size_and_alignment() -> None:
    from rtriton.allocator import allocate

    with pytest.raises(TypeError, match="wants a function"):
        rtriton.set_allocator(3)  # type: ignore[arg-type]
    asked: list[tuple[int, int, int | None]] = []
    rtriton.set_allocator(lambda *given: asked.append(given))
    allocate(128, 64, None)
    assert asked == [(128, 64, None)]
