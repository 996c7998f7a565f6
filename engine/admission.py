"""What is looked at when a request comes: whether it can ever be served by this model and this cache."""

from __future__ import annotations

from dataclasses import dataclass

from engine.messages import ErrorCode, ModelInfo, Submit
from engine.params import params_problem


@dataclass(frozen=True)
class Problem:
    """Why a request is not served, and which field is at fault."""

    message: str
    param: str | None = None
    code: ErrorCode = "invalid"


def problem(request: Submit, info: ModelInfo, max_length: int) -> Problem | None:
    """What is wrong with a request, or None. `max_length`: the tokens that one sequence can have."""
    if not 0 <= request.choice < 1 << 31:
        return Problem(f"choice must be from 0 to 2147483647, got {request.choice}", "choice")
    wrong = params_problem(request.params, info.vocab_size)
    if wrong is not None:
        return Problem(wrong[1], wrong[0])
    return _prompt_problem(request, info, max_length) or _unsupported(request)


def _prompt_problem(request: Submit, info: ModelInfo, max_length: int) -> Problem | None:
    length = len(request.token_ids)
    if not length:
        return Problem("the prompt has no tokens", "token_ids")
    if length >= max_length + (request.params.max_tokens == 0):
        limit = "the context holds" if max_length == info.context_length else "the KV cache holds"
        message = f"the prompt has {length} tokens, {limit} {max_length} including at least one to generate"
        return Problem(message, "token_ids")
    wrong = next((token for token in request.token_ids if not 0 <= token < info.vocab_size), None)
    if wrong is not None:
        return Problem(f"token id {wrong} is not in the vocabulary of {info.vocab_size}", "token_ids")
    return None


def _unsupported(request: Submit) -> Problem | None:
    """What is understood and does not work yet: refused by its name, never passed over."""
    for name in ("priority", "account", "cache_salt"):
        if getattr(request, name):
            return Problem(f"{name} is not supported", name, "unsupported")
    return None
