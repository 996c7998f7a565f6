"""Control flow: the same function run by Python and by each execution gives the same numbers."""
from __future__ import annotations

import random
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.frontend.lower import lower
from rtriton.ir import walk
from rtriton.passes import run_pipeline
from rtriton.source import KernelFunction
from rtriton.types import Pointer, float32, int32
from tests.frontend import control_kernels
from tests.frontend.random_control import write_program

BACKENDS = ["interpret", "cpu", "emulate"]
CASES = [v for n, v in vars(control_kernels).items() if isinstance(v, KernelFunction) and not n.startswith("_")]
PAIRS = [(n, k) for n in (0, 1, 2, 5, 8, 13) for k in (0, 2, 3, 7, 12)]


def python_function(fn: KernelFunction) -> Callable[[int, int], int]:
    """The function as Python runs it, the kernel functions that it calls being plain functions too."""
    names = {n: v.fn for n, v in fn.globals.items() if isinstance(v, KernelFunction)}
    return types.FunctionType(fn.fn.__code__, {**fn.globals, **names})


def run(fn: KernelFunction) -> list[int]:
    @rtriton.jit
    def kernel(first, second, out):
        place = tl.program_id(0)
        tl.store(out + place, fn(tl.load(first + place), tl.load(second + place)))

    first, second = (np.array(column, np.int32) for column in zip(*PAIRS, strict=True))
    out = np.full(len(PAIRS), -12345, np.int32)
    kernel[(len(PAIRS),)](first, second, out)
    return out.tolist()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fn", CASES, ids=lambda f: f.__name__)
def test_a_kernel_takes_the_ways_that_python_takes(fn: KernelFunction, backend: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    plain = python_function(fn)
    assert run(fn) == [plain(n, k) for n, k in PAIRS]


@pytest.mark.parametrize(("backend", "seeds"), [("interpret", range(40)), ("cpu", range(40, 55)),
                                                ("emulate", range(55, 60))])
def test_random_control_flow_is_pythons(backend: str, seeds: range, monkeypatch: Any, tmp_path: Any) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    for seed in seeds:
        text = write_program(random.Random(seed))
        path = tmp_path / f"program_{seed}.py"
        path.write_text(text)
        names: dict[str, Any] = {}
        exec(compile(text, str(path), "exec"), names)
        assert run(KernelFunction(names["f"])) == [names["f"](n, k) for n, k in PAIRS], text


@rtriton.jit
def unrolled_loops(x, out, n):
    total = tl.zeros((16,), tl.float32)
    for i in tl.range(0, n, loop_unroll_factor=3):
        total = total * 0.5 + tl.load(x + i * 16 + tl.arange(0, 16))
    for i in tl.range(n, 1, -2, loop_unroll_factor=2):
        total += i
    for i in tl.range(1, 10, 2, loop_unroll_factor=4):
        if i == 7:
            continue
        total = total * 2 - i
    tl.store(out + tl.arange(0, 16), total)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 9])
