"""The tasks of Triton's tutorials 01 to 06, written anew: what users' first kernels look like.

Argument order is that of the tutorials, so that their own source can stand in for these (tests/peers).
"""
# fmt: off
import rtriton as triton
import rtriton.language as tl


@triton.jit
def add_kernel(left, right, total, count, BLOCK: tl.constexpr):
    here = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = here < count
    tl.store(total + here, tl.load(left + here, mask=inside) + tl.load(right + here, mask=inside), mask=inside)


@triton.jit
def softmax_kernel(out, source, source_step, out_step, height, width, BLOCK: tl.constexpr, STAGES: tl.constexpr):
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    for row in tl.range(tl.program_id(0), height, tl.num_programs(0), num_stages=STAGES):
        x = tl.load(source + row * source_step + columns, mask=inside, other=float("-inf"))
        weight = tl.exp(x - tl.max(x, axis=0))
        tl.store(out + row * out_step + columns, weight / tl.sum(weight, axis=0), mask=inside)


@triton.jit
def leaky(x):
    return tl.where(x < 0, x * 0.01, x)


@triton.jit
def grouped(pid, rows, columns, GROUP: tl.constexpr):
    """Programs walk down GROUP block rows before the next block column, so that neighbours share operands in cache."""
    per_group = columns * GROUP
    top = pid // per_group * GROUP
    height = min(GROUP, rows - top)
    inside = pid % per_group
    return top + inside % height, inside // height


@triton.jit
def matmul_kernel(a, b, c, M, N, K, a_row, a_column, b_row, b_column, c_row, c_column,
                  BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, GROUP: tl.constexpr, ACTIVATION: tl.constexpr):
    block_m, block_n = grouped(tl.program_id(0), tl.cdiv(M, BM), tl.cdiv(N, BN), GROUP)
    rows, columns, inner = block_m * BM + tl.arange(0, BM), block_n * BN + tl.arange(0, BN), tl.arange(0, BK)
    # rows past the end wrap around: they are loaded without a mask and never stored
    a_at = a + (rows % M)[:, None] * a_row + inner[None, :] * a_column
    b_at = b + inner[:, None] * b_row + (columns % N)[None, :] * b_column
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(0, K, BK):
        left = K - start
        x = tl.load(a_at, mask=inner[None, :] < left, other=0.0)
        y = tl.load(b_at, mask=inner[:, None] < left, other=0.0)
        acc = tl.dot(x, y, acc)
        a_at += BK * a_column
        b_at += BK * b_row
    if ACTIVATION == "leaky_relu":
        acc = leaky(acc)
    tl.store(c + rows[:, None] * c_row + columns[None, :] * c_column, acc.to(tl.float16),
             mask=(rows[:, None] < M) & (columns[None, :] < N))


@triton.jit
def dropout_kernel(source, out, count, probability, seed, BLOCK: tl.constexpr):
    here = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = here < count
    kept = tl.rand(seed, here) > probability
    value = tl.load(source + here, mask=inside)
    tl.store(out + here, tl.where(kept, value / (1 - probability), 0.0), mask=inside)


