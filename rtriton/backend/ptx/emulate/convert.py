"""cvt: between integers, floats, and the short formats, in every rounding."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rtriton.backend.ptx.emulate.decode import DTYPES, Decoder, family
from rtriton.backend.ptx.emulate.formats import FP8, decode, encode, flush, to_odd
from rtriton.backend.ptx.emulate.integer import apply, halves
from rtriton.backend.ptx.emulate.program import Instruction
from rtriton.backend.ptx.emulate.state import Step, where

FLOATS = ("f16", "bf16", "f32", "f64", "tf32")
TO_INTEGER: dict[str, Callable[[Any], Any]] = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
MODES = ("rn", "rz", "rm", "rp", "rna")


@family("cvt")
def cvt(d: Decoder, inst: Instruction) -> Step:
    """Pick the conversion by the last two types."""
    to, source = inst.parts[-2:]
    if to in ("e4m3x2", "e5m2x2", "f16x2", "bf16x2"):
        return _packed(d, inst, to, source)
    if to in FLOATS:
        function = _float_to_float(inst, to, source) if source in FLOATS else _integer_to_float(inst, to)
    else:
        function = _float_to_integer(inst, to, source) if source in FLOATS else _integer_to_integer(inst, to)
    return apply(d, inst, function, to, source)


def _mode(inst: Instruction) -> str:
    return next((part for part in inst.parts if part in MODES), "rn")


def _integer_to_integer(inst: Instruction, to: str) -> Callable[[Any], Any]:
    dtype = DTYPES[to]
    if "sat" not in inst.parts:
        return lambda value: value.astype(dtype)
    limits = np.iinfo(dtype)

    def run(value: Any) -> Any:
        own = np.iinfo(value.dtype)
        return np.clip(value, max(limits.min, own.min), min(limits.max, own.max)).astype(dtype)

    return run


def _integer_to_float(inst: Instruction, to: str) -> Callable[[Any], Any]:
    mode, sat = _mode(inst), "sat" in inst.parts

    def run(value: Any) -> Any:
        if to in ("f32", "f64") and mode == "rn" and not sat:
            return value.astype(DTYPES[to])
        nearest = value.astype(np.float64)
        if value.dtype.itemsize == 8 and to != "f64":
            nearest = to_odd(nearest, _lost(value, nearest))
        return encode(np.clip(nearest, 0, 1) if sat else nearest, to, mode)

    return run


def _lost(value: Any, nearest: Any) -> Any:
    """The sign of what a 64-bit integer lost in becoming a float64."""
    longest = value.astype(np.longdouble) - nearest.astype(np.longdouble)
    return np.sign(longest).astype(np.float64)


def _float_to_integer(inst: Instruction, to: str, source: str) -> Callable[[Any], Any]:
    """Out of range gives the nearest end; NaN zero, but the top bit alone where a 64-bit type takes part."""
    dtype, way = DTYPES[to], TO_INTEGER[next(part for part in inst.parts if part in TO_INTEGER)]
    limits, ftz = np.iinfo(dtype), "ftz" in inst.parts
    nan = limits.dtype.type(0)
    if source == "f64" or dtype.itemsize == 8:
        nan = np.uint64(1 << (8 * dtype.itemsize - 1)).astype(f"u{dtype.itemsize}").view(dtype)

    def run(raw: Any) -> Any:
        value = decode(raw, source)
        value = np.asarray(flush(value) if ftz else value, np.float64)
        whole = way(value)
        top, bottom = whole >= float(limits.max), whole <= float(limits.min)
        inside = where(top | bottom | np.isnan(whole), 0.0, whole)
        result = inside.astype(dtype)
        result = where(top, dtype.type(limits.max), where(bottom, dtype.type(limits.min), result))
        return where(np.isnan(whole), nan, result)

    return run


def _float_to_float(inst: Instruction, to: str, source: str) -> Callable[[Any], Any]:
    mode, parts = _mode(inst), inst.parts
    way = next((TO_INTEGER[part] for part in parts if part in TO_INTEGER), None)
    ftz = "ftz" in parts

    def run(raw: Any) -> Any:
        value = decode(raw, source)
        if ftz and source == "f32":
            value = flush(value)
        value = np.asarray(value, np.float64)
        if way:
            value = way(value)
        result = encode(_clamped(value, parts), to, mode)
        return flush(result) if ftz and to == "f32" else result

    return run


def _clamped(value: Any, parts: tuple[str, ...]) -> Any:
    if "sat" in parts:
        return where(np.isnan(value), 0.0, np.clip(value, 0.0, 1.0))
    if "relu" in parts:
        return where(value > 0, value, where(np.isnan(value), value, 0.0))
    return value


def _packed(d: Decoder, inst: Instruction, to: str, source: str) -> Step:
    """Two values into one register: of two operands the first goes to the upper half."""
    part, mode, saturate = to.removesuffix("x2"), _mode(inst), "satfinite" in inst.parts
    bits = 8 if part in FP8 else 16

    def short(values: Any) -> Any:
        result = encode(_clamped(np.asarray(values, np.float64), inst.parts), part, mode, saturate)
        return result.view(np.uint16) if part == "f16" else result

    def join(upper: Any, lower: Any) -> Any:
        wide = DTYPES[to]
        return short(upper).astype(wide) << wide.type(bits) | short(lower).astype(wide)

    if source == "f32":
        return apply(d, inst, join, to, source, source)
    inner = source.removesuffix("x2")
    dtype = np.uint8 if inner in FP8 else np.float16 if inner == "f16" else np.uint16

    def both(raw: Any) -> Any:
        values = decode(halves(raw, dtype), inner)
        return join(values[1::2], values[0::2])

    return apply(d, inst, both, to, source)
