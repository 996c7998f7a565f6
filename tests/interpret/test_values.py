"""What the interpreter computes, op by op, against NumPy."""

import ml_dtypes
import numpy as np
import pytest

import rtriton as triton
import rtriton.language as tl
from rtriton.interpret import HANDLERS, interpret
from rtriton.interpret.compare import random_arguments
from rtriton.language import OPS, infer
from rtriton.numerics import decode, encode, round_to
from rtriton.text import parse
from rtriton.types import BY_SHORT, bfloat16, float8e4nv, uint32
from rtriton.verify import verify
from tests.interpret.kernels import chain_kernel
from tests.kernels.launch import lowered, run

rng = np.random.default_rng(0)


def test_every_op_has_a_meaning():
    special = {"cast", "bitcast", "addptr", "yield"}
    missing = [
        kind
        for kind, row in OPS.items()
        if kind not in HANDLERS and kind not in special and not (row.elementwise and row.meaning is not None)
    ]
    assert missing == []


# -- elementwise ops -------------------------------------------------------------------------------------------------

SHORTS = ("f32", "f16", "bf16", "f64", "i8", "i32", "u32", "i64", "u16")


def takes(kind: str, short: str) -> bool:
    try:
        infer(kind, [BY_SHORT[short]] * len(OPS[kind].operands), {}, ())
    except TypeError:
        return False
    return True


PLAIN = [kind for kind, row in OPS.items() if row.elementwise and row.meaning is not None and kind != "where"]


ELEMENTWISE = [(kind, short) for kind in PLAIN for short in SHORTS if takes(kind, short)]


@pytest.mark.parametrize(("kind", "short"), ELEMENTWISE)
def test_elementwise_ops_do_what_their_meaning_says(kind, short):
    row = OPS[kind]
    names = ("x", "y", "z")[: len(row.operands)]
    loads = "".join(
        f"  %p{n}: 64x*{short} = splat %{n} {{shape = (64,)}}\n  %q{n}: 64x*{short} = addptr %p{n}, %o\n"
        f"  %v{n}: 64x{short} = load %q{n}\n"
        for n in names
    )
    result = "i1" if kind in ("eq", "ne", "lt", "le", "gt", "ge") else short
    text = (
        f"kernel @k({', '.join(f'%{n}: *{short}' for n in names)}, %out: *{result}) {{}} {{\n"
        f"  %o: 64xi32 = arange {{start = 0, end = 64}}\n{loads}"
        f"  %r: 64x{result} = {kind} {', '.join('%v' + n for n in names)}\n"
        f"  %po: 64x*{result} = splat %out {{shape = (64,)}}\n  %qo: 64x*{result} = addptr %po, %o\n  store %qo, %r\n}}"
    )
    kernel = parse(text)
    verify(kernel)
    args = random_arguments(kernel, elements=64)
    if kind in ("shl", "shr"):
        args[1] = (args[1] & 7).astype(args[1].dtype)
    interpret(kernel, (1,), args)
    elements = [v.type.element for v in kernel.params]
    with np.errstate(all="ignore"):
        want = row.meaning(*(decode(a, t) for a, t in zip(args[:-1], elements, strict=False)))
    want = round_to(want, elements[-1]) if elements[-1].kind == "f" else want
    np.testing.assert_array_equal(decode(args[-1], elements[-1]), want)


def test_bfloat16_rounds_after_every_op():
    x = round_to(rng.standard_normal(300).astype(np.float32), bfloat16)
    out = np.zeros(300, np.uint16)
    run(chain_kernel, (5,), {"x": bfloat16, "out": bfloat16}, x=encode(x, bfloat16), out=out, n=300, BLOCK=64)
    want = round_to(round_to(x * x, bfloat16) + x, bfloat16)
    np.testing.assert_array_equal(decode(out, bfloat16), want)


@triton.jit
def to_int_kernel(x, out, BLOCK: tl.constexpr):
    o = tl.arange(0, BLOCK)
    tl.store(out + o, tl.load(x + o).to(out.dtype.element_ty))


