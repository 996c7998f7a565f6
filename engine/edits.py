"""What one sequence changes about its logits: a list of tokens with a bias and how often each has come.

Only tokens that something can happen to are in it: biased ones, the answer's where a penalty is set, the prompt's where
repetition counts. It grows with the answer, so that a step copies it and never counts anew.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from engine.params import SamplingParams

ROOM = 32


class Edits:
    """Three arrays of one length, as `ops.adjust_logits` reads them."""

    def __init__(self, params: SamplingParams, prompt: Iterable[int]) -> None:
        self._index: dict[int, int] = {}
        self._tokens, self._biases = np.zeros(ROOM, np.int32), np.zeros(ROOM, np.float32)
        self._counts = np.zeros(ROOM, np.int32)
        self._counting = has_penalty(params)
        for token, bias in params.logit_bias.items():
            at = self._place(token)  # before the arrays are looked at: it may replace them
            self._biases[at] = bias
        if params.repetition_penalty != 1:
            for token in prompt:
                at = self._place(token)
                self._counts[at] = max(self._counts[at], 0)

    @staticmethod
    def of(params: SamplingParams, prompt: Iterable[int]) -> Edits | None:
        """None where the parameters change no logit."""
        return Edits(params, prompt) if params.logit_bias or has_penalty(params) else None

    def add(self, token: int) -> None:
        """The answer has got this token."""
        if self._counting:
            at = self._place(token)
            self._counts[at] = max(self._counts[at], 0) + 1

    def __len__(self) -> int:
        return len(self._index)

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens, biases, and counts: of the answer's occurrences, 0 in the prompt alone, -1 in neither."""
        length = len(self._index)
        return self._tokens[:length], self._biases[:length], self._counts[:length]

    def _place(self, token: int) -> int:
        at = self._index.get(token)
        if at is None:
            at = self._index[token] = len(self._index)
            if at == len(self._tokens):
                self._tokens, self._biases, self._counts = (
                    np.resize(array, 2 * at) for array in (self._tokens, self._biases, self._counts)
                )
            self._tokens[at], self._biases[at], self._counts[at] = token, 0.0, -1
        return at


def has_penalty(params: SamplingParams) -> bool:
    """Some penalty is not neutral."""
    return bool(params.presence_penalty or params.frequency_penalty) or params.repetition_penalty != 1
