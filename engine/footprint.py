"""What of a model is in memory: before its cache is sized, and once all of it is there.

On a GPU the driver's figures count, which have what it rounds up and what graphs and kernels take; in the host's
memory those of the process.
"""

from __future__ import annotations

from engine.batch import bucket
from engine.config import NO_SHARE, ConfigError, EngineConfig, ModelConfig
from engine.host import machine_bytes
from engine.memory import Memory
from engine.messages import Breakdown
from engine.models.llama import KVCache, Llama
from engine.sizing import GRAPH_BYTES, PAGE_BYTES, Footprint, Room, refuse_beyond
from engine.startup import host_memory
from engine.store import BlockStore
from engine.weights.base import ModelWeights
from engine.working import Working


def footprint(
    config: EngineConfig,
    model: ModelConfig,
    weights: ModelWeights,
    working: Working,
    memory: Memory,
    before: Room | None,
) -> tuple[Room | None, Footprint]:
    """What is there before the cache. On a GPU the driver's word counts: it knows what it has rounded up."""
    block, buffers = KVCache.block_bytes(model, itemsize=4), working.nbytes
    now = memory.room()
    if now is None:
        if config.gpu_memory_utilization is not None or config.gpu_memory_reserve_bytes:
            raise ConfigError(f"{NO_SHARE}, got a run on {memory.name}")
        return None, Footprint(weights.nbytes, buffers, 0, block)
    room = before or Room(now.free + weights.nbytes + buffers, now.total)
    buffers = max(buffers, room.free - now.free - weights.nbytes)
    shape = working.buffers.shape
    # forward by tokens and rows; sampling, plain or adjusted, and pooling by rows
    recordings = _buckets(shape.max_tokens) * (_buckets(shape.max_rows) + 1) + 3 * _buckets(shape.max_rows)
    later = GRAPH_BYTES * recordings if config.capture else 0
    return room, Footprint(weights.nbytes, buffers, later + 2 * model.num_layers * PAGE_BYTES, block)


def check_host(taken: Footprint, on_device: bool, blocks: int, slots: int) -> None:
    """`ConfigError` where the machine does not have what is about to be allocated in its own memory."""
    swap = {f"a swap of {slots} blocks": slots * taken.block}
    if not on_device:
        cache = {f"a KV cache of {blocks} blocks": blocks * taken.block}
        swap = {"the weights": taken.weights, "the buffers of a step": taken.buffers, **cache, **swap}
    refuse_beyond(machine_bytes(), swap)


def _buckets(most: int) -> int:
    return bucket(most).bit_length()


def breakdowns(
    model: Llama, working: Working, store: BlockStore, memory: Memory, before: Room | None
) -> tuple[Breakdown, ...]:
    """The bytes of a model that is ready: on a GPU and in the host's memory, by what they are for."""
    cache = model.cache
    on_device = {
        f"weights ({'+'.join(model.weights.kinds)})": model.weights.nbytes,
        # the dummy block is there too
        f"KV cache ({cache.blocks - 1} blocks)": cache.nbytes,
        "buffers of a step": working.nbytes,
    }
    swap = {f"swap ({store.slots} blocks)": store.nbytes} if store.slots else {}
    now = memory.room()
    if now is None or before is None:
        arrays = (*cache.arrays, *store.arrays, *working.arrays)
        return (host_memory({**on_device, **swap}, arrays),)
    total = before.free - now.free
    gpu = Breakdown(f"memory of {memory.name}", "bytes", tuple(on_device.items()), total)
    return gpu, host_memory(swap, store.arrays)
