"""rtriton: a Triton-compatible kernel language and compiler for NVIDIA GPUs and CPUs.

    import rtriton
    import rtriton.language as tl
"""
from __future__ import annotations

from rtriton import compiler, errors, knobs, language, runtime, testing
from rtriton.ahead import compile
from rtriton.allocator import set_allocator
from rtriton.arrays import MockTensor, TensorWrapper, reinterpret
from rtriton.async_compile import AsyncCompileMode, FutureKernel
from rtriton.autotune import Config, autotune, heuristics
from rtriton.errors import (
    CompilationError, CompileTimeAssertionFailure, InterpreterError, KernelError, LaunchError, OutOfResources,
    RtritonError, TritonError, UnsupportedLanguageConstruct,
)
from rtriton.jit import JITFunction, KernelInterface, jit
from rtriton.language.known import must_use_result
from rtriton.language.values import constexpr_function
from rtriton.recording import capture, trace

__version__ = "0.2.0.dev0"


@constexpr_function
def cdiv(x: int, y: int) -> int:
    """x / y rounded up."""
    return -(-x // y)


@constexpr_function
def next_power_of_2(n: int) -> int:
    """The smallest power of two that is not below n."""
    return 1 << max(0, n - 1).bit_length()


__all__ = [
    "AsyncCompileMode", "CompilationError", "CompileTimeAssertionFailure", "Config", "FutureKernel", "InterpreterError",
    "JITFunction", "KernelError", "KernelInterface", "LaunchError", "MockTensor", "OutOfResources", "RtritonError",
    "TensorWrapper", "TritonError", "UnsupportedLanguageConstruct", "autotune", "capture", "cdiv", "compile",
    "compiler", "constexpr_function", "errors", "heuristics", "jit", "knobs", "language", "must_use_result",
    "next_power_of_2", "reinterpret", "runtime", "set_allocator", "testing", "trace",
]
