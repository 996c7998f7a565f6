"""The kernel that the tests of the page look at."""

import rtriton
import rtriton.language as tl

SIGNATURES = {"rows": "out=*f32,x=*f32,width=i32,BLOCK=1024", "turned": "out=*f32,x=*f32,M=32,N=32"}


@rtriton.jit
def halved(x):
    return x * 0.5


@rtriton.jit
def rows(out, x, width, BLOCK: tl.constexpr):
    columns = tl.arange(0, BLOCK)
    at = tl.program_id(0) * width + columns
    value = halved(tl.load(x + at, mask=columns < width, other=0.0))
    tl.store(out + at, value / tl.sum(value, axis=0), mask=columns < width)


@rtriton.jit
def turned(out, x, M: tl.constexpr, N: tl.constexpr):
    i, j = tl.arange(0, M), tl.arange(0, N)
    tile = tl.load(x + i[:, None] * N + j[None, :])
    tl.store(out + j[:, None] * M + i[None, :], tl.trans(tile))
