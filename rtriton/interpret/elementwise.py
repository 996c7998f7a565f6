"""Elementwise ops on NumPy arrays: the table's `meaning`, rounded to the element type after every op, and the casts.

Also what the constant folder asks. Arrays carry values as rtriton/numerics.py says (bf16 and fp8 as float32).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rtriton.language import OPS
from rtriton.numerics import Array, decode, encode, round_to, value_dtype
from rtriton.types import DType, Scalar

ON_MASKS = frozenset({"and", "or", "xor", "minimum", "maximum", "eq", "ne", "lt", "le", "gt", "ge", "where"})


def apply(
    kind: str, args: Sequence[Array], sources: Sequence[Scalar], result: Scalar, attrs: Mapping[str, Any]
) -> Array:
    """An elementwise op on arrays that broadcast together; `sources` and `result` are the element types."""
    if kind == "cast":
        return cast(args[0], sources[0], result, attrs.get("rounding", "rtne"))
    if kind == "bitcast":
        return bitcast(args[0], sources[0], result)
    meaning = OPS[kind].meaning
    assert meaning is not None, kind
    if sources[0].kind == "b" and kind not in ON_MASKS:
        # i1 arithmetic is arithmetic modulo 2
        return (meaning(*(a.astype(np.uint8) for a in args)) & 1).astype(np.bool_)
    value = meaning(*args)
    if needs_rounding(result):
        return round_to(value, result)
    wanted = value_dtype(result)
    return value if value.dtype == wanted else value.astype(wanted)


def needs_rounding(element: Scalar) -> bool:
    """Formats that NumPy computes with in a wider one."""
    return element.kind == "f" and isinstance(element, DType) and (element.bits == 8 or element.name == "bf16")


def cast(x: Array, source: Scalar, to: Scalar, rounding: str) -> Array:
    """Floats to integers truncate and saturate (NaN gives 0), as cvt.rzi does; to i1 is != 0."""
    if to.kind == "b":
        return x != 0
    if to.kind == "f":
        wide = x.astype(np.float64) if source.kind in "biu" else x
        return round_to(wide, to, rounding)
    if source.kind == "f":
        return _to_integer(x, value_dtype(to))
    return x.astype(value_dtype(to))


def _to_integer(x: Array, to: np.dtype[Any]) -> Array:
    info = np.iinfo(to)
    wide = np.nan_to_num(np.trunc(x.astype(np.float64)), nan=0.0, posinf=np.inf, neginf=-np.inf)
    inside = (wide >= float(info.min)) & (wide < float(info.max) + (1.0 if info.bits <= 32 else 0.0))
    # arrays of dtype `to`: what NumPy chooses for two Python integers need not hold uint64's largest
    limit = np.where(wide < 0, np.array(info.min, to), np.array(info.max, to))
    return np.where(inside, np.where(inside, wide, 0).astype(to), limit)


def bitcast(x: Array, source: Scalar, to: Scalar) -> Array:
    if source.kind == "p" or to.kind == "p" or source == to:
        return x.astype(value_dtype(to))
    bits = np.ascontiguousarray(encode(x, source))
    assert isinstance(to, DType)
    return decode(bits.view(to.storage), to)
