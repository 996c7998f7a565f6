"""`tl.dot_scaled`: products of microscaled operands, as plain products of bf16 (fp16 if an operand is fp16).

An operand is widened, multiplied by its scales (one e8m0 number, a power of two, for 32 elements along K, or one e4m3
number for 16) and handed to `dot`. That is what Triton does on a GPU without microscaled tensor cores. A scale of 255
is NaN and makes its 32 elements NaN (`fast_math` leaves that out); a scale of 0 counts as 0.

e2m1 comes two to a byte, the first in the low half, along K unless `lhs_k_pack` or `rhs_k_pack` is false.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.values import Context, public, unwrap
from rtriton.types import (
    BY_NAME, DType, bfloat16, dtype_of, float16, float32, shape_of, show_type, uint8, uint16, uint32, with_shape,
)

FORMATS = {"e2m1": "uint8", "e4m3": "fp8e4nv", "e5m2": "fp8e5", "bf16": "bf16", "fp16": "fp16"}
NAN_SCALE = 255


@dataclass(frozen=True)
class Side:
    """One operand; `axis` is the one that is multiplied away, counted from the end, `packed` the one e2m1 is packed
    along."""

    name: str
    value: Value
    scale: Value | None
    format: str
    axis: int
    packed: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the numbers, unpacked."""
        shape = list(shape_of(self.value.type))
        if self.format == "e2m1":
            shape[self.packed] *= 2
        return tuple(shape)

    @property
    def per_scale(self) -> int:
        """How many numbers share a scale."""
        return 32 if self.scale is None or dtype_of(self.scale.type) == uint8 else 16


@public()
def dot_scaled(b: Context, lhs: Any, lhs_scale: Any, lhs_format: Any, rhs: Any, rhs_scale: Any, rhs_format: Any,
               acc: Any = None, fast_math: Any = False, lhs_k_pack: Any = True, rhs_k_pack: Any = True,
               out_dtype: Any = float32) -> Value:
    """acc + (lhs * lhs_scale) @ (rhs * rhs_scale), MxK times KxN, both perhaps with a batch axis in front.

    Formats are e2m1 (uint8 tiles, two numbers a byte), e4m3, e5m2 (fp8 tiles, or uint8 read as such), bf16 and fp16
    (or uint16). Scales are uint8 (e8m0) tiles MxK/32 and NxK/32, e4m3 tiles MxK/16 and NxK/16, or None. The result is
    `out_dtype` (fp32; fp16 too where an operand is fp16). TypeError and ValueError for what does not fit."""
    left = _side(b, "lhs", lhs, lhs_scale, lhs_format, -1, lhs_k_pack)
    right = _side(b, "rhs", rhs, rhs_scale, rhs_format, -2, rhs_k_pack)
    _check_shapes(left, right)
    wide = float16 if "fp16" in (left.format, right.format) else bfloat16
    result = s.need_dtype(out_dtype, "dot_scaled's out_dtype")
    if result != float32 and not (result == wide == float16):
        raise ValueError(f"dot_scaled: out_dtype is f32 (or f16 where an operand is fp16), got {show_type(result)}")
    wanted = with_shape(result, left.shape[:-1] + right.shape[-1:])
    if unwrap(acc) is None:
        total = s.zero_like(b, wanted)
    else:
        total = s.need_tile(acc, "dot_scaled's acc")
        if total.type != wanted:
            raise TypeError(f"dot_scaled: acc must be {show_type(wanted)}, got {show_type(total.type)}")
    a, c = (_numbers(b, side, wide, bool(unwrap(fast_math))) for side in (left, right))
    return b.build.one("dot", a, c, total, precision="ieee")


def _side(b: Context, name: str, value: Any, scale: Any, format: Any, axis: int, along_k: Any) -> Side:
    tile, chosen, known = s.need_tile(value, "dot_scaled"), unwrap(format), unwrap(scale)
    if chosen not in FORMATS:
        raise ValueError(f"dot_scaled: {name}_format is one of {', '.join(FORMATS)}, got {chosen!r}")
    if not unwrap(along_k) and chosen != "e2m1":
        raise ValueError(f"dot_scaled: only e2m1 can be packed along another axis than K, {name} is {chosen}")
    wanted = BY_NAME[FORMATS[chosen]]
    have = dtype_of(tile.type)
    if have != wanted:
        if have not in (uint8, uint16) or have.bits != wanted.bits:
            raise TypeError(f"dot_scaled: {name} in format {chosen} is made of {show_type(wanted)}"
                            f"{'' if wanted == uint8 else f' or u{wanted.bits}'}, got {show_type(tile.type)}")
        tile = b.build.one("bitcast", tile, to=wanted)
    if known is not None:
        _check_scale(name, known := s.need_tile(known, f"dot_scaled's {name}_scale"))
    return Side(name, tile, known, chosen, axis, axis if unwrap(along_k) else -3 - axis)


