"""The op library: the forward operations of a language model, each a kernel in rtriton's language.

    import ops
    y = ops.rms_norm(x, weight, 1e-5)                   # NumPy, torch, CuPy or DeviceArray in, the same kind out
    ops.linear(y, ops.quantize(w, "int4"), out=z)       # 4-bit weights, dequantized inside the kernel

Every op takes `out=` and allocates nothing where it is given, so that launches can be recorded and replayed. The page
docs/ops.md has signatures, shapes, dtypes and errors. `ops.ALL` lists the cases that tests and benchmarks walk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.activation import silu_mul
from ops.adjust import adjust_logits
from ops.arrays import typed
from ops.attention import paged_attention
from ops.cases import OpCase
from ops.linear import linear
from ops.matmul import matmul
from ops.norm import layer_norm, rms_norm
from ops.pool import pool
from ops.quant import QuantWeight, dequantize, quantize
from ops.rope import kv_cache_shapes, rope_kv_write, rope_table
from ops.rows import embedding, gather_rows
from ops.sample import sample, sample_workspace
from ops.score import score
from ops.softmax import argmax, softmax

if TYPE_CHECKING:
    ALL: tuple[OpCase, ...]

__all__ = [
    "ALL", "OpCase", "QuantWeight", "adjust_logits", "argmax", "dequantize", "embedding", "gather_rows",
    "kv_cache_shapes", "layer_norm",
    "linear", "matmul", "paged_attention", "pool", "quantize", "rms_norm", "rope_kv_write", "rope_table", "sample",
    "sample_workspace", "score", "silu_mul", "softmax", "typed",
]  # fmt: skip

_FILES = (
    "activation", "adjust", "attention", "linear", "matmul", "norm", "pool", "rope", "rows", "sample_reference",
    "score", "softmax",
)  # fmt: skip


def __getattr__(name: str) -> object:
    """`ALL` is made when asked for: a server that imports ops never builds test cases."""
    if name != "ALL":
        raise AttributeError(f"module 'ops' has no attribute {name!r}")
    from importlib import import_module

    return tuple(case for file in _FILES for case in import_module(f"ops.{file}").cases())
