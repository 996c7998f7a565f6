"""How one choice picks its tokens, and which values make sense.

From logits to a token, in this order (vLLM's), every part on the device:

    allowed tokens        the grammar's mask, without stop tokens while fewer than `min_tokens` have come
    logit_bias            added to the logit
    repetition_penalty    of tokens in prompt or answer: a positive logit is divided by it, a negative one multiplied
    frequency_penalty     subtracted once per occurrence in the answer
    presence_penalty      subtracted once if the token is in the answer
    temperature           0 takes the best, the lowest id among equals; else the logits are divided by it
    min_p, top_k, top_p   cuts; the best token survives each of them
    the draw              Philox of (seed, choice, position)

Log probabilities are those of the model's own distribution, before all of this.

A prompt that is to be embedded has `PoolingParams` instead: nothing is sampled.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import msgspec

MAX_LOGPROBS = 20
"""Alternatives that may be asked for per token."""


class SamplingParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One choice's settings. Stop *strings* are text and stay in the API process (`engine.stops`)."""

    temperature: float = 1.0
    """0 is greedy; ties take the lowest token id."""
    top_p: float = 1.0
    top_k: int = 0
    """0 keeps every token."""
    min_p: float = 0.0
    seed: int | None = None
    """None draws one at submission. The same seed gives the same tokens, whatever else runs beside it."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] = {}
    """Token id -> what is added to its logit, from -100 to 100. Never enough to leave no token."""
    min_tokens: int = 0
    """Stop tokens are not allowed before so many tokens have come, unless a grammar allows nothing else."""
    max_tokens: int | None = None
    """None means up to the end of the context. 0 only with `prompt_logprobs`: the prompt is scored, nothing follows."""
    stop_token_ids: tuple[int, ...] = ()
    """Beside the model's own end-of-sequence tokens."""
    ignore_eos: bool = False
    logprobs: int | None = None
    """None: none. k: of each sampled token its log probability and rank, and the k best alternatives."""
    prompt_logprobs: int | None = None
    """The same of each token of the prompt but the first, which nothing predicts."""
    grammar: str | None = None
    """What the answer must match, in llguidance's own form (`engine.grammar` makes it of a JSON schema, a regular
    expression, a list of choices or a Lark grammar)."""


Pooling = Literal["mean", "last"]


class PoolingParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a prompt's hidden states, after the final norm, become one vector. All of it is float32."""

    pooling: Pooling = "last"
    """`mean` of all positions, or that of the `last` token."""
    normalize: bool = True
    """The vector is divided by its Euclidean length."""


def pooling_problem(pooling: PoolingParams, params: SamplingParams) -> tuple[str, str] | None:
    """(field, what is wrong with it), or None."""
    if pooling.pooling not in get_args(Pooling):
        return "pooling", f"pooling must be one of {', '.join(get_args(Pooling))}, got {pooling.pooling!r}"
    if params != _PLAIN:
        return "params", "params must be the default ones where a prompt is pooled: nothing is sampled"
    return None


def params_problem(params: SamplingParams, vocab_size: int) -> tuple[str, str] | None:
    """(field, what is wrong with it), or None."""
    for name, (fits, wanted) in _RANGES.items():
        value = getattr(params, name)
        if value is not None and not fits(value):
            return name, f"{name} must be {wanted}, got {value}"
    if params.max_tokens == 0 and params.prompt_logprobs is None:
        return "max_tokens", "max_tokens must be at least 1 unless prompt_logprobs is asked for, got 0"
    if params.max_tokens is not None and params.min_tokens > params.max_tokens:
        return "min_tokens", f"min_tokens must be at most max_tokens={params.max_tokens}, got {params.min_tokens}"
    for name in ("logit_bias", "stop_token_ids"):
        wrong = next((token for token in getattr(params, name) if not 0 <= token < vocab_size), None)
        if wrong is not None:
            return name, f"{name}: token id {wrong} is not in the vocabulary of {vocab_size}"
    wrong_bias = next((bias for bias in params.logit_bias.values() if not -100 <= bias <= 100), None)
    if wrong_bias is not None:
        return "logit_bias", f"logit_bias must be from -100 to 100, got {wrong_bias}"
    return None


def is_plain(params: SamplingParams) -> bool:
    """Whether the draw is all that is asked for: no log probabilities, and no logit is changed."""
    return all(getattr(params, name) == getattr(_PLAIN, name) for name in _EXTRAS)


_PLAIN = SamplingParams()
_EXTRAS = (
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "min_tokens",
    "logprobs",
    "prompt_logprobs",
    "grammar",
)
# not `low <= value <= high` in a row of numbers: a NaN must fail every one of them
_RANGES = {
    "temperature": (lambda x: math.isfinite(x) and x >= 0, "finite and at least 0"),
    "top_p": (lambda x: 0 < x <= 1, "above 0 and at most 1"),
    "top_k": (lambda x: 0 <= x < 1 << 31, "from 0 to 2147483647"),
    "min_p": (lambda x: 0 <= x <= 1, "from 0 to 1"),
    "presence_penalty": (lambda x: -2 <= x <= 2, "from -2 to 2"),
    "frequency_penalty": (lambda x: -2 <= x <= 2, "from -2 to 2"),
    "repetition_penalty": (lambda x: 0.01 <= x <= 100, "from 0.01 to 100"),
    "min_tokens": (lambda x: x >= 0, "at least 0"),
    "max_tokens": (lambda x: x >= 0, "at least 0"),
    "logprobs": (lambda x: 0 <= x <= MAX_LOGPROBS, f"from 0 to {MAX_LOGPROBS}"),
    "prompt_logprobs": (lambda x: 0 <= x <= MAX_LOGPROBS, f"from 0 to {MAX_LOGPROBS}"),
}
