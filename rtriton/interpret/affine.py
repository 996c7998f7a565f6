"""Integer values kept as a formula: element (i, j, ...) of program p is base[p] + i*strides[0] + j*strides[1] + ...

Index arithmetic is nearly always of this form (arange, program_id, scalars; sums; products with a uniform number), so
the interpreter computes it on a few numbers instead of whole tiles, proves most masks all true from the bounds, and
reads memory through strided views. An operation whose result has no such form gives None here, and the caller works
on the expanded arrays. Pointers are such values too; masks are, where they are equal all over a program's tile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rtriton.numerics import Array


class Affine(NamedTuple):
    """`low` and `high` bound every element, not always tightly; `base` is int64, one per program or one for all."""

    base: Array
    strides: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    low: int
    high: int

    @property
    def flat(self) -> bool:
        """Equal all over a program's tile."""
        return not any(self.strides)

    @property
    def uniform(self) -> bool:
        """One number for all elements of all programs."""
        return self.base.size == 1 and not any(self.strides)

    @property
    def value(self) -> int:
        """The number of a uniform value."""
        return int(self.base[0])


Data = Affine | Array
LIMITS = {
    np.dtype(f"{s}int{b}"): (np.iinfo(f"{s}int{b}").min, min(np.iinfo(f"{s}int{b}").max, 2**63 - 1))
    for s in ("", "u")
    for b in (8, 16, 32, 64)
} | {np.dtype(np.bool_): (0, 1)}


def made(
    base: Array, strides: tuple[int, ...], shape: tuple[int, ...], dtype: np.dtype[Any], low: int, high: int
) -> Affine | None:
    """The value, or None where an element would leave the dtype's range (there the wrapping is left to NumPy)."""
    least, most = LIMITS[dtype]
    return Affine(base, strides, shape, dtype, low, high) if least <= low and high <= most else None


def constant(value: int, dtype: np.dtype[Any], shape: tuple[int, ...] = ()) -> Affine | None:
    """One number everywhere."""
    value = int(value)
    if not LIMITS[dtype][0] <= value <= LIMITS[dtype][1]:
        return None
    return Affine(np.array([value], np.int64), (0,) * len(shape), shape, dtype, value, value)


def per_program(values: Array) -> Affine | None:
    """A scalar with one value per program."""
    if values.size == 1:
        return constant(int(values[0]), values.dtype)
    low, high = int(values.min()), int(values.max())
    return made(values.astype(np.int64), (), (), values.dtype, low, high) if high < 2**63 else None


def expand(x: Data) -> Array:
    """The elements, as an array with the program axis in front (of size 1 if all programs agree)."""
    if isinstance(x, np.ndarray):
        return x
    rank = len(x.shape)
    out = x.base.astype(x.dtype).reshape((-1,) + (1,) * rank)
    for axis, (stride, size) in enumerate(zip(x.strides, x.shape, strict=True)):
        if stride and size > 1:
            steps = (np.arange(size, dtype=np.int64) * stride).astype(x.dtype)
            out = out + steps.reshape((size,) + (1,) * (rank - axis - 1))
    return np.broadcast_to(out, (x.base.size, *x.shape))


def splat(x: Affine, shape: tuple[int, ...]) -> Affine:
    return x._replace(strides=(0,) * len(shape), shape=shape)


def expand_dims(x: Affine, axis: int) -> Affine:
    return x._replace(strides=x.strides[:axis] + (0,) + x.strides[axis:], shape=x.shape[:axis] + (1,) + x.shape[axis:])


def broadcast(x: Affine, shape: tuple[int, ...]) -> Affine:
    return x._replace(strides=tuple(s if n > 1 else 0 for s, n in zip(x.strides, x.shape, strict=True)), shape=shape)


def trans(x: Affine, order: tuple[int, ...]) -> Affine:
    return x._replace(strides=tuple(x.strides[i] for i in order), shape=tuple(x.shape[i] for i in order))


def retyped(x: Affine, dtype: np.dtype[Any]) -> Affine | None:
    """The same numbers in another integer type, if they fit."""
    return made(x.base, x.strides, x.shape, dtype, x.low, x.high)


