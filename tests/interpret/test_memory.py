"""What the interpreter reads and writes: masks, views, pointers and atomics; and which accesses it refuses."""

import copy

import numpy as np
import pytest

import rtriton as triton
import rtriton.language as tl
from rtriton.errors import InterpreterError
from rtriton.interpret import interpret
from rtriton.text import parse, show
from rtriton.types import Pointer, float32
from tests.interpret.kernels import chain_kernel, copy_kernel, table_kernel, tally_kernel
from tests.kernels.launch import lowered, run

rng = np.random.default_rng(0)


def test_masked_lanes_touch_nothing():
    x, out = np.arange(10, dtype=np.int32), np.full(10, 7, np.int32)
    run(copy_kernel, (3,), x=x, out=out, n=10, start=0, BLOCK=4)
    np.testing.assert_array_equal(out, x)


def test_what_interpret_changes_is_only_what_the_kernel_stores():
    kernel, args = lowered(chain_kernel, x=np.ones(40, np.float32), out=np.zeros(40, np.float32), n=40, BLOCK=16)
    before = copy.deepcopy(args)
    interpret(kernel, (3,), args)
    np.testing.assert_array_equal(args[0], before[0])
    np.testing.assert_array_equal(args[1], 2)


@triton.jit
def same_place_kernel(out, BLOCK: tl.constexpr):
    o = tl.arange(0, BLOCK)
    tl.store(out + o // 2, tl.program_id(0) * 100 + o)


def test_of_stores_to_one_place_the_last_stays():
    out = np.zeros(4, np.int32)
    run(same_place_kernel, (5,), out=out, BLOCK=8)
    np.testing.assert_array_equal(out, 400 + np.array([1, 3, 5, 7]))


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


# -- atomics ---------------------------------------------------------------------------------------------------------


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


# -- what is refused -------------------------------------------------------------------------------------------------


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
    assert "kernels.py:" in str(caught.value) and "^^^" in str(caught.value)
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
