"""Running a kernel on the GPU that is here, on NumPy arrays: copied there, and back when it has run.

    RTRITON_TEST_BACKENDS=cuda pytest tests/language tests/memory     # what else runs in the other executions

`EXECUTIONS` are the ways in which tests run kernels: the three that need no GPU, unless that variable names others.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rtriton.ir import Kernel
from rtriton.tools.tensor_descriptor import TensorDescriptor
from rtriton.types import Pointer

EXECUTIONS: tuple[str, ...] = tuple(os.environ.get("RTRITON_TEST_BACKENDS", "interpret,cpu,emulate").split(","))


def on_gpu(kernel: Kernel, grid: Sequence[int], args: Sequence[Any]) -> None:
    """Run optimised tile IR; arrays among `args` are written in place."""
    from rtriton.backend.cuda import driver
    from rtriton.backend.cuda.launch import CudaExecutable
    from rtriton.backend.ptx.emit import lower_to_ptx

    module = lower_to_ptx(kernel, driver.current_device().target)
    warps, types = int(kernel.attrs["num_warps"]), [v.type for v in kernel.params]
    executable = CudaExecutable(kernel.name, types, str(module), module.shared_bytes, warps)

    def launch(given: Sequence[Any]) -> None:
        values = [x.address if hasattr(x, "address") else x for x in given]
        executable.launch((*grid, 1, 1)[:3], values, list(given))

    through_copies(launch, args, [t.element if isinstance(t, Pointer) else None for t in types])


def through_copies(launch: Callable[[Sequence[Any]], Any], args: Sequence[Any], types: Sequence[Any] = ()) -> None:
    """Call `launch` with the arrays of `args`, and those under descriptors, on the GPU, and copy them back over
    themselves."""
    from rtriton.array import DeviceArray

    elements = [*types, *[None] * (len(args) - len(types))]
    there: list[Any] = []
    copies: list[tuple[np.ndarray, DeviceArray]] = []
    for x, element in zip(args, elements, strict=True):
        array = _array_of(x)
        if array is None:
            there.append(x)
            continue
        copies.append((array, DeviceArray.from_numpy(array, element)))
        there.append(copies[-1][1] if array is x else replace(x, base=copies[-1][1]))
    launch(there)
    for here, made in copies:
        here[...] = made.numpy().view(here.dtype)


def _array_of(x: Any) -> np.ndarray | None:
    """The array that an argument is or describes."""
    if isinstance(x, TensorDescriptor):
        x = x.base
    return x if isinstance(x, np.ndarray) else None


def launch_on_copies(patch: Any) -> None:
    """Launches of NumPy arrays with RTRITON_BACKEND=cuda go through copies, so that tests need not know where they run.
    `patch` is pytest's monkeypatch."""
    from rtriton import knobs
    from rtriton.jit import JITFunction

    plain_run, plain_item = JITFunction.run, JITFunction.__getitem__

    def copying(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            if knobs.backend() != "cuda" or all(_array_of(x) is None for x in (*args, *kwargs.values())):
                return call(*args, **kwargs)
            made: list[Any] = []
            names, values = list(kwargs), [*args, *kwargs.values()]

            def launch(there: Sequence[Any]) -> None:
                made.append(call(*there[: len(args)], **dict(zip(names, there[len(args) :], strict=True))))

            through_copies(launch, values)
            return made[0]

        return run

    def run(self: JITFunction, *args: Any, grid: Any, warmup: bool = False, **kwargs: Any) -> Any:
        if not warmup:
            return self[grid](*args, **kwargs)
        return copying(partial(plain_run, self, grid=grid, warmup=True))(*args, **kwargs)

    patch.setattr(JITFunction, "run", run)
    patch.setattr(JITFunction, "__getitem__", lambda self, grid: copying(plain_item(self, grid)))
