"""A kernel assembled with the number of registers at which it is fastest (backend/ptx/occupancy.py says which)."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from rtriton.backend.cuda import driver
from rtriton.backend.ptx.module import Module
from rtriton.backend.ptx.names import symbol
from rtriton.backend.ptx.occupancy import caps
from rtriton.target import Target


Made = TypeVar("Made")


@dataclass(frozen=True)
class Usage:
    """Registers of a thread, and bytes of local memory: what did not fit into them."""

    registers: int
    local: int


def fitted(ptx: str, module: Module, assemble: Callable[[str], bytes]) -> tuple[str, bytes]:
    """The text that was assembled, and the cubin: `ptx`, or the same under the lowest useful cap of registers at which
    nothing spills. The lowest is tried first, then the middle of those that are left: one to three assemblies more."""
    return fitted_by(ptx, module, assemble, lambda cubin: usage(cubin, module.name))


def fitted_by(
    ptx: str, module: Module, assemble: Callable[[str], Made], usage_of: Callable[[Made], Usage]
) -> tuple[str, Made]:
    """The same, by any assembler and whatever says what it used."""
    made = assemble(ptx)
    if not module.under_way or module.maxnreg is not None:
        return ptx, made
    free = usage_of(made)
    steps = caps(Target.of(module.target), free.registers, module.num_warps, module.shared_bytes, module.under_way)
    found = ptx, made
    at, first, last = 0, 0, len(steps) - 1
    while first <= last:
        capped = with_cap(ptx, steps[at])
        tried = assemble(capped)
        if usage_of(tried).local <= free.local:
            found, last = (capped, tried), at - 1
        else:
            first = at + 1
        at = (first + last) // 2
    return found


def with_cap(ptx: str, cap: int) -> str:
    """The text with a directive that no thread takes more than `cap` registers."""
    head, place, rest = ptx.partition("\n.reqntid ")
    return f"{head}\n.maxnreg {cap}{place}{rest}" if place else ptx


def usage(cubin: bytes, name: str) -> Usage:
    """What the driver says of a kernel of the current GPU."""
    module = driver.call("cuModuleLoadData", cubin, what=f"loading {name}")
    try:
        function = driver.call("cuModuleGetFunction", module, symbol(name).encode(),
                               what=f"finding {name} in its module")
        attribute = driver.bindings().CUfunction_attribute
        return Usage(
            int(driver.call("cuFuncGetAttribute", attribute.CU_FUNC_ATTRIBUTE_NUM_REGS, function)),
            int(driver.call("cuFuncGetAttribute", attribute.CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, function)),
        )
    finally:
        driver.call("cuModuleUnload", module)