def test_unrolled_loops_do_the_same_turns(n: int, backend: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    x, out = np.random.default_rng(n).random((10, 16), np.float32), np.zeros(16, np.float32)
    unrolled_loops[(1,)](x, out, n)
    total = np.zeros(16)
    for i in range(n):
        total = total * 0.5 + x[i]
    total += sum(range(n, 1, -2))
    for i in (1, 3, 5, 9):
        total = total * 2 - i
    np.testing.assert_allclose(out, total, rtol=1e-5)


def test_an_unroll_factor_unrolls() -> None:
    kernel = lower(unrolled_loops, {"x": Pointer(float32), "out": Pointer(float32), "n": int32}, {}).kernel
    assert [op.attrs["unroll"] for op in walk(kernel.body) if op.kind == "for"] == [3, 2, 4]
    done = run_pipeline(kernel, None, "tile")
    assert sum(op.kind == "load" for op in walk(done.body)) == 4        # three in a turn, one in the turns left over
    assert not any(op.attrs.get("unroll") for op in walk(done.body))


@rtriton.jit
def unrolled_over_long_ways(out, start, stop, step, FACTOR: tl.constexpr, STEP: tl.constexpr):
    turns, total = start * 0, start * 0
    for i in tl.range(start, stop, STEP if STEP else step, loop_unroll_factor=FACTOR):
        turns += 1
        total = total * 3 + i
    tl.store(out, turns)
    tl.store(out + 1, total)


LEAST, MOST = -(1 << 31), (1 << 31) - 1
# stop + step is a number of the type in all of them: where it is not, no loop of 32 bits ends
WAYS = [(LEAST + 1, MOST - (1 << 28), 1 << 28), (LEAST + 1, MOST - (1 << 30), 1 << 30), (-5, MOST - (1 << 29), 1 << 29),
        (3, -3, 2), (LEAST + 1, -7, 300_000_001), (0, 20, 3), (MOST - 4, LEAST + 4, 3)]
DOWNWARDS = [(MOST - 2, LEAST + (1 << 28), -(1 << 28)), (MOST, LEAST + (1 << 30), -(1 << 30)), (3, -3, -2), (20, 0, -3),
             (7, 8, -1), (1 << 20, 9, LEAST), (LEAST + 4, MOST - 4, -3)]


def wrapped(x: int) -> int:
    return (x + (1 << 31)) % (1 << 32) - (1 << 31)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("known", [True, False], ids=["step known", "step at run time"])
@pytest.mark.parametrize("factor", [2, 3, 8])
def test_unrolled_loops_measure_ways_that_are_longer_than_the_largest_index(
        factor: int, known: bool, backend: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    back = [] if known else DOWNWARDS
    for start, stop, step in WAYS + back:
        out = np.zeros(2, np.int32)
        unrolled_over_long_ways[(1,)](out, start, stop, 0 if known else step, factor, step if known else 0)
        total = 0
        for i in range(start, stop, step):
            total = wrapped(total * 3 + i)
        assert out.tolist() == [len(range(start, stop, step)), total], (start, stop, step)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_unrolled_loop_over_int64_measures_its_way_too(backend: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    least, most = -(1 << 63), (1 << 63) - 1
    for start, stop, step in ((least, most - (1 << 60), 1 << 60), (most, least + (1 << 61), -(1 << 61)),
                              (-(1 << 40), 1 << 40, 1 << 38)):
        out = np.zeros(2, np.int64)
        unrolled_over_long_ways[(1,)](out, start, stop, step, 3, 0)
        assert out[0] == len(range(start, stop, step))


def test_an_unroll_factor_with_a_step_of_run_time_unrolls() -> None:
    types = {"out": Pointer(int32), "start": int32, "stop": int32, "step": int32}
    kernel = lower(unrolled_over_long_ways, types, {"FACTOR": 4, "STEP": 0}).kernel
    done = run_pipeline(kernel, None, "tile")
    loops = [op for op in walk(done.body) if op.kind == "for"]
    assert [sum(inner.kind == "mul" for inner in walk(loop.regions[0])) for loop in loops] == [4, 1]


def test_a_for_without_ways_out_stays_a_for() -> None:
    def kinds(fn: KernelFunction) -> list[str]:
        return [op.kind for op in walk(lower(fn, {"n": int32, "k": int32}, {}).kernel.body)]

    assert "for" in kinds(control_kernels.continue_in_for) and "while" not in kinds(control_kernels.continue_in_for)
    assert "while" in kinds(control_kernels.break_in_for) and "for" not in kinds(control_kernels.break_in_for)


def test_statements_after_an_if_are_lowered_once() -> None:
    text = show_of(control_kernels.many_early_returns)
    assert text.count("const value=12") <= 1


def show_of(fn: KernelFunction) -> str:
    from rtriton.text import show

    return show(lower(fn, {"n": int32, "k": int32}, {}).kernel)
