"""The Llama forward pass in plain NumPy, as short as it can be said: what engine tests compare with.

It shares nothing with the engine but the file: weights come from the `gguf` package's own reader and dequantizer in the
file's row order, so rotary embedding here turns neighbouring elements (2i, 2i + 1), which is what that order means.

    model = NumpyLlama.load(path)
    model.logits([1, 2, 3])            # float32 (3, vocabulary): row i is what follows token i

Checked against transformers' float32 load of the demo model by `make_reference.py --live ...numpy_llama:all_logits`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import gguf
import numpy as np
from gguf.quants import dequantize


def all_logits(path: str | os.PathLike[str], tokens: Sequence[int]) -> np.ndarray:
    """For `make_reference.py --live`; loads the file once."""
    return _load_once(os.fspath(path)).logits(tokens)


@dataclass(frozen=True, eq=False)
class NumpyLlama:
    """Float weights by their names in the file, and the numbers of the metadata."""

    weights: dict[str, np.ndarray]
    layers: int
    heads: int
    kv_heads: int
    rope_base: float
    eps: float

    @staticmethod
    def load(path: str | os.PathLike[str], dtype: Any = np.float32) -> NumpyLlama:
        reader = gguf.GGUFReader(os.fspath(path))

        def value(key: str) -> Any:
            return reader.fields[f"llama.{key}"].contents()

        # dequantized in float32, then widened: float64 gives the exact result of the float32 weights
        weights = {t.name: dequantize(t.data, t.tensor_type).astype(dtype) for t in reader.tensors}
        return NumpyLlama(
            weights,
            layers=value("block_count"),
            heads=value("attention.head_count"),
            kv_heads=value("attention.head_count_kv"),
            rope_base=value("rope.freq_base"),
            eps=value("attention.layer_norm_rms_epsilon"),
        )

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """(len(tokens), vocabulary)."""
        w = self.weights
        x = w["token_embd.weight"][np.asarray(tokens)]
        for index in range(self.layers):
            at = f"blk.{index}."
            x = x + self._attention(self._norm(x, w[at + "attn_norm.weight"]), at)
            x = x + self._feed_forward(self._norm(x, w[at + "ffn_norm.weight"]), at)
        head = w.get("output.weight", w["token_embd.weight"])
        return self._norm(x, w["output_norm.weight"]) @ head.T

    def _norm(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + x.dtype.type(self.eps)) * weight

    def _attention(self, x: np.ndarray, at: str) -> np.ndarray:
        w, length = self.weights, len(x)
        query = self._rotate((x @ w[at + "attn_q.weight"].T).reshape(length, self.heads, -1))
        key = self._rotate((x @ w[at + "attn_k.weight"].T).reshape(length, self.kv_heads, -1))
        value = (x @ w[at + "attn_v.weight"].T).reshape(length, self.kv_heads, -1)
        shared = self.heads // self.kv_heads  # query heads per key head
        key, value = key.repeat(shared, axis=1), value.repeat(shared, axis=1)
        scores = np.einsum("qhd,khd->hqk", query, key) / x.dtype.type(np.sqrt(query.shape[-1]))
        scores = np.where(np.tri(length, dtype=bool), scores, x.dtype.type(-np.inf))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(axis=-1, keepdims=True), value)
        return mixed.reshape(length, -1) @ w[at + "attn_output.weight"].T

    def _rotate(self, x: np.ndarray) -> np.ndarray:
        length, _, size = x.shape
        speed = self.rope_base ** -(np.arange(0, size, 2, dtype=np.float64) / size)
        speed = speed / self.weights.get("rope_freqs.weight", 1)
        angle = np.arange(length, dtype=np.float64)[:, None, None] * speed
        turn = np.cos(angle) + 1j * np.sin(angle)
        turned = (x[..., 0::2] + 1j * x[..., 1::2]) * turn
        return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape).astype(x.dtype)

    def _feed_forward(self, x: np.ndarray, at: str) -> np.ndarray:
        w = self.weights
        gate = x @ w[at + "ffn_gate.weight"].T
        with np.errstate(over="ignore"):  # exp of a very negative gate's opposite is infinite, and the quotient zero
            gate = gate / (1 + np.exp(-gate))
        return (gate * (x @ w[at + "ffn_up.weight"].T)) @ w[at + "ffn_down.weight"].T


@cache
def _load_once(path: str) -> NumpyLlama:
    return NumpyLlama.load(path)
