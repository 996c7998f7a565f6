"""Compiling, by the names that programs written for Triton import from `triton.compiler`."""
from __future__ import annotations

from rtriton import errors
from rtriton.ahead import ASTSource, IRSource, compile
from rtriton.cache import sources_digest
from rtriton.compiled import AsmDict, CompiledKernel, LazyDict
from rtriton.errors import CompilationError, CompileTimeAssertionFailure, UnsupportedLanguageConstruct
from rtriton.devices import GPUTarget


def triton_key() -> str:
    """What compiled code depends on in the compiler itself: a digest of its sources."""
    return sources_digest()


__all__ = [
    "ASTSource", "AsmDict", "CompilationError", "CompileTimeAssertionFailure", "CompiledKernel", "GPUTarget",
    "IRSource", "LazyDict", "UnsupportedLanguageConstruct", "compile", "errors", "triton_key",
]
