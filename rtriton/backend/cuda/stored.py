"""A CUDA kernel as the disk cache keeps it (PTX, and the cubin that the driver made of it), and back."""
from __future__ import annotations

import base64
from typing import Any

from rtriton.backend.cuda import driver
from rtriton.backend.cuda.launch import CudaExecutable
from rtriton.ir import Kernel
from rtriton.types import parse_scalar, show_type

LAUNCH = ("launch_cooperative_grid", "launch_pdl", "cluster_dims")      # what a launch is told of its options


def target_key() -> str:
    device = driver.current_device()
    return f"{device.target.sm}|{device.name}|driver {device.driver_version}"


def save(kernel: Kernel, made: CudaExecutable) -> dict[str, Any] | None:
    return {"ptx": made.asm["ptx"], "cubin": base64.b64encode(made.asm["cubin"]).decode(),
            "shared_bytes": made.shared_bytes, "num_warps": made.threads // 32,
            "launch": {name: made.options.get(name) for name in LAUNCH},
            "params": [show_type(t) for t in made.types]}


def restore(name: str, entry: dict[str, Any]) -> CudaExecutable:
    types = [parse_scalar(t) for t in entry["params"]]
    cubin = base64.b64decode(entry["cubin"])
    return CudaExecutable(name, types, entry["ptx"], entry["shared_bytes"], entry["num_warps"], cubin,
                          entry["launch"])
