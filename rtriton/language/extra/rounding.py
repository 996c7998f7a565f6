"""libdevice's arithmetic and conversions with a rounding of their own: to nearest (rn), towards zero (rz), up (ru) and
down (rd).

A result is computed to nearest together with the sign of what was rounded away, which says whether its neighbour is
the one asked for. That error is exact unless it is smaller than the smallest number.
"""
from __future__ import annotations

from collections.abc import Callable

from rtriton.language.extra.tools import (
    bits, constant, doubles, floats, fma, from_bits, kernel, named, primitive, product, quotient,
)
from rtriton.language.math import abs_, where
from rtriton.language.values import Public, constexpr
from rtriton.source import KernelFunction
from rtriton.types import float32, float64

INF = constexpr(float("inf"))


@kernel
def directed(near, lost, mode: constexpr):
    """The neighbour of `near` that `mode` asks for, where the exact value is near + lost; only lost's sign counts."""
    if mode == "rn":
        return near
    else:
        b = bits(near)
        one = constant(b, 1)
        towards_zero = b - one
        away = b + one
        up = where(near == 0.0, constant(b, 1), where(near > 0.0, away, towards_zero))
        down = where(near == 0.0, bits(constant(near, -0.0)) + one, where(near > 0.0, towards_zero, away))
        if mode == "ru":
            return where(lost > 0.0, from_bits(up), near)
        elif mode == "rd":
            return where(lost < 0.0, from_bits(down), near)
        else:
            beyond = ((near > 0.0) & (lost < 0.0)) | ((near < 0.0) & (lost > 0.0))
            return where(beyond, from_bits(towards_zero), near)


@kernel
def _finite(near, lost, finite):
    """What was lost; where a finite result became infinite that is everything beyond the largest number."""
    return where((abs_(near) == INF) & finite, -near, where(lost != lost, 0.0, lost))


@kernel
def _add(x, y, mode: constexpr):
    near = x + y
    part = near - x
    lost = (x - (near - part)) + (y - part)
    return directed(near, _finite(near, lost, (abs_(x) < INF) & (abs_(y) < INF)), mode)


@kernel
def _mul(x, y, mode: constexpr):
    near = product(x, y)
    return directed(near, _finite(near, fma(x, y, -near), (abs_(x) < INF) & (abs_(y) < INF)), mode)


@kernel
def _div(x, y, mode: constexpr):
    near = quotient(x, y)
    rest = fma(-near, y, x)
    lost = where(y < 0.0, -rest, rest)
    return directed(near, _finite(near, lost, (abs_(x) < INF) & (y != 0.0)), mode)


@kernel
def _sqrt(x, mode: constexpr):
    near = primitive("sqrt_rn", x)
    lost = fma(-near, near, x)
    return directed(near, where(lost != lost, 0.0, lost), mode)


@kernel
def _fma(x, y, z, mode: constexpr):
    near = fma(x, y, z)
    p = product(x, y)
    low = fma(x, y, -p)
    total = p + z
    part = total - p
    rest = (p - (total - part)) + (z - part)
    lost = (total - near) + (rest + low)
    finite = (abs_(x) < INF) & (abs_(y) < INF) & (abs_(z) < INF)
    return directed(near, _finite(near, lost, finite), mode)


@kernel
def _narrow(x, mode: constexpr):
    near = x.to(float32)
    back = near.to(float64)
    lost = where(x > back, constant(near, 1.0), where(x < back, -1.0, 0.0))
    return directed(near, lost, mode)


MODES = {"rn": "rounded to nearest", "rz": "rounded towards zero", "ru": "rounded up", "rd": "rounded down"}


# What a factory's function takes from around it is constexpr: kernels see nothing there that could change.

def _two(name: constexpr, rule: KernelFunction, mode: constexpr, sign: constexpr) -> KernelFunction:
    @kernel
    def function(x, y):
        x, y = floats(name, x, y)
        return rule(x, y * sign, mode)

    return function


def _three(name: constexpr, rule: KernelFunction, mode: constexpr) -> KernelFunction:
    @kernel
    def function(x, y, z):
        x, y, z = floats(name, x, y, z)
        return rule(x, y, z, mode)

    return function


def _reciprocal(name: constexpr, rule: KernelFunction, mode: constexpr) -> KernelFunction:
    @kernel
    def function(x):
        x = floats(name, x)
        return rule(constant(x, 1.0), x, mode)

    return function


def _one(name: constexpr, rule: KernelFunction, mode: constexpr, check: Public) -> KernelFunction:
    @kernel
    def function(x):
        return rule(check(name, x), mode)

    return function


ONE, MINUS = constexpr(1.0), constexpr(-1.0)
Factory = Callable[[constexpr, constexpr], KernelFunction]
FACTORIES: dict[str, tuple[str, Factory]] = {
    "add": ("x + y", lambda name, mode: _two(name, _add, mode, ONE)),
    "sub": ("x - y", lambda name, mode: _two(name, _add, mode, MINUS)),
    "mul": ("x * y", lambda name, mode: _two(name, _mul, mode, ONE)),
    "div": ("x / y", lambda name, mode: _two(name, _div, mode, ONE)),
    "fma": ("x * y + z", lambda name, mode: _three(name, _fma, mode)),
    "rcp": ("1 / x", lambda name, mode: _reciprocal(name, _div, mode)),
    "sqrt": ("The square root", lambda name, mode: _one(name, _sqrt, mode, floats)),
    "double2float": ("An f64 as f32", lambda name, mode: _one(name, _narrow, mode, doubles)),
}


def _all() -> dict[str, KernelFunction]:
    """add_rn ... double2float_rd, by name."""
    made: dict[str, KernelFunction] = {}
    for stem, (says, factory) in FACTORIES.items():
        for mode, how in MODES.items():
            name = f"{stem}_{mode}"
            made[name] = named(factory(constexpr(name), constexpr(mode)), name, f"{says}, {how}.")
    return made


FUNCTIONS = _all()
