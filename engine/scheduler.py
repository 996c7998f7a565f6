"""What the next step computes: which sequences, and how many tokens of each. No tensors here.

A step holds at most `max_num_seqs` rows and `max_batched_tokens` tokens. Decode rows come first (each is one token),
then what room is left goes to prompts, in chunks. A sequence gets the blocks for all its known tokens when it is
admitted, so a prompt never stalls half way. What the prefix cache holds of them is shared and not computed again, but
for the last token, whose logits are wanted.

A decode that needs one more block and finds none preempts the running sequence that is last by (priority, arrival).
That one gives up its blocks: copied to the host's store where that has room (`Plan.swaps`), else computed anew later.

Law: rows are made in the order of (priority, arrival), so a victim never has a row yet and the first one always
advances: the engine cannot livelock. `engine/waiting.py` says who is admitted next; nobody overtakes one that does not
fit yet.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.blocks import BlockPool, Name, blocks_for
from engine.prefix import extend
from engine.sequence import Sequence
from engine.waiting import Waiting


class Row(NamedTuple):
    """`count` tokens of a sequence from `start` on. (A frozen dataclass takes five times as long to make.)"""

    sequence: Sequence
    start: int
    count: int
    samples: bool
    """The row reaches the last known token, and its logits give the next one."""
    decode: bool
    """One token after others that the step before gave; else a chunk of a prompt."""
    score_from: int = 0
    """The first position whose logits say how likely the prompt's next token was."""
    scores: int = 0
    """How many positions from there on do."""
    pool_from: int = 0
    """The first position whose hidden state is pooled."""
    pools: int = 0
    """How many positions from there on are."""

    @property
    def logits(self) -> int:
        """Positions that give logits: those that score the prompt, then the one that samples."""
        return self.scores + self.samples

    @property
    def reaches_end(self) -> bool:
        """All known tokens have been computed once the row has."""
        return self.start + self.count == len(self.sequence.tokens)


@dataclass(frozen=True, slots=True)
class Swaps:
    """Blocks to be copied before a step runs. A plan never has both: who gave way just now is not admitted at once."""

    out: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """(block, slot of the host's store)"""
    back: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """(slot, block)"""

    def __bool__(self) -> bool:
        return bool(self.out or self.back)


@dataclass(frozen=True, slots=True)
class Plan:
    """One step: rows in the order of their tokens."""

    rows: tuple[Row, ...]
    swaps: Swaps = field(default_factory=Swaps)

    @property
    def tokens(self) -> int:
        return sum(row.count for row in self.rows)

    @property
    def mixed(self) -> bool:
        """Some row decodes while another prefills."""
        return len({row.decode for row in self.rows}) == 2


@dataclass
class SchedulerCounters:
    """Totals since the start."""

    preemptions: int = 0
    swapped_out: int = 0
    swapped_in: int = 0
    prefix_queries: int = 0
    prefix_hits: int = 0


