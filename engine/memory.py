"""Arrays on the device that a model runs on: zeroed ones, copies of host arrays, and how a batch gets there."""

from __future__ import annotations

from math import prod

import numpy as np

ALIGN = 64
"""Bytes: a cache line, so that vector loads of a first element are aligned."""


class HostMemory:
    """The CPU's: NumPy arrays. Zeroed pages cost nothing until they are written."""

    device = "cpu"

    def zeros(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        wanted = np.dtype(dtype)
        size = prod(shape) * wanted.itemsize
        raw = np.zeros(size + ALIGN, np.uint8)
        start = -raw.ctypes.data % ALIGN
        return raw[start : start + size].view(wanted).reshape(shape)

    def put(self, array: np.ndarray) -> np.ndarray:
        """Weights are packed where they stay."""
        return array
