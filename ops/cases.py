"""What tests and benchmarks walk: one `OpCase` per op, shape and dtype, each with its reference and stated tolerance.

    for case in ops.ALL:
        inputs = case.make(np.random.default_rng(0))
        got, want = case.run(**inputs), case.reference(**inputs)

`run` calls the op on whatever kind of arrays it gets; `make` and `reference` know only NumPy. Both return a tuple of
arrays, those that the op writes in place included. `large` cases are for benchmarks: an emulator would take minutes
over one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Inputs = dict[str, Any]


@dataclass(frozen=True)
class OpCase:
    """One op on one shape. A tolerance of zero means equal to the last bit."""

    op: str
    name: str
    make: Callable[[np.random.Generator], Inputs]
    run: Callable[..., tuple[Any, ...]]
    reference: Callable[..., tuple[np.ndarray, ...]]
    rtol: float = 1e-5
    atol: float = 1e-6
    gpu_rtol: float = 0.0  # where a GPU is coarser (tf32 tiles, approximate exp2); 0 takes rtol
    gpu_atol: float = 0.0
    bytes: int = 0  # that the op has to move at least, for the share of bandwidth
    flops: int = 0
    large: bool = False

    def __str__(self) -> str:
        return f"{self.op}[{self.name}]"


def normal(rng: np.random.Generator, *shape: int, dtype: Any = np.float32, scale: float = 1.0) -> np.ndarray:
    """Normally distributed values: data of real width, so that nothing hides in zeros."""
    return (rng.standard_normal(shape) * scale).astype(dtype)


def tolerance(dtype: str) -> tuple[float, float]:
    """(rtol, atol) of one rounding to `dtype` on top of float32 arithmetic."""
    return {"fp32": (1e-5, 1e-5), "fp16": (2e-3, 1e-3), "bf16": (1.6e-2, 8e-3)}[dtype]
