"""The interpreter against NumPy, and against itself one program at a time."""

import copy

import ml_dtypes
import numpy as np
import pytest

import rtriton as triton
import rtriton.language as tl
from rtriton.errors import InterpreterError
from rtriton.interpret import HANDLERS, hazards, interpret
from rtriton.interpret.compare import random_arguments
from rtriton.language import OPS, infer
from rtriton.numerics import decode, encode, round_to
from rtriton.text import parse, show
from rtriton.types import BY_SHORT, Pointer, bfloat16, float8e4nv, float32, uint32
from rtriton.verify import verify
from tests.kernels.examples import EXAMPLES
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


@pytest.mark.parametrize("make", EXAMPLES, ids=lambda m: m.__name__)
def test_tutorial_kernels_give_what_numpy_gives(make):
    example = make()
    interpret(example.kernel, example.grid, example.args)
    example.check()


@pytest.mark.parametrize("make", EXAMPLES, ids=lambda m: m.__name__)
def test_programs_together_give_what_they_give_one_by_one(make):
    together, alone = make(), make()
    interpret(together.kernel, together.grid, together.args)
    interpret(alone.kernel, alone.grid, alone.args, trace=lambda program, op, values: None)
    for a, b in zip(together.args, alone.args, strict=True):
        np.testing.assert_array_equal(a, b)


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


@triton.jit
def chain_kernel(x, out, n, BLOCK: tl.constexpr):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + o, mask=o < n)
    tl.store(out + o, v * v + v, mask=o < n)


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


# -- memory ----------------------------------------------------------------------------------------------------------


@triton.jit
def copy_kernel(x, out, n, start, BLOCK: tl.constexpr):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + o, tl.load(x + start + o, mask=o < n, other=-1), mask=o < n)


def test_masked_lanes_touch_nothing():
    x, out = np.arange(10, dtype=np.int32), np.full(10, 7, np.int32)
    run(copy_kernel, (3,), x=x, out=out, n=10, start=0, BLOCK=4)
    np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize(
    ("n", "start", "words"),
    [
        (
            11,
            0,
            r"load: reads x\[10\] for tile element \(2,\), outside argument x of 10 elements \(program \(2, 0, 0\)\)",
        ),
        (4, -2, r"load: reads x\[-2\]"),
        (5, 1000000, r"load: reads x\[1000000\]"),
    ],
)
def test_an_access_outside_its_argument_is_an_error_with_its_place(n, start, words):
    x, out = np.arange(10, dtype=np.int32), np.zeros(16, np.int32)
    with pytest.raises(InterpreterError, match=words) as caught:
        run(copy_kernel, (3,), x=x, out=out, n=n, start=start, BLOCK=4)
    assert "test_interpret.py:" in str(caught.value) and "^^^" in str(caught.value)
    assert "tl.load(x + start + o" in str(caught.value)


def test_a_store_outside_its_argument_is_an_error():
    x, out = np.arange(16, dtype=np.int32), np.zeros(10, np.int32)
    with pytest.raises(InterpreterError, match=r"store: writes out\[10\]"):
        run(copy_kernel, (3,), x=x, out=out, n=12, start=0, BLOCK=4)


def test_a_store_to_a_read_only_array_is_an_error():
    out = np.zeros(4, np.int32)
    out.flags.writeable = False
    with pytest.raises(InterpreterError, match="a read-only array"):
        run(copy_kernel, (1,), x=np.arange(4, dtype=np.int32), out=out, n=4, start=0, BLOCK=4)


def test_arguments_must_fit_their_parameters():
    kernel, args = lowered(copy_kernel, x=np.zeros(4, np.int32), out=np.zeros(4, np.int32), n=4, start=0, BLOCK=4)
    for index, wrong, words in (
        (0, np.zeros(4, np.int64), "of 4 bytes, the array holds int64"),
        (0, 5, "wanted a NumPy array"),
        (2, 2**31, "cannot hold 2147483648"),
        (2, "4", "wanted a number, got str"),
    ):
        changed = [*args]
        changed[index] = wrong
        with pytest.raises(InterpreterError, match=words):
            interpret(kernel, (1,), changed)
    with pytest.raises(InterpreterError, match="has 4 parameters, got 1 arguments"):
        interpret(kernel, (1,), args[:1])


