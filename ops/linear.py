"""`linear(x, weight)`: y[t, n] = sum over k of x[t, k] * W[n, k], for packed (int4, int8, fp8) and dense weights.

Packed weights have 16 output rows in the lanes (ops/quant.py), so a program owns `ROWS` output rows and `TOKENS`
tokens, walks the groups of 32 k and reads its weights straight through memory. Within a group the codes are used as
they are:

    acc[t, n] += scale[n] * (sum over k of x[t, k] * q[n, k]) + minimum[n] * (sum over k of x[t, k])

so that a weight costs one conversion and one fused multiply-add per token. **The order in which k is summed depends on
neither TOKENS nor ROWS:** a token's result is the same to the last bit alone and in a batch.

Dense weights are row-major [N, K]: the lanes run along k and are summed once at the end (ops/matmul.py has the tiled
product for large matrices on a GPU).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import rtriton
import rtriton.language as tl
from ops.arrays import FLOATS, Arg, Checker, numpy_dtype
from ops.cases import Inputs, OpCase, normal
from ops.device import power_of_two, target
from ops.matmul import product
from ops.quant import QuantWeight, dequantize, quantize

FEW = 8  # tokens up to which a GPU reads dense weights row by row instead of multiplying tiles
CODE_DTYPES = {"int4": "uint8", "int8": "int8", "fp8": "fp8e4nv"}
SCALE_DTYPES = {"int4": "fp16", "int8": "fp16", "fp8": "fp32"}


@rtriton.jit
def packed_linear_kernel(
    x, data, scale, minimum, out, tokens, rows, groups, x_stride, out_stride,
    KIND: tl.constexpr, TOKENS: tl.constexpr, ROWS: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """ROWS is a multiple of 16 that divides the padded rows; EVEN says that no row is padding."""
    # tokens are the fast axis of the grid: programs that run close in time share their weights
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    tile = row // 16
    lane = row % 16
    k = tl.arange(0, 16)
    present = tl.minimum(token, tokens - 1)  # rows past the last token repeat it and are not stored
    xs = x + present.to(tl.int64)[:, None] * x_stride + k[None, :]
    if KIND == "int4":
        codes = data + (tile.to(tl.int64) * (groups * 256) + lane)[None, :] + k[:, None] * 16
    else:
        codes = data + (tile.to(tl.int64) * (groups * 512) + lane)[None, :] + k[:, None] * 16
    scales = tile * (groups * 16) + lane
    acc = tl.zeros([TOKENS, ROWS], tl.float32)
    for group in range(groups):
        low = tl.load(xs).to(tl.float32)
        high = tl.load(xs + 16).to(tl.float32)
        if KIND == "int4":
            packed = tl.load(codes).to(tl.int32)
            first = (packed & 15).to(tl.float32)
            second = (packed >> 4).to(tl.float32)
            codes += 256
        else:
            first = tl.load(codes).to(tl.float32)
            second = tl.load(codes + 256).to(tl.float32)
            codes += 512
        # two short chains of additions, not one long one: neither waits for the other
        product = tl.dot(low, first, input_precision=PRECISION)
        product += tl.dot(high, second, input_precision=PRECISION)
        if KIND == "fp8":
            acc += product
        else:
            acc += product * tl.load(scale + scales).to(tl.float32)[None, :]
        if KIND == "int4":
            total = tl.sum(low + high, 1)
            acc += total[:, None] * tl.load(minimum + scales).to(tl.float32)[None, :]
        xs += 32
        scales += 16
    if KIND == "fp8":
        acc *= tl.load(scale + row)[None, :]
    stored = token[:, None] < tokens
    if not EVEN:
        stored = stored & (row[None, :] < rows)
    outs = out + token.to(tl.int64)[:, None] * out_stride + row[None, :]
    tl.store(outs, acc.to(out.dtype.element_ty), mask=stored)


@rtriton.jit
def dense_linear_kernel(
    x, weight, out, tokens, rows, columns, x_stride, weight_stride, out_stride,
    TOKENS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    k = tl.arange(0, BLOCK)
    xs = x + tl.minimum(token, tokens - 1).to(tl.int64)[:, None, None] * x_stride + k[None, None, :]
    ws = weight + tl.minimum(row, rows - 1).to(tl.int64)[None, :, None] * weight_stride + k[None, None, :]
    acc = tl.zeros([TOKENS, ROWS, BLOCK], tl.float32)
    for start in range(0, columns, BLOCK):
        if EVEN:
            acc += tl.load(xs + start).to(tl.float32) * tl.load(ws + start).to(tl.float32)
        else:
            inside = (start + k < columns)[None, None, :]
            value = tl.load(xs + start, mask=inside, other=0.0).to(tl.float32)
            acc += value * tl.load(ws + start, mask=inside, other=0.0).to(tl.float32)
    result = tl.sum(acc, 2)
    outs = out + token.to(tl.int64)[:, None] * out_stride + row[None, :]
    stored = (token[:, None] < tokens) & (row[None, :] < rows)
    tl.store(outs, result.to(out.dtype.element_ty), mask=stored)


def linear(x: Any, weight: Any, out: Any = None) -> Any:
    """`x @ W.T`: each row of x times a weight matrix W of N outputs and K inputs.

    x: (T, K) of fp32, bf16 or fp16; weight: a QuantWeight of any kind, or an array (N, K) of fp32, bf16 or fp16. out:
    (T, N) of fp32, bf16 or fp16; dtype of x where absent. Sums are float32; on a CPU, a row's result is the same to
    the last bit whatever T is. Returns out.
    """
    check = Checker("linear")
    x = check.array("x", x, FLOATS, (None, None), rows=True)
    if isinstance(weight, QuantWeight) and weight.kind in CODE_DTYPES:
        return _packed(check, x, weight, out)
    matrix, name = (weight.data, "weight.data") if isinstance(weight, QuantWeight) else (weight, "weight")
    return _dense(check, x, check.array(name, matrix, FLOATS, (None, x.shape[1]), rows=True), out)


def _packed(check: Checker, x: Arg, weight: QuantWeight, out: Any) -> Any:
    rows, columns = weight.shape
    tokens = x.shape[0]
    if x.shape[1] != columns:
        raise check.fail("x", f"have the weight's {columns} columns", x.shape[1])
    data = check.array("weight.data", weight.data, (CODE_DTYPES[weight.kind],))
    scale = check.array("weight.scale", weight.scale, (SCALE_DTYPES[weight.kind],))
    minimum = check.array("weight.minimum", weight.minimum, ("fp16",), scale.shape) if weight.kind == "int4" else scale
    out = _output(check, out, x, rows)
    if not tokens or not rows:
        return out.result()
    blocks = packed_blocks(target(x), tokens, weight.tiles)
    grid = (-(-tokens // blocks["TOKENS"]), weight.tiles * 16 // blocks["ROWS"])
    packed_linear_kernel[grid](
        x.launch, data.launch, scale.launch, minimum.launch, out.launch, tokens, rows, columns // 32,
        x.strides[0], out.strides[0], KIND=weight.kind, EVEN=rows % 16 == 0, **blocks,
    )  # fmt: skip
    return out.result()


def _dense(check: Checker, x: Arg, weight: Arg, out: Any) -> Any:
    tokens, columns = x.shape
    rows = weight.shape[0]
    out = _output(check, out, x, rows)
    if not tokens or not rows:
        return out.result()
    if target(x) == "cuda" and tokens > FEW and x.dtype == weight.dtype:
        product(x, replace(weight, shape=weight.shape[::-1], strides=weight.strides[::-1]), out)
        return out.result()
    blocks = dense_blocks(target(x), tokens, columns)
    grid = (-(-tokens // blocks["TOKENS"]), -(-rows // blocks["ROWS"]))
    dense_linear_kernel[grid](
        x.launch, weight.launch, out.launch, tokens, rows, columns, x.strides[0], weight.strides[0], out.strides[0],
        EVEN=columns % blocks["BLOCK"] == 0, **blocks,
    )  # fmt: skip
    return out.result()


def packed_blocks(target: str, tokens: int, tiles: int) -> dict[str, Any]:
    """Tokens and rows of one program. Rows never change a result; on a CPU, tokens do not either."""
    if target == "cuda":
        rows = 64 if tiles % 4 == 0 else 16
        return {"TOKENS": 16 if tokens <= 16 else 64, "ROWS": rows, "PRECISION": "tf32", "num_warps": rows // 16}
    rows = 32 if tiles % 2 == 0 else 16
    return {"TOKENS": power_of_two(tokens, 8), "ROWS": rows, "PRECISION": "ieee"}


def dense_blocks(target: str, tokens: int, columns: int) -> dict[str, Any]:
    if target == "cuda":
        return {"TOKENS": power_of_two(tokens, 4), "ROWS": 4, "BLOCK": power_of_two(columns, 256), "num_warps": 4}
    return {"TOKENS": power_of_two(tokens, 4), "ROWS": 4, "BLOCK": 16}


def _output(check: Checker, out: Any, x: Arg, rows: int) -> Arg:
    if out is not None:
        return check.array("out", out, FLOATS, (x.shape[0], rows), rows=True)
    return check.output("out", None, x, (x.shape[0], rows))


# ---- meaning and cases --------------------------------------------------------------------------------


def linear_reference(x: np.ndarray, weight: Any) -> tuple[np.ndarray]:
    real = dequantize(weight) if isinstance(weight, QuantWeight) else weight
    return ((x.astype(np.float64) @ real.astype(np.float64).T).astype(x.dtype),)


def cases() -> list[OpCase]:
    small = [_case(kind, tokens, 48, 96) for kind in ("int4", "int8", "fp8") for tokens in (1, 3)]
    small += [_case(kind, tokens, 20, 72) for kind in ("f32", "bf16", "f16") for tokens in (1, 3)]
    small += [_case("f32", 9, 20, 72)]
    small += [_case("int4", 9, 37, 64), _case("int4", 2, 64, 64, "bf16"), _case("int8", 17, 16, 32, "fp16")]
    model = [_case(kind, tokens, 1536, 576, large=True) for kind in ("int4", "int8", "fp8", "f32") for tokens in (1, 8)]
    return small + model


def _case(kind: str, tokens: int, rows: int, columns: int, dtype: str = "fp32", large: bool = False) -> OpCase:
    def make(rng: np.random.Generator) -> Inputs:
        x = normal(rng, tokens, columns, dtype=numpy_dtype(dtype))
        return {"x": x, "weight": quantize(normal(rng, rows, columns, scale=0.1), kind)}

    name = f"{tokens}x{rows}x{columns}-{kind}" + ("" if dtype == "fp32" else f"-{dtype}")
    moved = quantize(np.zeros((rows, columns)), kind).nbytes if large else 0
    rtol, atol = {"fp32": (1e-5, 1e-5), "fp16": (2e-3, 2e-3), "bf16": (1.6e-2, 2e-2)}[dtype]
    return OpCase(
        "linear", name, make, lambda x, weight: (linear(x, weight),), linear_reference, rtol, atol,
        gpu_rtol=2e-2, gpu_atol=2e-2, bytes=moved, flops=2 * tokens * rows * columns, large=large,
    )  # fmt: skip
