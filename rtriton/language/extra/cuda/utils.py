"""What a program can ask of the hardware it runs on: the time, the multiprocessor, its warps and threads."""
from __future__ import annotations

from typing import Any

from rtriton.ir import Value
from rtriton.language.assembly import inline_asm_elementwise
from rtriton.language.known import builtin
from rtriton.language.target_info import is_cuda
from rtriton.language.values import Context, Public
from rtriton.types import int32


def _function(fn: Any) -> Public:
    return Public(fn, False)


@_function
def globaltimer(b: Context) -> Value:
    """A clock that only goes forward, as int64: nanoseconds on a GPU, the processor's ticks on a CPU."""
    return b.build.one("clock")


@_function
def smid(b: Context) -> Value:
    """The number of the multiprocessor that runs this program, as int32; 0 on a CPU."""
    if not is_cuda(b):
        return b.build.const(0, int32)
    return inline_asm_elementwise.fn(b, "mov.u32 $0, %smid;", "=r", (), int32, True, 1)


@builtin
def num_warps(_semantic: Any = None) -> int:
    """The warps of a program, known when compiling."""
    return int(_semantic.option("num_warps"))


@builtin
def num_threads(_semantic: Any = None) -> int:
    """The threads of a program, known when compiling."""
    return 32 * int(_semantic.option("num_warps"))
