"""Structural ops, control flow and memory agree with the interpreter, on every target that runs here."""

from __future__ import annotations

import numpy as np
import pytest

from rtriton.backend.cpu.launch import CpuOptions, compile_cpu
from rtriton.errors import KernelError
from rtriton.ir import Block, Kernel, Value
from rtriton.language.table import builder
from rtriton.passes import run_pipeline
from rtriton.types import Pointer, Tile, float32
from tests.kernels.launch import lowered

from . import kernels as k
from .harness import TARGETS, agree

RNG = np.random.default_rng(7)
pytestmark = pytest.mark.parametrize("target", TARGETS)


def f32(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def zeros(*shape: int, dtype=np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def check(fn, target: str, grid: tuple[int, ...] = (1,), ulp: float = 0, **given) -> None:
    kernel, args = lowered(fn, **given)
    agree(kernel, grid, args, target, ulp)


def compiled(fn, target: str, **given) -> tuple[Kernel, list]:
    kernel, args = lowered(fn, **given)
    return compile_cpu(run_pipeline(kernel, None, "tile"), CpuOptions(target)), args


@pytest.mark.parametrize("shape", [(4, 8), (64, 32), (1, 64), (16, 2)])
def test_transposed_tiles_are_stored_transposed(target: str, shape: tuple[int, int]) -> None:
    m, n = shape
    check(k.transpose, target, x=f32(m, n), out=zeros(n, m), M=m, N=n)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(4, 8), (64, 32), (2, 256), (128, 4), (128, 128)])
def test_reductions_along_each_axis(target: str, shape: tuple[int, int], axis: int) -> None:
    m, n = shape
    size = n if axis == 0 else m
    x = RNG.integers(-50, 50, shape).astype(np.float32)  # whole numbers: the order of a sum does not matter
    out = [zeros(size), zeros(size), zeros(size, dtype=np.int32)]
    check(k.reduce_rows, target, x=x, out=out[0], biggest=out[1], where=out[2], M=m, N=n, AXIS=axis)


@pytest.mark.parametrize("size", [1, 2, 16, 128, 4096])
def test_reductions_to_one_number(target: str, size: int) -> None:
    check(k.reduce_all, target, x=RNG.integers(-9, 9, size).astype(np.float32), out=zeros(4), N=size)


@pytest.mark.parametrize("axis", [0, 1])
def test_scans_go_both_ways(target: str, axis: int) -> None:
    x = RNG.integers(-9, 9, (32, 16)).astype(np.float32)
    check(k.scans, target, x=x, up=zeros(32, 16), down=zeros(32, 16), M=32, N=16, AXIS=axis)


def test_a_scan_of_one_axis(target: str) -> None:
    check(k.flat_scan, target, x=RNG.integers(-9, 9, 512).astype(np.int32), out=zeros(512, dtype=np.int32), N=512)


def test_a_long_chain_of_ops_compiles(target: str) -> None:
    build = builder()
    x, out = Value(Pointer(float32), "x"), Value(Pointer(float32), "out")
    lanes = build.one("arange", start=0, end=16)
    value = build.one("load", build.one("addptr", build.one("splat", x, shape=(16,)), lanes))
    for _ in range(1500):
        value = build.one("add", value, build.const(1.0, Tile((16,), float32)))
    build.op("store", build.one("addptr", build.one("splat", out, shape=(16,)), lanes), value)
    kernel = Kernel("chain", Block((x, out), tuple(build.ops)), {})
    agree(kernel, (1,), [np.zeros(16, np.float32), zeros(16)], target, optimise=False)


@pytest.mark.parametrize("size", [4, 64, 1024])
def test_join_and_split_undo_each_other(target: str, size: int) -> None:
    check(
        k.joined, target, x=f32(size), y=f32(size), out=zeros(2 * size), first=zeros(size), second=zeros(size), N=size
    )


def test_gather_looks_elements_up(target: str) -> None:
    index = RNG.integers(0, 256, 256).astype(np.int32)
    check(k.looked_up, target, x=f32(256), index=index, out=zeros(256), N=256)


@pytest.mark.parametrize("shape", [(4, 8), (2, 128), (128, 2), (32, 64)])
def test_reshape_keeps_the_order(target: str, shape: tuple[int, int]) -> None:
    size = shape[0] * shape[1]
    check(k.reshaped, target, x=f32(size), out=zeros(size), M=shape[0], N=shape[1])


def test_cat_puts_one_behind_the_other(target: str) -> None:
    check(k.concatenated, target, x=f32(64), y=f32(64), out=zeros(128), N=64)


def test_histogram_counts_what_is_inside(target: str) -> None:
    x = RNG.integers(-2, 20, 256).astype(np.int32)
    check(k.histogram_kernel, target, x=x, out=zeros(16, dtype=np.int32), N=256, BINS=16)


def test_flip(target: str) -> None:
    check(k.flipped, target, x=f32(8, 32), out=zeros(8, 32), M=8, N=32)


