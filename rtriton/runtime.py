"""What `triton.runtime` is called by: the launcher's classes, autotuning, and the driver of the device in use."""
from __future__ import annotations

from rtriton import devices as driver
from rtriton.arguments import TensorWrapper, reinterpret
from rtriton.autotune import Config, autotune, heuristics
from rtriton.errors import InterpreterError, OutOfResources
from rtriton.jit import JITFunction, jit

__all__ = ["Config", "InterpreterError", "JITFunction", "OutOfResources", "TensorWrapper", "autotune", "driver",
           "heuristics", "jit", "reinterpret"]
