"""How the interpreter runs the programs of a grid, in order or together where none could tell; what it says of them."""

import numpy as np
import pytest

import rtriton as triton
import rtriton.language as tl
from rtriton.errors import InterpreterError
from rtriton.interpret import hazards, interpret
from rtriton.text import parse
from rtriton.types import Pointer, float32
from tests.interpret.kernels import chain_kernel, copy_kernel, table_kernel, tally_kernel
from tests.kernels.examples import EXAMPLES
from tests.kernels.launch import lowered, run

rng = np.random.default_rng(0)


@pytest.mark.parametrize("make", EXAMPLES, ids=lambda m: m.__name__)
def test_tutorial_kernels_give_what_numpy_gives(make):
    example = make()
    interpret(example.kernel, example.grid, example.args)
    example.check()


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


# -- what one program sees of another --------------------------------------------------------------------------------


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


@pytest.mark.parametrize("make", EXAMPLES, ids=lambda m: m.__name__)
def test_programs_together_give_what_they_give_one_by_one(make):
    together, alone = make(), make()
    interpret(together.kernel, together.grid, together.args)
    interpret(alone.kernel, alone.grid, alone.args, trace=lambda program, op, values: None)
    for a, b in zip(together.args, alone.args, strict=True):
        np.testing.assert_array_equal(a, b)


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
