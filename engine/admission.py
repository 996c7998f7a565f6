"""What is looked at when a request comes: whether this model and this cache can ever serve it, and whether there is
room in the queue.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.config import EngineConfig
from engine.messages import ErrorCode, ModelInfo, Submit
from engine.params import params_problem, pooling_problem

MOST_SECONDS = 60.0
"""The longest pause that a refused request is told."""


@dataclass(frozen=True)
class Problem:
    """Why a request is not served, and which field is at fault."""

    message: str
    param: str | None = None
    code: ErrorCode = "invalid"
    retry_after: float | None = None


@dataclass(frozen=True)
class Policy:
    """What the engine lets in and keeps; the fields are `EngineConfig`'s."""

    max_waiting: int = 1024
    max_waiting_tokens: int = 1 << 20
    prefix_cache: bool = True
    queue_seconds: float | None = None

    @staticmethod
    def of(config: EngineConfig) -> Policy:
        """The configured one."""
        return Policy(config.max_waiting, config.max_waiting_tokens, config.prefix_cache, config.queue_seconds)

    def overload(self, waiting: int, tokens: int, more: int, tokens_per_second: float) -> Problem | None:
        """Whether `more` tokens are too many beside those that wait. The first one in an empty queue never is."""
        if not waiting or (waiting < self.max_waiting and tokens + more <= self.max_waiting_tokens):
            return None
        seconds = min(max(tokens / tokens_per_second if tokens_per_second else 1.0, 1.0), MOST_SECONDS)
        message = f"{waiting} generations with {tokens} tokens are waiting already; try again in {seconds:.0f} seconds"
        return Problem(message, code="overloaded", retry_after=seconds)


def expired(seconds: float) -> Problem:
    """It has waited for so long and was not begun."""
    message = f"the generation waited for {seconds:g} seconds without being begun; try again in a moment"
    return Problem(message, code="expired", retry_after=1.0)


def problem(request: Submit, info: ModelInfo, max_length: int) -> Problem | None:
    """What is wrong with a request, or None. `max_length`: the tokens that one sequence can have."""
    if not 0 <= request.choice < 1 << 31:
        return Problem(f"choice must be from 0 to 2147483647, got {request.choice}", "choice")
    wrong = (
        params_problem(request.params, info.vocab_size)
        if request.pooling is None
        else pooling_problem(request.pooling, request.params)
    )
    if wrong is not None:
        return Problem(wrong[1], wrong[0])
    return _prompt_problem(request, info, max_length)


def _prompt_problem(request: Submit, info: ModelInfo, max_length: int) -> Problem | None:
    length = len(request.token_ids)
    if not length:
        return Problem("the prompt has no tokens", "token_ids")
    alone = request.params.max_tokens == 0 or request.pooling is not None
    if length >= max_length + alone:
        limit = "the context holds" if max_length == info.context_length else "the KV cache holds"
        rest = "" if alone else " including at least one to generate"
        message = f"the prompt has {length} tokens, {limit} {max_length}{rest}"
        return Problem(message, "token_ids")
    wrong = next((token for token in request.token_ids if not 0 <= token < info.vocab_size), None)
    if wrong is not None:
        return Problem(f"token id {wrong} is not in the vocabulary of {info.vocab_size}", "token_ids")
    return None
