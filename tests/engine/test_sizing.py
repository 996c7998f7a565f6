"""The size of the KV cache: the formula on invented figures, and on an invented GPU around real arrays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import ConfigError, EngineConfig
from engine.footprint import breakdowns
from engine.memory import DeviceMemory, HostMemory
from engine.model_runner import build
from engine.models.llama import KVCache
from engine.sizing import GIB, KV_CACHE_BYTES, Footprint, Room, choose_blocks, left_for_blocks, swap_slots
from engine.weights.base import move
from tests.engine.tiny_model import CONFIG, random_weights
from tests.runtime.fake_cuda import install

MIB = 1 << 20
ROOM = Room(free=22 * GIB, total=24 * GIB)
TAKEN = Footprint(weights=13 * GIB, buffers=GIB, graphs=GIB // 2, block=8 * MIB)
MANY = 1 << 20  # tokens of context: rows could fill more blocks than fit


def config(**options: Any) -> EngineConfig:
    return EngineConfig(model="m", **options)


def test_an_example_computed_by_hand():
    # 0.75 of 24 is 18; others hold 2, a reserve 1, the model 14.5: half a GiB is 64 blocks of 8 MiB, one is the dummy's
    assert left_for_blocks(ROOM, TAKEN, 0.75, GIB) == GIB // 2
    asked = config(gpu_memory_utilization=0.75, gpu_memory_reserve_bytes=GIB)
    assert choose_blocks(asked, TAKEN, ROOM, MANY) == 63


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.integers(1, 200).map(lambda n: n * GIB),
    st.floats(0, 1),
    st.floats(0.05, 1),
    *[st.integers(0, 4 * GIB)] * 4,
    st.integers(1, 64 * MIB),
)
def test_what_is_in_use_in_the_end_is_the_allowed_share_up_to_one_block(
    total: int, freed: float, utilization: float, reserve: int, weights: int, buffers: int, graphs: int, block: int
):
    room, taken = Room(int(total * freed), total), Footprint(weights, buffers, graphs, block)
    asked = config(gpu_memory_utilization=utilization, gpu_memory_reserve_bytes=reserve, max_num_seqs=1 << 40)

    def in_use(blocks: int) -> int:
        return total - room.free + weights + buffers + graphs + (blocks + 1) * block

    try:
        blocks = choose_blocks(asked, taken, room, MANY)
    except ConfigError:
        assert in_use(1) > int(utilization * total) - reserve
    else:
        assert in_use(blocks) <= int(utilization * total) - reserve < in_use(blocks + 1)


def test_nine_tenths_of_a_gpu_may_be_in_use_where_nothing_is_said():
    assert choose_blocks(config(), TAKEN, ROOM, MANY) == int((0.9 * 24 - 2 - 14.5) * GIB) // (8 * MIB) - 1


def test_there_are_no_more_blocks_than_all_rows_could_fill():
    assert choose_blocks(config(max_num_seqs=3), TAKEN, ROOM, context=100) == 3 * 7
    assert choose_blocks(config(max_num_seqs=3), TAKEN, None, context=100) == 3 * 7


def test_where_no_block_fits_the_error_has_the_figures_and_what_to_change():
    with pytest.raises(ConfigError) as caught:
        choose_blocks(config(gpu_memory_utilization=0.6, gpu_memory_reserve_bytes=GIB), TAKEN, ROOM, MANY)
    # 14.4 allowed, less 2, 1, 14.5
    for figure in ("24 GiB", "0.6 allows 14.4 GiB", "1 GiB are reserved", "others hold 2 GiB", "weights take 13 GiB",
                   "buffers of a step 1 GiB", "graphs 0.5 GiB", "leaves -3.1 GiB", "blocks of 0.00781 GiB",
                   "raise the utilization", "max_num_seqs"):  # fmt: skip
        assert figure in str(caught.value)


def test_a_named_size_is_taken_unless_there_is_less():
    # 24 - 2 - 14.5 GiB are 960 blocks
    assert choose_blocks(config(num_blocks=959), TAKEN, ROOM, MANY) == 959
    assert choose_blocks(config(kv_cache_bytes=100 * 8 * MIB + 1), TAKEN, ROOM, MANY) == 100
    for asked in (config(num_blocks=960), config(kv_cache_bytes=8 * GIB)):
        with pytest.raises(ConfigError, match=r"has 7.5 GiB left.*ask for at most 959 blocks"):
            choose_blocks(asked, TAKEN, ROOM, MANY)


def test_on_a_cpu_a_size_is_named_or_the_default():
    assert choose_blocks(config(), TAKEN, None, MANY) == KV_CACHE_BYTES // (8 * MIB)
    assert choose_blocks(config(num_blocks=7), TAKEN, None, MANY) == 7


def test_a_context_that_was_asked_for_must_fit_whatever_sized_the_cache():
    for options, remedy in [
        ({"num_blocks": 6}, "raise num_blocks"),
        ({"kv_cache_bytes": 6 * 8 * MIB}, "raise kv_cache_bytes"),
        ({"gpu_memory_utilization": 16.555 / 24}, "raise gpu_memory_utilization"),
    ]:
        with pytest.raises(ConfigError, match=rf"max_model_len=100 tokens, 7 blocks.*room for 6 blocks; {remedy}"):
            choose_blocks(config(max_model_len=100, **options), TAKEN, ROOM, 100)
    assert choose_blocks(config(num_blocks=6), TAKEN, ROOM, 100) == 6


@pytest.mark.parametrize(
    "options",
    [
        {"num_blocks": 1, "kv_cache_bytes": 1},
        {"num_blocks": 1, "gpu_memory_utilization": 0.5},
        {"kv_cache_bytes": 1, "gpu_memory_reserve_bytes": 1},
        {"swap_bytes": 1, "num_swap_blocks": 1},
        {"device": "cpu", "gpu_memory_utilization": 0.5},
        {"device": "cpu", "gpu_memory_reserve_bytes": 1},
        {"gpu_memory_utilization": 0.0},
        {"gpu_memory_utilization": 1.1},
        {"num_swap_blocks": -1},
    ],
)
def test_options_that_contradict_each_other_or_the_device_are_refused(options: dict[str, Any]):
    with pytest.raises(ConfigError):
        config(**options)


def test_the_swap_is_sized_in_bytes_or_in_blocks():
    assert swap_slots(config(swap_bytes=100 * MIB), 8 * MIB) == 12
    assert swap_slots(config(num_swap_blocks=5), 8 * MIB) == 5
    assert swap_slots(config(), 8 * MIB) == 0


def test_a_runner_leaves_of_a_gpu_what_it_was_told_to_leave(monkeypatch: pytest.MonkeyPatch):
    gpu = install(monkeypatch)
    gpu.total, gpu.others = 128 * MIB, 10 * MIB
    memory = DeviceMemory()
    before = memory.room()
    assert before == Room(118 * MIB, 128 * MIB)
    weights = move(random_weights(), memory.put)
    rows = 1 << 12
    asked = EngineConfig("tiny", max_num_seqs=rows, max_batched_tokens=rows, capture=False)
    runner = build(asked, CONFIG, weights, memory, before=before)
    block = KVCache.block_bytes(CONFIG, 4)
    spare = 2 * CONFIG.num_layers * 2 * MIB  # what rounding may have taken
    used = gpu.total - memory.room().free
    assert 0.9 * gpu.total - spare - 2 * block <= used <= 0.9 * gpu.total
    assert runner.info.num_blocks < rows * CONFIG.context_length / 16
    # the table at start-up explains all that the driver says is ours, but for what it rounded up
    on_gpu, on_host = breakdowns(runner.model, runner.working, runner.store, memory, before)
    assert on_gpu.total == used - gpu.others and on_gpu.of == "memory of Fake" and on_host.parts == ()
    assert 0 <= on_gpu.other < 100 * 1024


@pytest.mark.parametrize(
    ("options", "what"),
    [({"num_blocks": 10**9}, "a KV cache of 1000000000 blocks"), ({"num_swap_blocks": 10**9}, "a swap of 1000000000")],
)
def test_what_the_machine_does_not_have_is_refused_with_figures(options: dict[str, Any], what: str):
    with pytest.raises(ConfigError, match=rf"the machine has .* GiB: the weights .*{what}.* GiB"):
        build(EngineConfig("tiny", **options), CONFIG, random_weights(), HostMemory())


def test_the_swap_of_a_gpu_is_memory_of_the_machine(monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch)
    memory = DeviceMemory()
    weights = move(random_weights(), memory.put)
    with pytest.raises(ConfigError, match="GiB: a swap of 1000000000 blocks"):
        build(EngineConfig("tiny", num_swap_blocks=10**9, num_blocks=4, capture=False), CONFIG, weights, memory)


def test_a_share_of_a_gpu_is_refused_where_the_run_is_on_a_cpu():
    with pytest.raises(ConfigError, match="on a CPU kv_cache_bytes"):
        build(EngineConfig("tiny", gpu_memory_utilization=0.5), CONFIG, random_weights(), HostMemory())
