"""Do two kernels mean the same? Both are run on the same random arguments, and what they leave in memory is compared.

This is how the tests of passes and `rtriton-opt --check` know that a rewrite kept the meaning.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rtriton.errors import InterpreterError, RtritonError
from rtriton.interpret import interpret
from rtriton.ir import Kernel
from rtriton.numerics import Array, decode, encode, round_to
from rtriton.types import DType, Pointer

ELEMENTS = 1 << 14  # of each array
NUMBER = 37  # passed for each integer
TOLERANCE = {"fp64": 1e-12, "fp32": 1e-5, "fp16": 1e-2, "bf16": 4e-2, "fp8e5": 0.25, "fp8e4nv": 0.13}
Run = Callable[[Kernel, tuple[int, ...], list[Any]], object]


def random_arguments(kernel: Kernel, seed: int = 0, elements: int = ELEMENTS, number: int = NUMBER) -> list[Any]:
    """An array for each pointer, `number` for each integer, a float between 0 and 1 for each float."""
    rng = np.random.default_rng(seed)
    return [_argument(v.type, rng, elements, number) for v in kernel.params]


def _argument(type: Any, rng: np.random.Generator, elements: int, number: int) -> Any:
    if isinstance(type, Pointer):
        return _array(type.element, rng, elements)
    if isinstance(type, DType) and type.kind == "f":
        return float(round_to(np.array([rng.random()]), type)[0])
    return bool(number & 1) if type.kind == "b" else number


def _array(element: DType, rng: np.random.Generator, elements: int) -> Array:
    if element.kind == "f":
        return encode(round_to(rng.standard_normal(elements), element), element)
    if element.kind == "b":
        return rng.integers(0, 2, elements).astype(np.uint8)
    least, most = max(-100, element.get_int_min_value()), min(100, element.get_int_max_value())
    return rng.integers(least, most + 1, elements).astype(element.storage)


def differences(
    before: Kernel, after: Kernel, grid: tuple[int, ...], args: Sequence[Any], run: Run = interpret
) -> list[str]:
    """Where the two leave different memory; [] if they agree. `run` executes `after`. A fault must happen in both."""
    first, second = copy.deepcopy(list(args)), copy.deepcopy(list(args))
    faults = [_fault(interpret, before, grid, first), _fault(run, after, grid, second)]
    if faults[0] or faults[1]:
        return [] if faults[0] and faults[1] else [f"one fails: {faults[0] or faults[1]}"]
    found: list[str] = []
    for param, a, b in zip(before.params, first, second, strict=True):
        if isinstance(param.type, Pointer) and (wrong := _differ(param.type.element, a, b)):
            found.append(f"{param.name}: {wrong}")
    return found


def _fault(run: Run, kernel: Kernel, grid: tuple[int, ...], args: list[Any]) -> str:
    try:
        run(kernel, grid, args)
    except InterpreterError as error:
        return str(error)
    return ""


def _differ(element: DType, a: Array, b: Array) -> str:
    if element.kind != "f":
        wrong = a != b
    else:
        tolerance = TOLERANCE[element.name]
        x, y = (decode(v, element).astype(np.float64) for v in (a, b))
        wrong = ~np.isclose(x, y, rtol=tolerance, atol=tolerance, equal_nan=True)
    if not wrong.any():
        return ""
    at = int(np.argmax(wrong))
    return f"{int(wrong.sum())} elements differ, first [{at}]: {decode(a, element)[at]} and {decode(b, element)[at]}"


def check_same(
    before: Kernel, after: Kernel, grid: tuple[int, ...] = (3,), seed: int = 0, run: Run = interpret
) -> None:
    """Raise an RtritonError that says where the two kernels differ."""
    found = differences(before, after, grid, random_arguments(before, seed), run)
    if found:
        raise RtritonError(f"{before.name} means something else than before: {'; '.join(found)}")
