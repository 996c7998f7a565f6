"""Logits to token ids, with each row's own temperature, cuts and seed, as launches of `ops.sample`.

The log probability is always computed: it is how a row whose logits are not finite is found (any NaN or infinity in
the row makes it NaN), so that such a row fails instead of giving token 0.
"""

from __future__ import annotations

import numpy as np

import ops
from engine.batch import Array, Batch
from engine.models.llama import Allocator
from ops.sample import sample_workspace


class Sampler:
    """Owns the arrays that sampling writes, for up to `samples` rows."""

    def __init__(self, samples: int, vocab_size: int, memory: Allocator) -> None:
        self._token_ids = memory.zeros((samples,), "int32")
        self._logprobs = memory.zeros((samples,), "float32")
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

    def results(self, samples: int) -> tuple[Array, Array]:
        """The device's token ids and log probabilities of the first rows, once the launches have run."""
        return self._token_ids[:samples], self._logprobs[:samples]


def checked(token_ids: np.ndarray, logprobs: np.ndarray) -> np.ndarray:
    """The token ids, -1 where the logits were not finite."""
    return np.where(np.isfinite(logprobs), token_ids, -1)
