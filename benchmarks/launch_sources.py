"""Kernels whose launches are timed: 1, 3, 5 and 19 arguments, each with a captured constexpr that launches look at."""

from __future__ import annotations

import rtriton as triton
import rtriton.language as tl

STEP = tl.constexpr(1)


@triton.jit
def one(x, BLOCK: tl.constexpr):
    tl.store(x, tl.load(x) + STEP)


@triton.jit
def three(x, y, out, BLOCK: tl.constexpr):
    tl.store(out, tl.load(x) + tl.load(y) + STEP)


@triton.jit
def five(x, y, out, n, m, BLOCK: tl.constexpr):
    tl.store(out, tl.load(x) + tl.load(y) + n + m + STEP)


@triton.jit
def nineteen(x, y, z, w, out, a, b, c, d, e, f, g, h, i, j, k, l, m, n, BLOCK: tl.constexpr):
    total = a + b + c + d + e + f + g + h + i + j + k + l + m + n + STEP
    tl.store(out, tl.load(x) + tl.load(y) + tl.load(z) + tl.load(w) + total)
