"""The ops that a model calls, in NumPy: so a model's wiring can be tested apart from kernels and compilers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ops.quant import QuantWeight, dequantize
from ops.rope import BLOCK_SIZE as SIZE


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

    def rope_kv_write(self, q, k, v, positions, slots, keys, values, table, out):  # type: ignore[no-untyped-def]
        self.launches.append("rope_kv_write")
        width = table.shape[1]
        cos, sin = np.split(table[positions][:, None], 2, axis=2)

        def turned(x):  # type: ignore[no-untyped-def]
            low, high = np.split(x.reshape(len(x), -1, width), 2, axis=2)
            return np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=2)

        keys[slots // SIZE, :, :, slots % SIZE] = turned(k)
        values[slots // SIZE, :, slots % SIZE] = v.reshape(len(v), -1, width)
        out[:] = turned(q).reshape(q.shape)
        return out

    def paged_attention(self, q, keys, values, tables, rows, positions, scale, out, *, tokens_per_program):  # type: ignore[no-untyped-def]
        self.launches.append("paged_attention")
        _, kv_heads, width, _ = keys.shape
        group = out.shape[1] // width // kv_heads
        for token in range(len(q)):
            at = np.arange(positions[token] + 1)
            blocks, places = tables[rows[token]][at // SIZE], at % SIZE
            for head in range(group * kv_heads):
                query = q[token, head * width : (head + 1) * width].astype(np.float64)
                scores = keys[blocks, head // group, :, places] @ query * scale
                weights = np.exp(scores - scores.max())
                mixed = (weights / weights.sum()) @ values[blocks, head // group, places]
                out[token, head * width : (head + 1) * width] = mixed
        return out

    def _dense(self, weight: QuantWeight) -> np.ndarray:
        if id(weight) not in self._kept:
            self._kept[id(weight)] = (weight, self._matrix(weight))
        return self._kept[id(weight)][1]
