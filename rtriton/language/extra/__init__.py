"""`tl.extra`: functions beyond the language itself: libdevice's mathematics, and what only CUDA has."""
from __future__ import annotations

from rtriton.language.extra import cuda, libdevice

__all__ = ["cuda", "libdevice"]
