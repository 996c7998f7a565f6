"""Runs a kernel in every execution (see tests/kernels/gpu.py), on copies of its arrays."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.kernels.gpu import EXECUTIONS



def on_each(monkeypatch: pytest.MonkeyPatch, kernel: Any, *args: Any, grid: tuple[int, ...] = (1,),
            **options: Any) -> dict[str, list[np.ndarray]]:
    """What the arrays among `args` hold after the kernel has run, by execution."""
    after: dict[str, list[np.ndarray]] = {}
    for execution in EXECUTIONS:
        monkeypatch.setenv("RTRITON_BACKEND", execution)
        given = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
        kernel[grid](*given, **options)
        after[execution] = [a for a in given if isinstance(a, np.ndarray)]
    return after