class Scheduler:
    """Owns the queue, the running set and who has which block."""

    def __init__(
        self,
        pool: BlockPool,
        block_size: int,
        max_num_seqs: int,
        max_batched_tokens: int,
        store: BlockPool | None = None,
        prefix_cache: bool = True,
    ) -> None:
        self.pool = pool
        self.block_size = block_size
        self.max_num_seqs = max_num_seqs
        self.max_batched_tokens = max_batched_tokens
        self.store = store or BlockPool(0)
        """Slots of the host's memory for blocks of preempted sequences."""
        self.prefix_cache = prefix_cache
        self.waiting = Waiting()
        self.running: list[Sequence] = []
        """In the order of (priority, arrival)."""
        self.counters = SchedulerCounters()
        self._in_flight: frozenset[Sequence] = frozenset()
        self._to_free: list[int] = []
        self._swaps = Swaps()

    def add(self, sequence: Sequence) -> None:
        """A new sequence, to the queue."""
        self._name_blocks(sequence, len(sequence.tokens))
        self.waiting.enter(sequence)

    def schedule(self) -> Plan:
        """The next step. It stays in flight, and its blocks stay owned, until `retire`."""
        if self._in_flight:
            raise RuntimeError("the last step has not been retired")
        self._swaps = Swaps()
        preempted = self.counters.preemptions
        rows = self._decode_rows()
        budget = self.max_batched_tokens - len(rows)
        budget = self._continue_prompts(rows, budget)
        if self.waiting and preempted == self.counters.preemptions:
            # after a preemption the freed blocks belong to those that decode, not to the queue
            self._admit(rows, budget)
        self._in_flight = frozenset(row.sequence for row in rows)
        for row in rows:
            self.waiting.serve(row.sequence, row.count)
        return Plan(tuple(rows), self._swaps)

    def advance(self, row: Row) -> None:
        """The row has been computed: its full blocks can be found by others."""
        sequence = row.sequence
        sequence.computed = row.start + row.count
        full = sequence.computed // self.block_size
        if not self.prefix_cache or full == sequence.published:
            return
        self._name_blocks(sequence, sequence.computed)
        for index in range(sequence.published, full):
            self.pool.publish(sequence.blocks[index], sequence.chain[index])
        sequence.published = full

    def retire(self) -> None:
        """The step has run: blocks given up meanwhile become free."""
        self._in_flight = frozenset()
        self.pool.give(self._to_free)
        self._to_free.clear()

    def finish(self, sequence: Sequence) -> None:
        """Drop a sequence, wherever it is. Its blocks are free now, or when the step that uses them retires."""
        if sequence.finished:
            return
        sequence.finished = True
        if sequence in self.waiting:
            self.waiting.take(sequence)
        else:
            self.running.remove(sequence)
        self.waiting.leave(sequence)
        self._release(sequence)
        self._leave_store(sequence)

    # ---- running sequences ----

    def _decode_rows(self) -> list[Row]:
        rows: list[Row] = []
        for sequence in list(self.running):
            if sequence.pending != 1 or not self._is_running(sequence):
                continue
            if self._grow(sequence):
                rows.append(_row(sequence, 1))
        return rows

    def _is_running(self, sequence: Sequence) -> bool:
        # a preempted sequence has lost its blocks, a running one always has some
        return bool(sequence.blocks)

    def _grow(self, sequence: Sequence) -> bool:
        """Make room for the last token; false if the sequence itself had to give way."""
        while blocks_for(len(sequence.tokens), self.block_size) > len(sequence.blocks):
            if self.pool.free:
                sequence.blocks += self.pool.take(1)
            elif self._preempt_last() is sequence:
                return False
        return True

    def _preempt_last(self) -> Sequence:
        sequence = self.running.pop()
        held = blocks_for(sequence.computed, self.block_size)
        if held <= self.store.free:
            sequence.slots = self.store.take(held)
            self._swaps.out.extend(zip(sequence.blocks, sequence.slots, strict=False))
            self.counters.swapped_out += held
        else:
            sequence.computed = 0
        self._release(sequence)
        self.waiting.put(sequence)
        self.counters.preemptions += 1
        return sequence

    def _continue_prompts(self, rows: list[Row], budget: int) -> int:
        for sequence in self.running:
            if sequence.pending > 1 and budget:
                budget -= self._append_chunk(rows, sequence, budget)
        return budget

    def _append_chunk(self, rows: list[Row], sequence: Sequence, budget: int) -> int:
        count = min(sequence.pending, budget)
        if sequence.unscored:
            count = min(count, _scored_until(sequence) - sequence.computed + 1 + self._spare_logits(rows))
        rows.append(_row(sequence, count))
        return count

    def _spare_logits(self, rows: list[Row]) -> int:
        """A step has logits for as many positions as it may have rows. Every running sequence gets one of them, and
        this is what is left for prompts that are scored.
        """
        return self.max_num_seqs - len(self.running) - sum(max(row.logits - 1, 0) for row in rows)

    # ---- waiting sequences ----

    def _admit(self, rows: list[Row], budget: int) -> None:
        computing = self._being_computed()

        def ready(sequence: Sequence) -> bool:
            # what a running sequence is computing right now is worth waiting for
            known = len(self._cached(sequence))
            return known == self._shareable(sequence) or sequence.chain[known] not in computing

        while budget and self._spare_logits(rows) > 0:
            sequence = self.waiting.best(ready)
            if sequence is None or not self._give_blocks(sequence):
                # nobody overtakes one that does not fit: a long prompt would wait for ever behind short ones
                return
            insort(self.running, sequence, key=lambda it: (it.priority, it.arrival))
            computing.update(sequence.chain[sequence.computed // self.block_size :])
            budget -= self._append_chunk(rows, sequence, budget)

    def _give_blocks(self, sequence: Sequence) -> bool:
        """All that it needs, shared where they are known; false if they are not there."""
        shared = self._cached(sequence)
        needed = blocks_for(len(sequence.tokens), self.block_size) - len(shared)
        if needed > self.pool.room_beside(shared):
            return False
        self.waiting.take(sequence)
        self.pool.share(shared)
        sequence.blocks = shared + self.pool.take(needed)
        sequence.published = len(shared)
        known = len(shared) * self.block_size
        if sequence.slots:
            back = list(zip(sequence.slots, sequence.blocks, strict=False))[len(shared) :]
            self._swaps.back.extend(back)
            self.counters.swapped_in += len(back)
            self._leave_store(sequence)
        sequence.computed = max(sequence.computed, known)
        if not sequence.begun:
            sequence.begun, sequence.cached = True, known
            self.counters.prefix_queries += len(sequence.tokens) if self._looks_up(sequence) else 0
            self.counters.prefix_hits += known
        return True

    def _being_computed(self) -> set[Name]:
        """Names of the full blocks of prompts that are not through."""
        size = self.block_size
        return {name for it in self.running if it.pending > 1 for name in it.chain[it.computed // size :]}

    def _cached(self, sequence: Sequence) -> list[int]:
        return self.pool.find(sequence.chain[: self._shareable(sequence)])

    def _looks_up(self, sequence: Sequence) -> bool:
        """Whether a prompt that has not begun may find anything; vLLM counts no queries of others, either."""
        return self.prefix_cache and not sequence.unscored and not sequence.mean_pooled

    def _shareable(self, sequence: Sequence) -> int:
        """Full blocks that may come from others: at least one token is computed, and logits of a prompt that is scored,
        hidden states of one that is pooled to a mean, are wanted everywhere.
        """
        if not self.prefix_cache or sequence.unscored:
            return 0
        needed = sequence.pooled if sequence.mean_pooled else len(sequence.tokens) - 1
        return min(needed // self.block_size, len(sequence.chain))

    def _name_blocks(self, sequence: Sequence, count: int) -> None:
        if self.prefix_cache:
            extend(sequence.chain, sequence.root, sequence.tokens, count, self.block_size)

    # ---- giving back ----

    def _release(self, sequence: Sequence) -> None:
        # the last ones first: a prefix is found only as long as its beginning is there
        blocks, sequence.blocks = sequence.blocks[::-1], []
        sequence.published = 0
        if sequence in self._in_flight:
            self._to_free += blocks
        else:
            self.pool.give(blocks)

    def _leave_store(self, sequence: Sequence) -> None:
        slots, sequence.slots = sequence.slots, []
        self.store.give(slots)


def _scored_until(sequence: Sequence) -> int:
    """The first position that has not been scored. A preempted sequence computes again what was scored before."""
    return max(sequence.computed, sequence.prompt_length - 1 - sequence.unscored)


def _row(sequence: Sequence, count: int) -> Row:
    start = sequence.computed
    if sequence.pooling is not None:
        return _pooled_row(sequence, start, count)
    samples = start + count == len(sequence.tokens)
    decode = count == 1 and start >= sequence.prompt_length
    if sequence.plain or not sequence.unscored:
        return Row(sequence, start, count, samples, decode)
    first = _scored_until(sequence)
    scores = max(0, min(start + count, sequence.prompt_length - 1) - first)
    return Row(sequence, start, count, samples, decode, first, scores)


def _pooled_row(sequence: Sequence, start: int, count: int) -> Row:
    """Of a mean all positions that are not in it yet; a preempted sequence computes again what was pooled before."""
    end = start + count
    first = max(start, sequence.pooled) if sequence.mean_pooled else len(sequence.tokens) - 1
    return Row(sequence, start, count, False, False, pool_from=first, pools=max(0, end - first))
