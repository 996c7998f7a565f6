"""The Llama forward pass over batches of chunks, beside the whole sequence in float64."""

import numpy as np
import pytest

import engine.models.llama as llama
from engine.batch import BatchBuffers, BatchShape
from engine.memory import HostMemory
from engine.messages import SamplingParams
from engine.models.llama import KVCache, Llama, Scratch
from engine.scheduler import Row
from engine.sequence import Key, Sequence
from ops.rope import rope_table
from tests.engine.numpy_ops import NumpyOps
from tests.engine.tiny_model import CONFIG, random_weights, reference_logits

SHAPE = BatchShape(max_tokens=32, max_rows=4, max_blocks=4, block_size=16)
WEIGHTS = random_weights()


@pytest.fixture
def numpy_ops(monkeypatch: pytest.MonkeyPatch) -> NumpyOps:
    stand_in = NumpyOps()
    monkeypatch.setattr(llama, "ops", stand_in)
    return stand_in


def model() -> Llama:
    memory = HostMemory()
    cache = KVCache.allocate(CONFIG, 30, "float32", memory)
    scratch = Scratch.allocate(CONFIG, 32, 4, "float32", memory)
    return Llama(CONFIG, WEIGHTS, cache, scratch, rope_table(CONFIG.context_length, CONFIG.head_dim, CONFIG.rope_base))


def sequence(tokens: list[int], blocks: list[int]) -> Sequence:
    it = Sequence(Key("a", 0), tokens, len(tokens), SamplingParams(), 0, 64, frozenset())
    it.blocks = blocks
    return it


def row(it: Sequence, start: int, count: int, samples: bool = True) -> Row:
    return Row(it, start, count, samples, decode=count == 1)


def prompt(seed: int, length: int) -> list[int]:
    return np.random.default_rng(seed).integers(1, CONFIG.vocab_size, length).tolist()


def close(got: np.ndarray | None, want: np.ndarray) -> None:
    assert got is not None
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-4 * np.abs(want).max())


def test_a_prompt_gives_the_logits_of_the_whole_sequence(numpy_ops: NumpyOps):
    tokens = prompt(0, 29)
    it = sequence(tokens, [7, 3])
    batch = BatchBuffers(SHAPE).fill([row(it, 0, 29)])
    close(model().forward(batch), reference_logits(CONFIG, WEIGHTS, tokens)[-1:])


def test_chunks_and_decodes_of_several_sequences_in_one_batch_do_not_meet(numpy_ops: NumpyOps):
    buffers, it = BatchBuffers(SHAPE), model()
    first, second = sequence(prompt(1, 18), [5, 2]), sequence(prompt(2, 40), [1, 9, 4])
    assert it.forward(buffers.fill([row(first, 0, 17, samples=False), row(second, 0, 13, samples=False)])) is None
    got = it.forward(buffers.fill([row(second, 13, 27), row(first, 17, 1)]))
    assert got is not None and got.shape == (2, CONFIG.vocab_size)
    close(got[:1], reference_logits(CONFIG, WEIGHTS, second.tokens)[-1:])
    close(got[1:], reference_logits(CONFIG, WEIGHTS, first.tokens)[-1:])


def test_a_pass_is_idempotent(numpy_ops: NumpyOps):
    buffers, it = BatchBuffers(SHAPE), model()
    batch = buffers.fill([row(sequence(prompt(3, 19), [5, 2]), 0, 19)])
    once = np.array(it.forward(batch))
    np.testing.assert_array_equal(np.array(it.forward(batch)), once)


def test_a_layer_is_nine_launches(numpy_ops: NumpyOps):
    model().forward(BatchBuffers(SHAPE).fill([row(sequence(prompt(4, 5), [1, 2]), 0, 5)]))
    layer = ["rms_norm", "linear", "rope_kv_write", "paged_attention", "linear"]
    layer += ["rms_norm", "linear", "silu_mul", "linear"]
    assert numpy_ops.launches == ["embedding", *layer * CONFIG.num_layers, "rms_norm", "gather_rows", "linear"]


def test_a_cache_block_takes_what_it_says():
    cache = KVCache.allocate(CONFIG, 3, "float32", HostMemory())
    total = sum(array.nbytes for array in (*cache.keys, *cache.values))
    assert total == 4 * KVCache.block_bytes(CONFIG, 4)
