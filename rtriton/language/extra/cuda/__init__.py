"""`tl.extra.cuda`: what only CUDA's programs ask for."""
from __future__ import annotations

from rtriton.language.extra import libdevice
from rtriton.language.extra.cuda.gdc import gdc_launch_dependents, gdc_wait
from rtriton.language.extra.cuda.utils import globaltimer, num_threads, num_warps, smid

__all__ = ["gdc_launch_dependents", "gdc_wait", "globaltimer", "libdevice", "num_threads", "num_warps", "smid"]
