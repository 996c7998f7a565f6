"""`tl.target_info`: what a kernel is being compiled for, as a condition known when compiling.

    if tl.target_info.cuda_capability_geq(9): ...

In a kernel it is the backend of this compilation (the emulator counts as its GPU); outside, the device in use.
"""
from __future__ import annotations

from typing import Any

from rtriton import devices, knobs
from rtriton.devices import GPUTarget
from rtriton.language.known import unwrap
from rtriton.target import target_of


def current_target(_semantic: Any = None) -> GPUTarget:
    """The backend, architecture and warp size."""
    if _semantic is not None:
        return _semantic.option("target")
    if knobs.backend() == "emulate":
        return GPUTarget("cuda", target_of(knobs.target()).number, 32)
    return devices.active.get_current_target()


def is_cuda(_semantic: Any = None) -> bool:
    """Is it an NVIDIA GPU?"""
    return current_target(_semantic).backend == "cuda"


def cuda_capability_geq(major: Any, minor: Any = 0, _semantic: Any = None) -> bool:
    """Is it an NVIDIA GPU of at least this compute capability?"""
    target = current_target(_semantic)
    return target.backend == "cuda" and int(target.arch) >= unwrap(major) * 10 + unwrap(minor)


def is_hip(_semantic: Any = None) -> bool:
    """Is it an AMD GPU? There is no backend for these: False."""
    return current_target(_semantic).backend == "hip"


is_hip_cdna3 = is_hip_cdna4 = is_hip

for _fn in (current_target, is_cuda, cuda_capability_geq, is_hip):
    _fn.__dict__["__triton_builtin__"] = True
