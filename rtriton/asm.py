"""`CompiledKernel.asm`: every stage of a kernel as text, made when it is first asked for.

    source   the function, as written                           every backend
    tir      tile IR after the target-free passes               every backend
    gpu      tile IR with layouts, shared memory and barriers   GPUs
    ptx      PTX                                                GPUs
    cubin    machine code, bytes                                GPUs: by the driver, or by ptxas where there is no GPU
    sass     machine code as text, with the user's lines        GPUs: by nvdisasm
    llvm     LLVM IR                                            CPUs
    asm      assembly of this machine                           CPUs

Triton's names `ttir`, `ttgir` and `llir` lead to `tir`, `gpu` and `llvm`. A tool that is not there gets an error that
says where it was sought; no GPU is needed for any of them.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from rtriton.ir import Kernel


STAGES = ("source", "tir", "gpu", "ptx", "cubin", "sass", "llvm", "asm")


class AsmDict(dict[str, Any]):
    """The stages that were made so far, by name; asking for another one makes it. KeyError names those there are."""

    alias: ClassVar[dict[str, str]] = {"ttir": "tir", "ttgir": "gpu", "llir": "llvm"}

    def __init__(self, texts: dict[str, Any], kernel: Kernel | None, backend: Mapping[str, Any]) -> None:
        super().__init__({**texts, **backend})
        self.kernel, self.backend = kernel, backend

    def stages(self) -> list[str]:
        """The names of all stages that this kernel has."""
        later: tuple[str, ...] = getattr(self.backend, "later", ())
        return [name for name in STAGES if name in later or self._can_make(name)]

    def _can_make(self, name: str) -> bool:
        if name == "tir" or name not in _MADE:
            return name in self or (name == "tir" and self.kernel is not None)
        return name in self or all(self._can_make(needed) for needed in _MADE[name][0])

    def __missing__(self, key: str) -> Any:
        key = self.alias.get(key, key)
        if key in self:
            return self[key]
        try:
            self[key] = self.backend[key]
        except KeyError:
            if not self._can_make(key):
                raise KeyError(f"there is no stage {key!r}; there are {', '.join(self.stages())}") from None
            self[key] = _MADE[key][1](self)
        return self[key]


def _tir(asm: AsmDict) -> str:
    from rtriton.text import show

    assert asm.kernel is not None
    return show(asm.kernel)


def _target(asm: AsmDict) -> str:
    """The architecture that the PTX is for."""
    found = re.search(r"\.target\s+(\w+)", asm["ptx"])
    assert found is not None, "PTX names its target"
    return found[1]


def _gpu(asm: AsmDict) -> str:
    """What the PTX was made from, by the same passes again."""
    from rtriton.passes import GPU, TILE, run_pipeline
    from rtriton.target import Target
    from rtriton.text import parse, show

    return show(run_pipeline(asm.kernel or parse(asm["tir"]), Target.of(_target(asm)), GPU[len(TILE) :]))


def _cubin(asm: AsmDict) -> bytes:
    from rtriton.backend.ptx.ptxas import assemble

    return assemble(asm["ptx"], _target(asm)).cubin


def _sass(asm: AsmDict) -> str:
    from rtriton.backend.ptx.disassemble import disassemble

    return disassemble(asm["cubin"]).text


_MADE: dict[str, tuple[tuple[str, ...], Callable[[AsmDict], Any]]] = {
    "tir": ((), _tir),
    "gpu": (("tir", "ptx"), _gpu),
    "cubin": (("ptx",), _cubin),
    "sass": (("cubin",), _sass),
}
"""Stages that are made from others: the names of those, and how."""
