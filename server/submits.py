"""Prompts in tokens and a request's fields -> a `Generation`: limits checked, defaults filled in.

What is asked here is asked the same way by every endpoint that generates.
"""

from __future__ import annotations

import secrets
from typing import Any

from engine.messages import SamplingParams, Submit
from server.answers import Shape, Style
from server.errors import ApiError
from server.sampling import SampleRequest
from server.stream import Generation
from server.text import TextModel


def check_name(name: str | None, text: TextModel) -> None:
    """There is one model; a request may only mean that one."""
    if name not in (None, text.name):
        message = f"The model `{name}` does not exist here; this server has `{text.name}`."
        raise ApiError(404, message, param="model", code="model_not_found")


def check_model(request: SampleRequest, text: TextModel) -> None:
    """The request means this model, and no token that it has not."""
    check_name(request.model, text)
    for field, tokens in (("stop_token_ids", request.stop_token_ids), ("logit_bias", request.logit_bias)):
        check_tokens(list(tokens), field, text)


def check_tokens(tokens: list[int], field: str, text: TextModel) -> None:
    """All are in the vocabulary."""
    size = text.tokenizer.vocab_size
    if tokens and not (min(tokens) >= 0 and max(tokens) < size):  # there may be two million
        wrong = next(token for token in tokens if not 0 <= token < size)
        message = f"`{field}`: {wrong} is not in the vocabulary of {size}."
        raise ApiError(400, message, param=field, code="invalid_value")


def generation(
    request: SampleRequest,
    text: TextModel,
    style: Style,
    prompts: list[list[int]],
    params: SamplingParams,
    shape: Shape,
    context: int,
    fields: dict[str, str],
    account: str,
) -> Generation:
    """What to submit for `prompts`. `fields` has the request's names of what the engine may find wrong."""
    for prompt in prompts:
        _check_length(len(prompt), params.max_tokens, context, fields["token_ids"])
    identity = style.prefix + secrets.token_hex(12)
    submits = [
        # what one account's prompts left in the cache is not for others to find, not even by how long an answer takes
        Submit(f"{identity}/{i * request.choices + choice}", prompt, params, choice, request.priority, account, account)
        for i, prompt in enumerate(prompts)
        for choice in range(request.choices)
    ]
    return Generation(
        id=identity,
        style=style,
        submits=submits,
        prompt_tokens=sum(map(len, prompts)),
        text=text,
        shape=shape,
        stream=request.stream,
        include_usage=request.include_usage,
        user=request.user,
        fields=fields,
    )


def _check_length(length: int, limit: int | None, context: int, field: str) -> None:
    if length == 0:
        message = f"`{field}` has no tokens; there is nothing to continue."
        raise ApiError(400, message, param=field, code="invalid_value")
    least = 1 if limit is None else limit
    wanted = length + least
    if wanted > context:
        message = (
            f"This model's maximum context length is {context} tokens. However, you requested {wanted} tokens "
            f"({length} in the {field}, {least} in the completion)."
        )
        raise ApiError(400, message, param=field, code="context_length_exceeded")


def shape(request: SampleRequest, **rest: Any) -> Shape:
    """How tokens become the answer; `rest` is what endpoints differ in."""
    return Shape(
        stops=tuple(request.stop),
        include_stop=request.include_stop_str_in_output,
        unstopped=request.min_tokens,
        skip_special=request.skip_special_tokens,
        **rest,
    )


def params(
    request: SampleRequest,
    text: TextModel,
    *,
    max_tokens: int | None,
    logprobs: int | None,
    prompt_logprobs: int | None = None,
    grammar: str | None,
) -> SamplingParams:
    """What the engine is asked for."""
    if max_tokens == 0 and prompt_logprobs is None:
        prompt_logprobs = 0  # an echo alone: the engine takes no request that asks for nothing
    if max_tokens is not None and request.min_tokens > max_tokens:
        message = f"`min_tokens`: {request.min_tokens} is more than the {max_tokens} tokens of the answer."
        raise ApiError(400, message, param="min_tokens", code="invalid_value")
    defaults = text.sampling
    return SamplingParams(
        temperature=defaults.temperature if request.temperature is None else request.temperature,
        top_p=defaults.top_p if request.top_p is None else request.top_p,
        top_k=max(0, defaults.top_k if request.top_k is None else request.top_k),
        min_p=defaults.min_p if request.min_p is None else request.min_p,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        repetition_penalty=request.repetition_penalty,
        logit_bias=request.logit_bias,
        seed=request.seed,
        min_tokens=request.min_tokens,
        max_tokens=max_tokens,
        stop_token_ids=tuple(request.stop_token_ids),
        ignore_eos=request.ignore_eos,
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
        grammar=grammar,
    )