@pytest.mark.parametrize(
    ("dtype", "want"),
    [
        (np.int32, [2, -2, 2**31 - 1, -(2**31), 0, 7, 0, 127]),
        (np.uint32, [2, 0, 2**32 - 1, 0, 0, 7, 0, 127]),
        (np.int8, [2, -2, 127, -128, 0, 7, 0, 127]),
        (np.int64, [2, -2, 2**63 - 1, -(2**63), 0, 7, 0, 127]),
        (np.uint64, [2, 0, 2**64 - 1, 0, 0, 7, 0, 127]),
    ],
)
def test_floats_to_integers_truncate_and_saturate(dtype, want):
    x = np.array([2.9, -2.9, 1e30, -1e30, np.nan, 7.0, -0.5, 127.0], np.float32)
    out = np.zeros(8, dtype)
    run(to_int_kernel, (1,), x=x, out=out, BLOCK=8)
    np.testing.assert_array_equal(out, np.array(want, dtype))


def test_fp8_is_stored_as_bytes():
    x = np.array([1.0, 1.06, 448.0, 1e6, -0.3, 0.0, 2.0, -17.0], np.float32)
    out = np.zeros(8, np.uint8)
    run(to_int_kernel, (1,), {"out": float8e4nv}, x=x, out=out, BLOCK=8)
    np.testing.assert_array_equal(
        out.view(ml_dtypes.float8_e4m3fn).astype(np.float32),
        np.minimum(x, 448).astype(ml_dtypes.float8_e4m3fn).astype(np.float32),
    )


@triton.jit
def wrap_kernel(out, n, BLOCK: tl.constexpr):
    o = tl.arange(0, BLOCK)
    tl.store(out + o, (o + n) * n)


def test_integers_wrap_at_their_width():
    out = np.zeros(8, np.int32)
    run(wrap_kernel, (1,), out=out, n=2**31 - 4, BLOCK=8)
    o = np.arange(8, dtype=np.int32)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(out, (o + np.int32(2**31 - 4)) * np.int32(2**31 - 4))


def test_scalar_types_are_kept():
    kernel, args = lowered(wrap_kernel, {"n": uint32}, out=np.zeros(8, np.uint32), n=2**32 - 1, BLOCK=8)
    interpret(kernel, (1,), args)
    o = np.arange(8, dtype=np.uint32)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(args[0], (o + np.uint32(2**32 - 1)) * np.uint32(2**32 - 1))


# -- tiles -----------------------------------------------------------------------------------------------------------


@triton.jit
def first_of_two(a, b):
    return a


@triton.jit
def compose(a0, b0, a1, b1):
    return a0 * a1, b0 * a1 + b1


@triton.jit
def reductions_kernel(x, out, N: tl.constexpr):
    o = tl.arange(0, N)
    v = tl.load(x + tl.program_id(0) * N + o)
    p = out + tl.program_id(0) * 6
    tl.store(p, tl.sum(v, 0))
    tl.store(p + 1, tl.max(v, 0))
    tl.store(p + 2, tl.argmin(v, 0).to(tl.float32))
    tl.store(p + 3, tl.reduce(v, 0, first_of_two))
    tl.store(p + 4, tl.xor_sum((v * 10).to(tl.int32), 0).to(tl.float32))
    tl.store(p + 5, tl.min(v.to(tl.float16), 0).to(tl.float32))


def test_reductions_of_every_kind():
    x = rng.standard_normal((9, 32), dtype=np.float32)
    out = np.zeros((9, 6), np.float32)
    run(reductions_kernel, (9,), x=x, out=out, N=32)
    xor = np.bitwise_xor.reduce((x * np.float32(10)).astype(np.int32), axis=1)
    want = np.stack([x.sum(1), x.max(1), x.argmin(1), x[:, 0], xor, x.astype(np.float16).min(1)], axis=1)
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-5)


@triton.jit
def scans_kernel(x, out, N: tl.constexpr, REVERSE: tl.constexpr):
    o = tl.arange(0, N)
    v = tl.load(x + tl.program_id(0) * N + o)
    p = out + tl.program_id(0) * 2 * N + o
    tl.store(p, tl.cumsum(v, 0, reverse=REVERSE))
    _a, b = tl.associative_scan((v, v), 0, compose, reverse=REVERSE)
    tl.store(p + N, b)


