"""Pooling: rows of hidden states to one vector for each segment of them, as embeddings are made.

A segment's vector is the sum of its rows, divided by how many there are (mean) or not at all (a segment of one row is
that row), then divided by its own length where that is asked for. A segment that comes in several calls, as a prompt
comes in chunks, starts from what it had: `carry`.

Rows are added one after the other in float32, first to last, so that a sum in pieces is bit for bit the sum at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import rtriton
import rtriton.language as tl
from ops.arrays import FLOATS, Arg, Checker, numpy_dtype
from ops.cases import Inputs, OpCase, normal
from ops.device import dividing_power, power_of_two, target
from ops.norm import load_row, store_row

SMALLEST = 1e-12
"""The length that a shorter vector is divided by, as torch.nn.functional.normalize does it."""


@rtriton.jit
def segment_sum_kernel(
    x, starts, ends, counts, carry, out, rows, columns, x_stride, carry_stride, out_stride,
    EVEN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    segment = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < columns
    first = tl.maximum(tl.load(starts + segment), 0)
    end = tl.minimum(tl.load(ends + segment), rows)
    total = load_row(carry + segment * carry_stride, column, inside, EVEN)
    for row in range(first, end):
        total += load_row(x + row.to(tl.int64) * x_stride, column, inside, EVEN)
    divisor = tl.maximum(tl.load(counts + segment), 1).to(tl.float32)
    store_row(out + segment * out_stride, column, total / divisor, inside, EVEN)


@rtriton.jit
def unit_length_kernel(
    wanted, out, out_stride, columns, SMALLEST: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    if tl.load(wanted + row) != 0:
        lanes = tl.arange(0, BLOCK)
        squares = tl.zeros([BLOCK], tl.float32)
        for start in range(0, columns, BLOCK):
            column = start + lanes
            value = load_row(out + row * out_stride, column, column < columns, EVEN)
            squares += value * value
        length = tl.maximum(tl.sqrt(tl.sum(squares, 0)), SMALLEST)
        for start in range(0, columns, BLOCK):
            column = start + lanes
            inside = column < columns
            value = load_row(out + row * out_stride, column, inside, EVEN)
            store_row(out + row * out_stride, column, value / length, inside, EVEN)


def pool(x: Any, starts: Any, ends: Any, counts: Any, normalize: Any, carry: Any, out: Any = None) -> Any:
    """Segment p is `(carry[p] + x[starts[p]] + ... + x[ends[p] - 1]) / max(counts[p], 1)`, and where `normalize[p]` is
    not 0 that divided by its Euclidean length, or by 1e-12 if it is shorter.

    x: (T, H) of fp32, bf16 or fp16; starts, ends, counts, normalize: (P,) of int32; a segment is empty where its end is
    not above its start, and rows outside [0, T) are not read. carry: (P, H) of fp32, zeros where nothing came before.
    out: (P, H) of fp32, another array than carry; made where absent. Returns out.
    """
    check = Checker("pool")
    x = check.array("x", x, FLOATS, (None, None), rows=True)
    rows, columns = x.shape
    starts = check.array("starts", starts, ("int32",), (None,))
    segments = starts.shape[0]
    ends, counts, normalize = (
        check.array(name, value, ("int32",), (segments,))
        for name, value in (("ends", ends), ("counts", counts), ("normalize", normalize))
    )
    carry = check.array("carry", carry, ("fp32",), (segments, columns), rows=True)
    out = check.output("out", out, carry, (segments, columns))
    if segments and columns:
        meta = _blocks(x, columns)
        segment_sum_kernel[(segments, -(-columns // meta["BLOCK"]))](
            x.launch, starts.launch, ends.launch, counts.launch, carry.launch, out.launch, rows, columns,
            x.strides[0], carry.strides[0], out.strides[0], **meta,
        )  # fmt: skip
        unit_length_kernel[(segments,)](
            normalize.launch, out.launch, out.strides[0], columns, SMALLEST=SMALLEST, **meta
        )
    return out.result()


def _blocks(x: Arg, columns: int) -> dict[str, Any]:
    # a GPU's block is small: what a prompt has of parallel work is its columns
    block = power_of_two(columns, 256) if target(x) == "cuda" else dividing_power(columns, 64)
    if block < 16:  # an odd width: masked blocks beat scalar ones
        block = min(64, power_of_two(columns, 64))
    return {"BLOCK": block, "EVEN": columns % block == 0}


# ---- meaning and cases --------------------------------------------------------------------------------


def pool_reference(
    x: np.ndarray, starts: np.ndarray, ends: np.ndarray, counts: np.ndarray, normalize: np.ndarray, carry: np.ndarray
) -> tuple[np.ndarray]:
    wide, found = x.astype(np.float64), carry.astype(np.float64)
    for p, (start, end) in enumerate(zip(starts, ends, strict=True)):
        found[p] += wide[max(start, 0) : max(end, 0)].sum(0)
        found[p] /= max(counts[p], 1)
        if normalize[p]:
            found[p] /= max(np.sqrt((found[p] ** 2).sum()), SMALLEST)
    return (found.astype(np.float32),)


@dataclass(frozen=True)
class _Shape:
    rows: int
    columns: int
    dtype: str
    segments: tuple[tuple[int, int, int, int], ...]
    """start, end, count, normalize"""
    large: bool = False


def cases() -> list[OpCase]:
    # a mean, a last row, a chunk that is not the last, padding, the end of a prompt that came in chunks, out of range
    some = ((0, 5, 5, 1), (6, 7, 1, 1), (5, 6, 0, 0), (0, 0, 0, 0), (2, 7, 300, 0), (-3, 99, 7, 1))
    many = tuple((64 * i, 64 * i + 64, 64, 1) for i in range(32))
    shapes = [_Shape(7, 576, "fp32", some), _Shape(7, 100, "fp32", some), _Shape(7, 7, "fp32", some[:2]),
              _Shape(7, 96, "bf16", some[:3]), _Shape(7, 64, "fp16", some[:3]),
              _Shape(2048, 4096, "fp32", many, large=True)]  # fmt: skip
    return [_case(shape) for shape in shapes]


def _case(s: _Shape) -> OpCase:
    def make(rng: np.random.Generator) -> Inputs:
        starts, ends, counts, normalize = np.array(s.segments, np.int32).T.copy()
        carry = normal(rng, len(s.segments), s.columns)
        carry[:2] = 0
        x = normal(rng, s.rows, s.columns, dtype=numpy_dtype(s.dtype))
        return {"x": x, "starts": starts, "ends": ends, "counts": counts, "normalize": normalize, "carry": carry}

    run = lambda **inputs: (pool(**inputs),)  # noqa: E731
    name = f"{s.rows}x{s.columns}-{len(s.segments)}-{s.dtype}"
    read = sum(end - start for start, end, _, _ in s.segments) * s.columns * numpy_dtype(s.dtype).itemsize
    return OpCase("pool", name, make, run, pool_reference, 1e-5, 1e-5, bytes=read, large=s.large)
