"""Where a launch runs: where its arrays are decides, RTRITON_BACKEND overrules."""
from __future__ import annotations

import sys
from collections.abc import Sequence

from rtriton import knobs
from rtriton.arguments import Argument


def choose_backend(arguments: Sequence[Argument], name: str) -> str:
    """Where the arrays are decides; RTRITON_BACKEND overrules for arrays in CPU memory. Memory that the CPU and the GPU
    share (pinned) may be given to either."""
    devices = {a.device for a in arguments if a.device}
    wished = knobs.backend()
    if "cuda" in devices and wished not in ("", "cuda"):
        raise ValueError(f"{name}(): RTRITON_BACKEND={wished} needs arrays in CPU memory, got CUDA arrays")
    if "cuda" not in devices and wished != "cuda":
        return wished or ("cpu" if devices else _without_arrays())
    for i, argument in enumerate(arguments):
        if argument.device == "cpu" and not _on_gpu_too(argument.value):
            raise ValueError(f"{name}(): Pointer argument (at {i}) cannot be accessed from Triton (cpu tensor?): a "
                             "kernel on a GPU takes CUDA arrays and pinned memory, got an array in CPU memory")
    return "cuda"


def _on_gpu_too(address: int) -> bool:
    from rtriton.backend.cuda import driver

    return address == 0 or driver.reaches(address)


def _without_arrays() -> str:
    """A launch without arrays runs where the machine's others do: on a GPU that is in use already, else here."""
    torch = sys.modules.get("torch")
    return "cuda" if torch is not None and torch.cuda.is_available() else "cpu"


def target_of_launches(backend: str) -> str:
    """The architecture of the GPU that launches go to; "" where that is no matter."""
    if backend != "cuda":
        return ""
    from rtriton.backend.cuda import driver

    return driver.current_device().target.sm