@triton.jit
def layer_norm_forward_kernel(x, y, weight, bias, means, rstds, step, width, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    x, y = x + row * step, y + row * step
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        total += tl.load(x + at, mask=at < width, other=0.0).to(tl.float32)
    mean = tl.sum(total, axis=0) / width
    squares = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        away = tl.load(x + at, mask=at < width, other=0.0).to(tl.float32) - mean
        squares += tl.where(at < width, away * away, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(squares, axis=0) / width + eps)
    tl.store(means + row, mean)
    tl.store(rstds + row, rstd)
    for start in range(0, width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        inside = at < width
        scaled = (tl.load(x + at, mask=inside, other=0.0).to(tl.float32) - mean) * rstd
        tl.store(y + at, scaled * tl.load(weight + at, mask=inside) + tl.load(bias + at, mask=inside), mask=inside)


@triton.jit
def layer_norm_backward_kernel(dx, dy, dweight, dbias, x, weight, means, rstds, locks, step, width,
                               GROUPS: tl.constexpr, BLOCK: tl.constexpr):
    """dx of one row; its share of dweight and dbias goes into one of GROUPS buffers, each behind a lock."""
    row, at = tl.program_id(0), tl.arange(0, BLOCK)
    inside = at < width
    place = row * step + at
    upstream = tl.load(dy + place, mask=inside, other=0.0).to(tl.float32)
    rstd = tl.load(rstds + row)
    away = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) - tl.load(means + row)
    normal = tl.where(inside, away * rstd, 0.0)
    scale = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    grad = scale * upstream
    along, level = tl.sum(normal * grad, axis=0) / width, tl.sum(grad, axis=0) / width
    tl.store(dx + place, (grad - normal * along - level) * rstd, mask=inside)

    group = row % GROUPS
    lock, used = locks + group, locks + GROUPS + group
    dw, db = upstream * normal, upstream
    while tl.atomic_cas(lock, 0, 1) == 1:
        pass
    buffer = group * width + at
    if tl.load(used) == 0:
        tl.atomic_xchg(used, 1)             # the first to come finds garbage there
    else:
        dw += tl.load(dweight + buffer, mask=inside)
        db += tl.load(dbias + buffer, mask=inside)
    tl.store(dweight + buffer, dw, mask=inside)
    tl.store(dbias + buffer, db, mask=inside)
    tl.debug_barrier()                      # every thread's store before the lock is given back
    tl.atomic_xchg(lock, 0)


@triton.jit
def layer_norm_weights_kernel(dweight, dbias, total_weight, total_bias, height, width,
                              BM: tl.constexpr, BN: tl.constexpr):
    """Add up the buffers that the backward kernel left."""
    columns = tl.program_id(0) * BN + tl.arange(0, BN)
    dw, db = tl.zeros((BM, BN), tl.float32), tl.zeros((BM, BN), tl.float32)
    for start in range(0, height, BM):
        rows = start + tl.arange(0, BM)
        inside = (rows < height)[:, None] & (columns < width)[None, :]
        place = rows[:, None] * width + columns[None, :]
        dw += tl.load(dweight + place, mask=inside, other=0.0)
        db += tl.load(dbias + place, mask=inside, other=0.0)
    tl.store(total_weight + columns, tl.sum(dw, axis=0), mask=columns < width)
    tl.store(total_bias + columns, tl.sum(db, axis=0), mask=columns < width)


@triton.jit
def attention_kernel(queries, keys, values, out, scale, length, head_step, row_step,
                     CAUSAL: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, D: tl.constexpr):
    """BM rows of one head: keys and values in blocks of BN, the maximum and the sum of each row carried along."""
    first, base = tl.program_id(0) * BM, tl.program_id(1) * head_step
    rows, columns, inner = first + tl.arange(0, BM), tl.arange(0, BN), tl.arange(0, D)
    q = tl.load(queries + base + rows[:, None] * row_step + inner[None, :], mask=rows[:, None] < length, other=0.0)
    top = tl.full((BM,), float("-inf"), tl.float32)
    weight = tl.zeros((BM,), tl.float32)
    acc = tl.zeros((BM, D), tl.float32)
    high = min(first + BM, length) if CAUSAL else length
    for start in range(0, high, BN):
        at = start + columns
        k = tl.load(keys + base + at[None, :] * row_step + inner[:, None], mask=at[None, :] < length, other=0.0)
        scores = tl.dot(q, k) * (scale * 1.4426950408889634)
        seen = at[None, :] < length
        if CAUSAL:
            seen = seen & (at[None, :] <= rows[:, None])
        scores = tl.where(seen, scores, float("-inf"))
        now = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp2(scores - now[:, None])
        shrunk = tl.exp2(top - now)
        weight = weight * shrunk + tl.sum(p, axis=1)
        v = tl.load(values + base + at[:, None] * row_step + inner[None, :], mask=at[:, None] < length, other=0.0)
        acc = tl.dot(p.to(tl.float16), v, acc * shrunk[:, None])
        top = now
    tl.store(out + base + rows[:, None] * row_step + inner[None, :], (acc / weight[:, None]).to(tl.float16),
             mask=rows[:, None] < length)
