"""What `triton.runtime` is called by: the launcher's classes, autotuning, and the driver of the device in use."""
from __future__ import annotations

from rtriton import devices as driver
from rtriton.allocator import set_allocator
from rtriton.arrays import MockTensor, TensorWrapper, reinterpret
from rtriton.async_compile import AsyncCompileMode, FutureKernel
from rtriton.autotune import Autotuner, Config, Heuristics, autotune, heuristics
from rtriton.errors import AutotunerError, InterpreterError, OutOfResources, PTXASError
from rtriton.jit import JITFunction, KernelInterface, jit

__all__ = [
    "AsyncCompileMode", "Autotuner", "AutotunerError", "Config", "FutureKernel", "Heuristics", "InterpreterError",
    "JITFunction", "KernelInterface", "MockTensor", "OutOfResources", "PTXASError", "TensorWrapper", "autotune",
    "driver", "heuristics", "jit", "reinterpret", "set_allocator",
]
