"""Running kernels by the PTX emulator: the whole GPU road without a GPU (RTRITON_BACKEND=emulate).

A launch whose kernel is wrong (accesses out of bounds, uninitialised reads, races, deadlocks: docs/debugging.md) ends
with an EmulatorError that names the lines of the kernel.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from rtriton import knobs, numerics
from rtriton.backend.host import host_arguments
from rtriton.ir import Kernel, Span, walk
from rtriton.target import Target, target_of
from rtriton.types import DType, Type


class Emulated:
    """A kernel whose PTX the emulator runs."""

    direct = False

    def __init__(self, kernel: Kernel, ptx: str, shared_bytes: int) -> None:
        self.kernel, self.ptx, self.shared_bytes = kernel, ptx, shared_bytes
        self.asm: dict[str, Any] = {"ptx": ptx}

    def launch(self, grid: tuple[int, int, int], values: Sequence[int | float], objects: Sequence[Any]) -> None:
        from rtriton.backend.ptx.emulate import emulate

        if 0 not in grid:
            args = [_narrow(x, v.type) for x, v in zip(host_arguments(self.kernel, values, objects),
                                                       self.kernel.params, strict=True)]
            emulate(self.ptx, self.kernel.name, grid, args, shared=self.shared_bytes,
                    names=[v.name for v in self.kernel.params], ends=self.ends)

    @cached_property
    def ends(self) -> dict[tuple[str, int, int], tuple[int, int]]:
        """Where expressions of the source end, by where they begin."""
        found = dict[tuple[str, int, int], tuple[int, int]]()
        for op in walk(self.kernel.body):
            span: Span | None = op.span
            while span is not None:
                found[span.file, span.line, span.column] = span.end_line, span.end_column
                span = span.caller
        return found


def _narrow(x: Any, type: Type) -> Any:
    """A float of 16 or 8 bits is passed by its bits."""
    if isinstance(type, DType) and type.is_floating() and type.bits < 32:
        return numerics.narrow_bits(float(x), type)
    return x


def build_emulated(kernel: Kernel, stages: Any, options: Mapping[str, Any]) -> Emulated:
    """Lower to PTX for the architecture that RTRITON_TARGET names."""
    from rtriton.backend.ptx.emit import lower_to_ptx

    arch = options.get("arch")
    target = target_of(arch) if arch is not None else Target.of(knobs.target())
    module = lower_to_ptx(kernel, target, stages.pass_done)
    return Emulated(kernel, stages.text("ptx", "ptx", str(module)), module.shared_bytes)