@pytest.mark.parametrize("reverse", [False, True])
def test_scans_combine_in_order(reverse):
    x = rng.standard_normal((5, 16), dtype=np.float32)
    out = np.zeros((5, 2, 16), np.float32)
    run(scans_kernel, (5,), x=x, out=out, N=16, REVERSE=reverse)
    forward = x[:, ::-1] if reverse else x
    sums = np.cumsum(forward.astype(np.float64), axis=1)
    if reverse:
        sums = sums[:, ::-1]
    np.testing.assert_allclose(out[:, 0], sums, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(out[:, 1, 0 if reverse else -1], _composed(forward), rtol=1e-4, atol=1e-5)


def _composed(x):
    a, b = x[:, 0].astype(np.float64), x[:, 0].astype(np.float64)
    for k in range(1, x.shape[1]):
        a, b = a * x[:, k], b * x[:, k] + x[:, k]
    return b


@triton.jit
def shapes_kernel(x, out, N: tl.constexpr):
    r, c = tl.arange(0, N)[:, None], tl.arange(0, N)[None, :]
    v = tl.load(x + r * N + c)
    tl.store(out + r * N + c, tl.trans(v))
    a, b = tl.split(tl.reshape(v, (N * N // 2, 2)))
    o = tl.arange(0, N * N // 2)
    tl.store(out + N * N + o, a - b)
    tl.store(out + N * N + N * N // 2 + tl.arange(0, N * N), tl.reshape(tl.join(b, a), (N * N,)))
    tl.store(out + N * N * 5 // 2 + tl.arange(0, N * N), tl.reshape(tl.gather(v, c ^ (r * 0 + 1), 1), (N * N,)))


def test_shape_ops_move_elements_where_they_belong():
    n = 4
    x = rng.standard_normal((n, n), dtype=np.float32)
    out = np.zeros(n * n * 7 // 2, np.float32)
    run(shapes_kernel, (1,), x=x, out=out, N=n)
    pairs = x.reshape(-1, 2)
    want = [x.T.ravel(), pairs[:, 0] - pairs[:, 1], pairs[:, ::-1].ravel(), x[:, [1, 0, 3, 2]].ravel()]
    np.testing.assert_array_equal(out, np.concatenate(want))


@triton.jit
def histogram_kernel(x, out, N: tl.constexpr, BINS: tl.constexpr):
    v = tl.load(x + tl.program_id(0) * N + tl.arange(0, N))
    tl.store(out + tl.program_id(0) * BINS + tl.arange(0, BINS), tl.histogram(v, BINS))


def test_histograms_count_what_is_in_range():
    x = rng.integers(-3, 12, (4, 64)).astype(np.int32)
    out = np.zeros((4, 8), np.int32)
    run(histogram_kernel, (4,), x=x, out=out, N=64, BINS=8)
    np.testing.assert_array_equal(out, [[np.sum(row == k) for k in range(8)] for row in x])


@triton.jit
def dot_kernel(a, b, c, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    m, n, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    x = tl.load(a + m[:, None] * K + k[None, :])
    y = tl.load(b + k[:, None] * N + n[None, :])
    z = tl.load(c + m[:, None] * N + n[None, :])
    tl.store(c + m[:, None] * N + n[None, :], tl.dot(x, y, z))


def test_dot_of_bytes_is_exact():
    a, b = (rng.integers(-128, 128, s).astype(np.int8) for s in ((16, 64), (64, 32)))
    c = rng.integers(-1000, 1000, (16, 32)).astype(np.int32)
    want = c + a.astype(np.int32) @ b.astype(np.int32)
    run(dot_kernel, (1,), a=a, b=b, c=c, M=16, N=32, K=64)
    np.testing.assert_array_equal(c, want)


def test_dot_of_halves_accumulates_in_float32():
    a, b = (rng.standard_normal(s).astype(np.float16) for s in ((16, 32), (32, 16)))
    c = rng.standard_normal((16, 16)).astype(np.float32)
    want = c + a.astype(np.float64) @ b.astype(np.float64)
    run(dot_kernel, (1,), a=a, b=b, c=c, M=16, N=16, K=32)
    np.testing.assert_allclose(c, want, rtol=1e-6, atol=1e-6)
