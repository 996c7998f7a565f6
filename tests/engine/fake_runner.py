"""A tiny deterministic model with a real paged KV array, for tests of everything around the model.

The key of a token is a hash of (token, position), written at its slot. The next token is a hash of every key that the
block table leads to, in order; a hidden state is `WIDTH` numbers of that hash. So a wrong slot, a block freed too
early, a padding row on a live slot or another request's tokens all change the text. It is used through the same
`Batch` as a real model, padding included.

Its steps take `extra["step_seconds"]`, and what `paced` says while that holds, so that a test has the time to look.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.batch import Batch, BatchBuffers, BatchShape
from engine.blocks import blocks_for
from engine.config import EngineConfig
from engine.messages import ModelInfo, PoolingParams, SamplingParams
from engine.extras import ExtraBuffers, Extras, host_views
from engine.guides import Vocabulary
from engine.pooling import PoolBuffers, Pools
from engine.runner import Details, RunnerCounters, Sampled
from engine.scheduler import Swaps
from ops.adjust import allowed_tokens
from ops.score import MOST

MASK = (1 << 64) - 1
VOCAB = 997
EOS = 0
POISON_TOKEN = 995
"""A prompt with this token makes its step raise."""
NAN_TOKEN = 996
"""A prompt with this token gives no finite logits."""
WIDTH = 3
"""Numbers of a hidden state."""


@contextmanager
def paced(file: Path, seconds: float) -> Iterator[None]:
    """Each step takes so long meanwhile, and so does loading, wherever `extra={"pace": str(file)}`. What waits when the
    block ends waits no longer.
    """
    file.write_text(str(seconds))
    try:
        yield
    finally:
        file.unlink()


def wait(seconds: float, pace: Path | None) -> None:
    """So long, or for as long as the pace's file asks."""
    started = time.monotonic()
    while (left := started + _seconds(seconds, pace) - time.monotonic()) > 0:
        time.sleep(left if pace is None else min(left, 0.005))


def _seconds(otherwise: float, pace: Path | None) -> float:
    try:
        return otherwise if pace is None else float(pace.read_text() or "inf")
    except FileNotFoundError:
        return otherwise


def mix(*words: int) -> int:
    state = 0x9E3779B97F4A7C15
    for word in words:
        state = ((state ^ (word & MASK)) * 0xBF58476D1CE4E5B9) & MASK
        state ^= state >> 29
    return state


def next_token(keys: Sequence[int], params: tuple[float, int, int, int]) -> int:
    temperature, seed, choice, position = params
    key = mix(*keys) if temperature == 0 else mix(*keys, seed, choice, position, int(temperature * 1000))
    return key % 900


def expected(prompt: list[int], params: SamplingParams, count: int, choice: int = 0, seed: int = 0) -> list[int]:
    """The tokens without engine, blocks or batches."""
    tokens = list(prompt)
    for _ in range(count):
        keys = [mix(token, position) for position, token in enumerate(tokens)]
        tokens.append(next_token(keys, (params.temperature, seed, choice, len(tokens))))
        if tokens[-1] == EOS and not params.ignore_eos:
            break
    return tokens[len(prompt) :]


def hidden_state(keys: Sequence[int]) -> np.ndarray:
    """Whole numbers, whose sums are exact."""
    return np.array([mix(*keys, part) % 1000 for part in range(WIDTH)], np.float32)


def finished(total: np.ndarray, count: int, normalize: bool) -> np.ndarray:
    """The vector that a sum becomes."""
    vector = total / np.float32(max(count, 1))
    return vector / np.float32(np.sqrt((vector.astype(np.float64) ** 2).sum())) if normalize else vector


def expected_embedding(prompt: list[int], pooling: PoolingParams) -> np.ndarray:
    """An embedding without engine, blocks or batches."""
    keys = [mix(token, position) for position, token in enumerate(prompt)]
    if pooling.pooling == "last":
        return finished(hidden_state(keys), 1, pooling.normalize)
    states = [hidden_state(keys[: end + 1]) for end in range(len(keys))]
    return finished(np.sum(states, axis=0), len(keys), pooling.normalize)


