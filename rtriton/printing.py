"""What `device_print` writes, in one form for every execution: a line for each element, as Triton prints it.

    pid (0, 1, 0) idx ( 3,  7) x: 42            a tile: its programs, the element's place, the prefix, the value
    pid (0, 0, 0) idx () x: (operand 1) 0.5     a scalar; which operand it is where there are several
    pid (0, 0, 0) reached                        no values

Floats have six decimals, `hex` shows the bits in as many digits as the type has, pointers are always hexadecimal.
A GPU's printf makes the same lines from `conversion`, and there each thread prints a scalar.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from rtriton import numerics
from rtriton.types import Scalar


def show_prefix(prefix: str, values: int) -> str:
    """The prefix with a colon before values and a space in front."""
    if values and not prefix.endswith(" "):
        prefix += " "
    if values and not prefix.endswith(": "):
        prefix = prefix[:-1] + ": "
    return " " + prefix if len(prefix) > 2 and not prefix.startswith(" ") else prefix


def index_width(size: int) -> int:
    """Characters of an index into an axis of this size."""
    return len(str(size - 1))


def conversion(element: Scalar, hexadecimal: bool) -> str:
    """printf's conversion for a value of this type, passed as 32 or 64 bits (floats as a double)."""
    if element.kind == "p":
        return "0x%llx"
    long = "ll" if element.bits == 64 else ""
    if hexadecimal:
        return f"0x%0{max(1, element.bits // 4)}{long}x"
    if element.kind == "f":
        return "%f"
    return f"%{long}{'d' if element.kind == 'i' else 'u'}"


def operand_mark(k: int, count: int) -> str:
    return f"(operand {k}) " if count > 1 else ""


def lines(prefix: str, hexadecimal: bool, program: Sequence[int],
          values: Sequence[tuple[Scalar, np.ndarray[Any, Any]]]) -> Iterator[str]:
    """The lines of one print of one program. `prefix` as show_prefix made it, values in their computation dtypes."""
    start = "pid (" + ", ".join(map(str, program)) + ")"
    if not values:
        yield start + prefix
    for k, (element, value) in enumerate(values):
        widths = [index_width(n) for n in value.shape]
        shown = _shown(element, value, hexadecimal)
        for place, text in zip(product(*map(range, value.shape)), shown, strict=True):
            index = ", ".join(f"{i:{w}}" for i, w in zip(place, widths, strict=True))
            yield f"{start} idx ({index}){prefix}{operand_mark(k, len(values))}{text}"


def _shown(element: Scalar, value: np.ndarray[Any, Any], hexadecimal: bool) -> list[str]:
    """The elements in row-major order."""
    flat = np.ascontiguousarray(value).reshape(-1)
    if hexadecimal or element.kind == "p":
        stored = flat if element.kind == "p" else numerics.encode(flat, element)
        bits = np.ascontiguousarray(stored).view(f"u{stored.dtype.itemsize}")
        digits = 1 if element.kind == "p" else max(1, element.bits // 4)
        return [f"0x{int(b):0{digits}x}" for b in bits]
    if element.kind == "f":
        return [f"{float(v):f}" for v in flat]
    return [str(int(v)) for v in flat]
