"""Is there an NVIDIA GPU that can be used? Asked of the driver itself through ctypes, before anything is installed.

    probe().state       "absent": run on the CPU    "usable"    "broken": say `reason`, never fall back silently

Standard library only: the set-up scripts ask this to choose what to install, `serve` to choose a device, `doctor` to
report.
"""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from typing import Literal

NO_DEVICE = 100
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76
LOWEST_CAPABILITY = (8, 0)


@dataclass(frozen=True)
class Gpu:
    """What the driver says of the first device."""

    state: Literal["absent", "usable", "broken"]
    reason: str
    name: str = ""
    driver: str = ""
    """The CUDA version that the driver speaks."""
    capability: tuple[int, int] = (0, 0)
    memory: int = 0


def probe() -> Gpu:
    """Ask the driver."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError as error:
        if os.path.exists("/dev/nvidia0"):
            return Gpu("broken", f"/dev/nvidia0 is there, but the driver's library cannot be loaded: {error}")
        return Gpu("absent", f"no NVIDIA driver ({library} is not installed)")
    status = driver.cuInit(0)
    if status == NO_DEVICE:
        return Gpu("absent", "the NVIDIA driver sees no GPU")
    if status:
        return Gpu("broken", f"the NVIDIA driver is there, but cuInit fails with {_error(driver, status)}")
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    return _device(driver) if count.value else Gpu("absent", "the NVIDIA driver sees no GPU")


def _device(driver: ctypes.CDLL) -> Gpu:
    device, version, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(256)
    driver.cuDriverGetVersion(ctypes.byref(version))
    status = driver.cuDeviceGet(ctypes.byref(device), 0) or driver.cuDeviceGetName(name, len(name), device)
    if status:
        return Gpu("broken", f"the GPU does not answer: {_error(driver, status)}")
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    capability = (_attribute(driver, device, CAPABILITY_MAJOR), _attribute(driver, device, CAPABILITY_MINOR))
    title = name.value.decode(errors="replace")
    spoken = f"{version.value // 1000}.{version.value % 1000 // 10}"
    if capability < LOWEST_CAPABILITY:
        old = f"{title} has compute capability {capability[0]}.{capability[1]}; 8.0 (Ampere) or newer is needed"
        return Gpu("broken", old, title, spoken, capability, memory.value)
    return Gpu("usable", "", title, spoken, capability, memory.value)


def _attribute(driver: ctypes.CDLL, device: ctypes.c_int, which: int) -> int:
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), which, device)
    return value.value


def _error(driver: ctypes.CDLL, status: int) -> str:
    text = ctypes.c_char_p()
    driver.cuGetErrorString(status, ctypes.byref(text))
    return f"error {status} ({text.value.decode() if text.value else 'no text'})"
