"""Shape ops, reductions, scans, gathers, loops and branches: the emulated PTX gives what the interpreter gives."""
import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.types import BY_NAME
from tests.backend.ptx.both import both, compiled, typed


def floats(*shape: int, seed: int = 0, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def ints(*shape: int, high: int = 1000, seed: int = 0, dtype: type = np.int32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


@rtriton.jit
def transpose(x, out, M: tl.constexpr, N: tl.constexpr):
    i, j = tl.arange(0, M), tl.arange(0, N)
    a = tl.load(x + i[:, None] * N + j[None, :])
    tl.store(out + j[:, None] * M + i[None, :], tl.trans(a))


@pytest.mark.parametrize("warps", [1, 2, 4, 8])
@pytest.mark.parametrize("shape", [(32, 64), (4, 128), (16, 16), (2, 2), (64, 1)])
@pytest.mark.parametrize("type", ["fp32", "fp16", "int8", "int1", "fp64"])
def test_transpose(shape: tuple[int, int], type: str, warps: int) -> None:
    x = typed(ints(*shape, high=2), BY_NAME[type])
    both(transpose, {"x": x, "out": np.zeros_like(x.T)}, {"M": shape[0], "N": shape[1]}, num_warps=warps)


@rtriton.jit
def shapes(x, out, kind: tl.constexpr):
    i = tl.arange(0, 256)
    a = tl.load(x + i)
    if kind == "reshape":
        r = tl.reshape(tl.trans(tl.reshape(a, 8, 32)), 256)
    elif kind == "permute":
        r = tl.reshape(tl.permute(tl.reshape(a, 4, 8, 8), 2, 0, 1), 256)
    elif kind == "split":
        b, c = tl.split(tl.reshape(a, 128, 2))
        r = tl.cat(b, c, can_reorder=True)
    elif kind == "join":
        b, c = tl.split(tl.reshape(a, 128, 2))
        r = tl.reshape(tl.join(c, b), 256)
    elif kind == "interleave":
        b, c = tl.split(tl.reshape(a, 128, 2))
        r = tl.interleave(c * 2, b)
    elif kind == "flip":
        r = tl.flip(a, 0)
    elif kind == "broadcast":
        b = tl.sum(tl.reshape(a, 16, 16), 1)
        r = tl.reshape(b[:, None] + tl.broadcast_to(b[None, :], 16, 16), 256)
    elif kind == "sort":
        r = tl.sort(a)
    elif kind == "sort_rows":
        r = tl.reshape(tl.sort(tl.reshape(a, 16, 16), descending=True), 256)
    tl.store(out + i, r)


KINDS = ["reshape", "permute", "split", "join", "interleave", "flip", "broadcast", "sort", "sort_rows"]


@pytest.mark.parametrize("warps", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_shape_ops(kind: str, warps: int) -> None:
    if not hasattr(tl, kind) and kind.startswith("sort"):
        pytest.skip("the language has no sort yet")
    both(shapes, {"x": ints(256), "out": np.zeros(256, np.int32)}, {"kind": kind}, num_warps=warps)


@rtriton.jit
def reduction(x, out, kind: tl.constexpr, axis: tl.constexpr, M: tl.constexpr, N: tl.constexpr):
    i, j = tl.arange(0, M), tl.arange(0, N)
    a = tl.load(x + i[:, None] * N + j[None, :])
    if kind == "sum":
        r = tl.sum(a, axis)
    elif kind == "max":
        r = tl.max(a, axis)
    elif kind == "min":
        r = tl.min(a, axis)
    elif kind == "argmax":
        r = tl.argmax(a, axis)
    elif kind == "argmin":
        r = tl.argmin(a, axis)
    elif kind == "xor":
        r = tl.xor_sum(a, axis)
    if axis == 0:
        tl.store(out + j, r)
    else:
        tl.store(out + i, r)


@pytest.mark.parametrize("warps", [1, 4, 8])
@pytest.mark.parametrize("shape", [(32, 64), (4, 256), (128, 2), (1, 512)])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("kind", ["sum", "max", "min", "argmax", "argmin", "xor"])
def test_reductions(kind: str, axis: int, shape: tuple[int, int], warps: int) -> None:
    out = np.zeros(shape[1 - axis], np.int32)
    constants = {"kind": kind, "axis": axis, "M": shape[0], "N": shape[1]}
    both(reduction, {"x": ints(*shape, high=50), "out": out}, constants, num_warps=warps)


@pytest.mark.parametrize("type", ["fp16", "bf16", "fp32", "fp64", "int8", "uint8", "int64"])
@pytest.mark.parametrize("kind", ["sum", "max", "argmin"])
def test_reductions_of_every_type(kind: str, type: str) -> None:
    x = typed(ints(16, 64, high=7), BY_NAME[type])
    both(reduction, {"x": x, "out": np.zeros(16, np.float32)}, {"kind": kind, "axis": 1, "M": 16, "N": 64}, rtol=1e-2)


@rtriton.jit
def all_of(x, out, N: tl.constexpr):
    a = tl.load(x + tl.arange(0, N))
    value, index = tl.max(a, 0, return_indices=True)
    tl.store(out, tl.sum(a, 0))
    tl.store(out + 1, value)
    tl.store(out + 2, index.to(tl.float32))


@pytest.mark.parametrize("warps", [1, 4, 8, 32])
@pytest.mark.parametrize("n", [1, 8, 32, 128, 2048])
def test_a_reduction_to_a_scalar(n: int, warps: int) -> None:
    both(all_of, {"x": floats(n), "out": np.zeros(3, np.float32)}, {"N": n}, rtol=1e-5, atol=1e-5, num_warps=warps)


@rtriton.jit
def dot_product(x, y, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out, tl.sum(tl.load(x + i) * tl.load(y + i)))


def test_a_sum_of_products_multiplies_and_adds_at_once() -> None:
    args = {"x": floats(2048), "y": floats(2048, seed=1), "out": np.zeros(1, np.float32)}
    both(dot_product, args, {"N": 2048}, rtol=1e-5, atol=1e-5)
    text = str(compiled(dot_product, args, {"N": 2048})[1])
    assert (text.count("fma.rn.f32"), text.count("mul.f32")) == (12, 4)     # of 16 products in four chains


@rtriton.jit
def sums_of_rows(x, out, width, M: tl.constexpr, N: tl.constexpr, STAGES: tl.constexpr):
    rows, columns = tl.arange(0, M), tl.arange(0, N)
    total = tl.zeros((M, N), tl.float32)
    for start in tl.range(0, width, N, num_stages=STAGES):
        total += tl.load(x + rows[:, None] * width + (start + columns)[None, :])
    low = tl.min(total, 1)
    for start in tl.range(0, width, N, num_stages=STAGES):
        total += tl.load(x + rows[:, None] * width + (start + columns)[None, :]) - low[:, None]
    tl.store(out + rows, tl.sum(total, 1))


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_the_memory_of_copies_is_free_for_others_after_all_have_read_it(stages: int) -> None:
    """And before: the emulator finds a warp that is ahead of the others."""
    args = {"x": floats(4, 640), "out": np.zeros(4, np.float32), "width": 640}
    both(sums_of_rows, args, {"M": 4, "N": 128, "STAGES": stages}, rtol=1e-4, atol=1e-3)


@rtriton.jit
def notes(x, scratch, out, width, N: tl.constexpr):
    i = tl.arange(0, N)
    total = tl.zeros((N,), tl.float32)
    for start in tl.range(0, width, N, num_stages=2):
        tl.store(scratch + i, tl.load(x + start + i) * 2)
        total += tl.load(scratch + i)
    tl.store(out + i, total)


def test_what_a_turn_stores_it_loads_itself_not_a_copy_made_before() -> None:
    args = {"x": floats(512), "scratch": floats(128), "out": np.zeros(128, np.float32), "width": 512}
    both(notes, args, {"N": 128})
    assert str(compiled(notes, args, {"N": 128})[1]).count("cp.async.ca") == 2, "one before the loop and one in it"


@rtriton.jit
def first_larger(a, ai, b, bi):
    take = a >= b
    return tl.where(take, a, b), tl.where(take, ai, bi)


@rtriton.jit
def not_commutative(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    value, index = tl.reduce((tl.load(x + i), i), 0, first_larger)
    tl.store(out, value)
    tl.store(out + 1, index)
    if index < 5:
        tl.store(out + 2, 1)
    else:
        tl.store(out + 2, 2)


@pytest.mark.parametrize("warps", [1, 4])
def test_lanes_agree_on_a_combination_that_does_not_commute(warps: int) -> None:
    x = ints(256, high=3)
    out = both(not_commutative, {"x": x, "out": np.zeros(3, np.int32)}, {"N": 256}, num_warps=warps)[1]
    assert out[0] == 2 and x[out[1]] == 2


@rtriton.jit
def affine_step(a, b, c, d):
    return a * c, b * c + d


@rtriton.jit
def scan(x, out, kind: tl.constexpr, axis: tl.constexpr, back: tl.constexpr, M: tl.constexpr, N: tl.constexpr):
    i, j = tl.arange(0, M), tl.arange(0, N)
    at = i[:, None] * N + j[None, :]
    a = tl.load(x + at)
    if kind == "cumsum":
        r = tl.cumsum(a, axis, reverse=back)
    else:
        _, r = tl.associative_scan((a * 0 + 1, a), axis, affine_step, reverse=back)
    tl.store(out + at, r)


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("shape", [(8, 64), (64, 8), (1, 1024), (16, 2)])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("kind", ["cumsum", "affine"])
def test_scans(kind: str, axis: int, shape: tuple[int, int], back: bool) -> None:
    x = ints(*shape)
    constants = {"kind": kind, "axis": axis, "back": back, "M": shape[0], "N": shape[1]}
    both(scan, {"x": x, "out": np.zeros_like(x)}, constants)


@rtriton.jit
def gathered(x, index, out, axis: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    i, j = tl.arange(0, M), tl.arange(0, N)
    a = tl.load(x + i[:, None] * N + j[None, :])
    if axis == 1:
        k = tl.arange(0, K)
        at = i[:, None] * K + k[None, :]
    else:
        k = tl.arange(0, K)
        at = k[:, None] * N + j[None, :]
    tl.store(out + at, tl.gather(a, tl.load(index + at), axis))


@pytest.mark.parametrize("axis", [0, 1])
def test_gather(axis: int) -> None:
    shape = (16, 8) if axis == 1 else (8, 32)
    index = ints(*shape, high=(32, 16)[1 - axis] if axis else 16)
    both(gathered, {"x": floats(16, 32), "index": index, "out": np.zeros(shape, np.float32)},
         {"axis": axis, "M": 16, "N": 32, "K": 8})  # fmt: skip


@rtriton.jit
def counted(x, out, N: tl.constexpr, B: tl.constexpr):
    a = tl.load(x + tl.arange(0, N))
    tl.store(out + tl.arange(0, B), tl.histogram(a, B))


def test_histogram() -> None:
    both(counted, {"x": ints(512, high=20), "out": np.zeros(16, np.int32)}, {"N": 512, "B": 16})


@rtriton.jit
def loops(x, out, n, N: tl.constexpr):
    i = tl.arange(0, N)
    total = tl.zeros((N,), tl.float32)
    swapped, other = i, i + 1
    p = x + i
    for k in range(n):
        total += tl.load(p)
        p += N
        swapped, other = other, swapped
    down = 0
    for k in range(10, 2, -3):
        down += k
    count = 0
    limit = n
    while limit > 1:
        limit = limit // 2
        count += 1
    if n > 3:
        total = total * 2
        count += 100
    else:
        total = total + 1
    tl.store(out + i, total + swapped + down + count)


@pytest.mark.parametrize("n", [0, 1, 3, 8])
def test_loops_and_branches(n: int) -> None:
    both(loops, {"x": floats(8, 128), "out": np.zeros(128, np.float32), "n": n}, {"N": 128}, rtol=1e-6)


@rtriton.jit
def nested(x, out, n, M: tl.constexpr, N: tl.constexpr):
    i, j = tl.arange(0, M), tl.arange(0, N)
    best = tl.full((M,), -1e9, tl.float32)
    for k in range(n):
        row = tl.zeros((M, N), tl.float32)
        for s in range(k + 1):
            row += tl.load(x + s * M * N + i[:, None] * N + j[None, :])
        if k % 2 == 0:
            best = tl.maximum(best, tl.max(row, 1))
    tl.store(out + i, best)


def test_nested_loops_that_carry_tiles_of_different_layouts() -> None:
    both(nested, {"x": floats(4, 16, 32), "out": np.zeros(16, np.float32), "n": 4}, {"M": 16, "N": 32}, rtol=1e-6)
