"""What programs report to the host: printed values, failed assertions. Kernels are known here by number."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from math import prod
from typing import Any

import numpy as np

from rtriton import numerics, printing
from rtriton.backend.cpu.atomics import ERROR_SHIFT
from rtriton.errors import DeviceAssertError
from rtriton.ir import Op
from rtriton.numerics import Array
from rtriton.types import Scalar, element_of, shape_of

_MESSAGES: list[tuple[str, tuple[Op, ...]]] = [("", ())]
_PRINT = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 2, *[ctypes.c_int32] * 3, ctypes.c_void_p)


def register(name: str, messages: tuple[Op, ...]) -> int:
    """The number of a kernel that may report; 0 for one that does not."""
    if not messages:
        return 0
    _MESSAGES.append((name, messages))
    return len(_MESSAGES) - 1


def error(code: int) -> DeviceAssertError:
    """The exception for an error code that a program left."""
    name, messages = _MESSAGES[code >> ERROR_SHIFT]
    op = messages[(code & ((1 << ERROR_SHIFT) - 1)) - 1]
    return DeviceAssertError(op.attrs["message"], f"kernel {name}", op.span)


@cache
def _printer() -> Any:
    return _PRINT(_print)


def printer() -> int:
    """The address of the function that kernels call to print."""
    return int(ctypes.cast(_printer(), ctypes.c_void_p).value or 0)


def _print(kernel: int, message: int, x: int, y: int, z: int, table: int) -> None:
    _, messages = _MESSAGES[kernel]
    op = messages[message - 1]
    values = [v for v in op.operands if v is not None]
    addresses = (ctypes.c_uint64 * len(values)).from_address(table)
    held = [_held(element_of(v.type), shape_of(v.type), at) for v, at in zip(values, addresses, strict=True)]
    lines = printing.lines(op.attrs["prefix"], op.attrs.get("hex", False), (x, y, z), held)
    sys.stdout.write("".join(line + "\n" for line in lines))
    sys.stdout.flush()


def _held(element: Scalar, shape: tuple[int, ...], address: int) -> tuple[Scalar, Array]:
    """A value that a program has put at an address, in its register form."""
    dtype = np.dtype(np.uint8) if element.kind == "b" else numerics.value_dtype(element)
    if element.kind == "f" and element.bits < 64:
        dtype = np.dtype(np.float32)
    raw = ctypes.string_at(address, prod(shape) * dtype.itemsize)
    value: Array = np.frombuffer(raw, dtype).reshape(shape)
    return element, value.astype(numerics.value_dtype(element))
