"""Softmax and argmax over rows of any length; a program owns a row.

On a GPU a row of up to 8192 columns is one tile. Longer rows, and all rows on a CPU, are walked in blocks: the
maximum, then `exp(x - maximum)` with its sum, then the division. The exponentials are kept in `out` where that is
fp32, else computed again.

Argmax takes the lowest index among equals and passes over NaN, so it gives 0 for a row of NaN or of minus infinity.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import rtriton
import rtriton.language as tl
from ops.arrays import FLOATS, INDEXES, Arg, Checker, numpy_dtype
from ops.cases import Inputs, OpCase, normal, tolerance
from ops.device import power_of_two, target

ONE_TILE = 8192  # columns that a GPU program holds in registers


@rtriton.jit
def softmax_tile_kernel(x, out, stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    value = tl.load(x + row * stride + column, mask=column < columns, other=float("-inf")).to(tl.float32)
    powers = tl.exp(value - tl.max(value, 0))
    result = powers / tl.sum(powers, 0)
    tl.store(out + row * out_stride + column, result.to(out.dtype.element_ty), mask=column < columns)


@rtriton.jit
def softmax_blocks_kernel(x, out, stride, out_stride, columns, KEEP: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    x += row * stride
    out += row * out_stride
    lanes = tl.arange(0, BLOCK)
    best = tl.full([BLOCK], float("-inf"), tl.float32)
    for start in range(0, columns, BLOCK):
        value = tl.load(x + start + lanes, mask=start + lanes < columns, other=float("-inf")).to(tl.float32)
        best = tl.maximum(best, value)
    most = tl.max(best, 0)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, columns, BLOCK):
        inside = start + lanes < columns
        value = tl.load(x + start + lanes, mask=inside, other=float("-inf")).to(tl.float32)
        powers = tl.exp(value - most)
        total += powers
        if KEEP:
            tl.store(out + start + lanes, powers, mask=inside)
    factor = 1.0 / tl.sum(total, 0)
    if KEEP:
        tl.debug_barrier()  # what the loop above stored is read below
    for start in range(0, columns, BLOCK):
        inside = start + lanes < columns
        if KEEP:
            powers = tl.load(out + start + lanes, mask=inside, other=0.0)
        else:
            value = tl.load(x + start + lanes, mask=inside, other=float("-inf")).to(tl.float32)
            powers = tl.exp(value - most)
        tl.store(out + start + lanes, (powers * factor).to(out.dtype.element_ty), mask=inside)


@rtriton.jit
def argmax_kernel(x, out, stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    _, index = row_argmax(x + row * stride, columns, BLOCK)
    tl.store(out + row, index.to(out.dtype.element_ty))


@rtriton.jit
def row_argmax(x, columns, BLOCK: tl.constexpr):
    """The largest value of a row and the lowest index that has it."""
    lanes = tl.arange(0, BLOCK)
    best = tl.full([BLOCK], float("-inf"), tl.float32)
    where = lanes
    for start in range(0, columns, BLOCK):
        column = start + lanes
        value = tl.load(x + column, mask=column < columns, other=float("-inf")).to(tl.float32)
        better = value > best  # strictly: the first of equals stays, NaN never wins
        best = tl.where(better, value, best)
        where = tl.where(better, column, where)
    most = tl.max(best, 0)
    return most, tl.min(tl.where(best == most, where, 2147483647), 0)


def softmax(x: Any, out: Any = None) -> Any:
    """Softmax of each row, computed in fp32.

    x: (T, N) of fp32, bf16 or fp16. out: (T, N), dtype of x; made where absent; may be x. Returns out.
    """
    check = Checker("softmax")
    x = check.array("x", x, FLOATS, (None, None), rows=True)
    rows, columns = x.shape
    out = check.output("out", out, x, x.shape)
    if not rows or not columns:
        return out.result()
    strides = (x.strides[0], out.strides[0])
    if target(x) == "cuda" and columns <= ONE_TILE:
        block = power_of_two(columns, ONE_TILE)
        softmax_tile_kernel[(rows,)](
            x.launch, out.launch, *strides, columns, BLOCK=block, num_warps=max(1, min(16, block // 256))
        )
        return out.result()
    softmax_blocks_kernel[(rows,)](
        x.launch, out.launch, *strides, columns, KEEP=out.dtype == "fp32", **row_blocks(x, columns)
    )
    return out.result()


def argmax(x: Any, out: Any = None) -> Any:
    """The index of the largest value of each row; the lowest among equals, NaN is passed over.

    x: (T, N >= 1) of fp32, bf16 or fp16. out: (T,) of int32 or int64; int32 where absent. Returns out.
    """
    check = Checker("argmax")
    x = check.array("x", x, FLOATS, (None, None), rows=True)
    rows, columns = x.shape
    if columns == 0:
        raise check.fail("x", "have at least one column", 0)
    if out is None:
        out = check.output("out", None, x, (rows,), "int32")
    else:
        out = check.array("out", out, INDEXES, (rows,), written=True)
    if rows:
        argmax_kernel[(rows,)](x.launch, out.launch, x.strides[0], columns, **row_blocks(x, columns))
    return out.result()


def row_blocks(x: Arg, columns: int) -> dict[str, int]:
    """Block sizes for kernels that walk a long row."""
    if target(x) == "cuda":
        return {"BLOCK": power_of_two(columns, 4096), "num_warps": 8 if columns > 1024 else 4}
    return {"BLOCK": power_of_two(columns, 128)}


# ---- meaning and cases --------------------------------------------------------------------------------


def softmax_reference(x: np.ndarray) -> tuple[np.ndarray]:
    wide = x.astype(np.float64)
    powers = np.exp(wide - wide.max(1, keepdims=True))
    return ((powers / powers.sum(1, keepdims=True)).astype(x.dtype),)


def argmax_reference(x: np.ndarray) -> tuple[np.ndarray]:
    return (np.where(np.isnan(x), -np.inf, x.astype(np.float64)).argmax(1).astype(np.int32),)


def cases() -> list[OpCase]:
    shapes = [(3, 64, "fp32"), (2, 1000, "fp32"), (2, 100, "bf16"), (2, 100, "fp16"), (1, 9000, "fp32")]
    large = [
        _softmax_case(4096, 4096, "fp32", True),
        _argmax_case(1, 131072, "fp32", True),
        _argmax_case(64, 131072, "fp32", True),
    ]
    return [_softmax_case(*s) for s in shapes] + [_argmax_case(*s) for s in shapes] + large


def _softmax_case(rows: int, columns: int, dtype: str, large: bool = False) -> OpCase:
    def make(rng: np.random.Generator) -> Inputs:
        return {"x": normal(rng, rows, columns, dtype=numpy_dtype(dtype), scale=4.0)}

    rtol, atol = tolerance(dtype)
    moved = 2 * rows * columns * numpy_dtype(dtype).itemsize
    run = lambda x: (softmax(x),)  # noqa: E731
    return OpCase(
        "softmax", f"{rows}x{columns}-{dtype}", make, run, softmax_reference, rtol, atol, bytes=moved, large=large
    )


def _argmax_case(rows: int, columns: int, dtype: str, large: bool = False) -> OpCase:
    def make(rng: np.random.Generator) -> Inputs:
        x = normal(rng, rows, columns, dtype=numpy_dtype(dtype))
        x[:, columns // 3] = x[:, -1] = 50  # a tie, and the last column
        x[0, 1] = np.nan
        return {"x": x}

    moved = rows * columns * numpy_dtype(dtype).itemsize
    run = lambda x: (argmax(x),)  # noqa: E731
    return OpCase(
        "argmax", f"{rows}x{columns}-{dtype}", make, run, argmax_reference, 0.0, 0.0, bytes=moved, large=large
    )
