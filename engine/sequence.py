"""One choice of one request on its way through the engine: its tokens, how many of them are in the KV cache, and where.

`tokens` is the prompt followed by what was sampled. `computed` of them have keys and values in `blocks`. A sequence
that lacks exactly one is decoding, one that lacks more is prefilling (a fresh one, or a preempted one that starts
over): there is no other difference, so nothing can depend on which of the two happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from engine.edits import Edits
from engine.guides import Guide
from engine.messages import Logprob
from engine.params import PoolingParams, SamplingParams


class Key(NamedTuple):
    """What names a sequence to the outside."""

    request_id: str
    choice: int


@dataclass(eq=False, slots=True)
class Sequence:
    """Mutated by the scheduler (`blocks`, `computed`) and by commit (`tokens`); compared by identity."""

    key: Key
    tokens: list[int]
    prompt_length: int
    params: SamplingParams
    seed: int
    """Unsigned 64 bits. Random numbers are a function of (seed, choice, position)."""
    max_length: int
    """Prompt and answer together; reaching it ends the sequence."""
    stop_tokens: frozenset[int]
    plain: bool = True
    """Nothing is asked for beyond a draw: what all other rows need is not even looked at."""
    edits: Edits | None = None
    """Biases and penalties, if it has any."""
    guide: Guide | None = None
    """Where it is in its grammar, if it has one."""
    prompt_scores: list[Logprob] = field(default_factory=list[Logprob])
    """Of the prompt's tokens from the second on, until the first output takes them; only if they were asked for."""
    scored: int = 0
    """How many of them there have been."""
    pooling: PoolingParams | None = None
    """It is a prompt to be embedded: it ends when it is through."""
    pooled: int = 0
    """Positions, from the first on, that are in `pool_sum` already."""
    pool_sum: np.ndarray | None = None
    """f32[hidden size], for a mean: the sum over these."""
    arrival: int = 0
    """Counts up with each submission."""
    priority: int = 0
    account: str = ""
    root: bytes = b""
    """What the names of its blocks begin with (`engine.prefix`)."""
    submitted: float = 0.0
    """Seconds of `perf_counter`."""
    started: float | None = None
    """When its first step began."""
    blocks: list[int] = field(default_factory=list[int])
    slots: list[int] = field(default_factory=list[int])
    """Of the host's store, while it waits after a preemption and its first blocks are kept there."""
    computed: int = 0
    """Tokens whose keys and values are in `blocks`, or in `slots`."""
    chain: list[bytes] = field(default_factory=list[bytes])
    """The names of its full blocks, as far as they have been needed."""
    published: int = 0
    """Blocks that others can find, from the first on."""
    begun: bool = False
    """It has been admitted once."""
    cached: int = 0
    """Tokens that the prefix cache had when it was."""
    finished: bool = False

    @property
    def pending(self) -> int:
        """Tokens that still have no keys and values."""
        return len(self.tokens) - self.computed

    @property
    def generated(self) -> int:
        return len(self.tokens) - self.prompt_length

    @property
    def unscored(self) -> int:
        """Tokens of the prompt that still have to be scored."""
        return self.prompt_length - 1 - self.scored if self.params.prompt_logprobs is not None else 0

    @property
    def mean_pooled(self) -> bool:
        """The hidden state of every position is wanted."""
        return self.pooling is not None and self.pooling.pooling == "mean"

    @property
    def masked(self) -> bool:
        """Not every token may come next."""
        return self.guide is not None or bool(self.forbidden)

    @property
    def forbidden(self) -> tuple[int, ...]:
        """Stop tokens that may not come yet, or, of a model whose ends are ignored, only where a grammar ends."""
        params = self.params
        if params.min_tokens and self.generated < params.min_tokens:
            return tuple(self.stop_tokens)
        if params.ignore_eos and self.guide is not None:
            return tuple(self.stop_tokens.difference(params.stop_token_ids))
        return ()