@pytest.mark.parametrize("shape", [(1, 32, 16), (16, 16, 16), (64, 64, 32), (8, 128, 16), (2, 4, 64)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_products(target: str, shape: tuple[int, int, int], dtype: str) -> None:
    m, n, depth = shape
    a = RNG.integers(-8, 8, (m, depth)).astype(dtype)
    b = RNG.integers(-8, 8, (depth, n)).astype(dtype)
    check(k.products, target, a=a, b=b, out=zeros(m, n), M=m, N=n, K=depth)


@pytest.mark.parametrize("rows", [1, 2, 8])
@pytest.mark.parametrize("turns", [0, 1, 3])
def test_a_product_in_a_loop_reads_a_masked_tile_that_was_loaded_before_it(target: str, rows: int, turns: int) -> None:
    a = RNG.integers(-8, 8, (rows, 24)).astype(np.float32)
    b = RNG.integers(-8, 8, (3, 32, 16)).astype(np.float32)
    check(k.product_inside, target, a=a, b=b, out=zeros(rows, 16), n=turns, M=rows, N=16, K=32, DEPTH=24)


def test_products_of_transposed_tiles(target: str) -> None:
    a, b = (RNG.integers(-3, 3, s).astype(np.float32) for s in ((32, 16), (64, 32)))
    check(k.product_of_transposed, target, ulp=2, a=a, b=b, out=zeros(16, 64), M=16, N=64, K=32)


def test_batched_products(target: str) -> None:
    a, b = (RNG.integers(-3, 3, s).astype(np.float32) for s in ((2, 16, 16), (2, 16, 32)))
    check(k.batched, target, a=a, b=b, out=zeros(2, 16, 32), B=2, M=16, K=16, N=32)


@pytest.mark.parametrize("size", [16, 4096])
@pytest.mark.parametrize("turns", [0, 1, 4])
def test_carried_tiles_may_change_places(target: str, size: int, turns: int) -> None:
    check(k.carried_tiles, target, x=f32(2 * size), out=zeros(2 * size), n=turns, SIZE=size)


@pytest.mark.parametrize("size", [4, 64])
def test_a_carried_tile_may_read_itself_transposed(target: str, size: int) -> None:
    check(k.carried_square, target, ulp=8, x=np.abs(f32(size, size)), out=zeros(size, size), n=3, N=size)


@pytest.mark.parametrize("size", [8, 2048])
@pytest.mark.parametrize("n", [1, 9])
def test_branches_carry_scalars_and_tiles(target: str, size: int, n: int) -> None:
    x = RNG.integers(-4, 4, size).astype(np.float32)
    check(k.branches, target, (3,), x=x, out=zeros(3, size), n=n, SIZE=size)


def test_while_loops_run_until_their_condition_fails(target: str) -> None:
    check(k.collatz, target, (20,), x=np.arange(1, 21, dtype=np.int32), out=zeros(20, dtype=np.int32))


@pytest.mark.parametrize("size", [8, 512, 4096])
def test_all_of_a_tile_is_loaded_before_any_of_it_is_stored(target: str, size: int) -> None:
    check(k.in_place_shift, target, x=f32(size + 1), SIZE=size)
    check(k.rotated, target, x=f32(2 * size), N=size)


def test_atomics_of_tiles_and_scalars(target: str) -> None:
    x = RNG.integers(0, 10, 500).astype(np.int32)
    counts, total, biggest = zeros(10, dtype=np.int32), zeros(1), zeros(1, dtype=np.int32)
    check(k.atomics, target, (4,), x=x, counts=counts, total=total, biggest=biggest, n=500, SIZE=128)


def test_a_lock_lets_one_program_in_at_a_time(target: str) -> None:
    x = RNG.integers(-9, 9, 64 * 32).astype(np.float32)
    check(k.locked_sum, target, (64,), x=x, lock=zeros(1, dtype=np.int32), total=zeros(1), SIZE=32)


def test_strided_accesses(target: str) -> None:
    check(k.strided, target, x=f32(1000), out=zeros(512), step=7, n=1000, SIZE=256)


def test_indices_that_are_divided_stay_vector_loads(target: str) -> None:
    check(k.divided_index, target, (4,), x=f32(128), out=zeros(128), N=32)
    kernel, _ = compiled(k.divided_index, target, x=f32(128), out=zeros(128), N=32)
    assert "masked.gather" not in kernel.llvm


def test_pointers_that_move_in_a_loop_stay_vector_loads(target: str) -> None:
    x = RNG.integers(-9, 9, (4, 128)).astype(np.float32)
    check(k.moving_pointers, target, x=x, out=zeros(4), n=128, M=4, K=32)
    kernel, _ = compiled(k.moving_pointers, target, x=x, out=zeros(4), n=128, M=4, K=32)
    assert "masked.gather" not in kernel.llvm


def test_a_column_goes_to_the_lanes(target: str) -> None:
    check(k.column, target, ulp=1.5, x=f32(256, 1), out=zeros(256, 1), M=256)


def test_sibling_reductions_share_one_loop(target: str) -> None:
    x = RNG.integers(-9, 9, 1024).astype(np.float32)
    check(k.two_moments, target, x=x, out=zeros(2), N=1024)


def test_a_failed_assertion_is_an_error_with_its_message(target: str) -> None:
    kernel, _ = lowered(k.asserted, x=f32(8), N=8)
    native = compile_cpu(kernel, CpuOptions(target))
    good, bad = np.ones(8, np.float32), np.array([1] * 7 + [-1], np.float32)
    native.launch((1, 1, 1), [good.ctypes.data])
    if any(op.kind == "assert" for op in kernel.body.ops):
        with pytest.raises(KernelError, match="not positive"):
            native.launch((1, 1, 1), [bad.ctypes.data])
    native.launch((1, 1, 1), [good.ctypes.data])


def test_values_are_printed_with_their_program(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    kernel, args = compiled(k.printed, target, x=np.arange(4, dtype=np.float32), N=4)
    kernel.launch((1, 1, 1), [args[0].ctypes.data])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"pid (0, 0, 0) idx ({i}) value: {i}.000000" for i in range(4)]


def test_clamped_and_wrapped_indices_are_vector_loads_away_from_the_edge(target: str) -> None:
    x = f32(300)
    check(k.clamped, target, (5,), x=x, out=zeros(640), n=300, SIZE=128)
    kernel, _ = compiled(k.clamped, target, x=x, out=zeros(640), n=300, SIZE=128)
    text = kernel.llvm
    assert "masked.gather" in text and "load <" in text
