"""`tl.extra.libdevice`: the functions of NVIDIA's libdevice under Triton's names, written in the kernel language.

    from rtriton.language.extra import libdevice
    y = libdevice.tanh(x)

Arguments are f32 or f64 (or the integers that a function is for), scalars or tiles, which broadcast; half floats are
refused, as Triton does. Results in f32 are within 2 units in the last place; f64 too, or as the file of the function
says. They run wherever kernels run. Bessel functions (j0, j1, jn, y0, y1, yn, cyl_bessel_i0, cyl_bessel_i1) are absent.
"""
from __future__ import annotations

from types import ModuleType
from typing import Any

from rtriton.language.extra import bits, conversions, elementary, fast, rounding, special, trigonometry
from rtriton.source import KernelFunction

_HELPERS = {
    elementary: ("nearest", "power_of_two", "scaled", "held", "exp_shifted", "split", "log_pair", "positive_power"),
    trigonometry: ("from_sign",),
}  # fmt: skip


def _public(module: ModuleType) -> dict[str, KernelFunction]:
    """The functions that a module defines, without its helpers."""
    hidden = _HELPERS.get(module, ())
    return {name: fn for name, fn in vars(module).items()
            if isinstance(fn, KernelFunction) and fn.__module__ == module.__name__
            and not name.startswith("_") and name not in hidden}  # fmt: skip


FUNCTIONS: dict[str, KernelFunction] = {**rounding.FUNCTIONS, **conversions.FUNCTIONS}
for _module in (bits, elementary, fast, special, trigonometry):
    FUNCTIONS.update(_public(_module))
globals().update(FUNCTIONS)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"libdevice has no function {name} here")


__all__ = [*FUNCTIONS]  # pyright: ignore[reportUnsupportedDunderAll]
