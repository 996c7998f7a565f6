"""Kernels as one writes them for Triton: what benchmarks/kernels.py compiles twice, and their tests once.

Only the two import lines differ between the compilers. kernel_rows.py says sizes, options and what must come out.
"""

import rtriton as triton
import rtriton.language as tl


@triton.jit
def add_kernel(left, right, total, count, BLOCK: tl.constexpr):
    here = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = here < count
    tl.store(total + here, tl.load(left + here, mask=inside) + tl.load(right + here, mask=inside), mask=inside)


@triton.jit
def softmax_kernel(source, out, step, width, BLOCK: tl.constexpr):
    """A program per row."""
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    x = tl.load(source + row * step + columns, mask=inside, other=float("-inf"))
    weight = tl.exp(x - tl.max(x, axis=0))
    tl.store(out + row * step + columns, weight / tl.sum(weight, axis=0), mask=inside)


@triton.jit
def softmax_persistent_kernel(source, out, step, height, width, BLOCK: tl.constexpr, STAGES: tl.constexpr):
    """As in the tutorial: as many programs as the GPU holds at once, each with a share of the rows."""
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    for row in tl.range(tl.program_id(0), height, tl.num_programs(0), num_stages=STAGES):
        x = tl.load(source + row * step + columns, mask=inside, other=float("-inf"))
        weight = tl.exp(x - tl.max(x, axis=0))
        tl.store(out + row * step + columns, weight / tl.sum(weight, axis=0), mask=inside)


