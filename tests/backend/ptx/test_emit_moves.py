"""What it takes to move data between threads: the instructions that are emitted for it, counted, and their results."""
import re
from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from tests.backend.ptx.both import both, compiled


def counted(fn: Any, args: dict[str, Any], constants: dict[str, Any], *opcodes: str, num_warps: int = 4) -> list[int]:
    """How many instructions whose opcodes begin so stand in the kernel's PTX, which is run too."""
    both(fn, args, constants, num_warps=num_warps)
    _, module = compiled(fn, args, constants, num_warps=num_warps)
    lines = [re.sub(r"^@!?\S+ ", "", line.strip()) for line in str(module).splitlines()]
    return [sum(line.startswith(opcode) for line in lines) for opcode in opcodes]


@rtriton.jit
def running(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.cumsum(tl.load(x + i), 0))


@pytest.mark.parametrize("warps,barriers", [(1, 0), (4, 1), (8, 1)])
def test_a_scan_passes_one_barrier(warps: int, barriers: int) -> None:
    x = np.arange(4096, dtype=np.int32)
    groups = 4096 // (128 * warps)
    found = counted(running, {"x": x, "out": np.zeros_like(x)}, {"N": 4096}, "bar.sync", "shfl.sync.up", "add.s32",
                    num_warps=warps)  # fmt: skip
    assert found[:2] == [barriers, groups]
    assert found[2] < groups * (3 + 5 + warps + 4) + 40


@rtriton.jit
def out_of_order(x, out, BACK: tl.constexpr):
    i = tl.arange(0, 1024)
    tile = tl.load(x + i).reshape(8, 4, 2, 4, 4).permute(0, 2, 3, 1, 4).reshape(8, 2, 16, 4)
    tl.store(out + i, tl.cumsum(tile, 2, reverse=BACK).ravel())


@pytest.mark.parametrize("back", [False, True])
def test_a_scan_over_lanes_that_are_not_in_order(back: bool) -> None:
    x = np.random.default_rng(0).integers(0, 99, 1024).astype(np.int32)
    both(out_of_order, {"x": x, "out": np.zeros_like(x)}, {"BACK": back})


@rtriton.jit
def ordered(x, out, M: tl.constexpr, N: tl.constexpr):
    at = tl.arange(0, M)[:, None] * N + tl.arange(0, N)
    tl.store(out + at, tl.sort(tl.load(x + at)))


@pytest.mark.parametrize(
    "shape,dtype,warps,barriers",
    [((1, 1024), "int32", 4, 2 + 3), ((8, 128), "int32", 4, 0), ((4, 512), "float16", 4, 2), ((2, 512), "uint8", 8, 3)],
)
def test_a_sort_spreads_over_all_warps(shape: tuple[int, int], dtype: str, warps: int, barriers: int) -> None:
    """Shuffles for the bits that lanes have, a passage through shared memory for those of warps, and one each to and
    from the layout of memory where threads hold more in a row than one access moves."""
    x = np.random.default_rng(1).permutation(shape[0] * shape[1]).reshape(shape).astype(dtype)
    args = {"x": x, "out": np.zeros_like(x)}
    found = counted(ordered, args, {"M": shape[0], "N": shape[1]}, "bar.sync", "shfl.sync.bfly", num_warps=warps)
    stages, held = shape[1].bit_length() - 1, x.size // (32 * warps)
    across = max(0, warps.bit_length() - shape[0].bit_length())  # bits of an index that are warps
    low = stages - across - 5
    in_lanes = sum(stages - bit for bit in range(low, low + 5))
    assert found == [barriers, in_lanes * held]


@rtriton.jit
def best(x, out, N: tl.constexpr, K: tl.constexpr):
    tl.store(out + tl.arange(0, K), tl.topk(tl.load(x + tl.arange(0, N)), K))


