"""The GPU and the stream that launches of this thread go to: those of whoever works with the GPU beside us.

    device, stream = current.place()

The stream is the one captured into or set here, else torch's current one, CuPy's, or 0; the device torch's current
one, else that of the CUDA context, 0 without one. Every launch asks, so that torch's answers come from the functions
below its Python; it begins to count when its CUDA has started, and is never imported here.
"""
from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any


class _Set(threading.local):
    stream = 0


_set = _Set()


def set_stream(handle: int) -> int:
    """Send this thread's launches to a stream (0: back to the caller's current one); the one set before."""
    before, _set.stream = _set.stream, handle
    return before


def stream() -> int:
    """The handle of the stream that launches go to."""
    return place()[1]


def device() -> int:
    """The ordinal of the GPU that launches go to; 0 where no GPU is in use."""
    return place()[0]


def _place() -> tuple[int, int]:
    """Without torch. Where torch has started, `place` is its function from then on."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "cuda") and torch.cuda.is_initialized():
        global place
        place = _of_torch(torch)
        return place()
    driver: Any = sys.modules.get("rtriton.backend.cuda.driver")
    ordinal: int = driver.context_device() if driver is not None else 0
    if _set.stream:
        return ordinal, _set.stream
    cupy = sys.modules.get("cupy")
    return ordinal, int(cupy.cuda.get_current_stream().ptr) if cupy is not None else 0


place: Callable[[], tuple[int, int]] = _place


def _of_torch(torch: Any) -> Callable[[], tuple[int, int]]:
    current_device: Callable[[], int] = torch._C._cuda_getDevice
    current_stream: Callable[[int], int] = torch._C._cuda_getCurrentRawStream

    def place() -> tuple[int, int]:
        ordinal = current_device()
        return ordinal, _set.stream or current_stream(ordinal)

    def place_on_one() -> tuple[int, int]:
        return 0, _set.stream or current_stream(0)

    return place if torch.cuda.device_count() > 1 else place_on_one
