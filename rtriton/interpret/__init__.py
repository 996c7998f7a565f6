"""The meaning of tile IR, in NumPy: the oracle of every backend, the debugger, and what RTRITON_INTERPRET=1 runs.

    interpret(kernel, (n_blocks,), [x, y, out, n])

A pointer parameter takes a NumPy array, whose own bytes are the memory (bf16 as uint16, fp8 and i1 as uint8); other
parameters take numbers. Programs run as if one after the other, x fastest. Hundreds are in fact computed by each NumPy
call (machine.py), unless the kernel could tell the difference: hazards.py says when. An access outside an argument's
array, a failed assertion or an assumption that does not hold is an InterpreterError with the source line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np

from rtriton.errors import InterpreterError
from rtriton.interpret import assembly as _assembly
from rtriton.interpret import effects as _effects
from rtriton.interpret import gpu as _gpu
from rtriton.interpret import hazards
from rtriton.interpret import tiles as _tiles
from rtriton.interpret.affine import Data
from rtriton.interpret.machine import HANDLERS, Machine, Trace, constant, meaning
from rtriton.interpret.memory import Fault, Memory, Region
from rtriton.ir import Kernel, Value, walk
from rtriton.numerics import Array
from rtriton.types import DType, Pointer, Tile

BATCH_ELEMENTS = 1 << 18  # of the largest tile times the programs of a batch: temporaries that stay in the cache
BATCH_PROGRAMS = 4096
_plans: WeakKeyDictionary[Kernel, hazards.Plan] = WeakKeyDictionary()  # kernels never change


def interpret(kernel: Kernel, grid: tuple[int, ...], args: Sequence[Any], trace: Trace | None = None) -> None:
    """Run every program of `grid` on `args` (one per parameter); arrays are changed in place.

    `trace(program, op, results)` is called after each op, and programs then run one at a time.
    """
    if len(args) != len(kernel.params):
        raise InterpreterError(f"{kernel.name} has {len(kernel.params)} parameters, got {len(args)} arguments")
    sizes = _grid(grid)
    made = _plans.get(kernel) or _plans.setdefault(kernel, hazards.plan(kernel))
    regions = [_region(v, a) for v, a in zip(kernel.params, args, strict=True)]
    alone = bool(made.alone) or trace is not None or hazards.shares_memory(made, kernel, regions)
    values = {v: _argument(v, a, r) for v, a, r in zip(kernel.params, args, regions, strict=True)}
    machine = Machine(Memory(regions, copies=alone), made, sizes, values, trace)
    batch = 1 if alone else _batch(kernel)
    with np.errstate(all="ignore"):
        for start, stop in _batches(sizes[0] * sizes[1] * sizes[2], batch):
            machine.run(kernel.body, start, stop)


def _grid(grid: tuple[int, ...]) -> tuple[int, int, int]:
    if not 1 <= len(grid) <= 3 or any(int(n) < 0 for n in grid):
        raise InterpreterError(f"a grid has one to three sizes, none negative, got {grid}")
    x, y, z = (*(int(n) for n in grid), 1, 1)[:3]
    return x, y, z


def _batches(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Runs of programs. The last program is on its own: its tiles are often cut off, the others' whole."""
    whole = count - 1 if count > 1 else count
    for start in range(0, whole, size):
        yield start, min(start + size, whole)
    if whole < count:
        yield whole, count


def _batch(kernel: Kernel) -> int:
    """How many programs to compute at once."""
    largest = max((v.type.numel for op in walk(kernel.body) for v in op.results if isinstance(v.type, Tile)), default=1)
    return max(1, min(BATCH_PROGRAMS, BATCH_ELEMENTS // largest))


def _region(param: Value, argument: Any) -> Region | None:
    if not isinstance(param.type, Pointer):
        return None
    if not isinstance(argument, np.ndarray):
        raise InterpreterError(
            f"argument {param.name} is a pointer {param.type}: wanted a NumPy array, got {type(argument).__name__}"
        )
    array = cast(Array, argument)
    try:
        return Region(param.name, array, param.type.element)
    except Fault as fault:
        raise InterpreterError(str(fault)) from fault


def _argument(param: Value, argument: Any, region: Region | None) -> Data:
    if region is not None:
        return constant(region.start, param.type)
    if not isinstance(param.type, DType):
        raise InterpreterError(f"argument {param.name}: a kernel takes pointers and numbers, not {param.type}")
    if not isinstance(argument, (int, float, np.number, np.bool_)):
        raise InterpreterError(
            f"argument {param.name} is {param.type.short}: wanted a number, got {type(argument).__name__}"
        )
    number = cast(float, argument)
    least, most = param.type.get_int_min_value(), param.type.get_int_max_value()
    if param.type.kind in "iu" and not least <= int(number) <= most:
        raise InterpreterError(f"argument {param.name} is {param.type.short}, which cannot hold {number}")
    return constant(number, param.type)


__all__ = ["HANDLERS", "InterpreterError", "Trace", "interpret", "meaning"]
assert _assembly and _effects and _gpu and _tiles  # imported for the meanings they register
