"""Launches a kernel in every execution (see tests/kernels/gpu.py), on copies of its arguments."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import numpy as np

from rtriton.jit import JITFunction
from tests.backend.ptx.both import aligned
from tests.kernels.gpu import EXECUTIONS

BACKENDS = EXECUTIONS


def backend(name: str) -> AbstractContextManager[object]:
    return mock.patch.dict(os.environ, RTRITON_BACKEND=name)


def copied(x: Any) -> Any:
    """A copy of an array, aligned as those of libraries are; anything else as it is."""
    if isinstance(x, np.ndarray):
        return aligned(x)
    return x.clone() if hasattr(x, "clone") else x


def everywhere(
    kernel: JITFunction, grid: Sequence[int], *args: Any, backends: Sequence[str] = BACKENDS, **kwargs: Any
) -> Iterator[tuple[str, list[Any]]]:
    """(backend, the arguments after the kernel ran) for each backend."""
    for name in backends:
        given = [copied(a) for a in args]
        with backend(name):
            kernel[tuple(grid)](*given, **kwargs)
        yield name, given
