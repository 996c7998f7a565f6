"""`tl.standard`: the functions of `tl` that are written in the kernel language itself, under Triton's module name."""
from __future__ import annotations

from typing import Any

from rtriton.language.sort import is_power_of_two, log2
from rtriton.language.values import PUBLIC

NAMES = ("argmax", "argmin", "bitonic_merge", "cdiv", "cumprod", "cumsum", "flip", "interleave", "max", "min", "ravel",
         "reduce_or", "sigmoid", "softmax", "sort", "sum", "swizzle2d", "topk", "xor_sum", "zeros", "zeros_like")
PRIVATE: dict[str, Any] = {
    "_sum_combine": PUBLIC["_add"], "_prod_combine": PUBLIC["_mul"], "_xor_combine": PUBLIC["_xor"],
    "_or_combine": PUBLIC["_or"], "_elementwise_max": PUBLIC["_max"], "_elementwise_min": PUBLIC["_min"],
    "_argmax_combine_tie_break_left": PUBLIC["_argmax_left"], "_argmax_combine_tie_break_fast": PUBLIC["_argmax_any"],
    "_argmin_combine_tie_break_left": PUBLIC["_argmin_left"], "_argmin_combine_tie_break_fast": PUBLIC["_argmin_any"],
    "_log2": log2, "_is_power_of_two": is_power_of_two,
}  # fmt: skip
"""Triton's names for what published kernels take from its standard library though it is private there."""


def __getattr__(name: str) -> Any:
    if name in PRIVATE:
        return PRIVATE[name]
    if name not in NAMES:
        raise AttributeError(f"the kernel language has no tl.standard.{name}")
    return PUBLIC[name]


def __dir__() -> list[str]:
    return sorted({*NAMES, *PRIVATE})
