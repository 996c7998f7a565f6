"""A random program on the interpreter, as native code and on the emulator: what each leaves in memory, compared."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from rtriton.backend.cpu.launch import compile_cpu
from rtriton.backend.ptx.emit import lower_to_ptx
from rtriton.backend.ptx.emulate import emulate
from rtriton.interpret import interpret
from rtriton.ir import Kernel
from rtriton.numerics import decode, encode, round_to
from rtriton.passes import run_pipeline
from rtriton.target import Target
from rtriton.types import BY_NAME, DType
from tests.properties.programs import Program


def numbers(dtype: DType, count: int, rng: np.random.Generator) -> np.ndarray:
    """Small numbers, and now and then an edge of the type, as memory holds them."""
    if dtype.kind == "b":
        return rng.integers(0, 2, count).astype(np.uint8)
    if dtype.kind == "f":
        edges = [0.0, -0.0, 1.0, np.inf, -np.inf, np.nan, 448.0, 1e-8, -3e38]
        values = np.where(rng.random(count) < 0.1, rng.choice(edges, count), rng.standard_normal(count) * 4)
        with np.errstate(over="ignore"):
            return encode(round_to(values, dtype), dtype)
    low, high = dtype.get_int_min_value(), dtype.get_int_max_value()
    small = rng.integers(max(low, -9), 10, count)
    edges = rng.choice(np.array([low, low + 1, high, high - 1, high // 3], object), count)
    return np.where(rng.random(count) < 0.2, edges, small).astype(dtype.storage)


def arguments(program: Program) -> list[Any]:
    rng = np.random.default_rng(program.seed)
    inputs = [numbers(BY_NAME[t], count, rng) for t, count in program.inputs]
    outputs = [np.zeros(count, BY_NAME[t].storage) for t, count, _ in program.outputs]
    return [*program.numbers, *inputs, *outputs]


def on_interpreter(kernel: Kernel, args: list[Any]) -> None:
    interpret(kernel, (1,), args)


def on_cpu(kernel: Kernel, args: list[Any]) -> None:
    values = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in args]
    compile_cpu(kernel).launch((1, 1, 1), values, args)


def on_emulator(kernel: Kernel, args: list[Any], target: str) -> None:
    emulate(lower_to_ptx(kernel, Target.of(target)), kernel.name, (1, 1, 1), args)


def results(program: Program, kernel: Kernel, run: Any) -> list[np.ndarray]:
    """What `run` leaves in the outputs, as numbers."""
    args = arguments(program)
    run(kernel, args)
    outputs = args[len(program.numbers) + len(program.inputs) :]
    return [decode(a, BY_NAME[t]) for a, (t, _, _) in zip(outputs, program.outputs, strict=True)]


def check(program: Program) -> None:
    """All executions of the optimised kernel agree, and with it as it was written unless passes may fuse floats."""
    written = program.lowered()
    kernel = run_pipeline(written, None, "tile", verify_each=True)
    want = results(program, kernel if program.fuses else written, on_interpreter)
    runs = {"interpreter": on_interpreter, "cpu": on_cpu, "emulator": partial(on_emulator, target=program.target)}
    for where, run in runs.items():
        for i, (got, expected) in enumerate(zip(results(program, kernel, run), want, strict=True)):
            dtype, _, ulp = program.outputs[i]
            wrong = differing(got, expected, BY_NAME[dtype], ulp)
            places = np.flatnonzero(wrong)[:3]
            assert not wrong.any(), f"{where}: out{i} {places}: {got[places]}, not {expected[places]}"


def differing(got: np.ndarray, want: np.ndarray, dtype: DType, ulp: int) -> np.ndarray:
    """Where two results are not the same number (NaNs are alike, and so are the zeros)."""
    same = (got == want) | ((got != got) & (want != want))
    if ulp and dtype.kind == "f":
        with np.errstate(all="ignore"):
            step = 2.0 ** -dtype.fp_mantissa_width * np.maximum(np.abs(want.astype(np.float64)), 2.0**-100)
            same |= np.abs(got.astype(np.float64) - want) <= ulp * step
    return ~same
