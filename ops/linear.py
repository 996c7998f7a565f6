"""`linear(x, weight)`: y[t, n] = sum over k of x[t, k] * W[n, k], for packed (int4, int8, fp8) and dense weights.

Packed weights have 16 output rows in the lanes (ops/quant.py), so a program owns `ROWS` output rows and `TOKENS`
tokens, walks the groups of 32 k and reads its weights straight through memory. Within a group the codes are used as
they are:

    acc[t, n] += scale[n] * (sum over k of x[t, k] * q[n, k]) + minimum[n] * (sum over k of x[t, k])

so that a weight costs one conversion and one fused multiply-add per token. **The order in which k is summed depends on
neither TOKENS nor ROWS:** a token's result is the same to the last bit alone and in a batch.

On a GPU up to `FEW` tokens are multiplied without tensor cores, a program per token and 16 rows, many groups at a time;
more tokens go through tensor cores, weights made real and both operands rounded to tf32. `deterministic=True` takes the
second way always.

Dense weights are row-major [N, K]: the lanes run along k and are summed once at the end (ops/matmul.py has the tiled
product for large matrices on a GPU).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ops.arrays import FLOATS, Arg, Checker, numpy_dtype
from ops.cases import Inputs, OpCase, normal
from ops.device import power_of_two, register_elements, target
from ops.linear_kernels import dense_linear_kernel, packed_gemv_kernel, packed_linear_kernel, packed_tile_kernel
from ops.matmul import product
from ops.quant import QuantWeight, dequantize, quantize

FEW = 8  # tokens up to which a GPU reads dense weights row by row instead of multiplying tiles
CODE_DTYPES = {"int4": "uint8", "int8": "int8", "fp8": "fp8e4nv"}
SCALE_DTYPES = {"int4": "fp16", "int8": "fp16", "fp8": "fp32"}


def linear(x: Any, weight: Any, out: Any = None, *, deterministic: bool = False) -> Any:
    """`x @ W.T`: each row of x times a weight matrix W of N outputs and K inputs.

    x: (T, K) of fp32, bf16 or fp16; weight: a QuantWeight of any kind, or an array (N, K) of fp32, bf16 or fp16. out:
    (T, N) of fp32, bf16 or fp16; dtype of x where absent. Sums are float32; on a CPU, a row's result is the same to
    the last bit whatever T is, and on a GPU it is with `deterministic`. Returns out.
    """
    check = Checker("linear")
    x = check.array("x", x, FLOATS, (None, None), rows=True)
    if isinstance(weight, QuantWeight) and weight.kind in CODE_DTYPES:
        return _packed(check, x, weight, out, deterministic)
    matrix, name = (weight.data, "weight.data") if isinstance(weight, QuantWeight) else (weight, "weight")
    dense = check.array(name, matrix, FLOATS, (None, x.shape[1]), rows=True)
    return _dense(check, x, dense, out, deterministic)


def _packed(check: Checker, x: Arg, weight: QuantWeight, out: Any, deterministic: bool) -> Any:
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
    codes = data.as_bytes() if weight.kind == "fp8" and target(x) == "cpu" else data.launch
    arrays = (x.launch, codes, scale.launch, minimum.launch, out.launch)
    if target(x) == "cuda":
        _packed_cuda(weight, x, arrays, out.strides[0], few=tokens <= FEW and not deterministic)
        return out.result()
    # as many tokens as registers hold share one conversion of a weight; one tile of rows at a time, because a program
    # that reads one stream gets a third more from memory than one that reads four (measured)
    share = power_of_two(tokens, min(8, register_elements() // 16))
    packed_linear_kernel[(-(-tokens // share), weight.tiles)](
        *arrays, tokens, rows, columns // 32, x.strides[0], out.strides[0],
        KIND=weight.kind, TOKENS=share, ROWS=16, EVEN=rows % 16 == 0, PRECISION="ieee",
    )  # fmt: skip
    return out.result()


def _packed_cuda(weight: QuantWeight, x: Arg, arrays: tuple[Any, ...], out_stride: int, *, few: bool) -> None:
    tokens, (rows, columns) = x.shape[0], weight.shape
    sizes = (rows, columns // 32, x.strides[0], out_stride)
    side_by_side = power_of_two(columns // 32, 8 if few else 4)
    options = {"KIND": weight.kind, "GROUPS": side_by_side, "EVEN": columns // 32 % side_by_side == 0, "num_warps": 4}
    if few:
        packed_gemv_kernel[(tokens, weight.tiles)](*arrays, *sizes, **options)
        return
    share = 16 if tokens <= 16 else 64
    packed_tile_kernel[(-(-tokens // share), weight.tiles)](
        *arrays, tokens, *sizes, TOKENS=share, PRECISION="tf32", **options
    )


def _dense(check: Checker, x: Arg, weight: Arg, out: Any, deterministic: bool) -> Any:
    tokens, columns = x.shape
    rows = weight.shape[0]
    out = _output(check, out, x, rows)
    if not tokens or not rows:
        return out.result()
    if target(x) == "cuda" and (tokens > FEW or deterministic) and x.dtype == weight.dtype:
        transposed = replace(weight, shape=weight.shape[::-1], strides=weight.strides[::-1])
        product(x, transposed, out, deterministic=deterministic)
        return out.result()
    blocks = dense_blocks(target(x), tokens, columns)
    grid = (-(-tokens // blocks["TOKENS"]), -(-rows // blocks["ROWS"]))
    dense_linear_kernel[grid](
        x.launch, weight.launch, out.launch, tokens, rows, columns, x.strides[0], weight.strides[0], out.strides[0],
        EVEN=columns % blocks["BLOCK"] == 0, **blocks,
    )  # fmt: skip
    return out.result()


def dense_blocks(target: str, tokens: int, columns: int) -> dict[str, Any]:
    if target == "cuda":
        return {"TOKENS": power_of_two(tokens, 4), "ROWS": 4, "BLOCK": power_of_two(columns, 256), "num_warps": 4}
    return {"TOKENS": power_of_two(tokens, 4), "ROWS": 4, "BLOCK": 16}


def _output(check: Checker, out: Any, x: Arg, rows: int) -> Arg:
    if out is not None:
        return check.array("out", out, FLOATS, (x.shape[0], rows), rows=True, written=True)
    return check.output("out", None, x, (x.shape[0], rows))


# ---- meaning and cases --------------------------------------------------------------------------------


def linear_reference(x: np.ndarray, weight: Any) -> tuple[np.ndarray]:
    real = dequantize(weight) if isinstance(weight, QuantWeight) else weight
    return ((x.astype(np.float64) @ real.astype(np.float64).T).astype(x.dtype),)


def cases() -> list[OpCase]:
    small = [_case(kind, tokens, 48, 96) for kind in ("int4", "int8", "fp8") for tokens in (1, 3)]
    small += [_case(kind, tokens, 20, 72) for kind in ("f32", "bf16", "f16") for tokens in (1, 3)]
    small += [_case("f32", 9, 20, 72)]
    small += [_case("int4", 9, 37, 64), _case("int4", 1, 32, 320), _case("fp8", 10, 32, 64)]
    small += [_case("int4", 2, 64, 64, "bf16"), _case("int8", 17, 16, 32, "fp16")]
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
