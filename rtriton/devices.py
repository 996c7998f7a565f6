"""The device that kernels run on, as programs ask for it: `triton.runtime.driver.active.get_current_target()`.

    from rtriton.runtime import driver
    driver.active.get_current_target()                       # GPUTarget(backend="cuda", arch=90, warp_size=32)
    driver.active.utils.get_device_properties(0)["multiprocessor_count"]

Without a GPU, or where RTRITON_BACKEND (TRITON_INTERPRET) says so, the target is the CPU.
"""
from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class GPUTarget:
    """What code is made for: a backend ("cuda" or "cpu"), its architecture (90 for sm_90), threads in a warp."""

    backend: str
    arch: int | str
    warp_size: int


CPU = GPUTarget("cpu", platform.machine(), 1)
PROPERTIES = {
    "max_shared_mem": "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN", "max_num_regs": "MAX_REGISTERS_PER_BLOCK",
    "multiprocessor_count": "MULTIPROCESSOR_COUNT", "warpSize": "WARP_SIZE", "sm_clock_rate": "CLOCK_RATE",
    "mem_clock_rate": "MEMORY_CLOCK_RATE", "mem_bus_width": "GLOBAL_MEMORY_BUS_WIDTH",
}


class Utilities:
    """What a driver tells of its devices."""

    def get_device_properties(self, device: int = 0) -> dict[str, int]:
        """Triton's names: bytes of shared memory a program may have, registers, multiprocessors, clocks in kHz, bits
        of the memory bus. On a CPU the processors count as multiprocessors and the rest is 0."""
        if active.get_current_target().backend == "cpu":
            known = {"multiprocessor_count": os.cpu_count() or 1, "warpSize": 1}
            return {name: known.get(name, 0) for name in PROPERTIES}
        from rtriton.backend.cuda import driver

        handle = driver.call("cuDeviceGet", device)
        return {name: driver.attribute(handle, cuda) for name, cuda in PROPERTIES.items()}


class Active:
    """The device in use."""

    utils = Utilities()

    def get_current_target(self) -> GPUTarget:
        """The GPU that launches go to, or the CPU."""
        from rtriton import knobs
        from rtriton.backend.cuda import driver

        if knobs.backend() in ("", "cuda"):
            try:
                major, minor = driver.current_device().capability
                return GPUTarget("cuda", 10 * major + minor, 32)
            except driver.CudaUnavailable:
                pass
        return CPU

    def get_current_device(self) -> int:
        """The ordinal of the device in use; 0 for the CPU."""
        if self.get_current_target().backend == "cpu":
            return 0
        from rtriton.backend.cuda import driver

        return driver.current_device().ordinal

    def get_current_stream(self, device: int | None = None) -> int:
        """The stream that launches go to; 0 for the CPU."""
        if self.get_current_target().backend == "cpu":
            return 0
        from rtriton.backend.cuda import current

        return current.stream()

    def get_active_torch_device(self) -> Any:
        """torch's name for the device in use. It imports torch, as whoever asks has."""
        torch: Any = import_module("torch")
        target = self.get_current_target()
        return torch.device("cpu") if target.backend == "cpu" else torch.device("cuda", self.get_current_device())

    def get_benchmarker(self) -> Any:
        """The function that autotuning times with."""
        from rtriton.testing import do_bench

        return do_bench


active = Active()
