"""Both kinds of memory give a batch the same contents. The GPU's driver is stood in for by host memory."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

from engine.batch import Batch, BatchBuffers, BatchShape
from engine.edits import Edits
from engine.extras import ExtraBuffers, host_views, views
from engine.memory import DeviceMemory, HostMemory, Memory, memory_for
from engine.messages import SamplingParams
from engine.models.llama import KVCache
from engine.scheduler import Row, Swaps
from engine.sequence import Key, Sequence
from engine.store import BlockStore
from rtriton.backend.cuda import driver
from rtriton.errors import LaunchError


@pytest.fixture(params=["host", "device"])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Memory:
    if request.param == "host":
        return HostMemory()
    blocks: dict[int, object] = {}

    def allocate(nbytes: int) -> int:
        block = ctypes.create_string_buffer(max(1, nbytes))
        blocks[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    monkeypatch.setattr(driver, "allocate", allocate)
    monkeypatch.setattr(driver, "free", blocks.pop)
    monkeypatch.setattr(driver, "copy_to_device", ctypes.memmove)
    monkeypatch.setattr(driver, "copy_to_host", ctypes.memmove)
    monkeypatch.setattr(driver, "fill", ctypes.memset)
    monkeypatch.setattr(driver, "current_device", lambda: SimpleNamespace(name="a GPU"))
    return DeviceMemory()


def filled(buffers: BatchBuffers) -> Batch:
    it = Sequence(Key("a", 3), list(range(40, 60)), 20, SamplingParams(temperature=0.5), 1 << 63, 64, frozenset())
    it.blocks = [7, 2]
    return buffers.fill([Row(it, 0, 20, samples=True, decode=False)])


def test_a_batch_is_the_same_on_both_sides(memory: Memory):
    buffers = BatchBuffers(BatchShape(32, 4, 4, 16))
    mirror = memory.mirror(buffers)
    batch = filled(buffers)
    there = mirror.view(len(batch.input_ids), len(batch.logits_rows))
    mirror.upload()
    for name, wanted in vars(batch).items():
        np.testing.assert_array_equal(memory.fetch(getattr(there, name)), wanted, err_msg=name)


def test_a_smaller_bucket_begins_where_the_larger_one_does(memory: Memory):
    mirror = memory.mirror(BatchBuffers(BatchShape(32, 4, 4, 16)))
    small, large = mirror.view(1, 1), mirror.view(32, 4)
    for name in vars(small):
        assert address(getattr(small, name)) == address(getattr(large, name))


def test_zeros_are_zero_and_bytes_can_be_read_as_another_type(memory: Memory):
    array = memory.zeros((2, 3), "int32")
    assert len(array) == 2
    np.testing.assert_array_equal(memory.fetch(memory.read_as(array[1], "float32")), np.zeros(3, np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_weights_of_every_type_arrive_byte_for_byte(memory: Memory, dtype: type):
    array = np.arange(12).reshape(3, 4).astype(dtype)
    np.testing.assert_array_equal(memory.fetch(memory.put(array)).view(np.uint8), array.view(np.uint8))


def test_what_is_fetched_is_a_copy(memory: Memory):
    array = memory.zeros((3,), "int32")
    copy = memory.fetch(array)
    copy[:] = 1
    assert not memory.fetch(array).any()


def test_a_device_whose_stream_fails_is_not_alive(memory: Memory, monkeypatch: pytest.MonkeyPatch):
    def fail() -> None:
        raise LaunchError("CUDA_ERROR_ILLEGAL_ADDRESS")

    monkeypatch.setattr(driver, "synchronize", fail)
    assert memory.alive() == (memory.device == "cpu")


def test_the_cpu_is_chosen_by_name():
    assert memory_for("cpu").device == "cpu"


def address(array: object) -> int:
    return array.ctypes.data if isinstance(array, np.ndarray) else array.address  # type: ignore[attr-defined]


def test_an_array_has_a_twin_that_takes_its_first_lines(memory: Memory):
    host = np.arange(12, dtype=np.int32).reshape(4, 3)
    twin = memory.twin(host)
    host += 100
    twin.upload(2)
    np.testing.assert_array_equal(memory.fetch(twin.there)[:2], host[:2])
    twin.upload()
    np.testing.assert_array_equal(memory.fetch(twin.there), host)


def test_what_a_step_needs_beyond_a_draw_is_the_same_on_both_sides(memory: Memory):
    params = SamplingParams(repetition_penalty=1.5, logit_bias={3: 2.0}, logprobs=4)
    it = Sequence(Key("a", 0), [5, 6, 5], 3, params, 0, 64, frozenset(), plain=False, edits=Edits(params, [5, 6, 5]))
    buffers = ExtraBuffers(4, 40)
    extras = buffers.fill([Row(it, 0, 3, samples=True, decode=False)], lambda sequences, allowed: None)
    assert extras is not None and extras.shaped and (extras.entries, extras.masks) == (3, 0)
    twins = [memory.twin(array) for array in (buffers.fixed, buffers.entries, buffers.allowed)]
    there = views(*(twin.there for twin in twins), extras.samples, lambda words: memory.read_as(words, "float32"))
    for name, wanted in vars(host_views(buffers, extras.samples)).items():
        np.testing.assert_array_equal(memory.fetch(getattr(there, name)), wanted, err_msg=name)
    assert memory.fetch(there.tokens)[:3].tolist() == [3, 5, 6]
    assert memory.fetch(there.counts)[:3].tolist() == [-1, 0, 0]


def test_a_step_of_plain_rows_has_no_extras():
    assert ExtraBuffers(4, 40).fill([], lambda sequences, allowed: None) is None


def test_blocks_go_to_the_host_and_come_back_elsewhere(memory: Memory):
    rng = np.random.default_rng(0)
    blocks = [rng.standard_normal((5, 2, 3)).astype(np.float32) for _ in range(4)]
    cache = KVCache((memory.put(blocks[0].copy()), memory.put(blocks[1].copy())), tuple(map(memory.put, blocks[2:])))
    store = BlockStore(cache, 2, memory)
    store.move(Swaps(out=[(3, 1), (1, 2)]))
    store.move(Swaps(back=[(1, 4), (2, 2)]))
    for array, before in zip((*cache.keys, *cache.values), blocks, strict=True):
        now = memory.fetch(array)
        np.testing.assert_array_equal(now[4], now[3])
        np.testing.assert_array_equal(now[2], now[1])
        np.testing.assert_array_equal(now[[0, 1, 3]], before[[0, 1, 3]])
