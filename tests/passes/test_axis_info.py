"""Axis info: what is known of addresses and masks, and that it holds for real numbers."""

from __future__ import annotations

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.frontend.lower import lower
from rtriton.interpret import interpret
from rtriton.ir import Kernel, walk
from rtriton.passes import run_pipeline
from rtriton.passes.analysis.axis_info import AxisInfo, axis_info
from rtriton.types import Pointer, float32, int32, shape_of


def kernel_of(fn: object, **divisible: int) -> Kernel:
    types = {"x": Pointer(float32), "n": int32, "stride": int32}
    return run_pipeline(lower(fn, types, {}, divisible, num_warps=4).kernel, None, "tile")  # type: ignore[arg-type]


def facts(fn: object, **divisible: int) -> tuple[AxisInfo, AxisInfo]:
    """What is known of the pointer and the mask of the kernel's load."""
    kernel = kernel_of(fn, **divisible)
    table = axis_info(kernel)
    (load,) = (op for op in walk(kernel.body) if op.kind == "load")
    return table[load.operands[0]], table[load.operands[1]]


@rtriton.jit
def row(x, n, stride):
    i = tl.program_id(0) * 256 + tl.arange(0, 256)
    tl.store(x + i, tl.load(x + i, mask=i < n))


@rtriton.jit
def matrix(x, n, stride):
    rows = (tl.program_id(0) * 32 + tl.arange(0, 32)) % n
    columns = tl.arange(0, 64)
    at = rows[:, None] * stride + columns[None, :]
    tl.store(x + at, tl.load(x + at, mask=columns[None, :] < n))


@rtriton.jit
def wrapped(x, n, stride):
    columns = (tl.program_id(0) * 64 + tl.arange(0, 64)) % n
    tl.store(x + columns, tl.load(x + columns, mask=columns < n))


@rtriton.jit
def walking(x, n, stride):
    p = x + tl.arange(0, 128)
    for k in range(4):
        v = tl.load(p, mask=tl.arange(0, 128) < n - k * 16)
        tl.store(p, v)
        p += stride


@rtriton.jit
def halves(x, n, stride):
    i = tl.arange(0, 256)
    at = (i & 127) + (i >> 7) * n + (i & -32) // 32 * 0
    tl.store(x + at, tl.load(x + at, mask=(i >> 5) < tl.minimum(n, stride)))


@rtriton.jit
def assuming(x, n, stride):
    tl.assume(n % 8 == 0)
    tl.assume(stride > 0)
    i = tl.arange(0, 256)
    tl.store(x + i, tl.load(x + n + i, mask=(i < n) & (i < stride // 16 * 16)))


def test_shifts_and_bits_of_a_range_keep_runs() -> None:
    pointer, mask = facts(halves, x=16, n=16)
    assert (pointer.contiguity, pointer.divisibility) == ((128,), (16,))
    assert mask.constancy == (32,)


def test_what_the_author_assumes_is_known() -> None:
    pointer, mask = facts(assuming, x=16)
    assert pointer.divisibility == (16,)
    assert mask.constancy == (8,)


def test_a_row_is_contiguous_and_aligned_as_its_pointer_is() -> None:
    pointer, mask = facts(row, x=16, n=16)
    assert pointer.contiguity == (256,) and pointer.divisibility == (16,) and mask.constancy == (16,)


def test_without_known_divisors_nothing_is_aligned() -> None:
    pointer, mask = facts(row)
    assert pointer.divisibility == (1,) and mask.constancy == (1,)


def test_a_matrix_is_contiguous_along_its_last_axis() -> None:
    pointer, mask = facts(matrix, x=16, n=16, stride=16)
    assert pointer.contiguity == (1, 64) and pointer.divisibility[1] == 16
    assert mask.constancy == (32, 16)


def test_a_remainder_by_a_multiple_of_16_keeps_runs_of_16() -> None:
    pointer, _ = facts(wrapped, x=16, n=16)
    assert pointer.contiguity == (16,)
    assert facts(wrapped, x=16)[0].contiguity == (1,)


def test_a_pointer_that_walks_keeps_what_every_step_keeps() -> None:
    pointer, mask = facts(walking, x=16, n=16, stride=16)
    assert pointer.contiguity == (128,) and pointer.divisibility == (16,) and mask.constancy == (16,)
    assert facts(walking, x=16, n=16)[0].divisibility == (4,)


@pytest.mark.parametrize("fn", [row, matrix, wrapped, walking, halves, assuming])
def test_what_is_claimed_holds_for_the_numbers_a_run_makes(fn: object) -> None:
    kernel = kernel_of(fn, x=16, n=16, stride=16)
    table = axis_info(kernel)
    wrong: list[str] = []

    def check(_: object, op: object, results: list[np.ndarray]) -> None:
        for value, array in zip(op.results, results, strict=True):  # type: ignore[attr-defined]
            if value in table and array.dtype.kind in "iub":
                wrong.extend(contradictions(table[value], array.reshape(shape_of(value.type) or (1,)), str(value)))

    interpret(kernel, (2,), [np.zeros(8192, np.float32), 96, 112], trace=check)
    assert not wrong


def contradictions(info: AxisInfo, array: np.ndarray, name: str) -> list[str]:
    found: list[str] = []
    numbers = array.astype(np.int64)
    for axis in range(array.ndim):
        line = np.moveaxis(numbers, axis, -1)
        for what, run, step in (("contiguity", info.contiguity[axis], 1), ("constancy", info.constancy[axis], 0)):
            runs = line.reshape(*line.shape[:-1], -1, run)
            if array.dtype != np.int64 and (np.diff(runs, axis=-1) != step).any():  # addresses are in bytes
                found.append(f"{name}: {what} {run} along {axis}")
    return found
