"""What must hold of an engine between any two steps: who has which block, slot and place is counted anew.

    it.step()
    balance(it)
"""

from __future__ import annotations

from collections import Counter

from engine.blocks import BlockPool, blocks_for
from engine.engine import Engine
from engine.sequence import Sequence


def balance(it: Engine) -> None:
    """`AssertionError` where a count is wrong, something is in two places, or nobody has it."""
    planner = it.scheduler
    running, waiting, compiling = list(planner.running), list(planner.waiting), list(it._compiling)
    assert sorted(map(id, it._sequences.values())) == sorted(map(id, [*running, *waiting, *compiling]))
    assert not any(sequence.finished for sequence in it._sequences.values())
    for sequence in running:
        _check_running(sequence, planner.block_size)
    assert not any(sequence.blocks for sequence in [*waiting, *compiling])
    order = [(sequence.priority, sequence.arrival) for sequence in running]
    assert order == sorted(order) and len(order) <= planner.max_num_seqs
    _check_pool(it.pool, [block for sequence in running for block in sequence.blocks])
    _check_pool(it.store, [slot for sequence in waiting for slot in sequence.slots])
    assert planner.waiting._present == Counter(sequence.account for sequence in [*running, *waiting])
    _check_gauges(it, len(running), [*waiting, *compiling])


def _check_running(sequence: Sequence, size: int) -> None:
    tokens, held = len(sequence.tokens), sequence.blocks
    assert held and len(set(held)) == len(held) and not sequence.slots
    assert blocks_for(sequence.computed, size) <= len(held) <= blocks_for(tokens, size)
    assert sequence.pending >= 1 and sequence.published <= sequence.computed // size


def _check_pool(pool: BlockPool, held: list[int]) -> None:
    """Each block is free, kept for its name alone, or has as many owners as hold it."""
    assert {block: count for block, count in enumerate(pool._owners) if count} == Counter(held)
    free, idle = set(pool._free), set(pool._idle)
    assert len(free) == len(pool._free) and not free & set(pool._names)
    assert sorted([*free, *idle, *set(held)]) == list(range(1, pool.total + 1))
    assert idle <= set(pool._names) and {name: block for block, name in pool._names.items()} == pool._named


def _check_gauges(it: Engine, running: int, queue: list[Sequence]) -> None:
    stats = it.stats()
    assert (stats.waiting, stats.waiting_tokens) == (len(queue), sum(len(sequence.tokens) for sequence in queue))
    assert stats.blocks_used == it.pool.total - it.pool.free
    assert stats.running >= running and (stats.running == running or queue)
