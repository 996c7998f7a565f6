"""Small kernels that exercise one structure each; tests/backend/cpu/test_structure.py runs them beside the
interpreter.
"""

from __future__ import annotations

import rtriton
import rtriton.language as tl


@rtriton.jit
def transpose(x, out, M: tl.constexpr, N: tl.constexpr):
    i, j = tl.arange(0, M), tl.arange(0, N)
    tile = tl.load(x + i[:, None] * N + j[None, :])
    tl.store(out + j[:, None] * M + i[None, :], tl.trans(tile))


@rtriton.jit
def reduce_rows(x, out, biggest, where, M: tl.constexpr, N: tl.constexpr, AXIS: tl.constexpr):
    i, j = tl.arange(0, M), tl.arange(0, N)
    tile = tl.load(x + i[:, None] * N + j[None, :])
    rest = tl.arange(0, N if AXIS == 0 else M)
    tl.store(out + rest, tl.sum(tile, AXIS))
    value, index = tl.max(tile, AXIS, return_indices=True)
    tl.store(biggest + rest, value)
    tl.store(where + rest, index)


@rtriton.jit
def reduce_all(x, out, N: tl.constexpr):
    v = tl.load(x + tl.arange(0, N))
    tl.store(out, tl.sum(v, 0))
    tl.store(out + 1, tl.max(v, 0))
    tl.store(out + 2, tl.min(v, 0))
    tl.store(out + 3, tl.argmin(v, 0).to(tl.float32))


@rtriton.jit
def scans(x, up, down, M: tl.constexpr, N: tl.constexpr, AXIS: tl.constexpr):
    i, j = tl.arange(0, M), tl.arange(0, N)
    at = i[:, None] * N + j[None, :]
    tile = tl.load(x + at)
    tl.store(up + at, tl.cumsum(tile, AXIS))
    tl.store(down + at, tl.cumsum(tile, AXIS, reverse=True))