class FakeRunner:
    def __init__(
        self,
        info: ModelInfo,
        shape: BatchShape,
        step_seconds: float = 0.0,
        store_slots: int = 0,
        pace: Path | None = None,
    ) -> None:
        self.info = info
        self.buffers = BatchBuffers(shape)
        self.extras = ExtraBuffers(shape.max_rows, info.vocab_size)
        self.pools = PoolBuffers(shape.max_rows, WIDTH)
        self.counters = RunnerCounters()
        self.step_seconds = step_seconds
        self.pace = pace
        self.cache = np.zeros((info.num_blocks + 1) * info.block_size, np.uint64)
        self.written: list[np.ndarray] = []
        """The slots of each run, padding included."""
        self.closed = False
        self.store_slots = store_slots
        self.store = np.zeros((store_slots + 1, info.block_size), np.uint64)

    def swap(self, swaps: Swaps) -> None:
        lines = self.cache.reshape(-1, self.info.block_size)
        for block, slot in swaps.out:
            self.store[slot] = lines[block]
        for slot, block in swaps.back:
            lines[block] = self.store[slot]

    def run(self, batch: Batch, extras: Extras | None = None, pools: Pools | None = None) -> Sampled:
        if POISON_TOKEN in batch.input_ids:
            raise ValueError("poisoned token")
        wait(self.step_seconds, self.pace)
        self.written.append(batch.slot_mapping.copy())
        for token, position, slot in zip(batch.input_ids, batch.positions, batch.slot_mapping, strict=True):
            self.cache[slot] = mix(int(token), int(position))
        count = len(batch.logits_rows)
        tokens = np.array([self._sample(batch, index) for index in range(count)], np.int32)
        self.counters.replays += 1
        pooled = None if pools is None else np.stack([self._pool(batch, line) for line in range(pools.segments)])
        if extras is None:
            return Sampled(tokens, np.zeros(count, np.float32), pooled=pooled)
        extras.write_masks()
        return replace(self._with(extras, tokens), pooled=pooled)

    def _pool(self, batch: Batch, line: int) -> np.ndarray:
        start, end, count, normalize = self.pools.fixed[:, line].tolist()
        total = self.pools.carry[line].copy()
        for token in range(start, end):
            total += np.nan if batch.input_ids[token] == NAN_TOKEN else hidden_state(self._keys(batch, token))
        return finished(total, count, bool(normalize)) if count else total

    def _with(self, extras: Extras, tokens: np.ndarray) -> Sampled:
        """Where only some tokens are allowed, one of them by the number that is there anyway. Log probabilities are
        made of the token that they are of, so that a test sees whose they are.
        """
        it = host_views(self.extras, extras.samples)
        assert not extras.entries, "penalties and biases need a model with logits"
        for index, line in enumerate(it.mask_rows):
            if line >= 0 and tokens[index] >= 0:
                choices = np.flatnonzero(allowed_tokens(it.allowed[line], VOCAB))
                tokens[index] = choices[tokens[index] % len(choices)]
        scored = np.where(it.targets >= 0, it.targets, tokens)
        tops = np.repeat(tokens[:, None], MOST, 1)
        return Sampled(tokens, -scored.astype(np.float32), Details(scored + 1, tops, -tops.astype(np.float32)))

    def vocabulary(self) -> Vocabulary:
        """Token t is its number and a space; the end is the end."""
        texts = [b"%d " % token for token in range(VOCAB)]
        return Vocabulary(texts, (EOS,), (EOS,), lambda text: [int(word) for word in text.split()])

    def _sample(self, batch: Batch, index: int) -> int:
        at = batch.logits_rows[index]
        if batch.input_ids[at] == NAN_TOKEN:
            return -1
        keys = self._keys(batch, at)
        seeds = (int(batch.seeds[index]), int(batch.choices[index]), int(batch.sample_positions[index]))
        return next_token(keys, (round(float(batch.temperature[index]), 6), *seeds))

    def _keys(self, batch: Batch, token: int) -> list[int]:
        """What the block table leads to, up to this token."""
        size, position = self.info.block_size, int(batch.positions[token])
        table = batch.block_tables[batch.token_rows[token]]
        return [int(self.cache[table[p // size] * size + p % size]) for p in range(position + 1)]

    def close(self) -> None:
        self.closed = True


def make(config: EngineConfig, context_length: int = 256) -> FakeRunner:
    num_blocks = config.num_blocks or 64
    info = ModelInfo(
        name="fake",
        vocab_size=VOCAB,
        context_length=context_length,
        block_size=config.block_size,
        num_blocks=num_blocks,
        device="cpu",
        eos_token_ids=(EOS,),
        hidden_size=WIDTH,
    )
    max_blocks = blocks_for(context_length, config.block_size)
    shape = BatchShape(config.max_batched_tokens or 64, config.max_num_seqs, max_blocks, config.block_size)
    return FakeRunner(info, shape, config.extra.get("step_seconds", 0.0), config.swap_bytes, _pace(config))


def _pace(config: EngineConfig) -> Path | None:
    return Path(config.extra["pace"]) if "pace" in config.extra else None


def load(config: EngineConfig) -> FakeRunner:
    """For the core process: `EngineConfig(model="fake", runner="tests.engine.fake_runner:load")`."""
    if config.model == "broken":
        raise FileNotFoundError("no such model: broken")
    wait(config.extra.get("load_seconds", 0.0), _pace(config))
    if not Path(config.extra.get("must_exist", "/")).exists():
        raise FileNotFoundError("no such file")
    return make(config)
