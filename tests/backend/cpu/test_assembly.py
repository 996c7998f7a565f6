"""What the compiler emits for machines it does not run on: vectors in the hot loops, no call into any library."""

from __future__ import annotations

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.backend.cpu.launch import CpuOptions, compile_cpu
from rtriton.backend.cpu.target import NAMED, named
from rtriton.ir import Kernel
from rtriton.passes import run_pipeline
from rtriton.types import DTYPES
from tests.kernels.examples import examples
from tests.kernels.launch import lowered

from .assembly import PACKED, calls, count, innermost_loops, packed_loops
from .test_elementwise import casts_from, kernel_of_all

TARGETS = list(NAMED)


@rtriton.jit
def big_add(x, y, out, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    tl.store(out + at, tl.load(x + at, mask=inside) + tl.load(y + at, mask=inside), mask=inside)


@rtriton.jit
def big_softmax(x, out, n, BLOCK: tl.constexpr):
    row = tl.program_id(0) * n
    at = tl.arange(0, BLOCK)
    v = tl.load(x + row + at, mask=at < n, other=float("-inf"))
    weight = tl.exp(v - tl.max(v, 0))
    tl.store(out + row + at, weight / tl.sum(weight, 0), mask=at < n)


@rtriton.jit
def big_layer_norm(x, w, b, out, n, BLOCK: tl.constexpr):
    row = tl.program_id(0) * n
    at = tl.arange(0, BLOCK)
    v = tl.load(x + row + at, mask=at < n, other=0.0)
    mean = tl.sum(v, 0) / n
    centred = tl.where(at < n, v - mean, 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, 0) / n + 1e-5)
    out_value = centred * scale * tl.load(w + at, mask=at < n) + tl.load(b + at, mask=at < n)
    tl.store(out + row + at, out_value, mask=at < n)


@rtriton.jit
def gemv(x, w, out, k, N: tl.constexpr, K: tl.constexpr):
    """N columns in the lanes, K rows per turn."""
    column, row = tl.program_id(0) * N + tl.arange(0, N), tl.arange(0, K)
    acc = tl.zeros([N], tl.float32)
    for start in range(0, k, K):
        values = tl.load(x + start + row)
        acc += tl.sum(values[:, None] * tl.load(w + (start + row)[:, None] * 1024 + column[None, :]), 0)
    tl.store(out + column, acc)


@rtriton.jit
def matmul(a, b, out, k, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    i, j, d = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    acc = tl.zeros((M, N), tl.float32)
    for start in range(0, k, K):
        x = tl.load(a + i[:, None] * k + (start + d)[None, :])
        acc = tl.dot(x, tl.load(b + (start + d)[:, None] * N + j[None, :]), acc, input_precision="ieee")
    tl.store(out + i[:, None] * N + j[None, :], acc)


def hot_kernels() -> dict[str, Kernel]:
    x = np.zeros(4, np.float32)
    return {
        "add": lowered(big_add, x=x, y=x, out=x, n=4, BLOCK=4096)[0],
        "softmax": lowered(big_softmax, x=x, out=x, n=4, BLOCK=4096)[0],
        "layer norm": lowered(big_layer_norm, x=x, w=x, b=x, out=x, n=4, BLOCK=4096)[0],
        "gemv": lowered(gemv, x=x, w=x, out=x, k=4, N=32, K=32)[0],
        "matmul": lowered(matmul, a=x, b=x, out=x, k=4, M=64, N=64, K=32)[0],
    }


def asm_of(kernel: Kernel, target: str) -> str:
    return compile_cpu(run_pipeline(kernel, None, "tile"), CpuOptions(target)).asm["asm"]


@pytest.mark.parametrize("target", TARGETS)
def test_hot_loops_compute_on_whole_vectors_and_call_nothing(target: str) -> None:
    for name, kernel in hot_kernels().items():
        asm = asm_of(kernel, target)
        assert packed_loops(asm, target), f"{name}: no innermost loop of packed arithmetic only"
        assert calls(asm) == [], name


@pytest.mark.parametrize("target", TARGETS)
def test_a_product_keeps_its_sums_in_registers(target: str) -> None:
    """The loop over k multiplies and adds more often than it loads vectors, and stores nothing."""
    asm = asm_of(hot_kernels()["matmul"], target)
    arithmetic = r"fmadd|mulps|fmla|fmul"
    loop = max(innermost_loops(asm), key=lambda lines: count(arithmetic, lines))
    assert count(PACKED[target], loop) >= 8
    moves = ("vmovups\t%", "movups\t%", "movaps\t%", "str\t", "stp\t")
    stores = [line for line in loop if line.strip().startswith(moves) and line.rstrip().endswith((")", "]"))]
    assert stores == []


@pytest.mark.parametrize("target", TARGETS)
def test_tutorial_kernels_call_nothing(target: str) -> None:
    for example in examples():
        assert calls(asm_of(example.kernel, target)) == [], example.name


@pytest.mark.parametrize("target", TARGETS)
def test_no_op_of_the_table_calls_anything(target: str) -> None:
    """Every elementwise op and cast for every type: no mathematical library, no compiler's helper. On as many elements
    as a vector has bytes, which are whole vectors of every type."""
    size = named(target).vector_bits // 8
    for t in DTYPES:
        for kernel in (kernel_of_all(t, size)[0], casts_from(t, "rtne", size)[0]):
            assert calls(compile_cpu(kernel, CpuOptions(target)).asm["asm"]) == [], t
