"""`tl.pointer_type` and `tl.block_type`: Triton's constructors of types, which here give the types of tile IR.

    tl.pointer_type(tl.float32) == Pointer(float32)
    tl.block_type(tl.float32, [64, 32]) == Tile((64, 32), float32)
    isinstance(x.dtype, tl.pointer_type)
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rtriton.language.known import opened, unwrap
from rtriton.types import DType, Pointer, Scalar, Tile, check_shape, pointer_to


class _StandsFor(type):
    """A class whose instances are those of `made`."""

    made: type[Any]

    def __instancecheck__(cls, x: object) -> bool:
        return isinstance(x, cls.made)


class pointer_type(metaclass=_StandsFor):
    """The type of a pointer to `element_ty` in global memory; with const=True one that is only read.

    TypeError if element_ty is no dtype; ValueError for another address space than 1."""

    made = Pointer

    def __new__(cls, element_ty: Any, address_space: int = 1, const: bool = False) -> Any:
        element = unwrap(element_ty)
        if not isinstance(element, (DType, Pointer)):
            raise TypeError(f"pointer_type wants a dtype such as tl.float32, got {element!r}")
        if unwrap(address_space) != 1:
            raise ValueError(f"pointers point into global memory, address space 1, got {unwrap(address_space)}")
        return pointer_to(element, bool(unwrap(const)))


class block_type(metaclass=_StandsFor):
    """The type of a tile of `shape` elements of `element_ty`. TypeError without axes; ValueError for a size that is no
    power of two."""

    made = Tile

    def __new__(cls, element_ty: Scalar, shape: Sequence[Any]) -> Any:
        sizes = check_shape(tuple(opened(tuple(shape))))
        if not sizes:
            raise TypeError("a block_type has at least one axis: the type of a scalar is its dtype")
        return Tile(sizes, unwrap(element_ty))


class slice_type:
    """The type of a `tl.slice`."""

    name = "slice_type"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, slice_type)

    def __hash__(self) -> int:
        return hash(self.name)


def get_int_dtype(bitwidth: int, signed: bool) -> DType:
    """The integer type of that width and sign; a single bit is int1. ValueError where there is none."""
    name = "int1" if bitwidth == 1 else f"{'' if signed else 'u'}int{bitwidth}"
    if not DType.is_dtype(name):
        raise ValueError(f"there is no {'signed' if signed else 'unsigned'} integer of {bitwidth} bits")
    return DType(name)

