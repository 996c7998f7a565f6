"""Pointer arithmetic, pointers as data, and pointers through control flow, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.errors import CompilationError
from tests.memory.everywhere import BACKENDS, backend, copied, everywhere


@rtriton.jit
def read_at(x, out, offsets, BLOCK: tl.constexpr):
    places = tl.arange(0, BLOCK)
    tl.store(out + places, tl.load(x + 128 + tl.load(offsets + places)))


@rtriton.jit
def read_before(x, out, offsets, BLOCK: tl.constexpr):
    places = tl.arange(0, BLOCK)
    tl.store(out + places, tl.load(x + 128 - tl.load(offsets + places)))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_offsets_of_every_type_move_a_pointer_by_their_value(dtype: str) -> None:
    x = np.arange(384, dtype=np.float32)
    offsets = np.array([0, 1, 100, 127, 5, 17, 3, 2], dtype)
    if dtype[0] == "i":
        offsets[::2] *= -1
    for kernel, wanted in ((read_at, 128 + offsets.astype(int)), (read_before, 128 - offsets.astype(int))):
        for name, (_, out, *_) in everywhere(kernel, (1,), x, np.zeros(8, np.float32), offsets, 8):
            np.testing.assert_array_equal(out, wanted, f"{name} {kernel.__name__}")


def test_bytes_above_127_are_zero_extended_if_unsigned() -> None:
    x, offsets = np.arange(384, dtype=np.float32), np.array([200, 255, 128, 0], np.uint8)
    for name, (_, out, *_) in everywhere(read_at, (1,), x, np.zeros(4, np.float32), offsets, 4):
        np.testing.assert_array_equal(out, 128 + offsets.astype(int), name)


@rtriton.jit
def far(x, out, n, BLOCK: tl.constexpr):
    row = tl.arange(0, BLOCK).to(tl.int64)
    tl.store(out + row, tl.load(x + row * n))
    tl.store(out + BLOCK, tl.load(x + (BLOCK - 1) * n.to(tl.int64)))
    tl.store(out + BLOCK + 1, tl.load(x + (n.to(tl.uint32) * (BLOCK - 1))))


@pytest.mark.parametrize("name", ["interpret", "cpu"])
def test_offsets_above_2_to_the_31_reach_what_is_there(name: str) -> None:
    step = 1 << 30
    x = np.zeros(3 * step + 1, np.uint8)              # pages that are not touched take no memory
    x[:: step] = [1, 2, 3, 4]
    out = np.zeros(6, np.uint8)
    with backend(name):
        far[(1,)](x, out, step, BLOCK=4)
    np.testing.assert_array_equal(out, [1, 2, 3, 4, 4, 4])


@rtriton.jit
def through_addresses(addresses, out, n, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    for i in range(n):
        source = tl.load(addresses + i).to(tl.pointer_type(tl.float32))
        tl.store(out + i * BLOCK + lanes, tl.load(source + lanes) + 1)


@rtriton.jit
def through_a_tile_of_addresses(addresses, a, b, c, out, BLOCK: tl.constexpr):
    which = tl.arange(0, 2)
    sources = tl.load(addresses + which).to(tl.pointer_type(tl.float32))
    tl.store(out + which[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :],
             tl.load(sources[:, None] + tl.arange(0, BLOCK)[None, :]))


@rtriton.jit
def through_pointers(addresses, a, b, out, BLOCK: tl.constexpr):
    table = addresses.to(tl.pointer_type(tl.pointer_type(tl.float32)))
    lanes = tl.arange(0, BLOCK)
    first, second = tl.load(table), tl.load(table + 1)
    tl.store(out + lanes, tl.load(first + lanes) - tl.load(second + lanes))
    tl.store(table, second)


@pytest.mark.parametrize("name", BACKENDS)
def test_addresses_in_memory_become_pointers(name: str) -> None:
    a, b, c = (copied(np.random.default_rng(i).normal(size=16).astype(np.float32)) for i in range(3))
    addresses = copied(np.array([x.ctypes.data for x in (a, b)], np.int64))
    out = copied(np.zeros(32, np.float32))
    with backend(name):
        through_a_tile_of_addresses[(1,)](addresses, a, b, c, out, BLOCK=16)
        np.testing.assert_array_equal(out, np.concatenate([a, b]))
        through_pointers[(1,)](addresses, a, b, out, BLOCK=16)
    np.testing.assert_array_equal(out[:16], a - b)
    assert addresses[0] == addresses[1] == b.ctypes.data


@rtriton.jit
def grouped(addresses, a, b, out, n, BLOCK: tl.constexpr):
    through_addresses(addresses, out, n, BLOCK)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_loop_reads_one_array_after_the_other(name: str) -> None:
    a, b = (copied(np.random.default_rng(i).normal(size=32).astype(np.float32)) for i in range(2))
    out = copied(np.zeros(64, np.float32))
    addresses = copied(np.array([b.ctypes.data, a.ctypes.data], np.uint64))
    with backend(name):
        grouped[(1,)](addresses, a, b, out, 2, BLOCK=32)
    np.testing.assert_array_equal(out, np.concatenate([b, a]) + 1)


@rtriton.jit
def as_bits(x, out, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    tl.store(out + lanes, tl.load(x.to(tl.pointer_type(tl.int32, 1), bitcast=True) + lanes))
    halves = (x + BLOCK // 2).to(tl.pointer_type(tl.int16))
    tl.store(out + BLOCK + lanes, tl.load(halves + lanes))
    address = x.to(tl.uint64) + 4
    tl.store(out + 2 * BLOCK + lanes, tl.load(address.to(tl.pointer_type(tl.int32)) + lanes - 1))


def test_pointers_are_read_as_pointers_to_another_type() -> None:
    x = np.random.default_rng(0).normal(size=16).astype(np.float32)
    wanted = np.concatenate([x.view(np.int32), x[8:].view(np.int16), x.view(np.int32)])
    for name, (_, out) in everywhere(as_bits, (1,), x, np.zeros(48, np.int32), BLOCK=16):
        np.testing.assert_array_equal(out, wanted, name)


@rtriton.jit
def chosen(a, b, out, n, take, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    tl.store(out + lanes, tl.load(tl.where(lanes < n, a + lanes, b + lanes)))
    source = a if take > 0 else b
    tl.store(out + BLOCK + lanes, tl.load(source + lanes))
    tile = a + lanes
    if take > 1:
        tile = b + 2 * lanes
    tl.store(out + 2 * BLOCK + lanes, tl.load(tile))


@pytest.mark.parametrize("take", [0, 1, 2])
def test_where_and_branches_choose_pointers(take: int) -> None:
    a, b = np.arange(32, dtype=np.float32), 100 + np.arange(32, dtype=np.float32)
    wanted = np.concatenate([np.where(np.arange(16) < 5, a[:16], b[:16]), (a if take else b)[:16],
                             b[::2] if take > 1 else a[:16]])  # fmt: skip
    for name, (_, _, out, *_) in everywhere(chosen, (1,), a, b, np.zeros(48, np.float32), 5, take, 16):
        np.testing.assert_array_equal(out, wanted, name)


@rtriton.jit
def walk(x, out, n, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    tile, one, sums, total = x + lanes, x, tl.zeros((BLOCK,), tl.float32), 0.0
    for _ in range(n):
        sums += tl.load(tile)
        total += tl.load(one)
        tile += BLOCK
        one += 1
    end = x + n * BLOCK
    while tile < end + lanes + BLOCK // 2 if False else one < x + 2 * n:
        total += tl.load(one)
        one += 1
    tl.store(out + lanes, sums)
    tl.store(out + BLOCK, total)


def test_loops_carry_pointers_and_compare_them() -> None:
    x = np.arange(64, dtype=np.float32)
    for name, (_, out, *_) in everywhere(walk, (1,), x, np.zeros(17, np.float32), 4, 16):
        np.testing.assert_array_equal(out[:16], x.reshape(4, 16).sum(0), name)
        assert out[16] == x[:8].sum(), name


@rtriton.jit
def compared(x, out, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    a, b = x + lanes, x + (BLOCK - 1 - lanes)
    tl.store(out + lanes, (a < b).to(tl.int32) + 2 * (a == b + 1).to(tl.int32) + 4 * (a != b).to(tl.int32)
             + 8 * (a >= b).to(tl.int32))
    if x.to(tl.int64) != 0:
        tl.store(out + BLOCK, 1)


def test_pointers_are_compared_by_address() -> None:
    a, b = np.arange(8), 7 - np.arange(8)
    wanted = [*((a < b) + 2 * (a == b + 1) + 4 * (a != b) + 8 * (a >= b)), 1]
    for name, (_, out) in everywhere(compared, (1,), np.zeros(8, np.float32), np.zeros(9, np.int32), BLOCK=8):
        np.testing.assert_array_equal(out, wanted, name)


@rtriton.jit
def methods(x, out, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    (out + lanes).store(tl.load(x + lanes) * 2, mask=lanes < 5)
    (out + lanes).atomic_add(1)
    out.atomic_xchg(7)


def test_store_and_atomics_are_methods_of_pointers() -> None:
    x = np.arange(8, dtype=np.int32)
    wanted = np.where(x < 5, 2 * x, 0) + 1
    wanted[0] = 7
    for name, (_, out) in everywhere(methods, (1,), x, np.zeros(8, np.int32), BLOCK=8):
        np.testing.assert_array_equal(out, wanted, name)


def test_reinterpreted_arrays_are_read_as_the_other_type() -> None:
    bits = np.array([0x3F800000, 0x40000000, 0, 0xBF800000], np.uint32)
    offsets = np.arange(4, dtype=np.int32)
    for name in BACKENDS:
        out = np.zeros(4, np.float32)
        with backend(name):
            read_at[(1,)](rtriton.reinterpret(copied(np.pad(bits, (128, 0))), tl.float32), out, offsets, 4)
        np.testing.assert_array_equal(out, [1, 2, 0, -1])


# -- rules -----------------------------------------------------------------------------------------------------------


@rtriton.jit
def sum_of_pointers(x, y):
    tl.load(x + y)


@rtriton.jit
def moved_by_a_float(x, y):
    tl.load(x + 1.5)


@rtriton.jit
def negated(x, y):
    tl.load(-x)


@rtriton.jit
def narrowed(x, y):
    x.to(tl.int32)


@rtriton.jit
def loaded_number(x, y):
    tl.load(tl.program_id(0))


@rtriton.jit
def number_as_pointer(x, y):
    tl.program_id(0).to(tl.pointer_type(tl.float32))


BAD = [
    (sum_of_pointers, "two pointers cannot be added"),
    (moved_by_a_float, "a pointer moves by integers, got f32"),
    (negated, "a pointer cannot be negated"),
    (narrowed, "a pointer converts to i64 or u64, not to i32"),
    (loaded_number, "tl.load needs a pointer or a tile of pointers, got i32"),
    (number_as_pointer, "a pointer converts only to and from 64-bit integers, got i32"),
]


@pytest.mark.parametrize(("kernel", "message"), BAD, ids=[k.__name__ for k, _ in BAD])
def test_a_broken_rule_is_told(kernel: rtriton.JITFunction, message: str) -> None:
    x = np.zeros(64, np.float32)
    with pytest.raises(CompilationError, match=message):
        kernel.warmup(x, x, grid=(1,))
