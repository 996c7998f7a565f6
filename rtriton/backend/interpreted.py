"""Running kernels by the NumPy interpreter: the oracle, and the debugger (RTRITON_INTERPRET=1)."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rtriton.backend.host import host_arguments
from rtriton.ir import Kernel


class Interpreted:
    """A kernel that the interpreter runs."""

    direct = False

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.asm: dict[str, Any] = {}

    def launch(self, grid: tuple[int, int, int], values: Sequence[int | float], objects: Sequence[Any]) -> None:
        from rtriton.interpret import interpret

        interpret(self.kernel, grid, host_arguments(self.kernel, values, objects))


def build_interpreted(kernel: Kernel, stages: Any, options: Mapping[str, Any]) -> Interpreted:
    return Interpreted(kernel)
