"""Kernel arguments in memory: on a CPU one slot of eight bytes each, on a GPU each where its own alignment puts it.

    Slots.of([Pointer(float32), int32, bfloat16])      codes "Qi4xH6x", natural "QiH", for `struct`

Addresses and integers go in as themselves, floats in the parameter's format, bf16 and fp8 by their bits.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rtriton import numerics
from rtriton.types import DType, Pointer, Type

CODES = {"int1": ("?", 1), "int8": ("b", 1), "int16": ("h", 2), "int32": ("i", 4), "int64": ("q", 8),
         "uint8": ("B", 1), "uint16": ("H", 2), "uint32": ("I", 4), "uint64": ("Q", 8),
         "fp16": ("e", 2), "fp32": ("f", 4), "fp64": ("d", 8), "bf16": ("H", 2)}
FP8 = ("B", 1)


class Slots(NamedTuple):
    """How parameters of some types are packed. `coded`: some are passed by their bits, which `fitted` makes."""

    codes: str
    natural: str
    types: tuple[Type, ...]
    coded: bool

    @staticmethod
    def of(types: Sequence[Type]) -> Slots:
        found = [_code(t) for t in types]
        padded = "".join(code + (f"{8 - size}x" if size < 8 else "") for code, size in found)
        return Slots(padded, "".join(code for code, _ in found), tuple(types), any(map(_is_coded, types)))

    def fitted(self, values: Sequence[int | float]) -> list[int | float]:
        """Numbers that their slots take: bits of bf16 and fp8, integers wrapped, floats rounded to infinity."""
        return [_fitted(v, t) for v, t in zip(values, self.types, strict=True)]


def _code(type: Type) -> tuple[str, int]:
    """The code of struct, and its bytes."""
    if isinstance(type, Pointer):
        return "Q", 8
    assert isinstance(type, DType)
    return CODES.get(type.name, FP8)


def _is_coded(type: Type) -> bool:
    return isinstance(type, DType) and (type.name == "bf16" or type.is_fp8())


def _fitted(value: int | float, type: Type) -> int | float:
    if isinstance(type, Pointer):
        return int(value)
    assert isinstance(type, DType)
    if _is_coded(type):
        return numerics.narrow_bits(float(value), type)
    if type.is_floating():
        with np.errstate(over="ignore"):
            return float(np.dtype(type.storage).type(value))
    if type.is_bool():
        return bool(value)
    wrapped = int(value) & ((1 << type.bits) - 1)
    return wrapped - (1 << type.bits) if type.is_int_signed() and wrapped >> (type.bits - 1) else wrapped
