"""Runs a kernel on the interpreter and, through PTX, on the emulator or the GPU, and compares every array it wrote."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rtriton import numerics
from rtriton.backend.ptx.emit import lower_to_ptx
from rtriton.backend.ptx.emulate import emulate
from rtriton.frontend.lower import lower
from rtriton.interpret import interpret
from rtriton.passes import run_pipeline
from rtriton.target import Target
from rtriton.types import BY_NAME, DType, Pointer, Type, float32, int32, int64
from tests.kernels.gpu import EXECUTIONS, on_gpu

FROM_NUMPY = {"bool": "int1", "float16": "fp16", "float32": "fp32", "float64": "fp64"}


def type_of(value: Any) -> Type:
    if isinstance(value, Typed):
        return Pointer(value.type)
    if isinstance(value, np.ndarray):
        return Pointer(BY_NAME[FROM_NUMPY.get(value.dtype.name, value.dtype.name)])
    if isinstance(value, float):
        return float32
    return int32 if -(1 << 31) <= value < 1 << 31 else int64


class Typed:
    """An array of a type NumPy lacks, by its bits."""

    def __init__(self, bits: np.ndarray, type: DType) -> None:
        self.bits, self.type = bits, type


def typed(values: Any, type: DType) -> np.ndarray | Typed:
    """An array of `type` that holds these numbers."""
    given = np.asarray(values)
    rounded = numerics.encode(numerics.round_to(given, type) if type.kind == "f" else given, type)
    if type.name in ("bf16", "fp8e5", "fp8e4nv"):
        return Typed(rounded, type)
    if type.kind == "b":
        return np.asarray(values) != 0
    return np.asarray(values).astype(type.storage) if type.kind != "f" else rounded


def compiled(fn: Any, args: Mapping[str, Any], constants: Mapping[str, Any], target: str = "sm_90", num_warps: int = 4):
    """The optimised tile IR of a kernel for these arguments, and its PTX module."""
    signature = {k: type_of(v) for k, v in args.items()}
    numbers = {k: v for k, v in args.items() if isinstance(v, (int, float))}
    divisible = {k: 16 for k in args if k not in numbers or (isinstance(numbers[k], int) and numbers[k] % 16 == 0)}
    kernel = lower(fn, signature, constants, divisible, num_warps=num_warps).kernel
    kernel = run_pipeline(kernel, None, "tile")
    return kernel, lower_to_ptx(kernel, Target.of(target))


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy that starts at a multiple of 64 bytes."""
    raw = np.empty(array.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    out = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    out[...] = array
    return out


def both(
    fn: Any, args: Mapping[str, Any], constants: Mapping[str, Any] | None = None, grid: Sequence[int] = (1,),
    rtol: float = 0.0, atol: float = 0.0, target: str = "sm_90", num_warps: int = 4,
) -> list[np.ndarray]:  # fmt: skip
    """Run `fn` on both; the arrays the emulator left, after they were found equal to the interpreter's."""
    kernel, module = compiled(fn, args, constants or {}, target, num_warps)
    runs: list[list[Any]] = []
    for run in (interpret, on_gpu if "cuda" in EXECUTIONS else lambda k, g, a: emulate(module, None, g, a)):
        given = [v.bits if isinstance(v, Typed) else v for v in args.values()]
        given = [aligned(v) if isinstance(v, np.ndarray) else v for v in given]
        run(kernel, tuple(grid), given)
        runs.append(given)
    arrays: list[np.ndarray] = []
    for (name, original), want, got in zip(args.items(), *runs, strict=True):
        if not isinstance(got, np.ndarray):
            continue
        arrays.append(got)
        if isinstance(original, Typed):
            want, got = numerics.decode(want, original.type), numerics.decode(got, original.type)
        np.testing.assert_allclose(
            _numbers(got), _numbers(want), rtol=rtol, atol=atol, err_msg=f"{name} on {target}", equal_nan=True
        )
    return arrays


def _numbers(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype.kind == "f" or array.dtype.kind == "b" else array
