"""Coercions: how Python numbers become values, which type an operation computes in, how shapes meet.

The rules are Triton 3.6's (its table is tested cell by cell): fp64 > fp32 > fp16 > bf16; bf16 with an integer or fp8
computes in fp32; integers by width, then unsigned; a Python number of a lower or equal kind takes the tile's type.
"""
from __future__ import annotations

import math
import types
from collections.abc import Sequence
from typing import Any

from rtriton.guards import is_list, is_tuple
from rtriton.ir import Value
from rtriton.language.values import Context, unwrap
from rtriton.types import (
    DType, Pointer, Scalar, Shared, Tile, Type, bfloat16, element_of, float16, float32, float64, int1, int8, int16,
    int32, int64, shape_of, show_type, show_types, uint32, uint64, with_shape,
)

Number = (bool, int, float)
_SIGNED = {"uint8": int8, "uint16": int16, "uint32": int32, "uint64": int64}
KIND = {"b": 0, "i": 1, "u": 1, "f": 2, "p": 3}


def to_value(b: Context, x: Any, dtype: DType | None = None) -> Value:
    """A Value; a Python number becomes a constant of `dtype` or of its own natural type."""
    x = unwrap(x)
    if isinstance(x, Value):
        return x
    if isinstance(x, Number):
        return b.build.const(x, dtype or natural_type(x))
    raise TypeError(f"wanted a number, a scalar or a tile, got {describe(x)}")


def describe(x: Any) -> str:
    """A compile-time object for an error message."""
    if isinstance(x, Value):
        return show_type(x.type)
    if isinstance(x, (DType, Pointer, Tile, Shared)):
        return f"the type {show_type(x)}"
    if isinstance(x, types.ModuleType):
        return f"module {x.__name__}"
    if is_tuple(x):
        parts = [repr(v) if isinstance(v, (str, *Number)) else describe(v).removeprefix("tuple ") for v in x]
        return f"{type(x).__name__} ({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if isinstance(x, (str, *Number)):
        return f"{type(x).__name__} {x!r}"
    return "None" if x is None else repr(x)


def natural_type(x: bool | int | float) -> DType:
    """bool i1; int the first of i32, u32, i64, u64 that holds it; float f32 unless outside its normal range."""
    if isinstance(x, bool):
        return int1
    if isinstance(x, int):
        for type in (int32, uint32, int64, uint64):
            if type.get_int_min_value() <= x <= type.get_int_max_value():
                return type
        raise ValueError(f"the integer {x} fits no 64-bit type")
    magnitude = abs(x)
    fits = magnitude == 0 or math.isinf(x) or math.isnan(x) or 2.0 ** -126 <= magnitude <= (2 - 2.0 ** -23) * 2.0 ** 127
    return float32 if fits else float64


def integer_promote(a: DType, b: DType) -> DType:
    """C's rule: the wider; of equal widths the unsigned."""
    if (a.kind == "i") == (b.kind == "i"):
        return a if a.bits > b.bits else b
    unsigned, signed = (a, b) if a.kind != "i" else (b, a)
    return unsigned if unsigned.bits >= signed.bits else signed


def computation_type(a: DType, a_number: bool, b: DType, b_number: bool, division: bool) -> DType:
    """The type two operands compute in; `*_number` says which was a Python number."""
    if a_number != b_number:
        number, other = (a, b) if a_number else (b, a)
        if other.is_fp8():
            raise TypeError(f"a Python number does not mix with {show_type(other)}: cast the tile first")
        if KIND[number.kind] <= KIND[other.kind]:
            return float32 if division and other in (float16, bfloat16) else other
    for wide in (float64, float32):
        if wide in (a, b):
            return wide
    if float16 in (a, b):
        return float32 if division else float16
    if bfloat16 in (a, b):
        return bfloat16 if a == b and not division else float32
    if a.is_fp8() and b.is_fp8():
        return a if a == b else float16
    if a.is_floating() or b.is_floating():
        raise TypeError(f"{show_types((a, b), ' and ')} do not mix: cast one of them")
    if division and (a.kind == "i") != (b.kind == "i"):
        raise TypeError(f"Cannot use /, // or % with {show_types((a, b), ' and ')} because they have different "
                        "signedness: cast one of them")
    return integer_promote(a, b)