@triton.jit
def strided_kernel(x, out, rows, cols, stride_r, stride_c, R: tl.constexpr, C: tl.constexpr):
    r = tl.arange(0, R)[:, None]
    c = tl.program_id(0) * C + tl.arange(0, C)[None, :]
    inside = (r < rows) & (c < cols)
    v = tl.load(x + r * stride_r + c * stride_c, mask=inside, other=0.0)
    tl.store(out + r * cols + c, v, mask=inside)


@pytest.mark.parametrize("view", ["plain", "transposed", "reversed", "every other"])
def test_views_of_arrays_are_read_by_their_strides(view):
    base = rng.standard_normal((12, 12), dtype=np.float32)
    x = {
        "plain": base[:7, :10],
        "transposed": base.T[:7, :10],
        "reversed": base[6::-1, 9::-1],
        "every other": base[::2, ::2],
    }[view]
    out = np.zeros(x.shape, np.float32)
    run(
        strided_kernel,
        (3,),
        x=x,
        out=out,
        rows=x.shape[0],
        cols=x.shape[1],
        stride_r=x.strides[0] // 4,
        stride_c=x.strides[1] // 4,
        R=8,
        C=4,
    )
    np.testing.assert_array_equal(out, x)


@triton.jit
def table_kernel(table, out, BLOCK: tl.constexpr, P: tl.constexpr):
    p = tl.load(table + tl.program_id(0)).to(P)
    o = tl.arange(0, BLOCK)
    tl.store(out + tl.program_id(0) * BLOCK + o, tl.load(p + o))


def test_pointers_may_come_from_memory():
    arrays = [rng.standard_normal(8, dtype=np.float32) for _ in range(3)]
    table = np.array([a.ctypes.data for a in arrays], np.int64)
    out = np.zeros((3, 8), np.float32)
    kernel, args = lowered(table_kernel, table=table, out=out, BLOCK=8, P=Pointer(float32))
    with pytest.raises(InterpreterError, match="lies in no argument"):
        interpret(kernel, (3,), args)
    joined = np.concatenate(arrays)
    table[:] = joined.ctypes.data + np.arange(3) * 32
    kernel = parse(show(kernel).replace("%out: *f32)", "%out: *f32, %also: *f32)"))
    interpret(kernel, (3,), [*args, joined])
    np.testing.assert_array_equal(out, arrays)


@triton.jit
def shift_kernel(x, BLOCK: tl.constexpr):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + o)
    tl.store(x + o + BLOCK, v)


def test_a_program_sees_what_earlier_ones_wrote():
    x = np.arange(32, dtype=np.int32)
    run(shift_kernel, (7,), x=x, BLOCK=4)
    np.testing.assert_array_equal(x, np.tile(np.arange(4), 8))


def test_arrays_that_share_memory_run_in_order():
    x = np.arange(36, dtype=np.int32)
    run(copy_kernel, (8,), x=x[:-4], out=x[4:], n=32, start=0, BLOCK=4)
    np.testing.assert_array_equal(x, np.tile(np.arange(4), 9))


