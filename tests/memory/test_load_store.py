"""Loads and stores: masks, `other`, casts, bools, and the ways through the caches, against NumPy and in PTX."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.backend.ptx.ptxas import assemble
from rtriton.errors import CompilationError
from tests.memory.everywhere import BACKENDS, backend, copied, everywhere

DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32",
          "float64"]  # fmt: skip


def numbers(dtype: str, count: int) -> np.ndarray:
    raw = np.random.default_rng(7).integers(0, 2 if dtype == "bool" else 100, count)
    return (raw - 50 if dtype[0] in "if" else raw).astype(dtype)


@rtriton.jit
def masked(x, out, n, other, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    value = tl.load(x + lanes, mask=lanes < n, other=other)
    tl.store(out + lanes, value, mask=lanes < BLOCK - 3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_stands_where_the_mask_is_false(dtype: str) -> None:
    x = numbers(dtype, 32)
    wanted = np.where(np.arange(32) < 19, x, np.array(1, dtype))
    wanted[29:] = 0
    for name, got in everywhere(masked, (1,), x[:19].copy(), np.zeros_like(x), 19, 1, 32):
        np.testing.assert_array_equal(got[1], wanted, name)


@rtriton.jit
def stretched(x, out, row, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    places = lanes[:, None] * BLOCK + lanes[None, :]
    value = tl.load(x + places, mask=(lanes < 3)[:, None], other=tl.load(row + lanes)[None, :])
    tl.store(out + places, value, mask=(lanes != 1)[None, :])
    tl.store(out + BLOCK * BLOCK + lanes, 5, mask=True)


def test_mask_other_and_value_are_stretched_to_the_pointers() -> None:
    x, row = numbers("float32", 64), np.arange(8, dtype=np.int32) * 100
    wanted = np.full(72, -1, np.float32)
    tile = np.where(np.arange(8)[:, None] < 3, x.reshape(8, 8), row)
    wanted[:64] = np.where(np.arange(8) != 1, tile, -1).reshape(-1)
    wanted[64:] = 5
    for name, got in everywhere(stretched, (1,), x, np.full(72, -1, np.float32), row, 8):
        np.testing.assert_array_equal(got[1], wanted, name)


@rtriton.jit
def stretched_pointers(x, out, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    line = tl.load((x + lanes)[None, :], mask=(lanes < 4)[:, None], other=lanes[:, None])
    tl.store(out + lanes[:, None] * BLOCK + lanes[None, :], line)


def test_pointers_of_a_load_are_stretched_to_mask_and_other() -> None:
    x = numbers("float32", 8)
    wanted = np.where(np.arange(8)[:, None] < 4, x, np.arange(8)[:, None]).reshape(-1)
    for name, (_, out) in everywhere(stretched_pointers, (1,), x, np.zeros(64, np.float32), BLOCK=8):
        np.testing.assert_array_equal(out, wanted, name)


@rtriton.jit
def scalars(x, out, n):
    tl.store(out, tl.load(x, mask=n > 0, other=7))
    tl.store(out + 1, tl.load(x + 1000000, mask=n < 0, other=8))
    tl.store(out + 2, 9, mask=n < 0)
    tl.store(out + 3, True)


def test_a_scalar_is_read_and_written_where_its_mask_holds() -> None:
    for name, (_, out, _) in everywhere(scalars, (1,), np.array([3.5], np.float32), np.zeros(4, np.float32), 5):
        np.testing.assert_array_equal(out, [3.5, 8, 0, 1], name)


@rtriton.jit
def cast_store(x, out, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    tl.store(out + lanes, tl.load(x + lanes))


@pytest.mark.parametrize("to", DTYPES)
@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_a_store_casts_to_what_the_pointer_points_at(dtype: str, to: str) -> None:
    x = np.abs(numbers(dtype, 32)) if to[0] == "u" else numbers(dtype, 32)
    for name, (_, out) in everywhere(cast_store, (1,), x, np.zeros(32, to), BLOCK=32):
        np.testing.assert_array_equal(out, (x.astype(np.int8) if to == "bool" else x).astype(to), name)


@pytest.mark.parametrize(("dtype", "values", "wanted"), [
    ("float32", [0.5, -0.9, 1.0, -7.5], [0, 0, 1, 1]), ("int32", [256, 257, -512, 2], [0, 1, 0, 1]),
    ("uint64", [2**40, 128, 1, 0], [0, 1, 1, 0]), ("bool", [True, False, True, True], [1, 0, 1, 1]),
])
def test_what_is_stored_as_a_bool_is_an_int8_first(dtype: str, values: list[float], wanted: list[int]) -> None:
    """As in Triton, whatever way leads to the memory."""
    for name, (_, out) in everywhere(cast_store, (1,), np.array(values, dtype), np.ones(4, bool), BLOCK=4):
        np.testing.assert_array_equal(out.view(np.uint8), wanted, name)


@rtriton.jit
def stores_numbers_as_bools(out):
    for i in tl.static_range(3):
        tl.store(out + i, (0.5, 256, 3)[i])


def test_numbers_are_stored_as_bools_in_the_same_way() -> None:
    for name, (out,) in everywhere(stores_numbers_as_bools, (1,), np.ones(3, bool)):
        np.testing.assert_array_equal(out, [False, False, True], name)


@rtriton.jit
def invert(x, out, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    value = tl.load(x + lanes, lanes < 10, other=True)
    tl.static_assert(value.dtype == tl.int1)
    tl.store(out + lanes, ~value)


def test_bools_are_bytes_in_memory_and_masks_in_kernels() -> None:
    x = numbers("bool", 16)
    wanted = np.where(np.arange(16) < 10, ~x, False)
    for name, (_, out) in everywhere(invert, (1,), x, np.ones(16, bool), BLOCK=16):
        np.testing.assert_array_equal(out.view(np.uint8), wanted.astype(np.uint8), name)


@pytest.mark.parametrize("name", BACKENDS)
def test_bytes_of_bools_that_are_neither_0_nor_1_are_true(name: str) -> None:
    raw = np.array([0, 1, 2, 255], np.uint8)
    out = copied(np.ones(4, bool))
    with backend(name):
        cast_store[(1,)](raw.view(bool), out, BLOCK=4)
    np.testing.assert_array_equal(out.view(np.uint8), [0, 1, 1, 1])


# -- caches ----------------------------------------------------------------------------------------------------------


@rtriton.jit
def through(x, out, CACHE: tl.constexpr, EVICT: tl.constexpr, VOLATILE: tl.constexpr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    value = tl.load(x + lanes, cache_modifier=CACHE, eviction_policy=EVICT, volatile=VOLATILE)
    value += tl.load(x, cache_modifier=CACHE, eviction_policy=EVICT, volatile=VOLATILE)
    block = tl.make_block_ptr(x, (BLOCK,), (1,), (0,), (BLOCK,), (0,))
    value += tl.load(block, cache_modifier=CACHE, eviction_policy=EVICT, volatile=VOLATILE)
    tl.store(out + lanes, value)


@rtriton.jit
def out_through(x, out, CACHE: tl.constexpr, EVICT: tl.constexpr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    value = tl.load(x + lanes)
    tl.store(out + lanes, value, cache_modifier=CACHE, eviction_policy=EVICT)
    block = tl.make_block_ptr(out, (2 * BLOCK + 1,), (1,), (BLOCK,), (BLOCK,), (0,))
    tl.store(block, value, cache_modifier=CACHE, eviction_policy=EVICT, boundary_check=(0,))
    tl.store(out + 2 * BLOCK, 1, cache_modifier=CACHE, eviction_policy=EVICT)


LOADS = [("", "", False, "ld.global."), (".ca", "", False, "ld.global.ca."), (".cg", "", False, "ld.global.cg."),
         (".cv", "", False, "ld.global.cv."), ("", "evict_last", False, "ld.global.L1::evict_last."),
         ("", "evict_first", False, "ld.global.L1::evict_first."), ("", "", True, "ld.volatile.global."),
         (".cv", "", True, "ld.volatile.global."), (".cv", "evict_last", False, "ld.global.cv.")]  # fmt: skip
STORES = [("", "", "st.global."), (".wb", "", "st.global.wb."), (".cg", "", "st.global.cg."),
          (".cs", "", "st.global.cs."), (".wt", "", "st.global.wt."),
          ("", "evict_last", "st.global.L1::evict_last."),
          ("", "evict_first", "st.global.L1::evict_first.")]  # fmt: skip


@pytest.mark.parametrize(("cache", "evict", "volatile", "opcode"), LOADS)
def test_every_way_to_load_gives_the_same_and_is_in_the_ptx(
    cache: str, evict: str, volatile: bool, opcode: str
) -> None:
    x = numbers("float32", 256)
    for name, got in everywhere(through, (1,), x, np.zeros_like(x), cache, evict, volatile, 256):
        np.testing.assert_array_equal(got[1], 2 * x + x[0], name)
    with backend("emulate"):
        ptx = through.warmup(x, x, cache, evict, volatile, 256, grid=(1,)).asm["ptx"]
    found = [line for line in ptx.splitlines() if "ld." in line and ".global" in line]
    assert found and all(opcode in line for line in found)


@pytest.mark.parametrize("target", ["sm_80", "sm_89", "sm_90"])
def test_every_way_assembles(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_TARGET", target)
    x = np.zeros(513, np.float32)
    with backend("emulate"):
        for *load, _ in LOADS:
            assemble(through.warmup(x, x, *load, 256, grid=(1,)).asm["ptx"], target)
        for *store, _ in STORES:
            assemble(out_through.warmup(x, x, *store, 256, grid=(1,)).asm["ptx"], target)


@pytest.mark.parametrize(("cache", "evict", "opcode"), STORES)
def test_every_way_to_store_gives_the_same_and_is_in_the_ptx(cache: str, evict: str, opcode: str) -> None:
    x = numbers("float32", 256)
    for name, got in everywhere(out_through, (1,), x, np.zeros(513, np.float32), cache, evict, 256):
        np.testing.assert_array_equal(got[1], [*x, *x, 1], name)
    with backend("emulate"):
        ptx = out_through.warmup(x, x, cache, evict, 256, grid=(1,)).asm["ptx"]
    stores = [line for line in ptx.splitlines() if "st.global" in line]
    assert stores and all(opcode in line for line in stores)
    assert cache or evict or not any(word in line for line in stores for word in (".wb", ".cg", ".cs", ".wt", "L1::"))


@rtriton.jit
def read_twice(x, out):
    first = tl.load(x, volatile=True)
    second = tl.load(x, volatile=True)
    tl.store(out, first + second)


def test_volatile_loads_of_one_place_stay_two() -> None:
    x = np.ones(1, np.float32)
    with backend("emulate"):
        ptx = read_twice.warmup(x, x, grid=(1,)).asm["ptx"]
    assert ptx.count("ld.volatile.global") == 2


REFUSED = [
    ((".cs", "", False), "cache_modifier is one of '', '.ca', '.cg', '.cv', got '.cs'"),
    (("ca", "", False), "cache_modifier is one of '', '.ca', '.cg', '.cv', got 'ca'"),
    (("", "evict_normal", False), "eviction_policy is one of '', 'evict_last', 'evict_first', got 'evict_normal'"),
    ((".ca", "evict_last", False), "cache_modifier '.ca' and eviction_policy 'evict_last' exclude each other"),
    ((".cg", "", True), "a volatile load passes by the caches: it takes no cache_modifier '.cg'"),
    (("", "evict_first", True), "a volatile load passes by the caches: it takes no eviction_policy 'evict_first'"),
]


@pytest.mark.parametrize(("how", "message"), REFUSED)
def test_ways_to_load_that_are_none_are_refused_by_name(how: tuple[str, str, bool], message: str) -> None:
    x = np.zeros(16, np.float32)
    with pytest.raises(CompilationError, match=message):
        through.warmup(x, x, *how, 16, grid=(1,))


@pytest.mark.parametrize(("cache", "evict", "message"), [
    (".ca", "", "cache_modifier is one of '', '.wb', '.cg', '.cs', '.wt', got '.ca'"),
    (".wt", "evict_last", "cache_modifier '.wt' and eviction_policy 'evict_last' exclude each other"),
])  # fmt: skip
def test_ways_to_store_that_are_none_are_refused_by_name(cache: str, evict: str, message: str) -> None:
    x = np.zeros(64, np.float32)
    with pytest.raises(CompilationError, match=message):
        out_through.warmup(x, x, cache, evict, 16, grid=(1,))


# -- rules -----------------------------------------------------------------------------------------------------------


@rtriton.jit
def other_without_mask(x):
    tl.load(x, other=0)


@rtriton.jit
def tile_mask_of_a_scalar(x):
    tl.load(x, mask=tl.arange(0, 4) < 2)


@rtriton.jit
def tile_to_a_scalar(x):
    tl.store(x, tl.arange(0, 4))


@rtriton.jit
def padding_of_a_tile(x):
    tl.load(x + tl.arange(0, 4), padding_option="nan")


@rtriton.jit
def unknown_padding(x):
    tl.load(x + tl.arange(0, 4), padding_option="ones")


@rtriton.jit
def masks_of_another_shape(x):
    tl.load(x + tl.arange(0, 4), mask=tl.arange(0, 8) < 2)


@rtriton.jit
def more_values_than_pointers(x):
    tl.store((x + tl.arange(0, 4))[:, None], tl.zeros((4, 8), tl.float32))


@rtriton.jit
def more_masks_than_pointers(x):
    tl.store((x + tl.arange(0, 4))[:, None], 1, mask=tl.zeros((4, 8), tl.int1))


@rtriton.jit
def tile_other_of_a_scalar(x):
    tl.load(x, mask=True, other=tl.zeros((4,), tl.float32))


@rtriton.jit
def store_to_a_number(x):
    tl.store(tl.program_id(0), 1)


BAD = [
    (other_without_mask, "`other` cannot be provided without `mask`"),
    (tile_mask_of_a_scalar, "a scalar pointer takes a scalar mask, got 4xi1"),
    (tile_to_a_scalar, "a scalar pointer takes a scalar value, got 4xi32"),
    (padding_of_a_tile, "padding_option is for block pointers; give `other` with a mask"),
    (unknown_padding, "padding_option is one of '', 'zero', 'nan', got 'ones'"),
    (masks_of_another_shape, "shapes do not fit together: 4 and 8"),
    (more_values_than_pointers, r"cannot broadcast \(4, 8\) to \(4, 1\)"),
    (more_masks_than_pointers, "the pointers are 4x1, too few for a mask 4x8xi1"),
    (tile_other_of_a_scalar, "a scalar pointer takes a scalar `other`, got 4xf32"),
    (store_to_a_number, "tl.store needs a pointer or a tile of pointers, got i32"),
]


@pytest.mark.parametrize(("kernel", "message"), BAD, ids=[k.__name__ for k, _ in BAD])
def test_a_broken_rule_is_told(kernel: rtriton.JITFunction, message: str) -> None:
    with pytest.raises(CompilationError, match=message):
        kernel.warmup(np.zeros(64, np.float32), grid=(1,))


@pytest.mark.parametrize("name", BACKENDS)
def test_bf16_is_stored_rounded_to_even(name: str) -> None:
    x = np.linspace(-3, 3, 64, dtype=np.float32)
    out = np.zeros(64, ml_dtypes.bfloat16)
    with backend(name):
        cast_store[(1,)](x, out, BLOCK=64)
    np.testing.assert_array_equal(out, x.astype(ml_dtypes.bfloat16))
