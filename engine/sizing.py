"""How many blocks the KV cache has.

On a GPU everything else comes first, and what is left of the allowed share is the cache's; all in bytes:

    left   = utilization * total - (total - free) - reserve - weights - buffers - graphs
    blocks = left // block - 1                                            (one is the dummy block)

`free` and `total` are the driver's figures before anything of the model is there, so that total - free is what other
programs and the driver hold. A size that is named instead (`num_blocks`, `kv_cache_bytes`) must fit what
utilization 1 and no reserve would leave. On a CPU, whose memory is not ours to share out, a named size is taken as it
is, unless the machine does not have it. In each case but `num_blocks` there are no more blocks than all rows of a step
could fill.

    left_for_blocks(Room(free=20 * GIB, total=24 * GIB), Footprint(8 * GIB, GIB, 0, block), 0.9, reserve=0)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.config import ConfigError, EngineConfig

GIB = 1 << 30
UTILIZATION = 0.9
"""Of a GPU, where nothing is said."""
KV_CACHE_BYTES = 256 << 20
"""On a CPU, where nothing is said."""
GRAPH_BYTES = 1 << 20
"""Allowed for each recording that there can be. A guess until it has been measured; the table at start-up says what
those of the start took."""
PAGE_BYTES = 2 << 20
"""What the driver rounds large allocations up to."""


@dataclass(frozen=True)
class Room:
    """A GPU's memory before anything of the model is there, in bytes."""

    free: int
    total: int


@dataclass(frozen=True)
class Footprint:
    """What a model takes beside its cache, and what a block of that takes, in bytes."""

    weights: int
    buffers: int
    """Activations and all else that a step writes, at its largest."""
    graphs: int
    """Recordings that are made later, and what the driver rounds up."""
    block: int
    """Keys and values of a block in all layers."""


def left_for_blocks(room: Room, taken: Footprint, utilization: float, reserve: int) -> int:
    """Bytes for the cache by the formula above; below zero where they are missing."""
    others = room.total - room.free
    return int(utilization * room.total) - others - reserve - taken.weights - taken.buffers - taken.graphs


def choose_blocks(config: EngineConfig, taken: Footprint, room: Room | None, context: int) -> int:
    """Blocks that sequences can own, without the dummy one. `room` is None on a CPU; `context` is the longest sequence
    in tokens. `ConfigError` where not one block fits, or a named size does not.
    """
    most = config.max_num_seqs * -(-context // config.block_size)
    if config.num_blocks is not None:
        blocks = config.num_blocks
    elif room is not None and config.kv_cache_bytes is None:
        blocks = min(_share_of(config, taken, room), most)
    else:
        blocks = min(_named(config, taken), most)
    if room is not None:
        _refuse_more_than_there_is(blocks, taken, room)
    # the model's own context may exceed the memory; one that was asked for may not
    if config.max_model_len is not None and blocks * config.block_size < context:
        wanted = f"max_model_len={context} tokens, {-(-context // config.block_size)} blocks of {taken.block} bytes"
        raise ConfigError(f"the KV cache must hold {wanted}, got room for {blocks} blocks; {_remedy(config, room)}")
    return blocks


def longest(config: EngineConfig, block: int, room: Room | None, context: int) -> int:
    """Tokens of the longest sequence that there can be: `context`, or what the largest cache that may be chosen holds.

    What is sized by it comes before the cache in the formula; a file's own claim may be far beyond any memory.
    """
    if config.num_blocks is not None:
        blocks = config.num_blocks
    elif room is not None and config.kv_cache_bytes is None:
        blocks = room.total // block
    else:
        blocks = (config.kv_cache_bytes or KV_CACHE_BYTES) // block
    return min(context, max(1, blocks) * config.block_size)


def swap_slots(config: EngineConfig, block: int) -> int:
    """Blocks that the host's memory keeps for preempted sequences."""
    return config.swap_bytes // block if config.num_swap_blocks is None else config.num_swap_blocks


def refuse_beyond(machine: int, parts: Mapping[str, int]) -> None:
    """`ConfigError` where parts of the host's memory, by name, are more than the machine has (0: not known)."""
    wanted = sum(parts.values())
    if machine and wanted > machine:
        figures = ", ".join(f"{name} {gib(size)}" for name, size in parts.items())
        raise ConfigError(f"{gib(wanted)} of memory are wanted, the machine has {gib(machine)}: {figures}")


def _named(config: EngineConfig, taken: Footprint) -> int:
    size = KV_CACHE_BYTES if config.kv_cache_bytes is None else config.kv_cache_bytes
    if size < taken.block:
        raise ConfigError(f"kv_cache_bytes must hold at least one block of {taken.block} bytes, got {size}")
    return size // taken.block


def _share_of(config: EngineConfig, taken: Footprint, room: Room) -> int:
    utilization = UTILIZATION if config.gpu_memory_utilization is None else config.gpu_memory_utilization
    left = left_for_blocks(room, taken, utilization, config.gpu_memory_reserve_bytes)
    if left < 2 * taken.block:
        allowed = f"gpu_memory_utilization {utilization:g} allows {gib(int(utilization * room.total))}"
        kept = f"; {gib(config.gpu_memory_reserve_bytes)} are reserved" if config.gpu_memory_reserve_bytes else ""
        raise ConfigError(
            f"no KV block fits the GPU: of {gib(room.total)} {allowed}{kept}; {_figures(taken, room)}; that leaves "
            f"{gib(left)} for blocks of {gib(taken.block)}; raise the utilization, free memory of the GPU, or lower "
            f"max_num_seqs or max_batched_tokens"
        )
    return left // taken.block - 1


def _refuse_more_than_there_is(blocks: int, taken: Footprint, room: Room) -> None:
    left, wanted = left_for_blocks(room, taken, 1.0, 0), (blocks + 1) * taken.block
    if wanted > left:
        raise ConfigError(
            f"a KV cache of {blocks} blocks takes {gib(wanted)}, and the GPU of {gib(room.total)} has {gib(left)} left "
            f"for it: {_figures(taken, room)}; ask for at most {max(left // taken.block - 1, 0)} blocks"
        )


def _figures(taken: Footprint, room: Room) -> str:
    return (
        f"others hold {gib(room.total - room.free)}, the weights take {gib(taken.weights)}, the buffers of a step "
        f"{gib(taken.buffers)}, graphs {gib(taken.graphs)}"
    )


def _remedy(config: EngineConfig, room: Room | None) -> str:
    if config.num_blocks is not None:
        return "raise num_blocks or lower max_model_len"
    if room is None or config.kv_cache_bytes is not None:
        return "raise kv_cache_bytes or lower max_model_len"
    return "raise gpu_memory_utilization or lower max_model_len"


def gib(size: int) -> str:
    """2.5 GiB, or 0.002 GiB: three significant digits."""
    return f"{size / GIB:.3g} GiB"
