"""`triton.backends.backends`: the makers of GPUs that code can be made for, as programs (torch among them) ask for it.

    "nvidia" in rtriton.backends.backends

The CPU is not listed: what asks for a Triton CPU backend here means one that takes Triton's own IR.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rtriton.devices import active


@dataclass(frozen=True)
class Backend:
    """The driver of a maker's GPUs."""

    driver: Any


backends: dict[str, Backend] = {"nvidia": Backend(active)}
