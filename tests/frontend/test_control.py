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
from rtriton.source import KernelFunction
from rtriton.types import int32
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
