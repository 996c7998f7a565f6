"""Logits to token ids, with each row's own temperature, cuts and seed, as launches from `ops`.

A plain step is `ops.sample` alone. A step with extras adjusts the logits first, into an array of its own, and scores
the draw on the model's own ones. The log probability is always computed: it is how a row whose logits are not finite
is found (any NaN or infinity in the row makes it NaN), so that such a row fails instead of giving token 0.
"""

from __future__ import annotations

import numpy as np

import ops
from engine.batch import Array, Batch
from engine.extras import ExtraArrays
from engine.memory import Memory
from engine.runner import Details, Sampled
from ops.sample import sample_workspace
from ops.score import MOST


class Sampler:
    """Owns the arrays that sampling writes, for up to `samples` rows."""

    def __init__(self, samples: int, vocab_size: int, memory: Memory) -> None:
        self._memory = memory
        # what a step gives lies in one array, so that a device sends it in one transfer
        self._results = memory.zeros((3, samples), "int32")
        self._token_ids, self._ranks = self._results[0], self._results[2]
        self._logprobs = memory.read_as(self._results[1], "float32")
        self._top = memory.zeros((2, samples, MOST), "int32")
        self._top_logprobs = memory.read_as(self._top[1], "float32")
        self._workspace = memory.zeros(sample_workspace(samples, vocab_size), "int32")
        self.adjusted = memory.zeros((samples, vocab_size), "float32")
        """Where adjusted logits go."""

    def launch(self, logits: Array, batch: Batch) -> None:
        """Sample after each row of `logits`, as the batch's sampling arrays say."""
        self._sample(logits, batch, self._logprobs[: len(batch.logits_rows)])

    def _sample(self, logits: Array, batch: Batch, logprobs: Array | None) -> None:
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
            logprobs=logprobs,
            workspace=self._workspace[:samples],
        )

    @property
    def arrays(self) -> tuple[Array, ...]:
        """All that it owns."""
        return self._results, self._top, self._workspace, self.adjusted

    def launch_with(self, logits: Array, batch: Batch, extras: ExtraArrays, adjusted: Array | None) -> None:
        """The same for a step with extras; without `adjusted` all logits are drawn from as they are."""
        samples = len(batch.logits_rows)
        drawn = logits
        if adjusted is not None:
            drawn = ops.adjust_logits(
                logits,
                extras.allowed,
                extras.mask_rows,
                extras.starts,
                extras.tokens,
                extras.biases,
                extras.counts,
                extras.repetition,
                extras.frequency,
                extras.presence,
                out=adjusted[:samples],
            )
        self._sample(drawn, batch, None)
        ops.score(
            logits,
            self._token_ids[:samples],
            extras.targets,
            extras.wanted,
            logprobs=self._logprobs[:samples],
            ranks=self._ranks[:samples],
            top_ids=self._top[0][:samples],
            top_logprobs=self._top_logprobs[:samples],
            workspace=self._workspace[:samples],
        )

    def results(self, samples: int, details: bool) -> Sampled:
        """What the launches gave, once they have run; the token is -1 where the logits were not finite."""
        token_ids, bits, ranks = self._memory.fetch(self._results)[:, :samples]
        logprobs = bits.view(np.float32)
        token_ids = np.where(np.isfinite(logprobs), token_ids, -1)
        if not details:
            return Sampled(token_ids, logprobs)
        top_ids, top_bits = self._memory.fetch(self._top)[:, :samples]
        return Sampled(token_ids, logprobs, Details(ranks, top_ids, top_bits.view(np.float32)))
