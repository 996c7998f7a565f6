"""Which block sizes a kernel gets: they differ between a CPU's vector registers and a GPU's warps, the source does not.

Each op file has a small table by target; `target(arg)` picks the row. Where kernels are emulated or forced onto one
backend, that backend decides, so that the GPU's block sizes are tested without a GPU.

    TUNING = {"cpu": Tuning(block=64), "cuda": Tuning(block=1024, num_warps=4)}
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

from ops.arrays import Arg

_forced: ContextVar[str] = ContextVar("_forced", default="")


def target(arg: Arg) -> str:
    """ "cpu" or "cuda": whose block sizes to use for a launch on `arg`."""
    if _forced.get():
        return _forced.get()
    from rtriton import knobs

    chosen = knobs.backend()
    if chosen in ("cuda", "emulate"):
        return "cuda"
    return "cuda" if arg.device.startswith("cuda") else "cpu"


@contextmanager
def tuned_for(name: str) -> Iterator[None]:
    """Within the block every op uses the block sizes of `name`, wherever it runs (tests walk both tables)."""
    if name not in ("cpu", "cuda"):
        raise ValueError(f"block sizes exist for cpu and cuda, got {name!r}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


@cache
def register_elements() -> int:
    """How many fp32 elements of a tile the CPU backend keeps in vector registers on this machine."""
    from rtriton.backend.cpu.target import host

    return host().lanes * host().vector_registers // 2


def power_of_two(n: int, most: int) -> int:
    """The smallest power of two that holds n, at most `most`."""
    size = 1
    while size < n and size < most:
        size *= 2
    return size


def dividing_power(n: int, most: int) -> int:
    """The largest power of two up to `most` that divides n."""
    size = 1
    while size < most and n % (size * 2) == 0:
        size *= 2
    return size
