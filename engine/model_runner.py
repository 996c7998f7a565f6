"""The runner of a model file: load it, size the KV cache, and run batches as recorded launch lists.

Forward, sampling and pooling are recorded apart, one recording per bucket: the forward pass by (tokens, logits rows),
sampling by logits rows and by what the step needs beyond a plain draw, pooling by rows. Seeds, temperatures, penalties
and masks are data, so they differ per row and per step within one recording; masks are written while the forward pass
runs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from engine.batch import Array, Batch, BatchBuffers, BatchShape, bucket
from engine.blocks import blocks_for
from engine.config import ConfigError, EngineConfig, ModelConfig
from engine.extras import ExtraBuffers, Extras, views
from engine.guides import Vocabulary
from engine.memory import Memory, memory_for
from engine.messages import ModelInfo
from engine.models.config import end_tokens, read_config
from engine.models.llama import KVCache, Llama, Scratch
from engine.pooling import PoolBuffers, Pooler, Pools
from engine.recorded import Recorded
from engine.runner import DeviceLost, RunnerCounters, Sampled
from engine.sampler import Sampler
from engine.scheduler import Swaps
from engine.store import BlockStore
from engine.tokenizer import Tokenizer
from engine.weights.base import ModelWeights, move
from engine.weights.gguf import GGUFFile
from engine.weights.repack import load_weights
from ops.rope import BLOCK_SIZE, rope_table
from rtriton.errors import LaunchError

log = logging.getLogger(__name__)
STEP_TOKENS = {"cpu": 128, "cuda": 2048}
"""The most tokens of a step where the configuration names no number."""
NOTHING = Sampled(np.zeros(0, np.int32), np.zeros(0, np.float32))
WARM = ((1, 1), (8, 8), (32, 1))
"""(tokens, logits rows) recorded before the first request: a lone decode, several, a chunk of a prompt. Wider buckets
share the last one's kernels, so that they only have to be recorded when they come."""


class ModelRunner:
    """A loaded model, its cache, and its recordings."""

    def __init__(
        self,
        model: Llama,
        buffers: BatchBuffers,
        memory: Memory,
        info: ModelInfo,
        capture: bool,
        vocabulary: Callable[[], Vocabulary],
        store_slots: int,
    ) -> None:
        self.model = model
        self.buffers = buffers
        self.memory = memory
        self.mirror = memory.mirror(buffers)
        self.info = info
        self.counters = RunnerCounters()
        self.sampler = Sampler(bucket(buffers.shape.max_rows), info.vocab_size, memory)
        self.forward = Recorded(memory.device, capture)
        """By (tokens, logits rows)."""
        self.sample = Recorded(memory.device, capture)
        """By logits rows, and what is adjusted: one recording serves every mix of temperatures and seeds."""
        self.extras = ExtraBuffers(buffers.shape.max_rows, info.vocab_size)
        self._fixed, self._entries, self._allowed = (
            memory.twin(host) for host in (self.extras.fixed, self.extras.entries, self.extras.allowed)
        )
        self.pools = PoolBuffers(buffers.shape.max_rows, info.hidden_size)
        self.pooler = Pooler(self.pools, memory)
        self.pool = Recorded(memory.device, capture)
        """By rows that are pooled."""
        self.vocabulary = vocabulary
        self._store = BlockStore(model.cache, store_slots, memory)
        self.store_slots = store_slots

    def swap(self, swaps: Swaps) -> None:
        """Before the step's launches: the last one has ended."""
        self._store.move(swaps)

    def run(self, batch: Batch, extras: Extras | None = None, pools: Pools | None = None) -> Sampled:
        """One step. The batch is any view of the buffers, filled."""
        try:
            return self._run(batch, extras, pools)
        except LaunchError as error:
            if self.memory.alive():
                raise
            raise DeviceLost(str(error)) from error

    def _run(self, batch: Batch, extras: Extras | None, pools: Pools | None) -> Sampled:
        tokens, samples = len(batch.input_ids), len(batch.logits_rows)
        there = self.mirror.view(tokens, samples)
        self.mirror.upload()
        started = time.perf_counter()
        self.forward.run((tokens, samples), lambda: self.model.forward(there))
        sampled = NOTHING
        if samples:
            # by samples alone: the logits of a bucket are the first rows of one array, whatever the tokens were
            logits = self.model.logits(tokens, samples)
            if extras is None:
                self.sample.run(samples, lambda: self.sampler.launch(logits, there))
            else:
                self._draw_with(extras, logits, there)
            sampled = self.sampler.results(samples, extras is not None)
        if pools is not None:
            sampled = replace(sampled, pooled=self._pooled(pools.segments))
        self.counters.kernel_seconds += time.perf_counter() - started
        self.counters.replays = self.forward.replays
        return sampled

    def _pooled(self, segments: int) -> np.ndarray:
        self.pooler.upload(segments)
        self.pool.run(segments, lambda: self.pooler.launch(self.model.hidden, segments))
        return self.pooler.results(segments)

    def _draw_with(self, extras: Extras, logits: Array, batch: Batch) -> None:
        """Bring to the device what the rows need. On a GPU the forward pass is still running, and a transfer waits for
        it: masks are made before.
        """
        if extras.masks:
            extras.write_masks()
            self._allowed.upload(extras.masks)
        if self._entries.host is not self.extras.entries:
            self._entries = self.memory.twin(self.extras.entries)
        self._fixed.upload()
        if extras.entries:
            self._entries.upload()
        there = (self._fixed.there, self._entries.there, self._allowed.there)
        arrays = views(*there, extras.samples, lambda words: self.memory.read_as(words, "float32"))
        adjusted = self.sampler.adjusted if extras.shaped else None
        key = (extras.samples, extras.shaped, self.extras.capacity)
        self.sample.run(key, lambda: self.sampler.launch_with(logits, batch, arrays, adjusted))

    def warm_up(self) -> None:
        """Compile and record what nearly every request needs, on padding alone."""
        shape = self.buffers.shape
        for tokens, samples in WARM:
            if tokens <= bucket(shape.max_tokens) and samples <= bucket(shape.max_rows):
                self.run(self.buffers.dummy(tokens, samples))
        # or the first request that wants more than a draw would have all others wait for a compiler
        self.run(self.buffers.dummy(1, 1), self.extras.dummy(1), self.pools.dummy(1))
        self.forward.replays = self.sample.replays = self.pool.replays = 0
        self.counters = RunnerCounters()

    def close(self) -> None:
        """The arrays go with the runner; nothing else is held."""


