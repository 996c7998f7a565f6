"""PTX made ahead of time, for a GPU that need not be here. The cubin is made by ptxas when it is asked for; a launch,
where there is a GPU, loads the text through the driver."""
from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from rtriton.backend.ptx.ptxas import Assembled, assemble
from rtriton.ir import Kernel
from rtriton.target import Target
from rtriton.types import Type


class AheadOfTime:
    """A kernel as PTX text for one architecture."""

    direct = False

    def __init__(self, name: str, types: Sequence[Type], ptx: str, target: str, shared_bytes: int, num_warps: int,
                 options: Mapping[str, Any]) -> None:
        self.name, self.types, self.ptx, self.target = name, list(types), ptx, target
        self.shared_bytes, self.num_warps, self.options = shared_bytes, num_warps, dict(options)
        self.asm: dict[str, Any] = PtxAsm(self)
        self._loaded: Any = None

    @cached_property
    def assembled(self) -> Assembled:
        """The cubin and what it uses, by ptxas."""
        return assemble(self.ptx, self.target, options=tuple(shlex.split(self.options.get("ptx_options") or "")))

    @property
    def n_regs(self) -> int:
        return self.assembled.usage.registers

    @property
    def n_spills(self) -> int:
        return self.assembled.usage.spills

    @property
    def n_max_threads(self) -> int:
        """What 65,536 registers allow, in whole warps, handed out in units of 256 a warp."""
        per_warp = -(-max(self.n_regs, 1) * 32 // 256) * 256
        return min(1024, 65536 // per_warp * 32)

    @property
    def module(self) -> Any:
        return None if self._loaded is None else self._loaded.module

    @property
    def function(self) -> Any:
        return self if self._loaded is None else self._loaded.function

    def launch(self, grid: tuple[int, int, int], values: Sequence[int | float], objects: Sequence[Any]) -> None:
        if self._loaded is None:
            from rtriton.backend.cuda.launch import CudaExecutable

            self._loaded = CudaExecutable(self.name, self.types, self.ptx, self.shared_bytes, self.num_warps,
                                          options=self.options)
        self._loaded.launch(grid, values, objects)


class PtxAsm(dict[str, Any]):
    """The texts; machine code is made when first asked for."""

    later = ("cubin",)

    def __init__(self, made: AheadOfTime) -> None:
        super().__init__(ptx=made.ptx)
        self.made = made

    def __missing__(self, key: str) -> Any:
        if key != "cubin":
            raise KeyError(key)
        self[key] = self.made.assembled.cubin
        return self[key]


def build_ahead(kernel: Kernel, stages: Any, options: Mapping[str, Any]) -> AheadOfTime:
    """Lower to PTX for the architecture that the stages name."""
    from rtriton.backend.ptx.emit import lower_to_ptx

    module = lower_to_ptx(kernel, Target.of(stages.target), stages.pass_done)
    ptx = stages.text("ptx", "ptx", str(module))
    return AheadOfTime(kernel.name, [v.type for v in kernel.params], ptx, stages.target, module.shared_bytes,
                       int(options["num_warps"]), options)


def from_text(source: Any, target: str, options: Mapping[str, Any]) -> AheadOfTime:
    """A kernel whose PTX was written elsewhere: its own `.target` and `.reqntid` hold."""
    named = re.search(r"\.target\s+(sm_\w+)", source.text)
    threads = re.search(r"\.reqntid\s+(\d+)", source.text)
    warps = int(threads[1]) // 32 if threads else int(options["num_warps"])
    return AheadOfTime(source.name, source.types, source.text, named[1] if named else target, 0, warps, options)
