"""`tl.standard`: the functions of `tl` that are written in the kernel language itself, under Triton's module name."""
from __future__ import annotations

from typing import Any

from rtriton.language.values import PUBLIC

NAMES = ("argmax", "argmin", "bitonic_merge", "cdiv", "cumprod", "cumsum", "flip", "interleave", "max", "min", "ravel",
         "reduce_or", "sigmoid", "softmax", "sort", "sum", "swizzle2d", "topk", "xor_sum", "zeros", "zeros_like")


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"the kernel language has no tl.standard.{name}")
    return PUBLIC[name]


def __dir__() -> list[str]:
    return sorted(NAMES)
