"""Ops that pick rows: the embedding of token ids (from dense or packed weights) and `gather_rows`.

A packed table is dequantized row by row in the kernel, so a tied embedding needs no second copy. An id outside the
table gives a row of zeros: the memory beyond is never read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import rtriton
import rtriton.language as tl
from ops.arrays import FLOATS, INDEXES, Arg, Checker, numpy_dtype
from ops.cases import Inputs, OpCase, normal
from ops.device import power_of_two, target
from ops.quant import QuantWeight, dequantize_rows, quantize


@rtriton.jit
def gather_rows_kernel(table, ids, out, table_rows, columns, stride, out_stride, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    index = tl.load(ids + row).to(tl.int64)
    known = (index >= 0) & (index < table_rows)
    value = tl.load(table + index * stride + column, mask=(column < columns) & known, other=0.0)
    tl.store(out + row * out_stride + column, value.to(out.dtype.element_ty), mask=column < columns)


@rtriton.jit
def embedding_packed_kernel(
    data, scale, minimum, ids, out, table_rows, columns, out_stride, KIND: tl.constexpr, BLOCK: tl.constexpr
):
    """One row out of the packed layout: its lane of every (tile, group, k) cell (see ops/quant.py)."""
    row = tl.program_id(0).to(tl.int64)
    k = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    index = tl.load(ids + row).to(tl.int64)
    inside = (k < columns) & (index >= 0) & (index < table_rows)
    tile = index // 16
    lane = index % 16
    cell = tile * (columns // 32) + k // 32
    if KIND == "int4":
        byte = tl.load(data + (cell * 16 + k % 16) * 16 + lane, mask=inside).to(tl.int32)
        code = (byte >> ((k % 32) // 16 * 4)) & 15
    else:
        code = tl.load(data + (cell * 32 + k % 32) * 16 + lane, mask=inside)
    if KIND == "fp8":
        value = code.to(tl.float32) * tl.load(scale + tile * 16 + lane, mask=(index >= 0) & (index < table_rows))
    else:
        value = code.to(tl.float32) * tl.load(scale + cell * 16 + lane, mask=inside).to(tl.float32)
    if KIND == "int4":
        value += tl.load(minimum + cell * 16 + lane, mask=inside).to(tl.float32)
    value = tl.where(inside, value, 0.0)  # an unknown id read nothing
    tl.store(out + row * out_stride + k, value.to(out.dtype.element_ty), mask=k < columns)


def embedding(ids: Any, weight: Any, out: Any = None) -> Any:
    """The rows of a table named by token ids.

    ids: (T,) of int32 or int64; weight: a QuantWeight (V, H) of any kind, or an array (V, H) of fp32, bf16 or fp16.
    out: (T, H) of fp32, bf16 or fp16; where absent fp32 for a packed table, else the table's dtype. An id outside [0,
    V) gives zeros. Returns out.
    """
    check = Checker("embedding")
    ids = check.array("ids", ids, INDEXES, (None,))
    if not isinstance(weight, QuantWeight):
        return _gather(check, "weight", weight, ids, out, FLOATS)
    if weight.scale is None:
        return _gather(check, "weight.data", weight.data, ids, out, FLOATS)
    data = check.array("weight.data", weight.data, ("uint8", "int8", "fp8e4nv"))
    scale = check.array("weight.scale", weight.scale, ("fp16", "fp32"))
    minimum = scale if weight.minimum is None else check.array("weight.minimum", weight.minimum, ("fp16",), scale.shape)
    table_rows, columns = weight.shape
    out = _float_output(check, out, ids, (ids.shape[0], columns), "fp32")
    if ids.shape[0]:
        block = power_of_two(columns, _block(ids))
        embedding_packed_kernel[(ids.shape[0], -(-columns // block))](
            data.launch, scale.launch, minimum.launch, ids.launch, out.launch, table_rows, columns, out.strides[0],
            KIND=weight.kind, BLOCK=block,
        )  # fmt: skip
    return out.result()


def gather_rows(x: Any, rows: Any, out: Any = None) -> Any:
    """`x[rows]`: the hidden states whose logits are wanted.

    x: (T, H) of fp32, bf16 or fp16; rows: (R,) of int32 or int64, outside [0, T) gives zeros. out: (R, H), dtype of x;
    made where absent. Returns out.
    """
    check = Checker("gather_rows")
    return _gather(check, "x", x, check.array("rows", rows, INDEXES, (None,)), out, FLOATS)


def _gather(check: Checker, name: str, table: Any, ids: Arg, out: Any, dtypes: tuple[str, ...]) -> Any:
    table = check.array(name, table, dtypes, (None, None), rows=True)
    table_rows, columns = table.shape
    out = _float_output(check, out, table, (ids.shape[0], columns), table.dtype)
    if ids.shape[0]:
        block = power_of_two(columns, _block(table))
        gather_rows_kernel[(ids.shape[0], -(-columns // block))](
            table.launch, ids.launch, out.launch, table_rows, columns, table.strides[0], out.strides[0], BLOCK=block
        )
    return out.result()


def _float_output(check: Checker, out: Any, like: Arg, shape: tuple[int, ...], dtype: str) -> Arg:
    if out is not None:
        return check.array("out", out, FLOATS, shape, rows=True, written=True)
    return check.output("out", None, like, shape, dtype)


def _block(arg: Arg) -> int:
    return 1024 if target(arg) == "cuda" else 256


# ---- meaning and cases --------------------------------------------------------------------------------


def gather_rows_reference(x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray]:
    known = (rows >= 0) & (rows < len(x))
    return (np.where(known[:, None], x[np.where(known, rows, 0)], np.zeros((), x.dtype)),)


def embedding_reference(ids: np.ndarray, weight: Any) -> tuple[np.ndarray]:
    if isinstance(weight, QuantWeight):
        known = (ids >= 0) & (ids < weight.shape[0])
        return (np.where(known[:, None], dequantize_rows(weight, np.where(known, ids, 0)), np.float32(0)),)
    return gather_rows_reference(weight, ids)


def cases() -> list[OpCase]:
    packed = [_embedding_case(kind, 50, 96) for kind in ("int4", "int8", "fp8")] + [_embedding_case("int8", 40, 576)]
    plain = [_gather_case(dtype, 7, 100) for dtype in FLOATS]
    return [*packed, _embedding_case("f32", 20, 64), *plain]


def _embedding_case(kind: str, table_rows: int, columns: int) -> OpCase:
    def make(rng: np.random.Generator) -> Inputs:
        ids = np.array([0, table_rows - 1, 17, table_rows, -1], np.int32)
        return {"ids": ids, "weight": quantize(normal(rng, table_rows, columns), kind)}

    run = lambda ids, weight: (embedding(ids, weight),)  # noqa: E731
    # one rounding apart: a backend may fuse code * scale + minimum
    return OpCase("embedding", f"{table_rows}x{columns}-{kind}", make, run, embedding_reference, 1e-6, 1e-6)


def _gather_case(dtype: str, rows: int, columns: int) -> OpCase:
    def make(rng: np.random.Generator) -> Inputs:
        return {"x": normal(rng, rows, columns, dtype=numpy_dtype(dtype)), "rows": np.array([rows - 1, 0, 3], np.int64)}

    run = lambda x, rows: (gather_rows(x, rows),)  # noqa: E731
    return OpCase("gather_rows", f"{rows}x{columns}-{dtype}", make, run, gather_rows_reference, 0.0, 0.0)
