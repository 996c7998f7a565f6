"""`tl.extra`: functions beside the language proper; libdevice, and what only NVIDIA GPUs have (cuda). Loaded when asked
for."""
from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name not in ("cuda", "libdevice"):
        raise AttributeError(f"tl.extra has no {name}")
    return import_module(f"rtriton.language.extra.{name}")
