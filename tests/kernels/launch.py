"""Lower a kernel for given arguments and run it in the interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np

from rtriton.frontend.lower import lower
from rtriton.interpret import interpret
from rtriton.ir import Kernel
from rtriton.types import BY_NAME, Pointer, float32, int32

POINTEES = {t.storage: t for t in BY_NAME.values() if t.kind in "iuf" and t.bits > 8 and t.name != "bf16"} | {
    "int8": BY_NAME["int8"],
    "uint8": BY_NAME["uint8"],
    "bool": BY_NAME["int1"],
}


def lowered(fn: Any, types: dict[str, Any] | None = None, **given: Any) -> tuple[Kernel, list[Any]]:
    """The kernel for keyword arguments, and those that it takes at run time; `types` overrides pointees by name."""
    signature, constants, args = {}, {}, []
    for param in fn.params:
        value = given[param.name] if param.name in given else param.default
        if param.is_constexpr:
            constants[param.name] = value
        else:
            signature[param.name] = _type(value, (types or {}).get(param.name))
            args.append(value)
    return lower(fn, signature, constants).kernel, args


def _type(value: Any, wanted: Any) -> Any:
    if isinstance(value, np.ndarray):
        return Pointer(wanted or POINTEES[value.dtype.name])
    return wanted or (float32 if isinstance(value, float) else int32)


def run(fn: Any, grid: tuple[int, ...], types: dict[str, Any] | None = None, **given: Any) -> Kernel:
    kernel, args = lowered(fn, types, **given)
    interpret(kernel, grid, args)
    return kernel
