"""One choice of one request on its way through the engine: its tokens, how many of them are in the KV cache, and where.

`tokens` is the prompt followed by what was sampled. `computed` of them have keys and values in `blocks`. A sequence
that lacks exactly one is decoding, one that lacks more is prefilling (a fresh one, or a preempted one that starts
over): there is no other difference, so nothing can depend on which of the two happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from engine.messages import SamplingParams


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
    blocks: list[int] = field(default_factory=list[int])
    computed: int = 0
    finished: bool = False

    @property
    def pending(self) -> int:
        """Tokens that still have no keys and values."""
        return len(self.tokens) - self.computed

    @property
    def generated(self) -> int:
        return len(self.tokens) - self.prompt_length
