"""libdevice's conversions between integers and floats, each in the four roundings of rounding.py.

Floats to integers saturate, NaN gives 0 (on a GPU the sign bit alone where 64 bits are involved). Triton declares the
results of float2uint and float2ull as signed; so are they here.
"""
from __future__ import annotations

from rtriton.language.extra.bits import rint, trunc
from rtriton.language.extra.rounding import MODES, directed
from rtriton.language.extra.tools import constant, doubles, kernel, long_words, named, primitive, singles, words
from rtriton.language.math import where
from rtriton.language.values import Public, constexpr, constexpr_function
from rtriton.source import KernelFunction
from rtriton.types import DType, float32, float64, int32, int64, uint32, uint64

INF = constexpr(float("inf"))
# by name: the type, that of the result, the check of an argument
INTEGERS: dict[str, tuple[DType, DType, Public]] = {
    "int": (int32, int32, words), "uint": (uint32, int32, words),
    "ll": (int64, int64, long_words), "ull": (uint64, int64, long_words),
}
FLOATS: dict[str, tuple[DType, Public]] = {"float": (float32, singles), "double": (float64, doubles)}


@constexpr_function
def top_of(dtype: DType) -> float:
    """The first power of two beyond an integer type."""
    return float(dtype.get_int_max_value() + 1)


@kernel
def _to_integer(x, kind: constexpr, mode: constexpr):
    if mode == "rn":
        whole = rint(x)
    elif mode == "rz":
        whole = trunc(x)
    elif mode == "ru":
        whole = primitive("ceil", x)
    else:
        whole = primitive("floor", x)
    return whole.to(kind)


@kernel
def _from_integer(x, kind: constexpr, mode: constexpr):
    near = x.to(kind)
    if mode == "rn":
        return near
    else:
        top = constant(near, top_of(x.dtype))        # what the largest integer may be rounded up to
        back = near.to(x.dtype)
        lost = where(near >= top, -1.0, where(x > back, constant(near, 1.0), where(x < back, -1.0, 0.0)))
        return directed(near, lost, mode)


def _float_to(name: constexpr, check: Public, kind: DType, result: DType, mode: constexpr) -> KernelFunction:
    @kernel
    def function(x):
        return _to_integer(check(name, x), kind, mode).to(result, bitcast=True)

    return function


def _integer_to(name: constexpr, check: Public, kind: DType, result: DType, mode: constexpr) -> KernelFunction:
    @kernel
    def function(x):
        return _from_integer(check(name, x).to(kind, bitcast=True), result, mode)

    return function


def _all() -> dict[str, KernelFunction]:
    """float2int_rn ... ull2double_rd, by name."""
    made: dict[str, KernelFunction] = {}
    for mode, how in MODES.items():
        for whole, (kind, result, integer) in INTEGERS.items():
            for real, (dtype, check) in FLOATS.items():
                name = f"{real}2{whole}_{mode}"
                function = _float_to(constexpr(name), check, kind, result, constexpr(mode))
                made[name] = named(function, name, f"{dtype} as {kind}, {how}.")
                if mode != "rn" and real == "double" and kind.bits == 32:     # f64 holds all integers of 32 bits
                    continue
                name = f"{whole}2{real}_{mode}"
                function = _integer_to(constexpr(name), integer, kind, dtype, constexpr(mode))
                made[name] = named(function, name, f"{kind} as {dtype}, {how}.")
    return made


FUNCTIONS = _all()
