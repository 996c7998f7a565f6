"""The body of a request -> what the engine is asked, or an error in OpenAI's shape.

    chat\\n{"model": "tiny", "messages": [...]}        # the first line says which route

The road is the server's: limits and JSON (`server.json_text`), fields (`server.protocol`), tokens and parameters
(`server.prepare`), and the frame that goes to the engine's process. A refusal names a status below 500, and its own
body can be sent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

from pydantic import BaseModel, ValidationError

from engine.messages import decode_commands, encode
from server.answers import encode as encode_answer
from server.batch_file import invalid
from server.embeddings import EmbeddingRequest, prepare_embedding
from server.errors import ApiError
from server.json_text import parse
from server.prepare import prepare_chat, prepare_completion, tokenize
from server.protocol import ChatRequest, CompletionRequest, DetokenizeRequest, TokenizeRequest
from server.responses import ResponsesRequest, prepare_response
from tests.fuzz.mutate import octets, values, words
from tests.fuzz.target import Target, words_of
from tests.server.tiny import text_model

KINDS: dict[bytes, type[BaseModel]] = {
    b"chat": ChatRequest,
    b"completion": CompletionRequest,
    b"tokenize": TokenizeRequest,
    b"detokenize": DetokenizeRequest,
    b"response": ResponsesRequest,
    b"embedding": EmbeddingRequest,
}


def run(data: bytes) -> None:
    kind, _, body = data.partition(b"\n")
    answer(KINDS.get(kind, ChatRequest), body)


def answer(kind: type[BaseModel], body: bytes) -> None:
    """As the routes do."""
    try:
        try:
            request = kind.model_validate(parse(body))
        except ValidationError as error:
            raise invalid(error) from None
        except ValueError as error:
            raise ApiError(400, f"The body is not valid JSON: {error}.", code="invalid_json") from None
        _loop().run_until_complete(_prepared(request))
    except ApiError as error:
        assert 400 <= error.status < 500, error
        assert json.loads(encode_answer(error.body()))["error"]["message"]


async def _prepared(request: Any) -> None:
    text = _text()
    match request:
        case ChatRequest():
            made = await prepare_chat(request, text, 4096)
        case CompletionRequest():
            made = await prepare_completion(request, text, 4096)
        case EmbeddingRequest():
            made = await prepare_embedding(request, text, 4096, 8)
        case ResponsesRequest():
            made = await prepare_response(request, text, 4096)
        case TokenizeRequest():
            tokens = await tokenize(request, text)
            assert all(0 <= token < text.tokenizer.vocab_size for token in tokens)
            return
        case _:
            return
    assert decode_commands(encode(list(made.submits))) == list(made.submits)


_text = cache(text_model)
_loop: Callable[[], asyncio.AbstractEventLoop] = cache(asyncio.new_event_loop)

# ---- inputs ------------------------------------------------------------------------------------------

_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "up",
        "parameters": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        "strict": True,
    },
}
_CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": "b"}'}}
BODIES: list[tuple[str, dict[str, Any]]] = [
    ("chat", {"model": "tiny", "messages": [{"role": "user", "content": "hi <|im_end|>"}], "max_tokens": 8}),
    (
        "chat",
        {
            "model": "tiny",
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "be"}]},
                {"role": "user", "content": "hé"},
                {"role": "assistant", "content": None, "tool_calls": [_CALL]},
                {"role": "tool", "tool_call_id": "c1", "name": "look", "content": "found"},
            ],
            "tools": [_TOOL],
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "stream": True,
            "stream_options": {"include_usage": True},
        },
    ),
    (
        "chat",
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
            "add_generation_prompt": False,
            "continue_final_message": True,
            "logprobs": True,
            "top_logprobs": 3,
            "logit_bias": {"5": 1.5},
            "stop": ["a", "b"],
            "stop_token_ids": [3],
            "n": 2,
            "seed": -1,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": -1,
            "min_p": 0.1,
            "presence_penalty": 1,
            "frequency_penalty": -1,
            "repetition_penalty": 1.1,
            "min_tokens": 1,
            "max_completion_tokens": 9,
            "user": "u",
            "priority": -3,
            "chat_template_kwargs": {},
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        },
    ),
    ("chat", {"model": "tiny", "messages": [{"role": "user"}], "structured_outputs": {"choice": ["a", "b"]}}),
    ("completion", {"model": "tiny", "prompt": ["a", [1, 2]], "echo": True, "logprobs": 2, "max_tokens": 0}),
    ("completion", {"model": "tiny", "prompt": "a", "guided_regex": "[a-c]+", "best_of": 1, "suffix": None}),
    ("completion", {"model": "tiny", "prompt": [3, 4], "guided_grammar": 'start: "a"', "prompt_logprobs": 1}),
    ("completion", {"model": "tiny", "prompt": "a", "guided_json": {"enum": [1, "a"]}, "ignore_eos": True}),
    (
        "response",
        {
            "model": "tiny",
            "instructions": "be",
            "input": [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
                {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"a": "b"}'},
                {"type": "function_call_output", "call_id": "c1", "output": "found"},
            ],
            "tools": [{"type": "function", **_TOOL["function"]}],
            "tool_choice": {"type": "function", "name": "look"},
            "metadata": {"a": "b"},
        },
    ),
    (
        "response",
        {
            "model": "tiny",
            "input": "hi",
            "include": ["message.output_text.logprobs"],
            "top_logprobs": 2,
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
            "store": False,
            "stream": True,
        },
    ),
    ("tokenize", {"prompt": "a b", "add_special_tokens": False, "return_token_strs": True}),
    ("tokenize", {"messages": [{"role": "user", "content": "a"}], "tools": [_TOOL]}),
    ("detokenize", {"model": "tiny", "tokens": [0, 1, 996]}),
    ("embedding", {"model": "tiny", "input": ["a b", [1, 2]], "encoding_format": "base64", "pooling": "mean"}),
    (
        "embedding",
        {"model": "tiny", "input": "a b", "dimensions": 8, "normalize": False, "truncate_prompt_tokens": 1, "user": "u"}
        | {"add_special_tokens": False, "priority": 1},
    ),
]
NAMES = sorted({name for _, body in BODIES for name in body} | set(words_of("request")))


def seeds() -> list[bytes]:
    return [f"{kind}\n{json.dumps(body)}".encode() for kind, body in BODIES]


def mutate(data: bytes, rng: Random) -> bytes:
    kind, _, body = data.partition(b"\n")
    way = rng.randint(0, 9)
    if way == 0:
        return kind + b"\n" + octets(body, rng)
    if way == 1:
        return (
            kind + b"\n" + words(body, rng, [*NAMES, "null", "true", '"', "{", "}", "[", "]", ":", ",", "NaN", "1e999"])
        )
    if way == 2:
        kind = rng.choice(list(KINDS))
    return kind + b"\n" + values(body, rng, NAMES)


TARGET = Target(run, seeds, mutate)
