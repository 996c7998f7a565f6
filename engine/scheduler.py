"""What the next step computes: which sequences, and how many tokens of each. No tensors here.

A step holds at most `max_num_seqs` rows and `max_batched_tokens` tokens. Decode rows come first (each is one token),
then what room is left goes to prompts, in chunks. A sequence gets the blocks for all its known tokens when it is
admitted, so a prompt never stalls half way; a decode that needs one more block and finds none preempts the youngest
sequence, which gives up all its blocks and is later computed anew.

Law: every running sequence arrived before every waiting one, and both are in order of arrival. So the youngest
running sequence is the last, a preempted one goes to the front of the queue, and the oldest always advances: the
engine cannot livelock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from engine.blocks import BlockPool, blocks_for
from engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Row:
    """`count` tokens of a sequence from `start` on."""

    sequence: Sequence
    start: int
    count: int
    samples: bool
    """The row reaches the last known token, so its logits give the next one."""
    decode: bool
    """One token after others that the step before gave; else a chunk of a prompt."""
    score_from: int = 0
    """The first position whose logits say how likely the prompt's next token was."""
    scores: int = 0
    """How many positions from there on do."""

    @property
    def logits(self) -> int:
        """Positions that give logits: those that score the prompt, then the one that samples."""
        return self.scores + self.samples


@dataclass(frozen=True, slots=True)
class Plan:
    """One step: rows in the order of their tokens."""

    rows: tuple[Row, ...]

    @property
    def tokens(self) -> int:
        return sum(row.count for row in self.rows)

    @property
    def mixed(self) -> bool:
        """Some row decodes while another prefills."""
        return len({row.decode for row in self.rows}) == 2


class Scheduler:
    """Owns the queue, the running set and who has which block."""

    def __init__(self, pool: BlockPool, block_size: int, max_num_seqs: int, max_batched_tokens: int) -> None:
        self.pool = pool
        self.block_size = block_size
        self.max_num_seqs = max_num_seqs
        self.max_batched_tokens = max_batched_tokens
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.preemptions = 0
        self._in_flight: frozenset[Sequence] = frozenset()
        self._to_free: list[int] = []

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def schedule(self) -> Plan:
        """The next step. It stays in flight, and its blocks stay owned, until `retire`."""
        if self._in_flight:
            raise RuntimeError("the last step has not been retired")
        preempted = self.preemptions
        rows = self._decode_rows()
        budget = self.max_batched_tokens - len(rows)
        budget = self._continue_prompts(rows, budget)
        if preempted == self.preemptions:
            # after a preemption the freed blocks belong to those that decode, not to the queue
            self._admit(rows, budget)
        self._in_flight = frozenset(row.sequence for row in rows)
        return Plan(tuple(rows))

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
        if sequence in self.running:
            self.running.remove(sequence)
        else:
            self.waiting.remove(sequence)
        self._release(sequence)

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
            elif self._preempt_youngest() is sequence:
                return False
        return True

    def _preempt_youngest(self) -> Sequence:
        sequence = self.running.pop()
        self._release(sequence)
        sequence.computed = 0
        self.waiting.appendleft(sequence)
        self.preemptions += 1
        return sequence

    def _continue_prompts(self, rows: list[Row], budget: int) -> int:
        for sequence in self.running:
            if sequence.pending > 1 and budget:
                budget -= self._append_chunk(rows, sequence, budget)
        return budget

    def _admit(self, rows: list[Row], budget: int) -> None:
        while self.waiting and budget and len(self.running) < self.max_num_seqs:
            sequence = self.waiting[0]
            needed = blocks_for(len(sequence.tokens), self.block_size)
            if needed > self.pool.free:
                # nobody overtakes: a long prompt would wait for ever behind short ones
                return
            self.waiting.popleft()
            sequence.blocks = self.pool.take(needed)
            self.running.append(sequence)
            budget -= self._append_chunk(rows, sequence, budget)

    def _append_chunk(self, rows: list[Row], sequence: Sequence, budget: int) -> int:
        count = min(sequence.pending, budget)
        if sequence.unscored:
            # a step has logits for as many positions as it may have rows, and every running sequence gets one of them
            spare = self.max_num_seqs - len(self.running) - sum(max(row.logits - 1, 0) for row in rows)
            count = min(count, _scored_until(sequence) - sequence.computed + 1 + spare)
        rows.append(_row(sequence, count))
        return count

    def _release(self, sequence: Sequence) -> None:
        blocks, sequence.blocks = sequence.blocks, []
        if sequence in self._in_flight:
            self._to_free += blocks
        else:
            self.pool.give(blocks)


def _scored_until(sequence: Sequence) -> int:
    """The first position that has not been scored. A preempted sequence computes again what was scored before."""
    return max(sequence.computed, sequence.prompt_length - 1 - sequence.unscored)


def _row(sequence: Sequence, count: int) -> Row:
    start = sequence.computed
    first = _scored_until(sequence)
    return Row(
        sequence=sequence,
        start=start,
        count=count,
        samples=start + count == len(sequence.tokens),
        decode=count == 1 and start >= sequence.prompt_length,
        score_from=first,
        scores=max(0, min(start + count, sequence.prompt_length - 1) - first) if sequence.unscored else 0,
    )
