"""POST /v1/embeddings: what a request may say, what it becomes, and how its answer is written.

    {"model": "m", "input": ["one", "two"]}  ->  a Generation with a prompt to be embedded for each input

From there it goes the way of every other request: the same queue, records, time limits and errors. Fields that OpenAI
has no name for have vLLM's, and so has what truncation keeps: the beginning, as embedding models are trained.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from engine.messages import PoolingParams, Submit
from engine.params import Pooling
from server.answers import Delta, Shape, Used, Writer
from server.errors import ApiError
from server.protocol import prompts_of, prompts_schema
from server.strict import Int, Str, Strict, whole, wrong
from server.stream import Generation
from server.submits import check_name, check_tokens
from server.talk import LONG_TEXT
from server.text import TextModel

MAX_INPUTS = 2048
MAX_INPUT_TOKENS = 300_000
"""Of all inputs of a request together. Both are OpenAI's limits."""


def _truncation_of(value: Any) -> Any:
    if whole(value) == 0 and value is not False:
        raise wrong("a number of tokens from 1 on, or -1 for as many as the context holds")
    return value


Inputs = Annotated[
    list[str | list[int]],
    BeforeValidator(lambda value: prompts_of(value, "an input")),
    Field(max_length=MAX_INPUTS),
    WithJsonSchema(prompts_schema(MAX_INPUTS)),
]
Truncation = Annotated[
    Int,
    BeforeValidator(_truncation_of),
    Field(ge=-1),
    WithJsonSchema({"anyOf": [{"const": -1}, {"type": "integer", "minimum": 1}]}),
]


class EmbeddingRequest(Strict):
    """POST /v1/embeddings. `input` has been brought to a list of inputs, each text or token ids."""

    model: Str
    input: Inputs
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Int | None = Field(None, ge=1)
    user: Str | None = Field(None, max_length=512)
    pooling: Pooling | None = None
    normalize: bool = True
    truncate_prompt_tokens: Truncation | None = None
    add_special_tokens: bool = True
    priority: Int = Field(0, ge=-(2**31), lt=2**31)


async def prepare_embedding(
    request: EmbeddingRequest, text: TextModel, context: int, width: int, account: str = ""
) -> Generation:
    """POST /v1/embeddings. `width`: the numbers of an embedding. `account` is whose request it is."""
    check_name(request.model, text)
    _check_dimensions(request.dimensions, width)
    inputs = await _tokens(request, text, _limit(request.truncate_prompt_tokens, context))
    total = _check_lengths(inputs, context)
    identity, pooling = EMBEDDING.prefix + secrets.token_hex(12), _pooling(request, text)
    return Generation(
        id=identity,
        text=text,
        style=EMBEDDING,
        submits=[
            # as everywhere: what one account's inputs left in the cache is not for others to find
            Submit(
                f"{identity}/{i}",
                tokens,
                priority=request.priority,
                account=account,
                cache_salt=account,
                pooling=pooling,
            )
            for i, tokens in enumerate(inputs)
        ],
        prompt_tokens=total,
        shape=Shape(base64=request.encoding_format == "base64"),
        user=request.user,
        fields={"token_ids": "input"},
    )


def _check_dimensions(asked: int | None, width: int) -> None:
    """No vector is cut short, as in vLLM: a file does not say that its model was trained for that, and few were."""
    if asked not in (None, width):
        message = (
            f"`dimensions`: embeddings of this model have {width} numbers and cannot be cut short, got {asked}; "
            "it does not support matryoshka representation."
        )
        raise ApiError(400, message, param="dimensions", code="invalid_value")


def _limit(asked: int | None, context: int) -> int | None:
    """Tokens that are kept of each input; None keeps all."""
    if asked is not None and asked > context:
        message = f"`truncate_prompt_tokens`: {asked} is more than the context of {context} tokens."
        raise ApiError(400, message, param="truncate_prompt_tokens", code="invalid_value")
    return context if asked == -1 else asked


async def _tokens(request: EmbeddingRequest, text: TextModel, limit: int | None) -> list[list[int]]:
    """Each input in tokens."""

    def encode(it: str | list[int]) -> list[int]:
        if not isinstance(it, str):
            return it[:limit]
        if request.add_special_tokens:
            return text.tokenizer.encode_document(it, limit)
        return text.tokenizer.encode(it)[:limit]

    for at, it in enumerate(request.input):
        if not isinstance(it, str):
            check_tokens(it, _name(at, len(request.input)), text)
    if sum(len(it) for it in request.input if isinstance(it, str)) > LONG_TEXT:
        return await asyncio.to_thread(lambda: list(map(encode, request.input)))
    return list(map(encode, request.input))


def _check_lengths(inputs: list[list[int]], context: int) -> int:
    """The tokens of all inputs."""
    for at, tokens in enumerate(inputs):
        name, length = _name(at, len(inputs)), len(tokens)
        if not length:
            raise ApiError(400, f"`{name}` has no tokens.", param=name, code="invalid_value")
        if length > context:
            message = (
                f"This model's maximum context length is {context} tokens. However, `{name}` has {length} tokens; "
                "shorten it, or send `truncate_prompt_tokens`."
            )
            raise ApiError(400, message, param=name, code="context_length_exceeded")
    total = sum(map(len, inputs))
    if total > MAX_INPUT_TOKENS:
        message = f"`input`: all inputs together must have at most {MAX_INPUT_TOKENS} tokens, got {total}."
        raise ApiError(400, message, param="input", code="invalid_value")
    return total


def _name(at: int, count: int) -> str:
    """An input as a path into the request; one alone need not have been in a list."""
    return "input" if count == 1 else f"input[{at}]"


def _pooling(request: EmbeddingRequest, text: TextModel) -> PoolingParams:
    return PoolingParams(request.pooling or text.pooling, request.normalize)


# ---- answers -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EmbeddingStyle:
    """One answer, which is never streamed, with the vectors in the order of the inputs."""

    prefix: str = "embd-"
    whole_object: str = "list"

    def whole(self, identity: dict[str, Any], by_choice: Sequence[Sequence[Delta]], used: Used) -> dict[str, Any]:
        """The answer with a vector for each of `by_choice`."""
        data = [
            {"object": "embedding", "index": index, "embedding": delta.embedding}
            for index, [delta] in enumerate(by_choice)
        ]
        usage = {"prompt_tokens": used.prompt, "total_tokens": used.prompt}
        return {**identity, "object": self.whole_object, "data": data, "usage": usage}

    def writer(self, identity: dict[str, Any], include_usage: bool) -> Writer:
        """There is none: no request for embeddings has `stream`."""
        raise NotImplementedError("embeddings are not streamed")


EMBEDDING = EmbeddingStyle()
