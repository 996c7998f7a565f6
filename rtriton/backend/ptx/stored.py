"""A kernel compiled ahead of time as the disk cache keeps it, and back. Its architecture is in the cache's key."""
from __future__ import annotations

from typing import Any

from rtriton.backend.ptx.ahead import AheadOfTime
from rtriton.ir import Kernel
from rtriton.types import parse_scalar, show_type


def save(kernel: Kernel, made: AheadOfTime) -> dict[str, Any]:
    return {"ptx": made.ptx, "target": made.target, "shared_bytes": made.shared_bytes, "num_warps": made.num_warps,
            "ptx_options": made.options.get("ptx_options"), "params": [show_type(t) for t in made.types]}


def restore(name: str, entry: dict[str, Any]) -> AheadOfTime:
    types = [parse_scalar(t) for t in entry["params"]]
    return AheadOfTime(name, types, entry["ptx"], entry["target"], entry["shared_bytes"], entry["num_warps"],
                       {"ptx_options": entry["ptx_options"]})
