"""What programs report to the host: printed values, failed assertions. Kernels are known here by number."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

import numpy as np

from rtriton import numerics
from rtriton.backend.cpu.atomics import ERROR_SHIFT
from rtriton.errors import KernelError
from rtriton.ir import Op
from rtriton.types import element_of, shape_of

_MESSAGES: list[tuple[str, tuple[Op, ...]]] = [("", ())]
_PRINT = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 2, *[ctypes.c_int32] * 3, ctypes.c_void_p)


def register(name: str, messages: tuple[Op, ...]) -> int:
    """The number of a kernel that may report; 0 for one that does not."""
    if not messages:
        return 0
    _MESSAGES.append((name, messages))
    return len(_MESSAGES) - 1


def error(code: int) -> KernelError:
    """The exception for an error code that a program left."""
    name, messages = _MESSAGES[code >> ERROR_SHIFT]
    op = messages[(code & ((1 << ERROR_SHIFT) - 1)) - 1]
    return KernelError(f"{op.attrs.get('message', '')} (assertion of kernel {name})", op.span)


@cache
def _printer() -> Any:
    return _PRINT(_print)


def printer() -> int:
    """The address of the function that kernels call to print."""
    return int(ctypes.cast(_printer(), ctypes.c_void_p).value or 0)


def _print(kernel: int, message: int, x: int, y: int, z: int, table: int) -> None:
    _, messages = _MESSAGES[kernel]
    op = messages[message - 1]
    addresses = (ctypes.c_uint64 * len(op.operands)).from_address(table)
    for value, address in zip(op.operands, addresses, strict=True):
        assert value is not None
        element = element_of(value.type)
        dtype = np.dtype(np.uint8) if element.kind == "b" else numerics.value_dtype(element)
        if element.kind == "f" and element.bits < 64:
            dtype = np.dtype(np.float32)  # the register form
        count = int(np.prod(shape_of(value.type)))
        raw = ctypes.string_at(address, count * dtype.itemsize)
        shown: np.ndarray[Any, Any] = np.frombuffer(raw, dtype).reshape(shape_of(value.type))
        text = np.array2string(shown, formatter={"int": hex} if op.attrs.get("hex") else None)
        sys.stdout.write(f"pid ({x}, {y}, {z}) {op.attrs['prefix']}{text}\n")
    sys.stdout.flush()
