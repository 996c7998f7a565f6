"""The ops that a model calls, in NumPy: so a model's wiring can be tested apart from kernels and compilers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ops.quant import QuantWeight, dequantize


class NumpyOps:
    """Stands in for the `ops` module. Dequantized matrices are kept, since a test multiplies with them often."""

    def __init__(self, matrix: Callable[[QuantWeight], np.ndarray] = dequantize) -> None:
        self._matrix = matrix
        self._kept: dict[int, tuple[QuantWeight, np.ndarray]] = {}
        self.launches: list[str] = []

    def embedding(self, ids, weight, out):  # type: ignore[no-untyped-def]
        self.launches.append("embedding")
        out[:] = self._dense(weight)[ids]
        return out

    def gather_rows(self, x, rows, out):  # type: ignore[no-untyped-def]
        self.launches.append("gather_rows")
        out[:] = x[rows]
        return out

    def rms_norm(self, x, weight, eps, residual=None, out=None):  # type: ignore[no-untyped-def]
        self.launches.append("rms_norm")
        if residual is not None:
            residual += x
            x = residual
        out[:] = x / np.sqrt((x.astype(np.float64) ** 2).mean(1, keepdims=True) + eps) * weight
        return out

    def linear(self, x, weight, out):  # type: ignore[no-untyped-def]
        self.launches.append("linear")
        # one row at a time: a product of many rows at once sums in another order
        for index, row in enumerate(x):
            out[index] = self._dense(weight) @ row
        return out

    def silu_mul(self, gate_up, out):  # type: ignore[no-untyped-def]
        self.launches.append("silu_mul")
        gate, up = np.split(gate_up.astype(np.float64), 2, axis=1)
        out[:] = gate / (1 + np.exp(-gate)) * up
        return out

    def rope_kv_write(self, qkv, positions, slots, keys, values, cos, sin):  # type: ignore[no-untyped-def]
        self.launches.append("rope_kv_write")
        _, size, kv_heads, width = keys.shape
        heads = qkv.shape[1] // width - 2 * kv_heads
        split = qkv.reshape(len(qkv), -1, width)
        c, s = cos[positions][:, None], sin[positions][:, None]
        turned = split[:, : heads + kv_heads]
        low, high = turned[..., : width // 2].copy(), turned[..., width // 2 :].copy()
        turned[..., : width // 2] = low * c - high * s
        turned[..., width // 2 :] = high * c + low * s
        keys[slots // size, slots % size] = split[:, heads : heads + kv_heads]
        values[slots // size, slots % size] = split[:, heads + kv_heads :]

    def paged_attention(self, qkv, keys, values, tables, rows, positions, scale, out):  # type: ignore[no-untyped-def]
        self.launches.append("paged_attention")
        _, size, kv_heads, width = keys.shape
        group = out.shape[1] // width // kv_heads
        for token in range(len(qkv)):
            at = np.arange(positions[token] + 1)
            blocks = tables[rows[token]][at // size]
            for head in range(group * kv_heads):
                query = qkv[token, head * width : (head + 1) * width].astype(np.float64)
                scores = keys[blocks, at % size, head // group] @ query * scale
                weights = np.exp(scores - scores.max())
                mixed = (weights / weights.sum()) @ values[blocks, at % size, head // group]
                out[token, head * width : (head + 1) * width] = mixed
        return out

    def _dense(self, weight: QuantWeight) -> np.ndarray:
        if id(weight) not in self._kept:
            self._kept[id(weight)] = (weight, self._matrix(weight))
        return self._kept[id(weight)][1]
