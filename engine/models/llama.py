"""The Llama architecture's forward pass, as a list of launches from `ops`.

    hidden --embedding--> stream
    per layer:  norm -> qkv -> rope and KV write -> attention -> output   (added to the stream by the next norm)
                norm -> gate_up -> silu_mul -> down                       (likewise)
    norm -> the rows that need logits -> head; the normed rows are what is pooled

Every array that is written was allocated before: a pass allocates nothing, so its launches can be recorded once per
bucket and replayed. What a pass reads is in the batch, nothing else: no sizes, positions or modes are kept between
passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import ops
from engine.batch import Array, Batch
from engine.config import ModelConfig
from engine.memory import Memory
from engine.weights.base import LayerWeights, ModelWeights
from ops.rope import kv_cache_shapes


@dataclass(frozen=True, eq=False)
class KVCache:
    """Keys and values of every layer, block by block (`ops/rope.py` has the layout); block 0 is the dummy block."""

    keys: tuple[Array, ...]
    values: tuple[Array, ...]

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Of all layers."""
        return self.keys + self.values

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)

    @property
    def blocks(self) -> int:
        """With the dummy block."""
        return self.keys[0].shape[0]

    @staticmethod
    def block_bytes(config: ModelConfig, itemsize: int) -> int:
        """Bytes that one block takes over all layers, keys and values."""
        key, value = kv_cache_shapes(1, config.num_kv_heads, config.head_dim)
        return config.num_layers * (prod(key) + prod(value)) * itemsize

    @staticmethod
    def allocate(config: ModelConfig, num_blocks: int, dtype: str, memory: Memory) -> KVCache:
        """A cache of `num_blocks` blocks beside the dummy one."""
        key, value = kv_cache_shapes(num_blocks + 1, config.num_kv_heads, config.head_dim)
        layers = range(config.num_layers)
        return KVCache(
            tuple(memory.zeros(key, dtype) for _ in layers), tuple(memory.zeros(value, dtype) for _ in layers)
        )


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
    def allocate(config: ModelConfig, tokens: int, samples: int, dtype: str, memory: Memory) -> Scratch:
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
        self, config: ModelConfig, weights: ModelWeights, cache: KVCache, scratch: Scratch, rotary: Array
    ) -> None:
        self.config = config
        self.weights = weights
        self.cache = cache
        self.scratch = scratch
        self.rotary = rotary
        self._views: dict[tuple[int, int], Scratch] = {}

    def forward(self, batch: Batch) -> Array | None:
        """Write the keys and values of the batch's tokens; give the logits (R, vocabulary), or None if no row needs
        any. The hidden states are in `hidden` then.
        """
        tokens, samples = len(batch.input_ids), len(batch.logits_rows)
        it = self._scratch(tokens, samples)
        ops.embedding(batch.input_ids, self.weights.embedding, out=it.stream)
        branch: Any = None
        for index, layer in enumerate(self.weights.layers):
            self._norm(it, layer.attn_norm, branch)
            self._attention(it, batch, layer, index)
            self._norm(it, layer.ffn_norm, it.branch)
            branch = self._feed_forward(it, layer)
        self._norm(it, self.weights.output_norm, branch)
        if not samples:
            return None
        ops.gather_rows(it.normed, batch.logits_rows, out=it.picked)
        return ops.linear(it.picked, self.weights.head, out=it.logits)

    @property
    def hidden(self) -> Array:
        """(T, hidden size) for the largest T: what the last pass's final norm gave is in the first rows."""
        return self.scratch.normed

    def logits(self, tokens: int, samples: int) -> Array:
        """Where `forward` leaves the logits of such a batch."""
        return self._scratch(tokens, samples).logits

    def _norm(self, it: Scratch, weight: Array, branch: Array | None) -> None:
        """Add the last branch to the stream, and norm the sum."""
        if branch is None:
            ops.rms_norm(it.stream, weight, self.config.rms_eps, out=it.normed)
        else:
            ops.rms_norm(branch, weight, self.config.rms_eps, residual=it.stream, out=it.normed)

    def _attention(self, it: Scratch, batch: Batch, layer: LayerWeights, index: int) -> None:
        keys, values = self.cache.keys[index], self.cache.values[index]
        ops.linear(it.normed, layer.qkv, out=it.qkv)
        q, k, v = self._heads(it.qkv)
        ops.rope_kv_write(q, k, v, batch.positions, batch.slot_mapping, keys, values, self.rotary, out=q)
        ops.paged_attention(
            q,
            keys,
            values,
            batch.block_tables,
            batch.token_rows,
            batch.positions,
            self.config.head_dim**-0.5,
            it.attended,
            # as many logits as tokens: every row decodes, and neighbours have no keys to share
            tokens_per_program=1 if len(batch.input_ids) == len(batch.logits_rows) else None,
        )
        ops.linear(it.attended, layer.output, out=it.branch)

    def _heads(self, qkv: Array) -> tuple[Array, Array, Array]:
        """Views of the fused projection's queries, keys and values."""
        keys = self.config.num_heads * self.config.head_dim
        values = keys + self.config.num_kv_heads * self.config.head_dim
        return qkv[:, :keys], qkv[:, keys:values], qkv[:, values:]

    def _feed_forward(self, it: Scratch, layer: LayerWeights) -> Array:
        ops.linear(it.normed, layer.gate_up, out=it.gate_up)
        ops.silu_mul(it.gate_up, out=it.activated)
        return ops.linear(it.activated, layer.down, out=it.branch)

    def _scratch(self, tokens: int, samples: int) -> Scratch:
        key = (tokens, samples)
        if key not in self._views:
            self._views[key] = self.scratch.first(tokens, samples)
        return self._views[key]
