"""Running a kernel on the GPU that is here, on arrays in CPU memory: copied there, and back when it has run.

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
    """Call `launch` with the arrays of `args` on the GPU, those under descriptors and in tuples too, and copy them back
    over themselves."""
    elements = [*types, *[None] * (len(args) - len(types))]
    back: list[Callable[[], Any]] = []
    launch([_moved(x, element, back) for x, element in zip(args, elements, strict=True)])
    for copy in back:
        copy()


def _moved(x: Any, element: Any, back: list[Callable[[], Any]]) -> Any:
    """What stands for `x` on the GPU; what brings its arrays back is added to `back`."""
    from rtriton.array import DeviceArray

    if isinstance(x, TensorDescriptor):
        return replace(x, base=_moved(x.base, element, back))
    if isinstance(x, tuple):
        parts = [_moved(part, None, back) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
    if isinstance(x, list):
        return [_moved(part, None, back) for part in x]
    if not _is_array(x):
        return x
    if not isinstance(x, np.ndarray):
        tensor = x.cuda()
        back.append(lambda: x.copy_(tensor))
        return tensor
    made = DeviceArray.from_numpy(x, element)

    def copy() -> None:
        x[...] = made.numpy().view(x.dtype)

    back.append(copy)
    return made


def _is_array(x: Any) -> bool:
    """Whether x is an array in CPU memory, of NumPy or torch."""
    return isinstance(x, np.ndarray) or getattr(getattr(x, "device", None), "type", None) == "cpu"


def _has_array(x: Any) -> bool:
    if isinstance(x, TensorDescriptor):
        x = x.base
    return any(map(_has_array, x)) if isinstance(x, (tuple, list)) else _is_array(x)


def launch_on_copies(patch: Any) -> None:
    """Launches of arrays in CPU memory with RTRITON_BACKEND=cuda go through copies: tests need not know where they run.
    `patch` is pytest's monkeypatch."""
    from rtriton import knobs
    from rtriton.jit import JITFunction

    plain_run, plain_item = JITFunction.run, JITFunction.__getitem__

    def copying(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            if knobs.backend() != "cuda" or not any(map(_has_array, (*args, *kwargs.values()))):
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
