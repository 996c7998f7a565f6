"""`tl.extra.cuda`: what only CUDA's programs ask for."""
from __future__ import annotations

from typing import Any

from rtriton.language.extra import libdevice
from rtriton.language.known import builtin


@builtin
def num_warps(_semantic: Any = None) -> int:
    """The warps of a program, known when compiling."""
    return int(_semantic.option("num_warps"))


@builtin
def num_threads(_semantic: Any = None) -> int:
    """The threads of a program, known when compiling."""
    return 32 * int(_semantic.option("num_warps"))


__all__ = ["libdevice", "num_threads", "num_warps"]
