"""What rows of pooled sequences need beyond a forward pass: which of its hidden states they take, and what they had.

    pools = buffers.fill(rows)             # None for a step without such rows
    sampled = runner.run(batch, None, pools)
    sampled.pooled                         # f32[P, hidden size]: sums so far, or vectors that are ready

A prompt's sum goes from chunk to chunk through the host: what a step adds to is data of the step, as everything else
is, so that a step can be run again, and a sequence may wait, or move to other rows, in between.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np

import ops
from engine.batch import Array, bucket
from engine.memory import Memory
from engine.scheduler import Row


@dataclass(frozen=True)
class Pools:
    """One step's."""

    segments: int
    """Rows that are pooled, padding included."""


class PoolBuffers:
    """The host arrays."""

    def __init__(self, max_rows: int, hidden_size: int) -> None:
        rows = bucket(max_rows)
        # lines of whole cache lines: each view is as aligned as the first
        self.fixed = np.zeros((4, -(-rows // 16) * 16), np.int32)
        self.carry = np.zeros((rows, hidden_size), np.float32)

    def fill(self, rows: Items[Row]) -> Pools | None:
        """Write what the rows that are pooled need, in their order; None if there are none."""
        count = sum(row.pools > 0 for row in rows)
        if not count:
            return None
        segments = bucket(count)
        starts, ends, counts, normalize = (line[:segments] for line in self.fixed)
        index = token = 0
        for row in rows:
            if row.pools:
                starts[index] = token + row.pool_from - row.start
                ends[index] = starts[index] + row.pools
                counts[index], normalize[index] = _finish(row)
                had = row.sequence.pool_sum
                self.carry[index] = 0 if had is None else had
                index += 1
            token += row.count
        return self._pad(index, segments)

    def dummy(self, segments: int) -> Pools:
        """Padding alone: what a warm-up takes."""
        return self._pad(0, segments)

    def _pad(self, used: int, segments: int) -> Pools:
        self.fixed[:, used:segments] = 0
        self.carry[used:segments] = 0
        return Pools(segments)


def _finish(row: Row) -> tuple[int, int]:
    """How many positions the vector is the mean of, and whether it is normalized; 0 and 0 while more are to come."""
    pooling = row.sequence.pooling
    assert pooling is not None, "only rows of pooled sequences pool"
    if not row.reaches_end:
        return 0, 0
    return len(row.sequence.tokens) if pooling.pooling == "mean" else 1, int(pooling.normalize)


class Pooler:
    """The device's side: owns the arrays that pooling reads and writes."""

    def __init__(self, buffers: PoolBuffers, memory: Memory) -> None:
        self._memory = memory
        self._fixed, self._carry = memory.twin(buffers.fixed), memory.twin(buffers.carry)
        self._out = memory.zeros(buffers.carry.shape, "float32")

    @property
    def arrays(self) -> tuple[Array, ...]:
        """All that it owns."""
        return self._fixed.there, self._carry.there, self._out

    def upload(self, segments: int) -> None:
        """Bring to the device what was filled in."""
        self._fixed.upload()
        self._carry.upload(segments)

    def launch(self, hidden: Array, segments: int) -> None:
        """Pool rows of `hidden`, the hidden states of a step's tokens, after the final norm."""
        starts, ends, counts, normalize = (self._fixed.there[line][:segments] for line in range(4))
        ops.pool(hidden, starts, ends, counts, normalize, self._carry.there[:segments], out=self._out[:segments])

    def results(self, segments: int) -> np.ndarray:
        """What the launches gave, once they have run."""
        return self._memory.fetch(self._out[:segments])