def _number_in(x: Any, type: DType, other: DType) -> None:
    if x < 0 and type.is_int_unsigned():
        raise ValueError(f"the negative number {x} meets the unsigned type {show_type(other)}")
    if type.is_int() and not type.get_int_min_value() <= x <= type.get_int_max_value():
        raise ValueError(f"the number {x} is out of range for {show_type(type)}")


def pair(b: Context, x: Any, y: Any, *, arithmetic: bool = True, division: bool = False,
         pointers: bool = False) -> tuple[Value, Value]:
    """Two operands of one type and shape, as binary operators see them."""
    x, y = unwrap(x), unwrap(y)
    x_number, y_number = isinstance(x, Number), isinstance(y, Number)
    tx, ty = (natural_type(v) if isinstance(v, Number) else element_of(to_value(b, v).type) for v in (x, y))
    if isinstance(tx, Pointer) or isinstance(ty, Pointer):
        if not pointers:
            raise TypeError(f"wanted numbers, got {describe(x)} and {describe(y)}")
        return broadcast_pair(b, to_value(b, x), to_value(b, y))
    if not arithmetic and not (x_number or y_number):
        return broadcast_pair(b, x, y)
    wanted = computation_type(tx, x_number, ty, y_number, division)
    for v, number, other in ((x, x_number, ty), (y, y_number, tx)):
        if number and x_number != y_number:
            _number_in(v, wanted, other)
    left = b.build.const(x, wanted) if x_number else cast(b, x, wanted)
    right = b.build.const(y, wanted) if y_number else cast(b, y, wanted)
    return broadcast_pair(b, left, right)


def binary(b: Context, kind: str, x: Any, y: Any, **how: Any) -> Value:
    left, right = pair(b, x, y, **how)
    return b.build.one(kind, left, right)


def integers(b: Context, kind: str, x: Any, y: Any) -> Value:
    """A bitwise or shift operation. A shift to the right fills with the sign of a signed left operand (of the right one
    if the left is a Python number), whatever type the two compute in."""
    left, right = pair(b, x, y, division=False)
    for v in (left, right):
        if not element_of(v.type).is_int():
            raise TypeError(f"invalid operands of type {describe(x)} and {describe(y)}: "
                            "bitwise operations need integers")
    decides = y if isinstance(unwrap(x), Number) else x
    element = element_of(left.type)
    if kind == "shr" and element.kind == "u" and element_of(to_value(b, decides).type).kind == "i":
        signed = b.build.one("shr", *(b.build.one("bitcast", v, to=_SIGNED[str(element)]) for v in (left, right)))
        return b.build.one("bitcast", signed, to=element)
    return b.build.one(kind, left, right)


def _arithmetic(b: Context, kind: str, x: Any, y: Any, sanitize: bool) -> Value:
    """add, sub or mul; with debug=True an integer result that 64 bits hold and the type does not is a failed assert."""
    left, right = pair(b, x, y)
    element = element_of(left.type)
    if sanitize and b.option("debug") and isinstance(element, DType) and element.is_int() and 1 < element.bits < 64:
        exact = b.build.one(kind, cast(b, left, int64), cast(b, right, int64))
        low, high = element.get_int_min_value(), element.get_int_max_value()
        inside = b.build.one("and", compare(b, "ge", exact, low), compare(b, "le", exact, high))
        b.build.op("assert", inside, message=f"int{element.bits} overflow detected for operation {kind}")
    return b.build.one(kind, left, right)


