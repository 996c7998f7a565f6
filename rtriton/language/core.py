"""`tl.core`: the names of `tl`, and what Triton's programs take from there besides: aggregates, builtins, base classes.

    @tl.core._aggregate
    class Pair: ...
"""
from __future__ import annotations

from typing import Any

from rtriton import language
from rtriton.language.aggregates import aggregate as _aggregate
from rtriton.language.known import builtin, opened as _unwrap_if_constexpr
from rtriton.language.values import Compound as base_value
from rtriton.source import KernelFunction as JITCallable

extern = builtin


def is_builtin(fn: Any) -> bool:
    """Is this a function that only kernels can call: one of tl, or one under `builtin`?"""
    return isinstance(fn, language.Public) or bool(getattr(fn, "__triton_builtin__", False))


def __getattr__(name: str) -> Any:
    return getattr(language, name)


__all__ = ["JITCallable", "_aggregate", "_unwrap_if_constexpr", "base_value", "builtin", "extern", "is_builtin"]
