"""`tl.core`: the names of `tl`, and what Triton's programs take from there besides: aggregates, builtins, base classes.

    @tl.core._aggregate
    class Pair: ...
"""
from __future__ import annotations

from typing import Any

from rtriton import language
from rtriton.language.aggregates import aggregate as _aggregate
from rtriton.language.known import builtin, constexpr, must_use_result, opened as _unwrap_if_constexpr
from rtriton.language.typenames import get_int_dtype, slice_type
from rtriton.language.values import METHODS, PUBLIC, Compound as base_value, Public
from rtriton.source import KernelFunction as JITCallable
from rtriton.types import DType as base_type

extern = builtin
CONSTEXPR_0 = constexpr(0)
builtin_min, builtin_max = min, max         # in kernels Python's names mean these


def is_builtin(fn: Any) -> bool:
    """Is this a function that only kernels can call: one of tl, or one under `builtin`?"""
    return isinstance(fn, Public) or bool(getattr(fn, "__triton_builtin__", False))


def __getattr__(name: str) -> Any:
    if name in PUBLIC or name in METHODS:
        return PUBLIC[name] if name in PUBLIC else METHODS[name]
    return getattr(language, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *language.__all__, *PUBLIC})


__all__ = ["CONSTEXPR_0", "JITCallable", "_aggregate", "_unwrap_if_constexpr", "base_type", "base_value", "builtin",
           "builtin_max", "builtin_min", "extern", "get_int_dtype", "is_builtin", "must_use_result",
           "slice_type"]
