"""Kernels in which one pass of the compiler matters most: written without care for what the pass will put right."""

import rtriton as triton
import rtriton.language as tl


@triton.jit
def moments(source, at, inside, width):
    """Mean, reciprocal deviation and maximum of a row: more than every caller needs."""
    x = tl.load(source + at, mask=inside, other=0.0)
    mean = tl.sum(x, axis=0) / width
    away = tl.where(inside, x - mean, 0.0)
    return mean, 1 / tl.sqrt(tl.sum(away * away, axis=0) / width + 1e-5), tl.max(x, axis=0)


@triton.jit
def normalise_kernel(source, out, step, width, BLOCK: tl.constexpr):
    """The row is loaded by the helper and again here (cse); the maximum is not used (dce)."""
    at = tl.arange(0, BLOCK)
    inside = at < width
    source += tl.program_id(0) * step
    mean, rstd, _ = moments(source, at, inside, width)
    x = tl.load(source + at, mask=inside, other=0.0)
    tl.store(out + tl.program_id(0) * step + at, (x - mean) * rstd, mask=inside)


@triton.jit
def scaled_kernel(source, weight, out, step, width, BLOCK: tl.constexpr):
    """A root mean square norm whose weights are loaded after the reduction (reorder: before)."""
    at = tl.arange(0, BLOCK)
    inside = at < width
    place = tl.program_id(0) * step + at
    x = tl.load(source + place, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x, axis=0) / width + 1e-5)
    y = x * scale * tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + place, y.to(tl.bfloat16), mask=inside)


@triton.jit
def causal_kernel(source, out, size, BM: tl.constexpr, BN: tl.constexpr):
    """Scores above the diagonal are dropped after they were loaded (combine: they are not loaded)."""
    rows = (tl.program_id(0) * BM + tl.arange(0, BM))[:, None]
    columns = (tl.program_id(1) * BN + tl.arange(0, BN))[None, :]
    seen = columns <= rows
    x = tl.load(source + rows * size + columns, mask=seen)
    tl.store(out + rows * size + columns, tl.where(seen, x, -10000.0))


@triton.jit
def variance_kernel(source, means, out, width, CHUNK, BLOCK: tl.constexpr):
    """Of columns; the means are loaded anew for each row (licm: once)."""
    columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    first = tl.program_id(1) * CHUNK
    for row in range(first, first + CHUNK):
        away = tl.load(source + row * width + columns) - tl.load(means + columns)
        total += away * away
    tl.store(out + tl.program_id(1) * width + columns, total)


@triton.jit
def unrolled_sum_kernel(source, out, width, BLOCK: tl.constexpr, TURNS: tl.constexpr):
    """A row in small blocks (unroll: several loads are under way at once)."""
    source += tl.program_id(0) * width
    total = tl.zeros((BLOCK,), tl.float32)
    for start in tl.range(0, width, BLOCK, loop_unroll_factor=TURNS):
        total += tl.load(source + start + tl.arange(0, BLOCK))
    tl.store(out + tl.program_id(0), tl.sum(total, axis=0))


@triton.jit
def transposes_kernel(a, b, c, out_a, out_b, out_c, size, B: tl.constexpr):
    """Three matrices, a tile of each (allocate: their buffers share memory)."""
    rows, columns = tl.program_id(0) * B + tl.arange(0, B), tl.program_id(1) * B + tl.arange(0, B)
    here = rows[:, None] * size + columns[None, :]
    there = columns[:, None] * size + rows[None, :]
    tl.store(out_a + there, tl.trans(tl.load(a + here)))
    tl.store(out_b + there, tl.trans(tl.load(b + here)))
    tl.store(out_c + there, tl.trans(tl.load(c + here)))


@triton.jit
def product_kernel(a, b, out, K, N, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """A matrix product (mma: by tensor cores)."""
    rows, columns = tl.program_id(0) * BM + tl.arange(0, BM), tl.program_id(1) * BN + tl.arange(0, BN)
    inner = tl.arange(0, BK)
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(0, K, BK):
        x = tl.load(a + rows[:, None] * K + (start + inner)[None, :])
        y = tl.load(b + (start + inner)[:, None] * N + columns[None, :])
        acc = tl.dot(x, y, acc)
    tl.store(out + rows[:, None] * N + columns[None, :], acc)