def add(b: Context, x: Any, y: Any, sanitize: bool = True) -> Value:
    x, y = unwrap(x), unwrap(y)
    if is_pointer(y) and not is_pointer(x):
        x, y = y, x
    if is_pointer(x):
        if is_pointer(y):
            raise TypeError("two pointers cannot be added")
        offset = to_value(b, y)
        if element_of(offset.type) == int1:
            offset = cast(b, offset, int32)
        pointer, offset = broadcast_pair(b, x, offset)
        return b.build.one("addptr", pointer, offset)
    return _arithmetic(b, "add", x, y, sanitize)


def mul(b: Context, x: Any, y: Any, sanitize: bool = True) -> Value:
    return _arithmetic(b, "mul", x, y, sanitize)


def sub(b: Context, x: Any, y: Any, sanitize: bool = True) -> Value:
    x, y = unwrap(x), unwrap(y)
    if is_pointer(x):
        offset = to_value(b, y)
        if isinstance(offset.type, (DType, Tile)) and element_of(offset.type).kind in "bu":
            offset = cast(b, offset, int64)      # before it is negated: what is below 64 bits means its own value
        return add(b, x, negate(b, offset))
    return _arithmetic(b, "sub", x, y, sanitize)


def truediv(b: Context, x: Any, y: Any) -> Value:
    left, right = pair(b, x, y, division=True)
    if element_of(left.type).is_int():
        left, right = cast(b, left, float32), cast(b, right, float32)
    return b.build.one("div", left, right)


def floordiv(b: Context, x: Any, y: Any) -> Value:
    left, right = pair(b, x, y, division=True)
    if not element_of(left.type).is_int():
        raise TypeError(f"// needs integers, got {describe(x)} and {describe(y)}: use tl.floor(x / y)")
    return b.build.one("div", left, right)


def mod(b: Context, x: Any, y: Any) -> Value:
    return binary(b, "rem", x, y, division=True)


def negate(b: Context, x: Any) -> Value:
    value = to_value(b, x)
    if is_pointer(value):
        raise TypeError("a pointer cannot be negated")
    return b.build.one("neg", value)


def invert(b: Context, x: Any) -> Value:
    value = to_value(b, x)
    element = element_of(value.type)
    if not isinstance(element, DType) or not element.is_int():
        raise TypeError(f"~ needs integers, got {describe(x)}")
    ones = True if element.is_bool() else -1 if element.is_int_signed() else element.get_int_max_value()
    return b.build.one("xor", value, b.build.const(ones, value.type))


def compare(b: Context, kind: str, x: Any, y: Any) -> Value:
    """x kind y as i1. A Python number is compared as its own natural type: no number is out of range here."""
    x, y = to_value(b, x), to_value(b, y)
    return binary(b, kind, x, y, pointers=True)


def truth(b: Context, x: Any) -> Value:
    """x as i1: is it not zero?"""
    value = to_value(b, x)
    element = element_of(value.type)
    if element == int1:
        return value
    if isinstance(element, Pointer):
        raise TypeError("a pointer has no truth value")
    return b.build.one("ne", value, b.build.const(0.0 if element.is_floating() else 0, value.type))


def is_pointer(x: Any) -> bool:
    return isinstance(x, Value) and isinstance(element_of(x.type), Pointer)


def cast(b: Context, x: Any, to: Scalar, rounding: str = "rtne") -> Value:
    """x converted to `to`; x itself if it is that already."""
    value = to_value(b, x)
    source = element_of(value.type)
    if source == to:
        return value
    if to == int1 and isinstance(source, DType):
        return truth(b, value)
    if isinstance(to, DType) and isinstance(source, DType) and {source, to} == {float16, bfloat16}:
        value = b.build.one("cast", value, to=float32)
    attrs: dict[str, Any] = {} if rounding == "rtne" else {"rounding": rounding}     # the default is not written down
    return b.build.one("cast", value, to=to, **attrs)


def stored(b: Context, x: Any, to: Scalar) -> Value:
    """x as a store through a pointer to `to` writes it: as i1 it is an i8 first, so that 0.5 and 256 are false."""
    value = to_value(b, x)
    if to == int1 and element_of(value.type) != int1:
        value = cast(b, value, int8)
    return cast(b, value, to)


