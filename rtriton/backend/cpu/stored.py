"""A CPU kernel as the disk cache keeps it, and back."""

from __future__ import annotations

from typing import Any

from rtriton.backend.cpu.launch import CpuKernel
from rtriton.backend.cpu.target import host
from rtriton.ir import Kernel, walk
from rtriton.types import parse_scalar, show_type


def target_key() -> str:
    return host().key


def save(kernel: Kernel, made: CpuKernel) -> dict[str, Any] | None:
    """What must be kept; None for a kernel that prints or asserts, whose code holds addresses of this process."""
    if any(op.kind in ("print", "assert") for op in walk(kernel.body)):
        return None
    return {"llvm": made.llvm, "arena_bytes": made.arena_bytes, "params": [show_type(t) for t in made.params]}


def restore(name: str, entry: dict[str, Any]) -> CpuKernel:
    return CpuKernel(
        name, tuple(parse_scalar(t) for t in entry["params"]), entry["llvm"], host(), entry["arena_bytes"], 0
    )