def test_topk_halves_in_registers_first() -> None:
    """Runs of 8 are sorted by each thread alone; two halvings leave 8 of its 32 elements for the shuffles."""
    x = np.random.default_rng(2).standard_normal(4096).astype(np.float32)
    (shuffles,) = counted(best, {"x": x, "out": np.zeros(8, np.float32)}, {"N": 4096, "K": 8}, "shfl.sync.bfly")
    assert shuffles == 5 * 8


@rtriton.jit
def turned(x, out, M: tl.constexpr, N: tl.constexpr):
    i, j = tl.arange(0, M), tl.arange(0, N)
    tl.store(out + j[:, None] * M + i, tl.trans(tl.load(x + i[:, None] * N + j)))


def test_a_transpose_of_halves_goes_by_wide_stores_and_ldmatrix() -> None:
    x = np.arange(64 * 64).astype(np.int16).view(np.float16).reshape(64, 64)
    found = counted(turned, {"x": x, "out": np.zeros_like(x)}, {"M": 64, "N": 64}, "ld.global.v4", "st.shared.v4",
                    "st.shared", "ldmatrix.sync.aligned.m8n8.x4.trans", "ld.shared", "st.global.v4")  # fmt: skip
    assert found == [4, 4, 4, 4, 0, 4]


@rtriton.jit
def bins_of(x, out, N: tl.constexpr, BINS: tl.constexpr):
    i = tl.arange(0, N)
    tile = tl.load(x + i)
    tl.store(out + tl.arange(0, BINS), tl.histogram(tile, BINS, mask=tile > 3))


def test_a_histogram_branches_around_no_atomic() -> None:
    x = np.random.default_rng(3).integers(-5, 150, 1024).astype(np.int32)
    found = counted(bins_of, {"x": x, "out": np.zeros(128, np.int32)}, {"N": 1024, "BINS": 128}, "red.shared", "bra")
    assert found == [8, 0]


@rtriton.jit
def place_of_largest(x, out, M: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, M)
    tl.store(out + i, tl.argmax(tl.load(x + i[:, None] * N + tl.arange(0, N)), 1))


def test_lanes_that_may_disagree_take_what_the_first_has() -> None:
    """Five steps of a shuffle for value and index each, nothing picked by index, and one more shuffle of each."""
    x = np.zeros((4, 128), np.float32)
    x[1, 77], x[2, 3:9], x[3] = 1, 2, np.nan
    found = counted(place_of_largest, {"x": x, "out": np.zeros(4, np.int32)}, {"M": 4, "N": 128}, "shfl.sync.bfly",
                    "selp")  # fmt: skip
    assert found == [10, 2 * (3 + 5) - 1]  # the last value is not asked for


@rtriton.jit
def of_rows(x, sums, tops, M: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, M)
    tile = tl.load(x + i[:, None] * N + tl.arange(0, N))
    tl.store(sums + i, tl.sum(tile, 1))
    tl.store(tops + i, tl.max(tile, 1))


@pytest.mark.parametrize("dtype", ["int32", "uint32"])
def test_integers_of_a_whole_warp_are_combined_by_one_instruction(dtype: str) -> None:
    x = np.random.default_rng(4).integers(0, 1 << 32, (4, 128), np.uint32).view(dtype)
    args = {"x": x, "sums": np.zeros(4, dtype), "tops": np.zeros(4, dtype)}
    assert counted(of_rows, args, {"M": 4, "N": 128}, "redux.sync.add", "redux.sync.max", "shfl.sync.b") == [1, 1, 0]


@rtriton.jit
def narrowed(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.load(x + i).to(tl.int8))


def test_four_bytes_become_a_word_by_three_permutations() -> None:
    x = np.random.default_rng(5).integers(-128, 128, 2048).astype(np.int16)
    args = {"x": x, "out": np.zeros(2048, np.int8)}
    assert counted(narrowed, args, {"N": 2048}, "prmt", "st.global.v4.b32") == [4, 1]
