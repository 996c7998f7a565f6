"""Kernels that several files here run."""

import rtriton as triton
import rtriton.language as tl


@triton.jit
def chain_kernel(x, out, n, BLOCK: tl.constexpr):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + o, mask=o < n)
    tl.store(out + o, v * v + v, mask=o < n)


@triton.jit
def copy_kernel(x, out, n, start, BLOCK: tl.constexpr):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + o, tl.load(x + start + o, mask=o < n, other=-1), mask=o < n)


@triton.jit
def table_kernel(table, out, BLOCK: tl.constexpr, P: tl.constexpr):
    p = tl.load(table + tl.program_id(0)).to(P)
    o = tl.arange(0, BLOCK)
    tl.store(out + tl.program_id(0) * BLOCK + o, tl.load(p + o))


@triton.jit
def tally_kernel(x, out, old, BLOCK: tl.constexpr, KEEP: tl.constexpr):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    before = tl.atomic_add(out + tl.load(x + o), 1)
    if KEEP:
        tl.store(old + o, before)
