"""Kernels whose costs are known by hand; the tests of `rtriton explore` look at them, too."""

import rtriton
import rtriton.language as tl

SIGNATURES = {
    "rows": "out=*f32,x=*f32,width=i32,BLOCK=1024",
    "transposed": "out=*f32,x=*f32,stride=i32:16,M=32,N=32",
}


@rtriton.jit
def halved(x):
    return x * 0.5


@rtriton.jit
def rows(out, x, width, BLOCK: tl.constexpr):
    columns = tl.arange(0, BLOCK)
    at = tl.program_id(0) * width + columns
    value = halved(tl.load(x + at, mask=columns < width, other=0.0))
    total = tl.sum(value, axis=0)
    tl.store(out + at, value / total, mask=columns < width)


@rtriton.jit
def transposed(out, x, stride, M: tl.constexpr, N: tl.constexpr):
    i, j = tl.arange(0, M), tl.arange(0, N)
    tile = tl.load(x + i[:, None] * stride + j[None, :])
    tl.store(out + i[None, :] + j[:, None] * M, tl.trans(tile))


@rtriton.jit
def strided(out, x, step, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(x + at * step))


@rtriton.jit
def products(out, a, b, turns, a_step, B: tl.constexpr, TURNS: tl.constexpr, STEP: tl.constexpr):
    i = tl.arange(0, B)
    acc = tl.zeros((B, B), tl.float32)
    for turn in range(TURNS if STEP else turns):
        x = tl.load(a + i[:, None] * a_step + i[None, :] + turn * B)
        y = tl.load(b + (turn * B + i)[:, None] * B + i[None, :])
        acc = tl.dot(x, y, acc)
    tl.store(out + i[:, None] * B + i[None, :], acc)
