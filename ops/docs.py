"""Writes docs/ops.md from the docstrings: `python -m ops.docs > docs/ops.md`. A test keeps the page equal to it."""

from __future__ import annotations

import inspect

import ops

GROUPS = {
    "Matrices": ("linear", "matmul"),
    "Norms and activations": ("rms_norm", "layer_norm", "silu_mul"),
    "Attention": ("rope_kv_write", "paged_attention", "kv_cache_shapes", "rope_table"),
    "Rows": ("embedding", "gather_rows", "pool"),
    "Logits": ("softmax", "argmax", "adjust_logits", "sample", "sample_workspace", "score"),
    "Weights and arrays": ("quantize", "dequantize", "typed"),
}

INTRODUCTION = """# The op library

<!-- made by `python -m ops.docs > docs/ops.md`; a test compares -->

`import ops` needs NumPy and rtriton, nothing else. Each op is a kernel in rtriton's language with a NumPy reference
beside it; the same source runs on CPUs and NVIDIA GPUs.

```python
import numpy as np
import ops

x = np.random.default_rng(0).standard_normal((4, 576)).astype(np.float32)
w = ops.quantize(np.random.default_rng(1).standard_normal((1536, 576)), "int4")
y = ops.linear(ops.rms_norm(x, np.ones(576, np.float32), 1e-5), w)
```

**Arrays.** NumPy arrays, torch and CuPy tensors, rtriton's DeviceArray and anything with `__dlpack__` are taken;
results are of the kind of the first array. bfloat16 and fp8 in NumPy are the dtypes of `ml_dtypes`; `ops.typed` reads
raw bits as one of them. All arrays of a call live on one device. On a GPU the launch is on the caller's current
stream and returns before it has run.

**Dtypes** have the names of the kernel language: fp32, bf16, fp16, fp8e4nv (e4m3), int32, uint8 ...

**`out=`.** Every op that gives an array takes `out=` and then allocates nothing (`sample` and `score` also want
`workspace=`), so launches can be recorded once and replayed. "Rows may be strided" holds wherever an array has a last
axis: only that axis must be contiguous, and rows must not overlap.

**Errors** name the op, the argument, what it must be and what it is: a `TypeError` for something that is no array or
has a wrong dtype, a `ValueError` for a wrong shape, device or stride. `linear: x must have the weight's 576 columns,
got 64`.

**The same bits.** On a CPU the result for one row or token does not depend on what else is in the call: batched
equals alone, a chunked prompt equals the whole one. `sample` picks the same token on every backend from the same
logits.
"""


def page() -> str:
    """The text of docs/ops.md."""
    parts = [INTRODUCTION]
    for title, names in GROUPS.items():
        parts.append(f"## {title}\n")
        parts += [_entry(name) for name in names]
    return "\n".join(parts).rstrip() + "\n"


def _entry(name: str) -> str:
    function = getattr(ops, name)
    signature = inspect.signature(function)
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    shown = signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)
    return f"### `ops.{name}{shown}`\n\n{inspect.getdoc(function)}\n"


if __name__ == "__main__":
    print(page(), end="")