def broadcast_to(b: Context, x: Value, shape: Sequence[int]) -> Value:
    """x repeated to `shape`, NumPy's way: axes are added on the left, sizes 1 stretch."""
    shape = tuple(shape)
    have = shape_of(x.type)
    if have == shape:
        return x
    if not have:
        return b.build.one("splat", x, shape=shape)
    if len(have) > len(shape):
        raise ValueError(f"cannot broadcast {show(have)} to {show(shape)}")
    while len(shape_of(x.type)) < len(shape):
        x = b.build.one("expand_dims", x, axis=0)
    return x if shape_of(x.type) == shape else b.build.one("broadcast", x, shape=shape)


def broadcast_shape(*types: Type) -> tuple[int, ...]:
    """The shape that all stretch to."""
    shapes = [shape_of(t) for t in types]
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    result = tuple(max(sizes) for sizes in zip(*padded, strict=True))
    for s in padded:
        if any(n not in (1, m) for n, m in zip(s, result, strict=True)):
            raise ValueError(f"shapes do not fit together: {' and '.join(map(show, shapes))}")
    return result


def broadcast_pair(b: Context, x: Value, y: Value) -> tuple[Value, Value]:
    shape = broadcast_shape(x.type, y.type)
    return broadcast_to(b, x, shape), broadcast_to(b, y, shape)


def show(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a scalar"


def constant_int(x: Any, what: str) -> int:
    """A compile-time integer."""
    x = unwrap(x)
    if isinstance(x, bool) or not isinstance(x, int):
        raise TypeError(f"{what} must be known when compiling (an integer or a constexpr), got {describe(x)}")
    return x


def shape_argument(shape: Any) -> tuple[int, ...]:
    """The sizes of a shape given as a list, a tuple or one number."""
    shape = unwrap(shape)
    sizes = shape if is_list(shape) else (shape,)
    return tuple(constant_int(n, "a tile's size") for n in sizes)


def sizes_from(args: Sequence[Any]) -> tuple[int, ...]:
    """`f(x, 4, 8)` and `f(x, (4, 8))` alike."""
    if len(args) == 1 and is_list(unwrap(args[0])):
        return shape_argument(args[0])
    return shape_argument(tuple(args))


def axis_of(x: Value, axis: Any, what: str) -> int:
    """A non-negative axis of x."""
    rank = len(shape_of(x.type))
    number = constant_int(axis, f"{what}: the axis")
    if not -rank <= number < rank:
        raise ValueError(f"{what}: axis {number} is not an axis of {show_type(x.type)}")
    return number % rank


def need_writable(pointer: Value) -> None:
    """A ValueError for pointers that are only read."""
    element = element_of(pointer.type)
    if isinstance(element, Pointer) and element.const:
        raise ValueError(f"Cannot store to a constant pointer: {show_type(pointer.type)} is only read")


def need_tile(x: Any, what: str) -> Value:
    if not isinstance(x, Value) or not isinstance(x.type, Tile):
        raise TypeError(f"{what} needs a tile, got {describe(x)}")
    return x


def need_dtype(x: Any, what: str) -> DType:
    x = unwrap(x)
    if isinstance(x, Tile) and isinstance(x.element, DType):
        return x.element                         # what a block pointer points at: `x.to(block.dtype.element_ty)`
    if not isinstance(x, DType):
        raise TypeError(f"{what} wants a dtype such as tl.float32, got {describe(x)}")
    return x


def retile(b: Context, x: Value, shape: Sequence[int]) -> Value:
    """x reshaped, or splat if it is a scalar and the shape is of ones."""
    shape = tuple(shape)
    if shape_of(x.type) == shape:
        return x
    if not shape_of(x.type):
        return b.build.one("splat", x, shape=shape)
    return b.build.one("reshape", x, shape=shape)


def zero_like(b: Context, type: Type) -> Value:
    element = element_of(type)
    return b.build.const(0.0 if element.is_floating() else 0, with_shape(type, shape_of(type)))
