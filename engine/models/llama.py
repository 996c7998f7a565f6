"""The Llama architecture's forward pass, as a list of launches from `ops`.

    hidden --embedding--> stream
    per layer:  norm -> qkv -> rope and KV write -> attention -> output   (added to the stream by the next norm)
                norm -> gate_up -> silu_mul -> down                       (likewise)
    norm -> the rows that need logits -> head

Every array that is written was allocated before: a pass allocates nothing, so its launches can be recorded once per
bucket and replayed. What a pass reads is in the batch, nothing else: no sizes, positions or modes are kept between
passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np

import ops
from engine.batch import Array, Batch
from engine.config import ModelConfig
from engine.weights.base import LayerWeights, ModelWeights


class Allocator(Protocol):
    """Where arrays come from: the host's memory, or a device's."""

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array: ...

    def put(self, array: np.ndarray) -> Array: ...


@dataclass(frozen=True, eq=False)
class KVCache:
    """Keys and values of every layer, block by block; block 0 is the dummy block."""

    keys: tuple[Array, ...]
    """Per layer (blocks, block_size, kv_heads, head_dim)."""
    values: tuple[Array, ...]

    @staticmethod
    def shape(config: ModelConfig, num_blocks: int, block_size: int) -> tuple[int, ...]:
        return (num_blocks + 1, block_size, config.num_kv_heads, config.head_dim)

    @staticmethod
    def block_bytes(config: ModelConfig, block_size: int, itemsize: int) -> int:
        """Bytes that one block takes over all layers, keys and values."""
        return 2 * config.num_layers * prod(KVCache.shape(config, 0, block_size)) * itemsize

    @staticmethod
    def allocate(config: ModelConfig, num_blocks: int, block_size: int, dtype: str, memory: Allocator) -> KVCache:
        shape = KVCache.shape(config, num_blocks, block_size)
        keys = tuple(memory.zeros(shape, dtype) for _ in range(config.num_layers))
        values = tuple(memory.zeros(shape, dtype) for _ in range(config.num_layers))
        return KVCache(keys, values)


@dataclass(frozen=True, eq=False)
class Scratch:
    """What the launches of one pass hand to each other, for the largest bucket. A smaller one uses the first rows."""

    stream: Array
    normed: Array
    branch: Array
    qkv: Array
    attended: Array
    gate_up: Array
    activated: Array
    picked: Array
    logits: Array

    @staticmethod
    def allocate(config: ModelConfig, tokens: int, samples: int, dtype: str, memory: Allocator) -> Scratch:
        def rows(count: int, width: int, kind: str = dtype) -> Array:
            return memory.zeros((count, width), kind)

        return Scratch(
            stream=rows(tokens, config.hidden_size),
            normed=rows(tokens, config.hidden_size),
            branch=rows(tokens, config.hidden_size),
            qkv=rows(tokens, config.qkv_size),
            attended=rows(tokens, config.num_heads * config.head_dim),
            gate_up=rows(tokens, 2 * config.intermediate_size),
            activated=rows(tokens, config.intermediate_size),
            picked=rows(samples, config.hidden_size),
            logits=rows(samples, config.vocab_size, "float32"),
        )

    def first(self, tokens: int, samples: int) -> Scratch:
        """The same arrays for a bucket: views, at the same addresses."""
        by_sample = ("picked", "logits")
        views = {name: array[: samples if name in by_sample else tokens] for name, array in vars(self).items()}
        return Scratch(**views)


class Llama:
    """A model with its weights and cache. `forward` may be called for any batch whose views fit the scratch arrays."""

    def __init__(
        self, config: ModelConfig, weights: ModelWeights, cache: KVCache, scratch: Scratch, rotary: tuple[Array, Array]
    ) -> None:
        self.config = config
        self.weights = weights
        self.cache = cache
        self.scratch = scratch
        self.cos, self.sin = rotary
        self._views: dict[tuple[int, int], Scratch] = {}

    def forward(self, batch: Batch) -> Array | None:
        """Write the keys and values of the batch's tokens; give the logits (R, vocabulary), or None if no row needs
        any.
        """
        tokens, samples = batch.input_ids.shape[0], batch.logits_rows.shape[0]
        it = self._scratch(tokens, samples)
        ops.embedding(batch.input_ids, self.weights.embedding, out=it.stream)
        branch: Any = None
        for index, layer in enumerate(self.weights.layers):
            self._norm(it, layer.attn_norm, branch)
            self._attention(it, batch, layer, index)
            self._norm(it, layer.ffn_norm, it.branch)
            branch = self._feed_forward(it, layer)
        if not samples:
            return None
        self._norm(it, self.weights.output_norm, branch)
        ops.gather_rows(it.normed, batch.logits_rows, out=it.picked)
        return ops.linear(it.picked, self.weights.head, out=it.logits)

    def _norm(self, it: Scratch, weight: Array, branch: Array | None) -> None:
        """Add the last branch to the stream, and norm the sum."""
        if branch is None:
            ops.rms_norm(it.stream, weight, self.config.rms_eps, out=it.normed)
        else:
            ops.rms_norm(branch, weight, self.config.rms_eps, residual=it.stream, out=it.normed)

    def _attention(self, it: Scratch, batch: Batch, layer: LayerWeights, index: int) -> None:
        keys, values = self.cache.keys[index], self.cache.values[index]
        ops.linear(it.normed, layer.qkv, out=it.qkv)
        ops.rope_kv_write(it.qkv, batch.positions, batch.slot_mapping, keys, values, self.cos, self.sin)
        ops.paged_attention(
            it.qkv,
            keys,
            values,
            batch.block_tables,
            batch.token_rows,
            batch.positions,
            scale=self.config.head_dim**-0.5,
            out=it.attended,
        )
        ops.linear(it.attended, layer.output, out=it.branch)

    def _feed_forward(self, it: Scratch, layer: LayerWeights) -> Array:
        ops.linear(it.normed, layer.gate_up, out=it.gate_up)
        ops.silu_mul(it.gate_up, out=it.activated)
        return ops.linear(it.activated, layer.down, out=it.branch)

    def _scratch(self, tokens: int, samples: int) -> Scratch:
        key = (tokens, samples)
        if key not in self._views:
            self._views[key] = self.scratch.first(tokens, samples)
        return self._views[key]


def rotary_tables(config: ModelConfig, positions: int) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin of position * base**(-2i / head_dim), f32 (positions, head_dim / 2), rounded once from float64."""
    frequencies = config.rope_base ** (-np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim)
    angles = np.arange(positions, dtype=np.float64)[:, None] * frequencies
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
