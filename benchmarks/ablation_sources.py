"""Kernels in which one pass of the compiler matters most: written without care for what the pass will put right."""

import rtriton as triton
import rtriton.language as tl


@triton.jit
def normalise_kernel(source, out, step, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Written for rows of any width; here one block holds the row (canonicalize: loops of one turn are none; then cse:
    the row is loaded once, not three times)."""
    source += tl.program_id(0) * step
    out += tl.program_id(0) * step
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, WIDTH, BLOCK):
        at = start + tl.arange(0, BLOCK)
        total += tl.load(source + at, mask=at < WIDTH, other=0.0).to(tl.float32)
    mean = tl.sum(total, axis=0) / WIDTH
    squares = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, WIDTH, BLOCK):
        at = start + tl.arange(0, BLOCK)
        away = tl.load(source + at, mask=at < WIDTH, other=0.0).to(tl.float32) - mean
        squares += tl.where(at < WIDTH, away * away, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(squares, axis=0) / WIDTH + 1e-5)
    for start in range(0, WIDTH, BLOCK):
        at = start + tl.arange(0, BLOCK)
        x = tl.load(source + at, mask=at < WIDTH, other=0.0).to(tl.float32)
        tl.store(out + at, (x - mean) * rstd, mask=at < WIDTH)


@triton.jit
def statistics(source, width, BLOCK: tl.constexpr):
    """Sum, largest and smallest of a row: more than every caller needs."""
    total, largest, smallest = 0.0, float("-inf"), float("inf")
    for start in range(0, width, BLOCK):
        x = tl.load(source + start + tl.arange(0, BLOCK))
        total += tl.sum(x, axis=0)
        largest = tl.maximum(largest, tl.max(x, axis=0))
        smallest = tl.minimum(smallest, tl.min(x, axis=0))
    return total, largest, smallest


@triton.jit
def mean_kernel(source, out, width, BLOCK: tl.constexpr):
    """Only the sum is used (dce: the other two are not computed)."""
    row = tl.program_id(0)
    total, _, _ = statistics(source + row * width, width, BLOCK)
    tl.store(out + row, total / width)


@triton.jit
def energy_kernel(source, means, scales, weights, out, width, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
                  TURNS: tl.constexpr):
    """Of columns that are normalised in blocks and weighted; what belongs to a column is loaded for each row, over the
    barrier of a reduction (licm: once, before the loop). A row is waited for before the next is loaded (unroll: TURNS
    rows are loaded at once)."""
    columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    first = tl.program_id(1) * CHUNK
    for i in tl.range(0, CHUNK, loop_unroll_factor=TURNS):
        x = tl.load(source + (first + i) * width + columns).to(tl.float32)
        away = x * tl.rsqrt(tl.sum(x * x) / BLOCK + 1e-5) - tl.load(means + columns)
        y = away * tl.load(scales + columns) * tl.load(weights + columns)
        total += y * y
    tl.store(out + tl.program_id(1) * width + columns, total)


@triton.jit
def known_width_kernel(source, out, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """A softmax whose masks always hold where the width is a multiple of the block (bounds: there are none)."""
    source += tl.program_id(0) * WIDTH
    out += tl.program_id(0) * WIDTH
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, WIDTH, BLOCK):
        at = start + tl.arange(0, BLOCK)
        total += tl.exp(tl.load(source + at, mask=at < WIDTH, other=float("-inf")))
    whole = tl.sum(total, axis=0)
    for start in range(0, WIDTH, BLOCK):
        at = start + tl.arange(0, BLOCK)
        x = tl.load(source + at, mask=at < WIDTH, other=float("-inf"))
        tl.store(out + at, tl.exp(x) / whole, mask=at < WIDTH)


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
    """A matrix product (mma: by tensor cores; combine: that add to the sum themselves)."""
    rows, columns = tl.program_id(0) * BM + tl.arange(0, BM), tl.program_id(1) * BN + tl.arange(0, BN)
    inner = tl.arange(0, BK)
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(0, K, BK):
        x = tl.load(a + rows[:, None] * K + (start + inner)[None, :])
        y = tl.load(b + (start + inner)[:, None] * N + columns[None, :])
        acc += tl.dot(x, y)
    tl.store(out + rows[:, None] * N + columns[None, :], acc)
