"""Logits to token ids, with each row's own temperature, cuts and seed, as launches of `ops.sample`.

The log probability is always computed: it is how a row whose logits are not finite is found (any NaN or infinity in
the row makes it NaN), so that such a row fails instead of giving token 0.
"""

from __future__ import annotations

import numpy as np

import ops
from engine.batch import Array, Batch
from engine.memory import Memory
from ops.sample import sample_workspace


class Sampler:
    """Owns the arrays that sampling writes, for up to `samples` rows."""

    def __init__(self, samples: int, vocab_size: int, memory: Memory) -> None:
        self._memory = memory
        # token ids and log probabilities lie in one array, so that a device sends both in one transfer
        self._results = memory.zeros((2, samples), "int32")
        self._token_ids = self._results[0]
        self._logprobs = memory.read_as(self._results[1], "float32")
        self._workspace = memory.zeros(sample_workspace(samples, vocab_size), "int32")

    def launch(self, logits: Array, batch: Batch) -> None:
        """Sample after each row of `logits`, as the batch's sampling arrays say."""
        samples = len(batch.logits_rows)
        ops.sample(
            logits,
            batch.temperature,
            batch.top_k,
            batch.top_p,
            batch.min_p,
            batch.seeds,
            batch.choices,
            batch.sample_positions,
            out=self._token_ids[:samples],
            logprobs=self._logprobs[:samples],
            workspace=self._workspace[:samples],
        )

    def results(self, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Token ids, -1 where the logits were not finite, and log probabilities, once the launches have run."""
        token_ids, bits = self._memory.fetch(self._results)[:, :samples]
        logprobs = bits.view(np.float32)
        return np.where(np.isfinite(logprobs), token_ids, -1), logprobs
