"""A valid request -> a `Generation`: prompts to tokens, limits checked, defaults filled in.

Every way in which a request does not fit this model is said here, before the engine hears of it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from engine.messages import SamplingParams, Submit
from server.answers import CHAT, TEXT, Style
from server.errors import ApiError
from server.protocol import ChatRequest, CompletionRequest, GenerateRequest
from server.stream import Generation
from server.text import TextModel

COMPLETION_TOKENS = 16
"""OpenAI's default for completions; a chat answer may fill the context."""
LONG_TEXT = 16_384
"""Characters above which tokenizing goes to a thread, so that other streams do not stutter."""


async def prepare_chat(request: ChatRequest, text: TextModel, context: int) -> Generation:
    """POST /v1/chat/completions."""
    _check_model(request, text)
    messages = [{"role": _ROLES.get(m.role, m.role), "content": m.content} for m in request.messages]
    try:
        tokens = await _off_loop(lambda: text.encode_chat(messages), sum(len(m["content"]) for m in messages))
    except ValueError as error:
        raise ApiError(400, str(error), param="messages", code="invalid_value") from None
    limit = request.max_completion_tokens or request.max_tokens
    return _generation(request, text, CHAT, [tokens], limit, request.logprobs, context, "messages")


async def prepare_completion(request: CompletionRequest, text: TextModel, context: int) -> Generation:
    """POST /v1/completions."""
    _check_model(request, text)
    prompts: list[list[int]] = []
    for prompt in request.prompt:
        if isinstance(prompt, str):
            prompts.append(await _off_loop(lambda prompt=prompt: text.tokenizer.encode_prompt(prompt), len(prompt)))
        else:
            prompts.append(_checked(prompt, text))
    limit = request.max_tokens or COMPLETION_TOKENS
    if request.max_tokens is None:
        # a default is no wish: near the end of the context it is what room there is
        limit = max(1, min(limit, context - max(map(len, prompts))))
    return _generation(request, text, TEXT, prompts, limit, request.logprobs is not None, context, "prompt")


_ROLES = {"developer": "system"}


def _check_model(request: GenerateRequest, text: TextModel) -> None:
    if request.model != text.name:
        message = f"The model `{request.model}` does not exist here; this server has `{text.name}`."
        raise ApiError(404, message, param="model", code="model_not_found")
    wrong = next((token for token in request.stop_token_ids if token >= text.tokenizer.vocab_size), None)
    if wrong is not None:
        message = f"`stop_token_ids`: {wrong} is not in the vocabulary of {text.tokenizer.vocab_size}."
        raise ApiError(400, message, param="stop_token_ids", code="invalid_value")


def _checked(prompt: list[int], text: TextModel) -> list[int]:
    wrong = next((token for token in prompt if not 0 <= token < text.tokenizer.vocab_size), None)
    if wrong is not None:
        message = f"`prompt`: token id {wrong} is not in the vocabulary of {text.tokenizer.vocab_size}."
        raise ApiError(400, message, param="prompt", code="invalid_value")
    return prompt


async def _off_loop(encode: Callable[[], list[int]], length: int) -> list[int]:
    return await asyncio.to_thread(encode) if length > LONG_TEXT else encode()


def _generation(
    request: GenerateRequest,
    text: TextModel,
    style: Style,
    prompts: list[list[int]],
    limit: int | None,
    logprobs: bool,
    context: int,
    field: str,
) -> Generation:
    for prompt in prompts:
        _check_length(len(prompt), limit, context, field)
    identity = style.prefix + secrets.token_hex(12)
    params = _params(request, text, limit, logprobs)
    submits = [
        Submit(f"{identity}/{i * request.n + choice}", prompt, params, choice)
        for i, prompt in enumerate(prompts)
        for choice in range(request.n)
    ]
    return Generation(
        id=identity,
        style=style,
        submits=submits,
        prompt_tokens=sum(map(len, prompts)),
        text=text,
        stops=tuple(request.stop),
        stream=request.stream,
        include_usage=request.stream_options is not None and request.stream_options.include_usage,
        user=request.user,
    )


def _check_length(length: int, limit: int | None, context: int, field: str) -> None:
    if length == 0:
        message = f"`{field}` has no tokens; there is nothing to continue."
        raise ApiError(400, message, param=field, code="invalid_value")
    wanted = length + (limit or 1)
    if wanted > context:
        message = (
            f"This model's maximum context length is {context} tokens. However, you requested {wanted} tokens "
            f"({length} in the {field}, {limit or 1} in the completion)."
        )
        raise ApiError(400, message, param=field, code="context_length_exceeded")


def _params(request: GenerateRequest, text: TextModel, limit: int | None, logprobs: bool) -> SamplingParams:
    defaults = text.sampling
    return SamplingParams(
        temperature=defaults.temperature if request.temperature is None else request.temperature,
        top_p=defaults.top_p if request.top_p is None else request.top_p,
        top_k=defaults.top_k if request.top_k is None else request.top_k,
        min_p=defaults.min_p if request.min_p is None else request.min_p,
        seed=request.seed,
        max_tokens=limit,
        stop_token_ids=tuple(request.stop_token_ids),
        ignore_eos=request.ignore_eos,
        logprobs=0 if logprobs else None,
    )