def shifted(x: Affine, by: Affine, size: int) -> Affine | None:
    """Pointer arithmetic: x + by * size, in bytes."""
    strides = tuple(a + b * size for a, b in zip(x.strides, by.strides, strict=True))
    return made(x.base + by.base * size, strides, x.shape, x.dtype, x.low + by.low * size, x.high + by.high * size)


def _add(x: Affine, y: Affine) -> Affine | None:
    strides = tuple(a + b for a, b in zip(x.strides, y.strides, strict=True))
    return made(x.base + y.base, strides, x.shape, x.dtype, x.low + y.low, x.high + y.high)


def _sub(x: Affine, y: Affine) -> Affine | None:
    strides = tuple(a - b for a, b in zip(x.strides, y.strides, strict=True))
    return made(x.base - y.base, strides, x.shape, x.dtype, x.low - y.high, x.high - y.low)


def _mul(x: Affine, y: Affine) -> Affine | None:
    if not y.uniform:
        x, y = y, x
    return _scaled(x, y.value) if y.uniform else None


def _scaled(x: Affine, by: int) -> Affine | None:
    low, high = sorted((x.low * by, x.high * by))
    least, most = LIMITS[x.dtype]
    if low < least or high > most:  # before the multiplication, which would wrap
        return None
    return Affine(x.base * by, tuple(s * by for s in x.strides), x.shape, x.dtype, low, high)


def _shl(x: Affine, y: Affine) -> Affine | None:
    return _scaled(x, 1 << y.value) if y.uniform and 0 <= y.value < 63 else None


def _div(x: Affine, y: Affine) -> Affine | None:
    """Where all elements have one quotient."""
    if not y.uniform or y.value <= 0 or x.low < 0 or x.low // y.value != x.high // y.value:
        return None
    return constant(x.low // y.value, x.dtype, x.shape)


def _rem(x: Affine, y: Affine) -> Affine | None:
    quotient = _div(x, y)
    if quotient is None:
        return None
    less = quotient.value * y.value
    return x._replace(base=x.base - less, low=x.low - less, high=x.high - less)


def _truth(value: bool, like: Affine) -> Affine | None:
    return constant(value, np.dtype(np.bool_), like.shape)


def _less(x: Affine, y: Affine) -> bool | None:
    return True if x.high < y.low else False if x.low >= y.high else None


def _equal(x: Affine, y: Affine) -> bool | None:
    if x.high < y.low or x.low > y.high:
        return False
    return True if x.low == x.high == y.low == y.high else None


def _compare(
    test: Callable[[Affine, Affine], bool | None], flip: bool, swap: bool
) -> Callable[[Affine, Affine], Affine | None]:
    def rule(x: Affine, y: Affine) -> Affine | None:
        known = test(y, x) if swap else test(x, y)
        return None if known is None else _truth(known != flip, x)

    return rule


def _minimum(x: Affine, y: Affine) -> Affine | None:
    return x if x.high <= y.low else y if y.high <= x.low else None


def _maximum(x: Affine, y: Affine) -> Affine | None:
    return x if x.low >= y.high else y if y.low >= x.high else None


RULES: dict[str, Callable[[Affine, Affine], Affine | None]] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "shl": _shl,
    "div": _div,
    "rem": _rem,
    "minimum": _minimum,
    "maximum": _maximum,
    "lt": _compare(_less, False, False),
    "ge": _compare(_less, True, False),
    "gt": _compare(_less, False, True),
    "le": _compare(_less, True, True),
    "eq": _compare(_equal, False, False),
    "ne": _compare(_equal, True, False),
}
ARITHMETIC = frozenset({"add", "sub", "mul", "shl", "div", "rem"})  # not to be used on masks


def logical(kind: str, x: Data, y: Data) -> Data | None:
    """and, or of masks where one is the same everywhere; None if neither is."""
    for known, other in ((x, y), (y, x)):
        if isinstance(known, Affine) and known.uniform:
            settles = known.value == (kind == "or")
            return known if settles else other
    return None


def binary(kind: str, x: Affine, y: Affine) -> Affine | None:
    """The formula of `kind` applied to two formulas, or None."""
    rule = RULES.get(kind)
    if rule is None or (kind in ARITHMETIC and x.dtype == np.bool_):
        return None
    return rule(x, y)