@triton.jit
def same_place_kernel(out, BLOCK: tl.constexpr):
    o = tl.arange(0, BLOCK)
    tl.store(out + o // 2, tl.program_id(0) * 100 + o)


def test_of_stores_to_one_place_the_last_stays():
    out = np.zeros(4, np.int32)
    run(same_place_kernel, (5,), out=out, BLOCK=8)
    np.testing.assert_array_equal(out, 400 + np.array([1, 3, 5, 7]))


# -- atomics ---------------------------------------------------------------------------------------------------------


@triton.jit
def tally_kernel(x, out, old, BLOCK: tl.constexpr, KEEP: tl.constexpr):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    before = tl.atomic_add(out + tl.load(x + o), 1)
    if KEEP:
        tl.store(old + o, before)


@pytest.mark.parametrize("keep", [False, True])
def test_atomic_add_counts_every_element(keep):
    x = rng.integers(0, 10, 64).astype(np.int32)
    out, old = np.zeros(10, np.int32), np.zeros(64, np.int32)
    run(tally_kernel, (4,), x=x, out=out, old=old, BLOCK=16, KEEP=keep)
    np.testing.assert_array_equal(out, np.bincount(x, minlength=10))
    if keep:
        np.testing.assert_array_equal(old, [np.sum(x[:i] == x[i]) for i in range(64)])


@pytest.mark.parametrize(
    ("how", "want"),
    [("max", 9), ("min", -4), ("and", 2 & 9 & -4 & 7), ("or", 2 | 9 | -4 | 7), ("xor", 9 ^ -4 ^ 7), ("xchg", 7)],
)
def test_atomics_of_every_kind(how, want):
    text = f"""kernel @k(%x: *i32, %out: *i32) {{}} {{
      %o: 4xi32 = arange {{start = 0, end = 4}}
      %xs: 4x*i32 = splat %x {{shape = (4,)}}
      %xp: 4x*i32 = addptr %xs, %o
      %v: 4xi32 = load %xp
      %os: 4x*i32 = splat %out {{shape = (4,)}}
      %old: 4xi32 = atomic_rmw %os, %v {{how = "{how}"}}
    }}"""
    x = np.array([2, 9, -4, 7], np.int32)
    out = x[:1].copy()
    interpret(parse(text), (1,), [x, out])
    assert out[0] == want


@triton.jit
def lock_kernel(lock, out, BLOCK: tl.constexpr):
    o = tl.arange(0, BLOCK)
    while tl.atomic_cas(lock, 0, 1) == 1:
        pass
    tl.store(out + o, tl.load(out + o) * 2 + tl.program_id(0))
    tl.atomic_xchg(lock, 0)


def test_locks_let_one_program_in_at_a_time():
    lock, out = np.zeros(1, np.int32), np.ones(4, np.int32)
    run(lock_kernel, (6,), lock=lock, out=out, BLOCK=4)
    want = 1
    for pid in range(6):
        want = 2 * want + pid
    np.testing.assert_array_equal(out, want)
    assert lock[0] == 0


def test_a_lock_that_nobody_opens_is_an_error_and_not_forever():
    lock, out = np.ones(1, np.int32), np.ones(4, np.int32)
    with pytest.raises(InterpreterError, match="while: never ends"):
        run(lock_kernel, (2,), lock=lock, out=out, BLOCK=4)


# -- control flow ----------------------------------------------------------------------------------------------------


@triton.jit
def collatz_kernel(x, out):
    pid = tl.program_id(0)
    n = tl.load(x + pid)
    steps = 0
    while n != 1:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        steps += 1
    tl.store(out + pid, steps)


def test_programs_loop_for_as_long_as_each_needs():
    x, out = np.arange(1, 40, dtype=np.int32), np.zeros(39, np.int32)
    run(collatz_kernel, (39,), x=x, out=out)

    def steps(n):
        return 0 if n == 1 else 1 + steps(n // 2 if n % 2 == 0 else 3 * n + 1)

    np.testing.assert_array_equal(out, [steps(int(n)) for n in x])


@triton.jit
def triangle_kernel(x, out, BLOCK: tl.constexpr):
    pid = tl.program_id(0)
    o = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    for i in range(pid, 2 * pid, 2):
        total += tl.load(x + i * BLOCK + o)
    if pid % 3 == 1:
        tl.store(out + pid * BLOCK + o, total)
    else:
        if pid > 4:
            tl.store(out + pid * BLOCK + o, -total)


def test_bounds_and_branches_may_differ_between_programs():
    x = rng.standard_normal((20, 8), dtype=np.float32)
    out = np.full((8, 8), 5, np.float32)
    run(triangle_kernel, (8,), x=x, out=out, BLOCK=8)
    for pid in range(8):
        total = x[pid : 2 * pid : 2].sum(axis=0)
        want = total if pid % 3 == 1 else -total if pid > 4 else np.full(8, 5)
        np.testing.assert_allclose(out[pid], want, rtol=1e-5)


@triton.jit
def place_kernel(out, gx, gy):
    x, y, z = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    tl.store(out + (z * gy + y) * gx + x, x + 10 * y + 100 * z + 1000 * tl.num_programs(1))


def test_grids_have_three_axes_with_x_fastest():
    out = np.zeros((3, 4, 5), np.int32)
    run(place_kernel, (5, 4, 3), out=out, gx=5, gy=4)
    z, y, x = np.indices((3, 4, 5))
    np.testing.assert_array_equal(out, x + 10 * y + 100 * z + 4000)


def test_an_empty_grid_runs_nothing():
    out = np.zeros((1,), np.int32)
    run(place_kernel, (0, 4), out=out, gx=5, gy=4)
    assert out[0] == 0


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


# -- debugging -------------------------------------------------------------------------------------------------------


@triton.jit
def assert_kernel(x, BLOCK: tl.constexpr):
    v = tl.load(x + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK))
    tl.device_assert(v < 10, "too large")
    tl.device_print("value", v)


def test_a_failed_assertion_stops_with_message_and_place():
    x = np.arange(12, dtype=np.int32)
    kernel = parse("""kernel @k(%x: *i32) {} {
          %pid: i32 = program_id {axis = 0}
          %p: *i32 = addptr %x, %pid
          %v: i32 = load %p
          %ten: i32 = const {value = 10, type = type(i32)}
          %m: i1 = lt %v, %ten
          assert %m {message = "too large"}  @ place.py:7:5
        }""")
    said = r"place.py:7:5: device-side assert failed: too large \(program \(10, 0, 0\)\)"
    with pytest.raises(InterpreterError, match=said):
        interpret(kernel, (12,), [x])


def test_prints_come_program_by_program(capsys):
    kernel, args = lowered(assert_kernel, x=np.arange(8, dtype=np.int32), BLOCK=4)
    interpret(kernel, (2,), args)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"pid ({k // 4}, 0, 0) idx ({k % 4}) value: {k}" for k in range(8)]


