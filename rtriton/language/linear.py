"""`tl.dot`."""
from __future__ import annotations

from typing import Any

from rtriton import knobs
from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.primitives import PRECISIONS
from rtriton.language.values import Context, public, unwrap
from rtriton.types import (
    DType, bfloat16, dtype_of, float16, float32, float64, int8, int32, shape_of, show_type, show_types, uint8,
    with_element, with_shape,
)


@public()
def dot(b: Context, input: Any, other: Any, acc: Any = None, input_precision: Any = None, allow_tf32: Any = None,
        max_num_imprecise_acc: Any = None, out_dtype: Any = float32) -> Value:
    """acc + input @ other: MxK times KxN (or both with one batch axis), K >= 16 (>= 32 for 8-bit elements).

    Equal element types, or two fp8 types. int8 gives int32, fp64 fp64, fp16 and fp8 give `out_dtype` (fp32 or fp16),
    bf16 and fp32 give fp32. input_precision for fp32: tf32 (default), tf32x3, ieee, bf16x3, bf16x6."""
    x, y = s.need_tile(input, "dot"), s.need_tile(other, "dot")
    a, c = dtype_of(x.type), dtype_of(y.type)
    if a != c and not (a.is_fp8() and c.is_fp8()):
        raise TypeError(f"dot needs operands of one type, got {show_types((x.type, y.type), ' and ')}")
    _check_inner(x, y, a)
    result = _result_type(a, s.need_dtype(out_dtype, "dot's out_dtype"))
    shape = shape_of(x.type)[:-1] + shape_of(y.type)[-1:]
    if unwrap(acc) is None:
        total = s.zero_like(b, with_element(with_shape(x.type, shape), result))
    else:
        total = s.need_tile(acc, "dot's acc")
    if dtype_of(total.type) != result:
        raise TypeError(f"dot: acc must be made of {show_type(result)}, got {show_type(total.type)}")
    precision = _precision(input_precision, allow_tf32) if a == float32 else "ieee"
    return b.build.one("dot", x, y, total, precision=precision)


def _check_inner(x: Value, y: Value, element: DType) -> None:
    shape, other = shape_of(x.type), shape_of(y.type)
    if len(shape) != len(other) or len(shape) not in (2, 3):
        raise ValueError(f"dot needs two tiles of rank 2 or of rank 3, got {show_types((x.type, y.type), ' and ')}")
    if shape[-1] != other[-2]:
        raise ValueError(f"dot needs equal inner sizes, got {s.show(shape)} and {s.show(other)}")
    least = 32 if element.bits == 8 else 16
    if shape[-1] < least:
        raise ValueError(f"dot needs an inner size of at least {least} for {show_type(element)}, got {shape[-1]}")


def _result_type(element: DType, wanted: DType) -> DType:
    if element in (int8, uint8):
        return int32
    if element == float64:
        return float64
    if element in (float32, bfloat16):
        if wanted == bfloat16:
            raise ValueError("out_dtype=bfloat16 is unsupported: use float32 and cast the result")
        return float32
    if element == float16 or element.is_fp8():
        if wanted not in (float16, float32):
            raise ValueError(f"dot's out_dtype is f32 or f16, got {show_type(wanted)}")
        return wanted
    raise TypeError(f"dot does not multiply {show_type(element)}")


def _precision(input_precision: Any, allow_tf32: Any) -> str:
    chosen, allowed = unwrap(input_precision), unwrap(allow_tf32)
    if chosen is not None and allowed is not None:
        raise ValueError("give input_precision or allow_tf32, not both")
    if chosen is None:
        chosen = knobs.f32_default_precision() if allowed is None or allowed else "ieee"
    if chosen not in PRECISIONS:
        raise ValueError(f"input_precision is one of {', '.join(PRECISIONS)}, got {chosen!r}")
    return chosen
