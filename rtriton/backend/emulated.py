"""Running kernels by the PTX emulator: the whole GPU road without a GPU (RTRITON_BACKEND=emulate)."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rtriton import knobs
from rtriton.backend.host import host_arguments
from rtriton.ir import Kernel
from rtriton.target import Target


class Emulated:
    """A kernel whose PTX the emulator runs."""

    def __init__(self, kernel: Kernel, ptx: str, shared_bytes: int) -> None:
        self.kernel, self.ptx, self.shared_bytes = kernel, ptx, shared_bytes
        self.asm: dict[str, Any] = {"ptx": ptx}

    def launch(self, grid: tuple[int, int, int], values: Sequence[int | float], objects: Sequence[Any]) -> None:
        from rtriton.backend.ptx.emulate import emulate

        if 0 not in grid:
            emulate(self.ptx, self.kernel.name, grid, host_arguments(self.kernel, values, objects),
                    shared=self.shared_bytes)


def build_emulated(kernel: Kernel, stages: Any, options: Mapping[str, Any]) -> Emulated:
    """Lower to PTX for the architecture that RTRITON_TARGET names."""
    from rtriton.backend.ptx.emit import lower_to_ptx

    module = lower_to_ptx(kernel, Target.of(knobs.target()))
    return Emulated(kernel, stages.text("ptx", "ptx", str(module)), module.shared_bytes)