def load(config: EngineConfig) -> ModelRunner:
    """Read the model file that the configuration names, and make it ready to run."""
    if config.extra:
        raise ConfigError(f"this runner takes no extra options, got {', '.join(sorted(config.extra))}")
    if config.block_size != BLOCK_SIZE:
        got = config.block_size
        raise ConfigError(f"block_size must be {BLOCK_SIZE}, which the attention kernel is written for, got {got}")
    memory = _memory(config)
    with GGUFFile.open(config.model) as file:
        model_config = read_config(file)
        weights = load_weights(file, model_config, config.quantization)
    for note in weights.notes:
        log.info("%s", note)
    runner = build(config, model_config, move(weights, memory.put), memory, lambda: read_vocabulary(config.model))
    runner.warm_up()
    return runner


def read_vocabulary(model: str) -> Vocabulary:
    """What grammars need of a model file's tokenizer; read when the first one comes."""
    with GGUFFile.open(model) as file:
        tokenizer, end = Tokenizer.from_metadata(file.metadata, model), end_tokens(file)
    if not end:
        raise ConfigError(f"{model} names no token that ends an answer, which a grammar needs")
    tokens = range(tokenizer.vocab_size)
    special = tuple(token for token in tokens if tokenizer.is_special(token))
    return Vocabulary([tokenizer.token_bytes(token) for token in tokens], special, end, tokenizer.encode)


def no_vocabulary() -> Vocabulary:
    """For a model without a tokenizer."""
    raise ConfigError("this model has no tokenizer, which a grammar needs")


def build(
    config: EngineConfig,
    model: ModelConfig,
    weights: ModelWeights,
    memory: Memory,
    vocabulary: Callable[[], Vocabulary] = no_vocabulary,
) -> ModelRunner:
    """A runner for weights that are already where they are used."""
    context = _context(config, model)
    num_blocks = config.num_blocks or _affordable_blocks(config, model, context)
    most = config.max_batched_tokens or max(STEP_TOKENS[memory.device], config.max_num_seqs)
    shape = BatchShape(most, config.max_num_seqs, blocks_for(context, BLOCK_SIZE), BLOCK_SIZE)
    llama = Llama(
        model,
        weights,
        KVCache.allocate(model, num_blocks, "float32", memory),
        Scratch.allocate(model, bucket(shape.max_tokens), bucket(shape.max_rows), "float32", memory),
        memory.put(rope_table(context, model.head_dim, model.rope_base)),
    )
    slots = config.swap_bytes // KVCache.block_bytes(model, itemsize=4)
    info = ModelInfo(
        name=model.name,
        vocab_size=model.vocab_size,
        context_length=context,
        block_size=BLOCK_SIZE,
        num_blocks=num_blocks,
        device=memory.name,
        eos_token_ids=model.eos_token_ids,
        hidden_size=model.hidden_size,
        details=_details(weights),
    )
    return ModelRunner(llama, BatchBuffers(shape), memory, info, config.capture, vocabulary, slots)


def _context(config: EngineConfig, model: ModelConfig) -> int:
    asked = config.max_model_len
    if asked is not None and asked > model.context_length:
        raise ConfigError(f"max_model_len must be at most {model.context_length}, the model's own, got {asked}")
    return asked or model.context_length


def _affordable_blocks(config: EngineConfig, model: ModelConfig, context: int) -> int:
    """Blocks that fit the memory set aside, but no more than all rows could ever fill."""
    each = KVCache.block_bytes(model, itemsize=4)
    fitting = config.kv_cache_bytes // each
    if not fitting:
        raise ConfigError(f"kv_cache_bytes must hold at least one block of {each} bytes, got {config.kv_cache_bytes}")
    needed = blocks_for(context, BLOCK_SIZE)
    if config.max_model_len is not None and fitting < needed:
        # the model's own context may exceed the memory; one that was asked for may not
        wanted = f"max_model_len={context} tokens, {needed} blocks of {each} bytes"
        raise ConfigError(f"kv_cache_bytes must hold {wanted}, got {config.kv_cache_bytes}")
    return min(fitting, config.max_num_seqs * blocks_for(context, BLOCK_SIZE))


def _memory(config: EngineConfig) -> Memory:
    memory = memory_for(config.device)
    if memory.device == "cpu" and config.threads is not None:
        from rtriton.backend.cpu.pool import set_num_threads

        set_num_threads(config.threads)
    return memory


def _details(weights: ModelWeights) -> dict[str, str]:
    kinds = sorted({layer.qkv.kind for layer in weights.layers} | {layer.down.kind for layer in weights.layers})
    return {
        "weights": "+".join(kinds),
        "embedding": weights.embedding.kind,
        "weight_bytes": str(weights.nbytes),
        "activations": "float32",
        "kv_cache": "float32",
    }