def _check_scale(name: str, scale: Value) -> None:
    element = dtype_of(scale.type)
    if element != uint8 and element.name != "fp8e4nv":
        raise TypeError(f"dot_scaled: {name}_scale is made of u8 (e8m0) or f8e4 (e4m3), got {show_type(scale.type)}")


def _check_shapes(left: Side, right: Side) -> None:
    x, y = left.shape, right.shape
    if len(x) != len(y) or len(x) not in (2, 3) or x[:-2] != y[:-2]:
        raise ValueError("dot_scaled needs two tiles of rank 2, or of rank 3 with equal batch axes, "
                         f"got {s.show(x)} and {s.show(y)}")
    if x[-1] != y[-2]:
        raise ValueError(f"dot_scaled needs equal inner sizes, got {s.show(x)} and {s.show(y)} (unpacked)")
    for side, outer in ((left, x[-2]), (right, y[-1])):
        if side.scale is None:
            continue
        wanted, have = [*x[:-2], outer, x[-1] // side.per_scale], shape_of(side.scale.type)
        if list(have) != wanted:
            raise ValueError(f"{side.name}_scale must be a tensor of shape {wanted}. Got {[str(n) for n in have]}")


def _numbers(b: Context, side: Side, wide: DType, fast: bool) -> Value:
    """The operand as numbers of type `wide`, scaled."""
    value = _unpacked(b, side) if side.format == "e2m1" else side.value
    value = s.cast(b, value, wide)
    if side.scale is None:
        return value
    scales = _spread(b, side.scale, side)
    element = dtype_of(side.scale.type)
    if element != uint8:
        return b.build.one("mul", value, s.cast(b, scales, wide))
    product = b.build.one("mul", value, _power(b, scales, wide))
    if fast:
        return product
    broken = b.build.one("eq", scales, b.build.const(NAN_SCALE, scales.type))
    return b.build.one("where", broken, b.build.const(math.nan, product.type), product)


def _unpacked(b: Context, side: Side) -> Value:
    """e2m1 as fp16: two bytes' worth of numbers side by side along the packed axis."""
    packed = side.value
    high = b.build.one("shr", packed, b.build.const(4, packed.type))
    pair = b.build.one("join", _e2m1(b, packed), _e2m1(b, high))
    rank = len(shape_of(packed.type))
    axis = side.packed % rank
    order = (*range(axis + 1), rank, *range(axis + 1, rank))
    if order != tuple(range(rank + 1)):
        pair = b.build.one("trans", pair, order=order)
    return s.retile(b, pair, side.shape)


def _e2m1(b: Context, byte: Value) -> Value:
    """The low half of a byte as fp16: its bits are those of an fp16 2**14 times as small."""
    bits = s.cast(b, byte, uint16)

    def moved(mask: int, by: int) -> Value:
        kept = b.build.one("and", bits, b.build.const(mask, bits.type))
        return b.build.one("shl", kept, b.build.const(by, bits.type))

    small = b.build.one("bitcast", b.build.one("or", moved(7, 9), moved(8, 12)), to=float16)
    return b.build.one("mul", small, b.build.const(float(2**14), small.type))


def _spread(b: Context, scale: Value, side: Side) -> Value:
    """A scale for each number of the operand."""
    shape = shape_of(scale.type)
    wide = b.build.one("expand_dims", scale, axis=len(shape))
    wide = s.broadcast_to(b, wide, (*shape, side.per_scale))
    wide = s.retile(b, wide, (*shape[:-1], shape[-1] * side.per_scale))
    if side.axis == -1:
        return wide
    return b.build.one("trans", wide, order=(*range(len(shape) - 2), len(shape) - 1, len(shape) - 2))


def _power(b: Context, scale: Value, wide: DType) -> Value:
    """e8m0 as a number: the byte is the exponent of a float."""
    if wide == bfloat16:
        bits = s.cast(b, scale, uint16)
        return b.build.one("bitcast", b.build.one("shl", bits, b.build.const(7, bits.type)), to=bfloat16)
    bits = s.cast(b, scale, uint32)
    single = b.build.one("bitcast", b.build.one("shl", bits, b.build.const(23, bits.type)), to=float32)
    return s.cast(b, single, wide)
