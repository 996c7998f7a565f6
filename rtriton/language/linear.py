"""`tl.dot`: which operands it takes, and what it gives. (`tl.dot_scaled` is written in terms of it: scaled.py.)"""
from __future__ import annotations

from math import prod
from typing import Any

from rtriton import knobs
from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.primitives.combine import PRECISIONS
from rtriton.language.values import Context, public, unwrap
from rtriton.types import (
    DType, bfloat16, dtype_of, float16, float32, float64, int8, int32, shape_of, show_type, show_types, uint8,
    with_element, with_shape,
)

EMULATED = ("fp8e4b15", "fp8e4b8", "fp8e5b16")  # no GPU of ours multiplies these: they are multiplied as fp16


@public()
def dot(b: Context, input: Any, other: Any, acc: Any = None, input_precision: Any = None, allow_tf32: Any = None,
        max_num_imprecise_acc: Any = None, out_dtype: Any = float32) -> Value:
    """acc + input @ other: MxK times KxN (or both with equal batch axes in front), K >= 16 (>= 32 for 8-bit elements).

    Equal element types, or two fp8 types. int8 and uint8 give int32 (a sum outside int32 is not defined: tensor cores
    saturate, CPUs wrap), fp64 fp64, fp16 and fp8 give `out_dtype` (fp32 or fp16), bf16 and fp32 give fp32.
    input_precision for fp32: tf32 (default), tf32x3, ieee, bf16x3, bf16x6. Of fp8 summed in fp32 tensor
    cores sum at most max_num_imprecise_acc products along K, fp32 additions those sums.
    TypeError and ValueError for operands that do not fit."""
    x, y = s.need_tile(input, "dot"), s.need_tile(other, "dot")
    x, y = _one_type(b, x, y)
    element = dtype_of(x.type)
    _check_inner(x, y, element)
    result = _result_type(element, s.need_dtype(out_dtype, "dot's out_dtype"))
    shape = shape_of(x.type)[:-1] + shape_of(y.type)[-1:]
    total = _accumulator(b, acc, with_element(with_shape(x.type, shape), result))
    limit = _limit(max_num_imprecise_acc, element, result, shape_of(x.type)[-1])
    precision = _precision(input_precision, allow_tf32)
    flat = [_three_axes(b, v) for v in (x, y, total)] if len(shape) > 3 else [x, y, total]
    product = b.build.one("dot", *flat, precision=precision if element == float32 else "ieee", **limit)
    return s.retile(b, product, shape)


def _one_type(b: Context, x: Value, y: Value) -> tuple[Value, Value]:
    """Operands as they are multiplied: of one type, or of two fp8 types."""
    one, two = dtype_of(x.type), dtype_of(y.type)
    if one != two and not (one.is_fp8() and two.is_fp8()):
        raise TypeError(f"dot needs operands of one type, got {show_types((x.type, y.type), ' and ')}")
    if one.name in EMULATED or two.name in EMULATED:
        if "fp8e4b15" in (one.name, two.name):
            b.warn("the use of fp8e4b15 is deprecated on Hopper and later architectures: dot multiplies it as fp16")
        return s.cast(b, x, float16), s.cast(b, y, float16)
    return x, y


def _three_axes(b: Context, x: Value) -> Value:
    """All batch axes as one."""
    *batch, rows, columns = shape_of(x.type)
    return s.retile(b, x, (prod(batch), rows, columns))


def _check_inner(x: Value, y: Value, element: DType) -> None:
    shape, other = shape_of(x.type), shape_of(y.type)
    if len(shape) != len(other) or len(shape) < 2:
        raise ValueError("dot needs two tiles of equal rank, 2 or more, "
                         f"got {show_types((x.type, y.type), ' and ')}")
    if shape[:-2] != other[:-2]:
        raise ValueError(f"dot needs equal batch axes, got {s.show(shape)} and {s.show(other)}")
    if shape[-1] != other[-2]:
        raise ValueError(f"dot needs equal inner sizes, got {s.show(shape)} and {s.show(other)}")
    least = 32 if element.bits == 8 else 16
    if shape[-1] < least:
        raise ValueError(f"dot: Input shapes should have M >= 1, N >= 1 and K >= {least} for {show_type(element)}, "
                         f"got {s.show(shape)} and {s.show(other)}")


def _result_type(element: DType, wanted: DType) -> DType:
    if element in (int8, uint8):
        return int32
    if wanted == bfloat16:
        raise ValueError("out_dtype=bfloat16 is unsupported. Please use out_dtype=float32/float16 and cast with "
                         "`.to(tl.bfloat16)`")
    if element == float64:
        return float64
    if element in (float32, bfloat16):
        return float32
    if element == float16 or element.is_fp8():
        if wanted not in (float16, float32):
            raise ValueError(f"dot's out_dtype is f32 or f16, got {show_type(wanted)}")
        return wanted
    raise TypeError(f"dot does not multiply {show_type(element)}")


def _accumulator(b: Context, acc: Any, wanted: Any) -> Value:
    if unwrap(acc) is None:
        return s.zero_like(b, wanted)
    total = s.need_tile(acc, "dot's acc")
    if total.type != wanted:
        raise TypeError(f"dot: acc must be {show_type(wanted)}, got {show_type(total.type)}"
                        " (out_dtype says what the products of fp16 and fp8 are summed in)")
    return total


def _limit(limit: Any, element: DType, result: DType, depth: int) -> dict[str, Any]:
    """The attribute of the op that max_num_imprecise_acc is; only sums of fp8 have one."""
    given = unwrap(limit)
    if given is None or not element.is_fp8():
        return {}
    number = s.constant_int(given, "max_num_imprecise_acc")
    if number > depth:
        raise ValueError(f"max_num_imprecise_acc ({number}) must be <= K ({depth})")
    return {"limit": number} if result == float32 else {}


def _precision(input_precision: Any, allow_tf32: Any) -> str:
    chosen, allowed = unwrap(input_precision), unwrap(allow_tf32)
    if chosen is not None and allowed is not None:
        raise ValueError("Only one of input_precision and allow_tf32 can be specified")
    if chosen is None:
        chosen = knobs.f32_default_precision() if allowed is None or allowed else "ieee"
    if isinstance(chosen, str) and chosen.lower() in PRECISIONS:
        return chosen.lower()
    raise ValueError(f"input_precision must be one of {', '.join(PRECISIONS)}, got {chosen!r}")
