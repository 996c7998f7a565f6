"""RMS norm and layer norm over rows, each with one pass for the moments and one that writes.

`rms_norm(x, weight, eps, residual)` first adds the residual stream: `residual += x` is written back and its norm is the
result, which is how a transformer layer begins. Moments are float32 whatever the dtype of x.

A program owns a row. On a CPU the row is walked in blocks that divide it, so no lane is masked; on a GPU it is one
block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import rtriton
import rtriton.language as tl
from ops.arrays import FLOATS, Arg, Checker, numpy_dtype
from ops.cases import Inputs, OpCase, normal, tolerance
from ops.device import dividing_power, power_of_two, target


@rtriton.jit
def rms_norm_kernel(
    x, weight, residual, out, x_stride, residual_stride, out_stride, columns, eps,
    ADD: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK)
    squares = tl.zeros([BLOCK], tl.float32)
    for start in range(0, columns, BLOCK):
        column = start + lanes
        inside = column < columns
        value = load_row(x + row * x_stride, column, inside, EVEN)
        if ADD:
            value += load_row(residual + row * residual_stride, column, inside, EVEN)
            # what is normed is the sum as later layers will read it, rounded to its dtype
            rounded = value.to(residual.dtype.element_ty)
            store_row(residual + row * residual_stride, column, rounded, inside, EVEN)
            value = rounded.to(tl.float32)
        squares += value * value
    scale = tl.rsqrt(tl.sum(squares, 0) / columns + eps)
    if ADD:
        tl.debug_barrier()  # the second pass reads what the first one stored
    for start in range(0, columns, BLOCK):
        column = start + lanes
        inside = column < columns
        if ADD:
            value = load_row(residual + row * residual_stride, column, inside, EVEN)
        else:
            value = load_row(x + row * x_stride, column, inside, EVEN)
        scaled = value * scale * load_row(weight, column, inside, EVEN)
        store_row(out + row * out_stride, column, scaled.to(out.dtype.element_ty), inside, EVEN)


@rtriton.jit
def layer_norm_kernel(
    x, weight, bias, out, x_stride, out_stride, columns, eps, EVEN: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, columns, BLOCK):
        column = start + lanes
        total += load_row(x + row * x_stride, column, column < columns, EVEN)
    mean = tl.sum(total, 0) / columns
    squares = tl.zeros([BLOCK], tl.float32)
    for start in range(0, columns, BLOCK):
        column = start + lanes
        inside = column < columns
        centred = load_row(x + row * x_stride, column, inside, EVEN) - mean
        if not EVEN:
            centred = tl.where(inside, centred, 0.0)
        squares += centred * centred
    scale = tl.rsqrt(tl.sum(squares, 0) / columns + eps)
    for start in range(0, columns, BLOCK):
        column = start + lanes
        inside = column < columns
        centred = (load_row(x + row * x_stride, column, inside, EVEN) - mean) * scale
        value = centred * load_row(weight, column, inside, EVEN) + load_row(bias, column, inside, EVEN)
        store_row(out + row * out_stride, column, value.to(out.dtype.element_ty), inside, EVEN)


@rtriton.jit
def load_row(base, column, inside, EVEN: tl.constexpr):
    if EVEN:
        value = tl.load(base + column)
    else:
        value = tl.load(base + column, mask=inside, other=0.0)
    return value.to(tl.float32)


@rtriton.jit
def store_row(base, column, value, inside, EVEN: tl.constexpr):
    if EVEN:
        tl.store(base + column, value)
    else:
        tl.store(base + column, value, mask=inside)


def rms_norm(x: Any, weight: Any, eps: float, residual: Any = None, out: Any = None) -> Any:
    """Root mean square norm of each row: `x / sqrt(mean(x*x) + eps) * weight`.

    x: (T, H) of fp32, bf16 or fp16; weight: (H,) of any of them. With `residual` (T, H, dtype of x) the sum x +
    residual is normed, and written back to `residual`. out: (T, H), dtype of x; made where absent. Returns out.
    """
    check = Checker("rms_norm")
    x = check.array("x", x, FLOATS, (None, None), rows=True)
    rows, columns = x.shape
    weight = check.array("weight", weight, FLOATS, (columns,))
    if residual is not None:
        residual = check.array("residual", residual, (x.dtype,), x.shape, rows=True, written=True)
    eps = check.number("eps", eps)
    out = check.output("out", out, x, x.shape)
    if rows:
        stream = x if residual is None else residual
        rms_norm_kernel[(rows,)](
            x.launch, weight.launch, stream.launch, out.launch, x.strides[0], stream.strides[0], out.strides[0],
            columns, eps, ADD=residual is not None, **_blocks(x, columns),
        )  # fmt: skip
    return out.result()


def layer_norm(x: Any, weight: Any, bias: Any, eps: float = 1e-5, out: Any = None) -> Any:
    """Layer norm of each row: `(x - mean) / sqrt(variance + eps) * weight + bias`.

    x: (T, H) of fp32, bf16 or fp16; weight, bias: (H,) of any of them. out: (T, H), dtype of x; made where absent.
    Returns out.
    """
    check = Checker("layer_norm")
    x = check.array("x", x, FLOATS, (None, None), rows=True)
    rows, columns = x.shape
    weight = check.array("weight", weight, FLOATS, (columns,))
    bias = check.array("bias", bias, FLOATS, (columns,))
    eps = check.number("eps", eps)
    out = check.output("out", out, x, x.shape)
    if rows:
        layer_norm_kernel[(rows,)](
            x.launch, weight.launch, bias.launch, out.launch, x.strides[0], out.strides[0], columns, eps,
            **_blocks(x, columns),
        )  # fmt: skip
    return out.result()


def _blocks(x: Arg, columns: int) -> dict[str, Any]:
    if target(x) == "cuda":
        block = power_of_two(columns, 4096)
        return {"BLOCK": block, "EVEN": columns % block == 0, "num_warps": max(1, min(8, block // 256))}
    block = dividing_power(columns, 64)
    if block < 16:  # an odd width: masked blocks beat scalar ones
        block = min(64, power_of_two(columns, 64))
    return {"BLOCK": block, "EVEN": columns % block == 0}


# ---- meaning and cases --------------------------------------------------------------------------------


def rms_norm_reference(x: np.ndarray, weight: np.ndarray, eps: float, residual: np.ndarray | None = None) -> Any:
    """(result,) or, with a residual, (result, new residual)."""
    stream = x if residual is None else (x.astype(np.float32) + residual.astype(np.float32)).astype(x.dtype)
    wide = stream.astype(np.float64)
    scaled = wide / np.sqrt((wide**2).mean(1, keepdims=True) + eps) * weight.astype(np.float64)
    return (scaled.astype(x.dtype),) if residual is None else (scaled.astype(x.dtype), stream)


def layer_norm_reference(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float) -> tuple[np.ndarray]:
    wide = x.astype(np.float64)
    centred = wide - wide.mean(1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(1, keepdims=True) + eps)
    return ((scaled * weight.astype(np.float64) + bias.astype(np.float64)).astype(x.dtype),)


@dataclass(frozen=True)
class _Shape:
    rows: int
    columns: int
    dtype: str
    residual: bool = False
    large: bool = False


def cases() -> list[OpCase]:
    shapes = [_Shape(3, 576, "fp32"), _Shape(2, 576, "fp32", residual=True), _Shape(2, 100, "fp32", residual=True),
              _Shape(2, 192, "bf16", residual=True), _Shape(2, 96, "fp16"),
              _Shape(4096, 4096, "fp32", large=True)]  # fmt: skip
    return [_rms_case(s) for s in shapes] + [_layer_case(s) for s in shapes if not s.residual]


def _rms_case(s: _Shape) -> OpCase:
    def make(rng: np.random.Generator) -> Inputs:
        dtype = numpy_dtype(s.dtype)
        inputs: Inputs = {
            "x": normal(rng, s.rows, s.columns, dtype=dtype),
            "weight": normal(rng, s.columns),
            "eps": 1e-5,
        }
        return inputs | ({"residual": normal(rng, s.rows, s.columns, dtype=dtype)} if s.residual else {})

    def run(x: Any, weight: Any, eps: float, residual: Any = None) -> tuple[Any, ...]:
        out = rms_norm(x, weight, eps, residual)
        return (out,) if residual is None else (out, residual)

    rtol, atol = tolerance(s.dtype)
    return OpCase("rms_norm", _name(s), make, run, rms_norm_reference, rtol, atol, bytes=_moved(s), large=s.large)


def _layer_case(s: _Shape) -> OpCase:
    def make(rng: np.random.Generator) -> Inputs:
        x = normal(rng, s.rows, s.columns, dtype=numpy_dtype(s.dtype)) + numpy_dtype(s.dtype).type(3)
        return {"x": x, "weight": normal(rng, s.columns), "bias": normal(rng, s.columns), "eps": 1e-5}

    rtol, atol = tolerance(s.dtype)
    run = lambda **inputs: (layer_norm(**inputs),)  # noqa: E731
    return OpCase("layer_norm", _name(s), make, run, layer_norm_reference, rtol, atol, bytes=_moved(s), large=s.large)


def _name(s: _Shape) -> str:
    return f"{s.rows}x{s.columns}-{s.dtype}" + ("-residual" if s.residual else "")


def _moved(s: _Shape) -> int:
    return s.rows * s.columns * numpy_dtype(s.dtype).itemsize * (4 if s.residual else 2)
