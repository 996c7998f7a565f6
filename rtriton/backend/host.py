"""Arguments of a launch as NumPy arrays and numbers, for the executions that run in Python (interpreter, emulator)."""
from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from rtriton.arrays import need_array
from rtriton.guards import is_numpy
from rtriton.ir import Kernel
from rtriton.types import Pointer


def host_arguments(kernel: Kernel, values: Sequence[int | float], objects: Sequence[Any]) -> list[Any]:
    """For a pointer a NumPy array over the argument's own memory, in storage dtype; for a scalar its number."""
    made: list[Any] = []
    for param, value, given in zip(kernel.params, values, objects, strict=True):
        made.append(_memory(given, param.type) if isinstance(param.type, Pointer) else value)
    return made


def _memory(given: Any, type: Pointer) -> np.ndarray[Any, Any]:
    storage = np.dtype(type.element.storage)
    if is_numpy(given) and given.dtype.itemsize == storage.itemsize:
        return given if given.dtype == storage else given.view(storage)
    found = need_array(given)
    if found.nbytes == 0:
        return np.empty(0, storage)
    raw = memoryview((ctypes.c_char * found.nbytes).from_address(found.address))
    return np.frombuffer(raw, storage, found.nbytes // storage.itemsize)
