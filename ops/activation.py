"""SiLU-mul, the gate of a Llama feed-forward layer: `silu(gate) * up`, read from the two halves of one row.

The gate and up projections are one fused matrix, so one row of its result is `[gate | up]`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import rtriton
import rtriton.language as tl
from ops.arrays import FLOATS, Checker, numpy_dtype
from ops.cases import Inputs, OpCase, normal, tolerance
from ops.device import power_of_two, target


@rtriton.jit
def silu_mul_kernel(gate_up, out, stride, out_stride, columns, EVEN: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    gates = gate_up + row * stride + column
    if EVEN:
        gate = tl.load(gates).to(tl.float32)
        up = tl.load(gates + columns).to(tl.float32)
    else:
        inside = column < columns
        gate = tl.load(gates, mask=inside, other=0.0).to(tl.float32)
        up = tl.load(gates + columns, mask=inside, other=0.0).to(tl.float32)
    value = (gate / (1.0 + tl.exp(-gate)) * up).to(out.dtype.element_ty)
    if EVEN:
        tl.store(out + row * out_stride + column, value)
    else:
        tl.store(out + row * out_stride + column, value, mask=inside)


def silu_mul(gate_up: Any, out: Any = None) -> Any:
    """`silu(gate) * up` where a row of `gate_up` is gate then up.

    gate_up: (T, 2F) of fp32, bf16 or fp16. out: (T, F), dtype of gate_up; made where absent. Returns out.
    """
    check = Checker("silu_mul")
    gate_up = check.array("gate_up", gate_up, FLOATS, (None, None), rows=True)
    rows, both = gate_up.shape
    if both % 2:
        raise check.fail("gate_up", "have an even number of columns (gate, then up)", both)
    columns = both // 2
    out = check.output("out", out, gate_up, (rows, columns))
    if rows and columns:
        block = power_of_two(columns, 1024 if target(gate_up) == "cuda" else 512)
        silu_mul_kernel[(rows, -(-columns // block))](
            gate_up.launch, out.launch, gate_up.strides[0], out.strides[0], columns,
            EVEN=columns % block == 0, BLOCK=block,
        )  # fmt: skip
    return out.result()


def silu_mul_reference(gate_up: np.ndarray) -> tuple[np.ndarray]:
    gate, up = np.split(gate_up.astype(np.float64), 2, axis=1)
    return ((gate / (1 + np.exp(-gate)) * up).astype(gate_up.dtype),)


def cases() -> list[OpCase]:
    return [_case(2, 1536, "fp32"), _case(3, 100, "fp32"), _case(2, 128, "bf16"), _case(1, 64, "fp16"),
            _case(4096, 4096, "fp32", large=True)]  # fmt: skip


def _case(rows: int, columns: int, dtype: str, large: bool = False) -> OpCase:
    def make(rng: np.random.Generator) -> Inputs:
        return {"gate_up": normal(rng, rows, 2 * columns, dtype=numpy_dtype(dtype), scale=3.0)}

    rtol, atol = tolerance(dtype)
    moved = 3 * rows * columns * numpy_dtype(dtype).itemsize
    return OpCase(
        "silu_mul", f"{rows}x{columns}-{dtype}", make, lambda gate_up: (silu_mul(gate_up),), silu_mul_reference,
        rtol, atol, bytes=moved, large=large,
    )  # fmt: skip
