"""What a step's arrays say of each of its rows: a token, log probabilities, or why the row failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from engine.messages import Logprob
from engine.runner import Details, Sampled
from engine.scheduler import Row
from engine.sequence import Sequence


class Outcome(NamedTuple):
    """What running one row gave."""

    token: int | None = None
    """If the row samples."""
    logprob: Logprob | None = None
    """If the sequence asked for it."""
    scores: tuple[Logprob, ...] = ()
    """Of tokens of the prompt, if the row scores some."""
    pooled: np.ndarray | None = None
    """f32[hidden size], if the row pools: the sum so far, or the vector that is ready."""
    error: str | None = None
    param: str | None = None
    """The request's field that is at fault for the error, where one is."""


def outcomes(rows: tuple[Row, ...], sampled: Sampled, vocab_size: int, failed: Mapping[Sequence, str]) -> list[Outcome]:
    """One per row. `failed` are rows whose mask could not be made; a token outside the vocabulary means logits that are
    not finite.
    """
    vectors = iter(() if sampled.pooled is None else sampled.pooled)
    tokens, logprobs = sampled.token_ids.tolist(), sampled.logprobs.tolist()
    found: list[Outcome] = []
    at = 0
    for row in rows:
        first, at = at, at + row.scores + row.samples
        if row.pools:
            found.append(_pooled(row, next(vectors)))
        elif row.sequence in failed:
            found.append(Outcome(error=failed[row.sequence], param="grammar"))
        elif any(not 0 <= tokens[index] < vocab_size for index in range(first, at)):
            found.append(Outcome(error=f"the model gave no finite logits up to position {row.start + row.count}"))
        elif row.sequence.plain:
            found.append(Outcome(tokens[first] if row.samples else None))
        else:
            found.append(_outcome(row, first, tokens, logprobs, sampled.details))
    return found


def _pooled(row: Row, vector: np.ndarray) -> Outcome:
    if not np.isfinite(vector).all():
        return Outcome(error=f"the model gave no finite hidden states up to position {row.start + row.count}")
    return Outcome(pooled=vector)


def _outcome(row: Row, at: int, tokens: list[int], logprobs: list[float], details: Details | None) -> Outcome:
    params = row.sequence.params
    scores: tuple[Logprob, ...] = ()
    if row.scores:
        here = range(at, at + row.scores)
        scores = tuple(_logprob(i, logprobs, details, params.prompt_logprobs or 0) for i in here)
    if not row.samples:
        return Outcome(scores=scores)
    last = at + row.scores
    wanted = None if params.logprobs is None else _logprob(last, logprobs, details, params.logprobs)
    return Outcome(tokens[last], wanted, scores)


def _logprob(index: int, logprobs: list[float], details: Details | None, count: int) -> Logprob:
    assert details is not None, "a row that wants log probabilities makes a step with extras"
    ids, chances = details.top_ids[index, :count].tolist(), details.top_logprobs[index, :count].tolist()
    top = [(token, chance) for token, chance in zip(ids, chances, strict=True) if token >= 0]
    return Logprob(logprobs[index], int(details.ranks[index]), top)
