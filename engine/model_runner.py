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
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import msgspec
import numpy as np

from engine.batch import Array, Batch, BatchShape, bucket
from engine.blocks import blocks_for
from engine.config import ConfigError, EngineConfig, ModelConfig
from engine.extras import Extras, views
from engine.footprint import breakdowns, check_host, footprint
from engine.guides import Vocabulary
from engine.memory import Memory, memory_for
from engine.messages import ModelInfo
from engine.models.config import end_tokens, read_config
from engine.models.llama import KVCache, Llama
from engine.pooling import Pools
from engine.recorded import Recorded
from engine.runner import DeviceLost, RunnerCounters, Sampled
from engine.scheduler import Swaps
from engine.sizing import Room, choose_blocks, longest, swap_slots
from engine.startup import ENGINE, Stopwatch
from engine.store import BlockStore
from engine.weights.base import ModelWeights, move
from engine.weights.gguf import GGUFFile
from engine.weights.repack import load_weights
from engine.working import Working
from ops.rope import BLOCK_SIZE
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
        working: Working,
        memory: Memory,
        info: ModelInfo,
        capture: bool,
        vocabulary: Callable[[], Vocabulary],
        store_slots: int,
    ) -> None:
        self.model = model
        self.working = working
        self.memory = memory
        self.info = info
        self.buffers = working.buffers
        self.mirror = working.mirror
        self.sampler = working.sampler
        self.extras = working.extras
        self.pools = working.pools
        self.pooler = working.pooler
        self._fixed, self._entries, self._allowed = working.fixed, working.entries, working.allowed
        self.counters = RunnerCounters()
        self.forward = Recorded(memory.device, capture)
        """By (tokens, logits rows)."""
        self.sample = Recorded(memory.device, capture)
        """By logits rows, and what is adjusted: one recording serves every mix of temperatures and seeds."""
        self.pool = Recorded(memory.device, capture)
        """By rows that are pooled."""
        self.vocabulary = vocabulary
        self.store = BlockStore(model.cache, store_slots, memory)
        self.store_slots = store_slots

    def swap(self, swaps: Swaps) -> None:
        """Before the step's launches: the last one has ended."""
        self.store.move(swaps)

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

    def warm_up(self, watch: Stopwatch | None = None) -> None:
        """Compile and record what nearly every request needs, on padding alone; `watch` learns what that takes."""
        watch = watch or Stopwatch()
        for recorded in (self.forward, self.sample, self.pool):
            recorded.recording = lambda: watch.phase("recording launches")
        with watch.phase("first runs of the kernels"), watch.compiling():
            self._warm_up()
        for recorded in (self.forward, self.sample, self.pool):
            recorded.recording, recorded.replays = nullcontext, 0
        self.counters = RunnerCounters()

    def _warm_up(self) -> None:
        shape = self.buffers.shape
        for tokens, samples in WARM:
            if tokens <= bucket(shape.max_tokens) and samples <= bucket(shape.max_rows):
                self.run(self.buffers.dummy(tokens, samples))
        # or the first request that wants more than a draw would have all others wait for a compiler
        self.run(self.buffers.dummy(1, 1), self.extras.dummy(1), self.pools.dummy(1))

    def close(self) -> None:
        """The arrays go with the runner; nothing else is held."""


def load(config: EngineConfig) -> ModelRunner:
    """Read the model file that the configuration names, and make it ready to run."""
    if config.extra:
        raise ConfigError(f"this runner takes no extra options, got {', '.join(sorted(config.extra))}")
    if config.block_size != BLOCK_SIZE:
        got = config.block_size
        raise ConfigError(f"block_size must be {BLOCK_SIZE}, which the attention kernel is written for, got {got}")
    watch = Stopwatch()
    with watch.phase("opening the device"):
        memory = _memory(config)
    before = memory.room()
    weights, model_config = _load_weights(config, watch, memory)
    with watch.phase("allocating"):
        runner = build(config, model_config, weights, memory, lambda: read_vocabulary(config.model), before)
    runner.warm_up(watch)
    startup = (watch.breakdown(ENGINE), *breakdowns(runner.model, runner.working, runner.store, memory, before))
    runner.info = msgspec.structs.replace(runner.info, startup=startup)
    return runner


def _load_weights(config: EngineConfig, watch: Stopwatch, memory: Memory) -> tuple[ModelWeights, ModelConfig]:
    """The weights where they are used."""
    reading = partial(watch.phase, "reading the file")
    with reading(), GGUFFile.open(config.model) as file:
        model_config = read_config(file)
        with watch.phase("repacking the weights" if config.quantization == "none" else "quantizing the weights"):
            weights = load_weights(file, model_config, config.quantization, reading=reading)
    for note in weights.notes:
        log.info("%s", note)
    if memory.device == "cpu":
        return weights, model_config
    with watch.phase("moving the weights to the GPU"):
        return move(weights, memory.put), model_config


def read_vocabulary(model: str) -> Vocabulary:
    """What grammars need of a model file's tokenizer; read, and its library imported, when the first one comes."""
    from engine.tokenizer import Tokenizer

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
    before: Room | None = None,
) -> ModelRunner:
    """A runner for weights that are already where they are used; `before` is the GPU's memory without them."""
    context = _context(config, model)
    most = config.max_batched_tokens or max(STEP_TOKENS[memory.device], config.max_num_seqs)
    tokens = longest(config, KVCache.block_bytes(model, itemsize=4), before, context)
    shape = BatchShape(most, config.max_num_seqs, blocks_for(tokens, BLOCK_SIZE), BLOCK_SIZE)
    working = Working.allocate(model, shape, tokens, memory)
    room, taken = footprint(config, model, weights, working, memory, before)
    num_blocks, slots = choose_blocks(config, taken, room, context), swap_slots(config, taken.block)
    check_host(taken, room is not None, num_blocks, slots)
    cache = KVCache.allocate(model, num_blocks, "float32", memory)
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
    llama = Llama(model, weights, cache, working.scratch, working.rotary)
    return ModelRunner(llama, working, memory, info, config.capture, vocabulary, slots)


def _context(config: EngineConfig, model: ModelConfig) -> int:
    asked = config.max_model_len
    if asked is not None and asked > model.context_length:
        raise ConfigError(f"max_model_len must be at most {model.context_length}, the model's own, got {asked}")
    return asked or model.context_length


def _memory(config: EngineConfig) -> Memory:
    memory = memory_for(config.device)
    if memory.device == "cpu" and config.threads is not None:
        from rtriton.backend.cpu.pool import set_num_threads

        set_num_threads(config.threads)
    return memory


def _details(weights: ModelWeights) -> dict[str, str]:
    return {
        "weights": "+".join(weights.kinds),
        "embedding": weights.embedding.kind,
        "weight_bytes": str(weights.nbytes),
        "activations": "float32",
        "kv_cache": "float32",
    }
