"""`matmul(a, b)`: the tiled product of two dense matrices, with float32 accumulators.

A program owns a BLOCK_M x BLOCK_N tile of the result and walks K. Programs are numbered so that GROUP rows of tiles
go column by column: those that run together share their columns of b in the cache. On a GPU cuBLASLt is the other way
to the same product; which one runs is decided by measurement (ops/gemm_choice.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import rtriton
import rtriton.language as tl
from ops import gemm_choice
from ops.arrays import FLOATS, Arg, Checker, numpy_dtype
from ops.cases import Inputs, OpCase, normal
from ops.device import power_of_two, target

PRECISIONS = ("ieee", "tf32")


@rtriton.jit
def matmul_kernel(
    a, b, out, m, n, k, a_row, a_column, b_row, b_column, out_row,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr, EVEN_K: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    tile_m, tile_n = tl.swizzle2d(
        tl.program_id(0) // tl.cdiv(n, BLOCK_N), tl.program_id(0) % tl.cdiv(n, BLOCK_N),
        tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N), GROUP,
    )  # fmt: skip
    rows = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    # rows and columns past the edge repeat the last one: loads need no mask, the store has one
    left = tl.minimum(rows, m - 1).to(tl.int64)[:, None] * a_row + inner[None, :] * a_column
    right = inner.to(tl.int64)[:, None] * b_row + tl.minimum(columns, n - 1).to(tl.int64)[None, :] * b_column
    acc = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in range(0, k, BLOCK_K):
        if EVEN_K:
            x = tl.load(a + left)
            y = tl.load(b + right)
        else:
            x = tl.load(a + left, mask=(start + inner < k)[None, :], other=0.0)
            y = tl.load(b + right, mask=(start + inner < k)[:, None], other=0.0)
        acc = tl.dot(x, y, acc, input_precision=PRECISION)
        a += BLOCK_K * a_column
        b += BLOCK_K * b_row
    outs = out + rows.to(tl.int64)[:, None] * out_row + columns[None, :]
    tl.store(outs, acc.to(out.dtype.element_ty), mask=(rows < m)[:, None] & (columns < n)[None, :])


def matmul(a: Any, b: Any, out: Any = None, *, precision: str | None = None) -> Any:
    """`a @ b`.

    a: (M, K), b: (K, N) of one dtype of fp32, bf16 or fp16, with any strides. out: (M, N) of fp32, bf16 or fp16;
    dtype of a where absent. precision: how fp32 is multiplied, "ieee" or "tf32" (tensor cores, 10 bits); ieee on a
    CPU and tf32 on a GPU where absent. Returns out.
    """
    check = Checker("matmul")
    a = check.array("a", a, FLOATS, (None, None), strided=True)
    b = check.array("b", b, (a.dtype,), (a.shape[1], None), strided=True)
    m, n = a.shape[0], b.shape[1]
    wanted = a.dtype if out is None else None
    out = (
        check.output("out", None, a, (m, n), wanted)
        if out is None
        else check.array("out", out, FLOATS, (m, n), rows=True, written=True)
    )
    if precision is not None and precision not in PRECISIONS:
        raise check.fail("precision", f"be one of {', '.join(PRECISIONS)}", repr(precision))
    if m and n:
        product(a, b, out, precision)
    return out.result()


def product(a: Arg, b: Arg, out: Arg, precision: str | None = None, *, deterministic: bool = False) -> None:
    """`out = a @ b` for checked arguments: the faster way, or with `deterministic` the kernel."""
    chosen = precision or ("tf32" if target(a) == "cuda" else "ieee")
    if deterministic:
        _tiled(a, b, out, chosen)
        return
    gemm_choice.run(a, b, out, chosen, lambda: _tiled(a, b, out, chosen))


def _tiled(a: Arg, b: Arg, out: Arg, precision: str) -> None:
    (m, k), n = a.shape, b.shape[1]
    blocks = _blocks(target(a), m, n, k)
    grid = (-(-m // blocks["BLOCK_M"]) * -(-n // blocks["BLOCK_N"]),)
    matmul_kernel[grid](
        a.launch, b.launch, out.launch, m, n, k, *a.strides, *b.strides, out.strides[0],
        EVEN_K=k % blocks["BLOCK_K"] == 0, PRECISION=precision, **blocks,
    )  # fmt: skip


def _blocks(target: str, m: int, n: int, k: int) -> dict[str, int]:
    if target == "cuda":
        block_m, block_n = max(16, power_of_two(m, 128)), max(16, power_of_two(n, 128))
        return {"BLOCK_M": block_m, "BLOCK_N": block_n, "BLOCK_K": 32, "GROUP": 8,
                "num_warps": 8 if block_m * block_n >= 128 * 128 else 4, "num_stages": 3}  # fmt: skip
    block_n, block_k = max(16, power_of_two(n, 64)), max(16, power_of_two(k, 64))
    return {"BLOCK_M": power_of_two(m, 64), "BLOCK_N": block_n, "BLOCK_K": block_k, "GROUP": 8}


# ---- meaning and cases --------------------------------------------------------------------------------


def matmul_reference(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray]:
    return ((a.astype(np.float64) @ b.astype(np.float64)).astype(a.dtype),)


def cases() -> list[OpCase]:
    small = [_case(33, 48, 40, d) for d in FLOATS] + [_case(64, 64, 64, "fp32", True), _case(1, 17, 64, "fp32")]
    return small + [_case(512, 512, 512, "fp32", large=True), _case(4096, 4096, 4096, "bf16", large=True)]


def _case(m: int, n: int, k: int, dtype: str, transposed: bool = False, large: bool = False) -> OpCase:
    def make(rng: np.random.Generator) -> Inputs:
        b = normal(rng, n, k, dtype=numpy_dtype(dtype)).T if transposed else normal(rng, k, n, dtype=numpy_dtype(dtype))
        return {"a": normal(rng, m, k, dtype=numpy_dtype(dtype)), "b": b}

    rtol, atol = {"fp32": (1e-5, 1e-4), "fp16": (2e-3, 1e-2), "bf16": (1.6e-2, 6e-2)}[dtype]
    name = f"{m}x{n}x{k}-{dtype}" + ("-transposed" if transposed else "")
    moved = (m * k + k * n + m * n) * numpy_dtype(dtype).itemsize
    return OpCase(
        "matmul", name, make, lambda a, b: (matmul(a, b),), matmul_reference, rtol, atol,
        gpu_rtol=2e-2, gpu_atol=6e-2, bytes=moved, flops=2 * m * n * k, large=large,
    )  # fmt: skip
