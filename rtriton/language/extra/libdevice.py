"""`tl.extra.libdevice`: CUDA's mathematical functions by their names there; those that `tl` has are the same."""
from __future__ import annotations

from typing import Any

from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.values import PUBLIC, Context, Public

SAME = ("abs", "ceil", "cos", "div_rn", "erf", "exp", "exp2", "floor", "fma", "log", "log2", "rsqrt", "sin", "sqrt",
        "sqrt_rn", "umulhi")

globals().update({name: PUBLIC[name] for name in SAME})


def _tanh(b: Context, x: Any) -> Value:
    return b.build.one("tanh", s.to_value(b, x))


tanh = Public(_tanh, False)
tanh.__name__, tanh.__doc__ = "tanh", "The hyperbolic tangent."