@rtriton.jit
def flat_scan(x, out, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(out + at, tl.cumsum(tl.load(x + at), 0))


@rtriton.jit
def joined(x, y, out, first, second, N: tl.constexpr):
    at = tl.arange(0, N)
    a, b = tl.load(x + at), tl.load(y + at)
    both = tl.interleave(a, b)
    tl.store(out + tl.arange(0, 2 * N), both)
    left, right = tl.split(tl.reshape(both * 2, (N, 2)))
    tl.store(first + at, left)
    tl.store(second + at, right)


@rtriton.jit
def looked_up(x, index, out, N: tl.constexpr):
    at = tl.arange(0, N)
    table = tl.load(x + at)
    tl.store(out + at, tl.gather(table, tl.load(index + at), 0))


@rtriton.jit
def reshaped(x, out, M: tl.constexpr, N: tl.constexpr):
    tile = tl.load(x + tl.arange(0, M * N))
    square = tl.reshape(tile, (M, N)) + tl.arange(0, N)[None, :].to(tl.float32)
    tl.store(out + tl.arange(0, M * N), tl.ravel(tl.trans(square)))


@rtriton.jit
def concatenated(x, y, out, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(out + tl.arange(0, 2 * N), tl.cat(tl.load(x + at), tl.load(y + at), can_reorder=True))


@rtriton.jit
def histogram_kernel(x, out, N: tl.constexpr, BINS: tl.constexpr):
    counts = tl.histogram(tl.load(x + tl.arange(0, N)), BINS)
    tl.store(out + tl.arange(0, BINS), counts)


@rtriton.jit
def flipped(x, out, M: tl.constexpr, N: tl.constexpr):
    i, j = tl.arange(0, M), tl.arange(0, N)
    at = i[:, None] * N + j[None, :]
    tl.store(out + at, tl.flip(tl.load(x + at), 1))


@rtriton.jit
def products(a, b, out, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    i, j, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    x = tl.load(a + i[:, None] * K + k[None, :])
    y = tl.load(b + k[:, None] * N + j[None, :])
    tl.store(out + i[:, None] * N + j[None, :], tl.dot(x, y, input_precision="ieee"))


@rtriton.jit
def product_of_transposed(a, b, out, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    i, j, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    x = tl.load(a + k[:, None] * M + i[None, :])
    y = tl.load(b + j[:, None] * K + k[None, :])
    acc = tl.dot(tl.trans(x), tl.trans(y), input_precision="ieee")
    tl.store(out + i[:, None] * N + j[None, :], tl.exp2(-acc * acc) + acc)


@rtriton.jit
def batched(a, b, out, B: tl.constexpr, M: tl.constexpr, K: tl.constexpr, N: tl.constexpr):
    z, i, j, k = tl.arange(0, B), tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    x = tl.load(a + z[:, None, None] * (M * K) + i[None, :, None] * K + k[None, None, :])
    y = tl.load(b + z[:, None, None] * (K * N) + k[None, :, None] * N + j[None, None, :])
    at = z[:, None, None] * (M * N) + i[None, :, None] * N + j[None, None, :]
    tl.store(out + at, tl.dot(x, y, input_precision="ieee"))


@rtriton.jit
def carried_tiles(x, out, n, SIZE: tl.constexpr):
    """Large tiles carried through a loop that exchange their values."""
    at = tl.arange(0, SIZE)
    a, b = tl.load(x + at), tl.load(x + SIZE + at)
    for i in range(n):
        a, b = b + i, a * 2.0
    tl.store(out + at, a)
    tl.store(out + SIZE + at, b)


@rtriton.jit
def product_inside(a, b, out, n, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, DEPTH: tl.constexpr):
    """Products in a loop, whose masked left tile is loaded before it."""
    m, i, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    left = tl.load(a + m[:, None] * DEPTH + k[None, :], mask=(k < DEPTH)[None, :], other=0.0)
    total = tl.zeros([M, N], tl.float32)
    for start in range(n):
        score = tl.dot(left, tl.load(b + start * K * N + k[:, None] * N + i[None, :]), input_precision="ieee")
        total += score - tl.max(score, 1)[:, None]
    tl.store(out + m[:, None] * N + i[None, :], total)


@rtriton.jit
def carried_square(x, out, n, N: tl.constexpr):
    i, j = tl.arange(0, N), tl.arange(0, N)
    at = i[:, None] * N + j[None, :]
    a = tl.load(x + at)
    for _ in range(n):
        a = tl.trans(a) * 0.5 + a
    tl.store(out + at, a)


@rtriton.jit
def branches(x, out, n, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    v = tl.load(x + at)
    pid = tl.program_id(0)
    if pid % 2 == 0:
        v = v * 2.0
        scale = 3.0
    else:
        if n > 3:
            v = v + 100.0
        scale = tl.sum(v, 0)
    tl.store(out + pid * SIZE + at, v + scale)


@rtriton.jit
def collatz(x, out):
    pid = tl.program_id(0)
    n = tl.load(x + pid)
    steps = 0
    while n > 1:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        steps += 1
    tl.store(out + pid, steps)


@rtriton.jit
def in_place_shift(x, SIZE: tl.constexpr):
    """All loads come before all stores, whatever the addresses."""
    at = tl.arange(0, SIZE)
    tl.store(x + at + 1, tl.load(x + at))


@rtriton.jit
def rotated(x, N: tl.constexpr):
    at = tl.arange(0, N)
    a, b = tl.load(x + at), tl.load(x + N + at)
    tl.store(x + at, a - b)
    tl.store(x + N + at, a + b)


@rtriton.jit
def atomics(x, counts, total, biggest, n, SIZE: tl.constexpr):
    at = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    v = tl.load(x + at, mask=at < n, other=0)
    tl.atomic_add(counts + v, 1, mask=at < n)
    tl.atomic_add(total, tl.sum(v, 0).to(tl.float32))
    tl.atomic_max(biggest, tl.max(v, 0))


@rtriton.jit
def locked_sum(x, lock, total, SIZE: tl.constexpr):
    v = tl.sum(tl.load(x + tl.program_id(0) * SIZE + tl.arange(0, SIZE)), 0)
    while tl.atomic_cas(lock, 0, 1) == 1:
        pass
    tl.store(total, tl.load(total) + v)
    tl.atomic_xchg(lock, 0)


@rtriton.jit
def strided(x, out, step, n, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    tl.store(out + at * 2, tl.load(x + at * step, mask=at * step < n, other=-1.0))


@rtriton.jit
def divided_index(x, out, N: tl.constexpr):
    row = tl.program_id(0) * N + tl.arange(0, N)
    tl.store(out + row, tl.load(x + (row // 16) * 16 + (row % 16) * 1) + tl.load(x + row // 16))


@rtriton.jit
def moving_pointers(x, out, n, M: tl.constexpr, K: tl.constexpr):
    i, k = tl.arange(0, M), tl.arange(0, K)
    at = x + i[:, None] * n + k[None, :]
    acc = tl.zeros((M, K), tl.float32)
    for _ in range(0, n, K):
        acc += tl.load(at)
        at += K
    tl.store(out + i, tl.sum(acc, 1))


@rtriton.jit
def column(x, out, M: tl.constexpr):
    """A tile with one column: the lanes run along the rows."""
    i = tl.arange(0, M)[:, None]
    tl.store(out + i, tl.exp2(tl.load(x + i)))


@rtriton.jit
def two_moments(x, out, N: tl.constexpr):
    v = tl.load(x + tl.arange(0, N))
    mean = tl.sum(v, 0) / N
    square = tl.sum(v * v, 0) / N
    tl.store(out, mean)
    tl.store(out + 1, square)


@rtriton.jit
def asserted(x, N: tl.constexpr):
    tl.device_assert(tl.load(x + tl.arange(0, N)) > 0, "not positive")


@rtriton.jit
def printed(x, N: tl.constexpr):
    tl.device_print("value", tl.load(x + tl.arange(0, N)))


@rtriton.jit
def clamped(x, out, n, SIZE: tl.constexpr):
    """Loads past the end repeat the last element, or begin again."""
    at = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    value = tl.load(x + tl.minimum(at, n - 1)) + 2 * tl.load(x + at % n)
    tl.store(out + at, value)
