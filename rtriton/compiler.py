"""Compiling, by the names that programs written for Triton import from `triton.compiler`."""
from __future__ import annotations

from rtriton.ahead import ASTSource, IRSource, compile
from rtriton.compiled import AsmDict, CompiledKernel, LazyDict
from rtriton.errors import CompilationError, CompileTimeAssertionFailure, UnsupportedLanguageConstruct
from rtriton.devices import GPUTarget

__all__ = [
    "ASTSource", "AsmDict", "CompilationError", "CompileTimeAssertionFailure", "CompiledKernel", "GPUTarget",
    "IRSource", "LazyDict", "UnsupportedLanguageConstruct", "compile",
]
