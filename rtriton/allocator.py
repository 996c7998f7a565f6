"""`set_allocator`: memory on the device for a kernel's own use, as Triton asks for it.

Triton needs such memory for descriptors made in kernels. rtriton turns descriptors into pointers and masks, so that no
kernel asks for any today: the function is kept for this thread's context, and `allocate` is where one will ask.
"""
from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

Allocator = Callable[[int, int, "int | None"], Any]


class NullAllocator:
    """The allocator before one is set, and to set when there is to be none again."""

    def __call__(self, size: int, alignment: int, stream: int | None) -> Any:
        raise RuntimeError(f"a kernel needs {size} bytes of memory on the device: call rtriton.set_allocator first")


_none = NullAllocator()
_allocator: ContextVar[Allocator] = ContextVar("allocator", default=_none)


def set_allocator(allocator: Allocator) -> None:
    """Have `allocator(size, alignment, stream)` called for a kernel's own memory: an array of `size` bytes."""
    if not callable(allocator):
        raise TypeError(f"set_allocator wants a function of size, alignment and stream, got {allocator!r}")
    _allocator.set(allocator)


def allocate(size: int, alignment: int, stream: int | None) -> Any:
    """`size` bytes from the allocator that was set; RuntimeError without one."""
    return _allocator.get()(size, alignment, stream)