@triton.jit
def softmax_online_kernel(source, out, step, width, BLOCK: tl.constexpr):
    """Two passes over a row that need not fit into registers."""
    row = tl.program_id(0)
    source += row * step
    out += row * step
    top = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        x = tl.load(source + at, mask=at < width, other=float("-inf"))
        now = tl.maximum(top, x)
        total = total * tl.exp(top - now) + tl.exp(x - now)
        top = now
    highest = tl.max(top, axis=0)
    scale = 1 / tl.sum(total * tl.exp(top - highest), axis=0)
    for start in range(0, width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        x = tl.load(source + at, mask=at < width)
        tl.store(out + at, tl.exp(x - highest) * scale, mask=at < width)


@triton.jit
def layer_norm_kernel(x, y, weight, bias, means, rstds, step, width, eps, BLOCK: tl.constexpr):
    """As in the tutorial: three passes, of one turn each where BLOCK holds the row."""
    row = tl.program_id(0)
    x += row * step
    y += row * step
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        total += tl.load(x + at, mask=at < width, other=0.0).to(tl.float32)
    mean = tl.sum(total, axis=0) / width
    squares = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        away = tl.load(x + at, mask=at < width, other=0.0).to(tl.float32) - mean
        away = tl.where(at < width, away, 0.0)
        squares += away * away
    rstd = 1 / tl.sqrt(tl.sum(squares, axis=0) / width + eps)
    tl.store(means + row, mean)
    tl.store(rstds + row, rstd)
    for start in range(0, width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        inside = at < width
        w, b = tl.load(weight + at, mask=inside), tl.load(bias + at, mask=inside)
        normal = (tl.load(x + at, mask=inside, other=0.0).to(tl.float32) - mean) * rstd
        tl.store(y + at, normal * w + b, mask=inside)


@triton.jit
def layer_norm_backward_kernel(dx, dweight, dbias, dy, x, weight, means, rstds, step, height, width,
                               BLOCK: tl.constexpr):
    """dx, and each program's part of dweight and dbias, added up over its rows in registers."""
    at = tl.arange(0, BLOCK)
    inside = at < width
    w = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    dw = tl.zeros((BLOCK,), tl.float32)
    db = tl.zeros((BLOCK,), tl.float32)
    for row in range(tl.program_id(0), height, tl.num_programs(0)):
        upstream = tl.load(dy + row * step + at, mask=inside, other=0.0).to(tl.float32)
        away = tl.load(x + row * step + at, mask=inside, other=0.0).to(tl.float32) - tl.load(means + row)
        rstd = tl.load(rstds + row)
        normal = tl.where(inside, away * rstd, 0.0)
        grad = w * upstream
        along, level = tl.sum(normal * grad, axis=0) / width, tl.sum(grad, axis=0) / width
        tl.store(dx + row * step + at, (grad - normal * along - level) * rstd, mask=inside)
        dw += upstream * normal
        db += upstream
    tl.store(dweight + tl.program_id(0) * width + at, dw, mask=inside)
    tl.store(dbias + tl.program_id(0) * width + at, db, mask=inside)


@triton.jit
def layer_norm_weights_kernel(dweight, dbias, total_weight, total_bias, height, width,
                              BM: tl.constexpr, BN: tl.constexpr):
    """Adds up the parts that the backward kernel left."""
    columns = tl.program_id(0) * BN + tl.arange(0, BN)
    dw = tl.zeros((BM, BN), tl.float32)
    db = tl.zeros((BM, BN), tl.float32)
    for start in range(0, height, BM):
        rows = start + tl.arange(0, BM)
        inside = (rows < height)[:, None] & (columns < width)[None, :]
        place = rows[:, None] * width + columns[None, :]
        dw += tl.load(dweight + place, mask=inside, other=0.0)
        db += tl.load(dbias + place, mask=inside, other=0.0)
    tl.store(total_weight + columns, tl.sum(dw, axis=0), mask=columns < width)
    tl.store(total_bias + columns, tl.sum(db, axis=0), mask=columns < width)


@triton.jit
def dropout_kernel(source, out, count, probability, seed, BLOCK: tl.constexpr):
    here = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = here < count
    x = tl.load(source + here, mask=inside)
    kept = tl.rand(seed, here) > probability
    tl.store(out + here, tl.where(kept, x / (1 - probability), 0.0), mask=inside)


@triton.jit
def cross_entropy_kernel(logits, labels, losses, step, width, BLOCK: tl.constexpr):
    """A program per row: the maximum so far and the sum of exponentials, block by block."""
    row = tl.program_id(0).to(tl.int64)
    logits += row * step
    wanted = tl.load(logits + tl.load(labels + row)).to(tl.float32)
    top = float("-inf")
    total = 0.0
    for start in range(0, width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        x = tl.load(logits + at, mask=at < width, other=float("-inf")).to(tl.float32)
        now = tl.maximum(top, tl.max(x, axis=0))
        total = total * tl.exp(top - now) + tl.sum(tl.exp(x - now), axis=0)
        top = now
    tl.store(losses + row, tl.log(total) + top - wanted)


@triton.jit
def rms_norm_kernel(x, residual, summed, y, weight, step, width, eps, BLOCK: tl.constexpr):
    """The residual is added and kept, the sum normalised: what stands between two layers of a language model."""
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    inside = at < width
    place = row * step + at
    h = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    h += tl.load(residual + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(summed + place, h, mask=inside)
    rstd = tl.rsqrt(tl.sum(h * h, axis=0) / width + eps)
    w = tl.load(weight + at, mask=inside).to(tl.float32)
    tl.store(y + place, h * rstd * w, mask=inside)


@triton.jit
def rope_kernel(x, cosines, sines, out, step, HEADS: tl.constexpr, HALF: tl.constexpr):
    """Rotates the two halves of each head; a program per token."""
    token = tl.program_id(0)
    inner = tl.arange(0, HALF)
    c = tl.load(cosines + token * HALF + inner)[None, :]
    s = tl.load(sines + token * HALF + inner)[None, :]
    place = token * step + tl.arange(0, HEADS)[:, None] * (2 * HALF) + inner[None, :]
    low = tl.load(x + place).to(tl.float32)
    high = tl.load(x + place + HALF).to(tl.float32)
    tl.store(out + place, low * c - high * s)
    tl.store(out + place + HALF, high * c + low * s)


@triton.jit
def cumsum_kernel(source, out, step, width, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    place = tl.program_id(0) * step + at
    x = tl.load(source + place, mask=at < width, other=0.0)
    tl.store(out + place, tl.cumsum(x, axis=0), mask=at < width)


@triton.jit
def argmax_kernel(source, values, indices, step, width, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    x = tl.load(source + row * step + at, mask=at < width, other=float("-inf"))
    value, index = tl.max(x, axis=0, return_indices=True)
    tl.store(values + row, value)
    tl.store(indices + row, index)


@triton.jit
def topk_kernel(source, out, step, BM: tl.constexpr, WIDTH: tl.constexpr, K: tl.constexpr):
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    x = tl.load(source + rows[:, None] * step + tl.arange(0, WIDTH)[None, :])
    tl.store(out + rows[:, None] * K + tl.arange(0, K)[None, :], tl.topk(x, K, dim=1))


@triton.jit
def transpose_kernel(source, out, height, width, BM: tl.constexpr, BN: tl.constexpr):
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    columns = tl.program_id(1) * BN + tl.arange(0, BN)
    inside = (rows < height)[:, None] & (columns < width)[None, :]
    x = tl.load(source + rows[:, None] * width + columns[None, :], mask=inside)
    tl.store(out + columns[:, None] * height + rows[None, :], tl.trans(x), mask=tl.trans(inside))


@triton.jit
def row_sum_kernel(source, out, height, width, BM: tl.constexpr, BN: tl.constexpr):
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    total = tl.zeros((BM, BN), tl.float32)
    for start in range(0, width, BN):
        columns = start + tl.arange(0, BN)
        inside = (rows < height)[:, None] & (columns < width)[None, :]
        total += tl.load(source + rows[:, None] * width + columns[None, :], mask=inside, other=0.0)
    tl.store(out + rows, tl.sum(total, axis=1), mask=rows < height)


@triton.jit
def column_sum_kernel(source, out, height, width, CHUNK, BM: tl.constexpr, BN: tl.constexpr):
    """CHUNK rows of BN columns a program; the parts are left apart."""
    columns = tl.program_id(0) * BN + tl.arange(0, BN)
    first = tl.program_id(1) * CHUNK
    total = tl.zeros((BM, BN), tl.float32)
    for start in range(0, CHUNK, BM):
        rows = first + start + tl.arange(0, BM)
        inside = (rows < height)[:, None] & (columns < width)[None, :]
        total += tl.load(source + rows[:, None] * width + columns[None, :], mask=inside, other=0.0)
    tl.store(out + tl.program_id(1) * width + columns, tl.sum(total, axis=0), mask=columns < width)


@triton.jit
def histogram_kernel(source, out, count, BINS: tl.constexpr, BLOCK: tl.constexpr):
    """Each program counts its share of the blocks; the parts are left apart."""
    found = tl.zeros((BINS,), tl.int32)
    for start in range(tl.program_id(0) * BLOCK, count, tl.num_programs(0) * BLOCK):
        here = start + tl.arange(0, BLOCK)
        inside = here < count
        found += tl.histogram(tl.load(source + here, mask=inside, other=0), BINS, mask=inside)
    tl.store(out + tl.program_id(0) * BINS + tl.arange(0, BINS), found)


@triton.jit
def matmul_kernel(a, b, out, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, GROUP: tl.constexpr):
    """Programs walk down GROUP block rows before the next block column, so that neighbours share operands in the L2."""
    pid = tl.program_id(0)
    per_group = tl.cdiv(N, BN) * GROUP
    top = pid // per_group * GROUP
    height = min(GROUP, tl.cdiv(M, BM) - top)
    rows = (top + pid % per_group % height) * BM + tl.arange(0, BM)
    columns = pid % per_group // height * BN + tl.arange(0, BN)
    inner = tl.arange(0, BK)
    a_at = a + (rows % M)[:, None] * K + inner[None, :]
    b_at = b + inner[:, None] * N + (columns % N)[None, :]
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(0, K, BK):
        left = K - start
        x = tl.load(a_at, mask=inner[None, :] < left, other=0.0)
        y = tl.load(b_at, mask=inner[:, None] < left, other=0.0)
        acc = tl.dot(x, y, acc)
        a_at += BK
        b_at += BK * N
    tl.store(out + rows[:, None] * N + columns[None, :], acc.to(tl.float16),
             mask=(rows < M)[:, None] & (columns < N)[None, :])