def test_a_trace_sees_every_op_of_every_program():
    seen = []
    kernel, args = lowered(place_kernel, out=np.zeros(4, np.int32), gx=2, gy=2)
    interpret(kernel, (2, 2), args, trace=lambda program, op, values: seen.append((program, op.kind)))
    assert [p for p, kind in seen if kind == "store"] == [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)]


# -- when programs run together --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "given", "why"),
    [
        (chain_kernel, {"x": np.zeros(4, np.float32), "out": np.zeros(4, np.float32), "n": 4, "BLOCK": 4}, ""),
        (shift_kernel, {"x": np.zeros(4, np.int32), "BLOCK": 4}, "it reads and writes through one argument"),
        (
            lock_kernel,
            {"lock": np.zeros(1, np.int32), "out": np.zeros(4, np.int32), "BLOCK": 4},
            "it compares and swaps",
        ),
        (
            table_kernel,
            {"table": np.zeros(4, np.int64), "out": np.zeros(4, np.float32), "BLOCK": 4, "P": Pointer(float32)},
            "it uses pointers of unknown origin",
        ),
        (
            tally_kernel,
            {
                "x": np.zeros(4, np.int32),
                "out": np.zeros(4, np.int32),
                "old": np.zeros(4, np.int32),
                "BLOCK": 4,
                "KEEP": True,
            },
            "it uses the old value of an atomic",
        ),
        (
            tally_kernel,
            {
                "x": np.zeros(4, np.int32),
                "out": np.zeros(4, np.int32),
                "old": np.zeros(4, np.int32),
                "BLOCK": 4,
                "KEEP": False,
            },
            "",
        ),
    ],
    ids=["plain", "in place", "lock", "table", "old value", "tally"],
)
def test_programs_run_together_unless_they_could_tell(fn, given, why):
    kernel, _ = lowered(fn, **given)
    assert hazards.plan(kernel).alone == why


def test_what_interpret_changes_is_only_what_the_kernel_stores():
    kernel, args = lowered(chain_kernel, x=np.ones(40, np.float32), out=np.zeros(40, np.float32), n=40, BLOCK=16)
    before = copy.deepcopy(args)
    interpret(kernel, (3,), args)
    np.testing.assert_array_equal(args[0], before[0])
    np.testing.assert_array_equal(args[1], 2)


def test_scalar_types_are_kept():
    kernel, args = lowered(wrap_kernel, {"n": uint32}, out=np.zeros(8, np.uint32), n=2**32 - 1, BLOCK=8)
    interpret(kernel, (1,), args)
    o = np.arange(8, dtype=np.uint32)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(args[0], (o + np.uint32(2**32 - 1)) * np.uint32(2**32 - 1))
