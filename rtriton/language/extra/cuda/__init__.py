"""`tl.extra.cuda`: what only CUDA's programs ask for."""
from __future__ import annotations

from rtriton.language.extra import libdevice
from rtriton.language.extra.cuda.utils import globaltimer, num_threads, num_warps, smid

__all__ = ["globaltimer", "libdevice", "num_threads", "num_warps", "smid"]
