"""Run a kernel in all executions: interpreter, native code, PTX on the emulator; on a GPU where that is asked for.

    for name, arrays in everywhere(kernel, {"x": x, "out": out}, {"N": 64}):
        np.testing.assert_array_equal(arrays["out"], expected, err_msg=name)

Arrays of types NumPy lacks are made by `typed`, and come back as the numbers they hold. Each execution works on copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rtriton import numerics
from rtriton.backend.cpu.launch import CpuOptions, compile_cpu
from rtriton.backend.ptx.emit import lower_to_ptx
from rtriton.backend.ptx.emulate import emulate
from rtriton.frontend.lower import lower
from rtriton.interpret import interpret
from rtriton.ir import Kernel
from rtriton.passes import run_pipeline
from rtriton.target import Target
from rtriton.types import Type
from tests.backend.ptx.both import Typed, aligned, type_of, typed
from tests.kernels.gpu import EXECUTIONS, on_gpu

Arrays = dict[str, np.ndarray]


def everywhere(
    fn: Any, args: Mapping[str, Any], constants: Mapping[str, Any] | None = None, grid: Sequence[int] = (1,),
    num_warps: int = 4, target: str = "sm_90", only: Sequence[str] = EXECUTIONS,
) -> Iterator[tuple[str, Arrays]]:  # fmt: skip
    """The arrays that each execution leaves behind."""
    yield from run_everywhere(optimised(fn, args, constants or {}, num_warps), args, grid, target, only)


def run_everywhere(
    kernel: Kernel, args: Mapping[str, Any], grid: Sequence[int] = (1,), target: str = "sm_90",
    only: Sequence[str] = EXECUTIONS,
) -> Iterator[tuple[str, Arrays]]:  # fmt: skip
    """The same for a kernel in tile IR."""
    for name in only:
        given = {k: _copy(v) for k, v in args.items()}
        RUN[name](kernel, (*grid,), list(given.values()), target)
        yield f"{name} with {kernel.attrs['num_warps']} warps", {
            k: numerics.decode(v, args[k].type) if isinstance(args[k], Typed) else v
            for k, v in given.items() if isinstance(v, np.ndarray)
        }  # fmt: skip


def optimised(
    fn: Any, args: Mapping[str, Any], constants: Mapping[str, Any], num_warps: int = 4, **options: Any
) -> Kernel:
    """The optimised tile IR for arguments of these types."""
    signature: dict[str, Type] = {k: type_of(v) for k, v in args.items()}
    divisible = {k: 16 for k, v in args.items() if not isinstance(v, (int, float))}
    return run_pipeline(lower(fn, signature, constants, divisible, num_warps=num_warps, **options).kernel, None, "tile")


def _copy(value: Any) -> Any:
    value = value.bits if isinstance(value, Typed) else value
    return aligned(value) if isinstance(value, np.ndarray) else value


def _native(kernel: Kernel, grid: tuple[int, ...], args: list[Any], target: str) -> None:
    values = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in args]
    compile_cpu(kernel, CpuOptions("host")).launch((*grid, 1, 1)[:3], values, args)


def _emulated(kernel: Kernel, grid: tuple[int, ...], args: list[Any], target: str) -> None:
    emulate(lower_to_ptx(kernel, Target.of(target)), None, grid, args)


RUN = {"interpret": lambda kernel, grid, args, target: interpret(kernel, grid, args), "cpu": _native,
       "emulate": _emulated, "cuda": lambda kernel, grid, args, target: on_gpu(kernel, grid, args)}  # fmt: skip

__all__ = ["Arrays", "everywhere", "optimised", "typed"]
