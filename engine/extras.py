"""What rows need beyond a plain draw: changed logits, masks, log probabilities. The arrays of one step, like
`engine/batch.py`, and only for steps that hold such rows: all others neither fill nor upload them.

    extras = buffers.fill(rows, write_masks)      # None for a step of plain rows
    runner.run(batch, extras)                     # forward; extras.write_masks(); draw

Biases and penalties are one list of all rows' entries, which grows by doubling: `capacity` is part of what a recording
is made for, since the arrays move when it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence as Items
from dataclasses import dataclass

import numpy as np

from engine.batch import Array, bucket
from engine.scheduler import Row
from engine.sequence import Sequence

WriteMasks = Callable[[Items[Sequence], np.ndarray], None]
"""Writes one line of allowed tokens per sequence."""
FIRST_CAPACITY = 1024


@dataclass(frozen=True)
class ExtraArrays:
    """R logits rows; the meaning is `ops.adjust_logits`' and `ops.score`'s."""

    wanted: Array
    """i32[R]"""
    targets: Array
    """i32[R], the prompt's next token where a prompt is scored, else -1"""
    mask_rows: Array
    """i32[R]"""
    repetition: Array
    """f32[R]"""
    frequency: Array
    """f32[R]"""
    presence: Array
    """f32[R]"""
    starts: Array
    """i32[R + 1]"""
    tokens: Array
    """i32[capacity]"""
    biases: Array
    """f32[capacity]"""
    counts: Array
    """i32[capacity]"""
    allowed: Array
    """i32[lines, words]"""


@dataclass(frozen=True)
class Extras:
    """One step's: what was filled in, and what is to be written between forward pass and draw."""

    samples: int
    """Logits rows, padding included."""
    shaped: bool
    """Some row's logits are changed; else rows only want log probabilities."""
    entries: int
    """Used entries of biases and penalties."""
    masks: int
    """Used lines of `allowed`."""
    write_masks: Callable[[], None]


class ExtraBuffers:
    """The host arrays, and their views for a number of rows."""

    def __init__(self, max_rows: int, vocab_size: int) -> None:
        self._rows = bucket(max_rows)
        # lines of whole cache lines: each view is as aligned as the first
        self.fixed = np.zeros((7, -(-(self._rows + 1) // 16) * 16), np.int32)
        self.entries = np.zeros((3, FIRST_CAPACITY), np.int32)
        self.allowed = np.zeros((self._rows, -(-vocab_size // 32)), np.int32)

    @property
    def capacity(self) -> int:
        """Entries that there is room for."""
        return self.entries.shape[1]

    def fill(self, rows: Items[Row], write_masks: WriteMasks) -> Extras | None:
        """Write what the rows need, in the order of their logits rows; None if all of them are plain."""
        if not any(not row.sequence.plain and row.logits for row in rows):
            return None
        samples = bucket(sum(row.logits for row in rows))
        self._reserve(sum(_entries(row) for row in rows))
        it = host_views(self, samples)
        _neutral(it)
        at = entry = 0
        masked: list[Sequence] = []
        for row in rows:
            if row.scores:
                score, first = row.sequence.params.prompt_logprobs or 0, row.score_from
                it.wanted[at : at + row.scores] = score
                it.targets[at : at + row.scores] = row.sequence.tokens[first + 1 : first + 1 + row.scores]
                it.starts[at : at + row.scores] = entry
                at += row.scores
            if not row.samples:
                continue
            it.starts[at] = entry
            entry = _fill_sample(it, at, entry, row.sequence)
            if row.sequence.masked:
                it.mask_rows[at] = len(masked)
                masked.append(row.sequence)
            at += 1
        it.starts[at:] = entry
        allowed = self.allowed[: len(masked)]
        return Extras(samples, bool(masked or entry), entry, len(masked), lambda: write_masks(masked, allowed))

    def dummy(self, samples: int) -> Extras:
        """Rows for which nothing is changed, though all of it runs: what a warm-up takes."""
        it = host_views(self, samples)
        _neutral(it)
        it.starts[:] = 0
        return Extras(samples, shaped=True, entries=0, masks=0, write_masks=lambda: None)

    def _reserve(self, entries: int) -> None:
        if entries > self.capacity:
            self.entries = np.zeros((3, bucket(entries)), np.int32)


def host_views(buffers: ExtraBuffers, samples: int) -> ExtraArrays:
    """The arrays for so many rows, in the host's memory."""
    return views(buffers.fixed, buffers.entries, buffers.allowed, samples, lambda array: array.view(np.float32))


def views(fixed: Array, entries: Array, allowed: Array, samples: int, real: Callable[[Array], Array]) -> ExtraArrays:
    """The arrays for so many rows; `real` reads 32-bit words as floats."""
    return ExtraArrays(
        wanted=fixed[0][:samples],
        targets=fixed[1][:samples],
        mask_rows=fixed[2][:samples],
        repetition=real(fixed[3])[:samples],
        frequency=real(fixed[4])[:samples],
        presence=real(fixed[5])[:samples],
        starts=fixed[6][: samples + 1],
        tokens=entries[0],
        biases=real(entries[1]),
        counts=entries[2],
        allowed=allowed,
    )


def _neutral(it: ExtraArrays) -> None:
    it.wanted[:] = 0
    it.targets[:] = -1
    it.mask_rows[:] = -1
    it.repetition[:] = 1
    it.frequency[:] = 0
    it.presence[:] = 0


def _entries(row: Row) -> int:
    edits = row.sequence.edits
    return len(edits) if row.samples and edits is not None else 0


def _fill_sample(it: ExtraArrays, at: int, entry: int, sequence: Sequence) -> int:
    """One sampling row; gives the end of its entries."""
    params = sequence.params
    it.wanted[at] = params.logprobs or 0
    it.repetition[at] = params.repetition_penalty
    it.frequency[at] = params.frequency_penalty
    it.presence[at] = params.presence_penalty
    if sequence.edits is None:
        return entry
    tokens, biases, counts = sequence.edits.arrays
    here = slice(entry, entry + len(tokens))
    it.tokens[here], it.biases[here], it.counts[here] = tokens, biases, counts
    return here.stop
