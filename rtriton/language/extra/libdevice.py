"""`tl.extra.libdevice`: CUDA's mathematical functions by their names there; those that `tl` has are the same."""
from __future__ import annotations

from rtriton.language.values import PUBLIC

SAME = ("abs", "ceil", "cos", "div_rn", "erf", "exp", "exp2", "floor", "fma", "log", "log2", "rsqrt", "sin", "sqrt",
        "sqrt_rn", "umulhi")

globals().update({name: PUBLIC[name] for name in SAME})
