"""What bad input gets: one clear error in OpenAI's shape, and every other request goes on."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from tests.engine.fake_runner import NAN_TOKEN, POISON_TOKEN
from tests.server.conftest import Running, start


def refused(answer: httpx.Response, status: int = 400) -> dict[str, Any]:
    """The error, after checking its shape."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "request_id"} and error["message"]
    assert error["request_id"] == answer.headers["x-request-id"]
    return error


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"foo": 1}, "foo"),
        ({"tools": [{}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "two words"}}]}, "tools[0].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"frequency_penalty": 2.5}, "frequency_penalty"),
        ({"presence_penalty": -3}, "presence_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "text", "schema": {}}}, "response_format.schema"),
        ({"guided_regex": "("}, "guided_regex"),
        ({"guided_regex": "(?=a)b"}, "guided_regex"),
        ({"guided_json": {"type": "strin"}}, "guided_json"),
        ({"guided_json": {"$ref": "http://example.org/schema"}}, "guided_json"),
        ({"guided_json": {"$ref": "#"}}, "guided_json"),
        ({"guided_json": 3}, "guided_json"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": 3}}},
            "response_format.json_schema.schema",
        ),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_grammar": "root ::= ("}, "guided_grammar"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_choice"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"structured_outputs": {"json": {"not": {}}}}, "structured_outputs.json"),
        ({"logit_bias": {"5": 101}}, "logit_bias[5]"),
        ({"logit_bias": {"five": 1}}, "logit_bias.five"),
        ({"logit_bias": {"997": 1}}, "logit_bias"),
        ({"min_tokens": 9}, "min_tokens"),
        ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, "chat_template_kwargs"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": 1.5}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 4, "max_completion_tokens": 5}, "max_completion_tokens"),
        ({"seed": 2**63}, "seed"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"stop": 3}, "stop"),
        ({"stop_token_ids": [997]}, "stop_token_ids"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usages": True}}, "stream_options.include_usages"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 0}, "top_logprobs"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": []}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": "x", "name": "me"}]}, "messages[0].name"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "user", "kontent": "x"}]}, "messages[1].kontent"),
    ],
)
def test_a_field_that_cannot_be_honoured_is_named(server: Running, fields: dict[str, Any], param: str) -> None:
    error = refused(server.chat(**fields))
    assert error["param"] == param and param in error["message"] and error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": ["a", 3]}, "prompt[1]"),
        ({"prompt": [1, 997]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [True]}, "prompt[0]"),
        ({"prompt": {"text": "a"}}, "prompt"),
        ({"logprobs": 21}, "logprobs"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"best_of": 4}, "best_of"),
        ({"echo": 1}, "echo"),
        ({"suffix": "end"}, "suffix"),
        ({"n": 100, "prompt": ["a", "b"]}, "n"),
        ({"messages": []}, "messages"),
    ],
)
def test_a_completion_field_that_cannot_be_honoured_is_named(
    server: Running, fields: dict[str, Any], param: str
) -> None:
    error = refused(server.post("/v1/completions", {"model": "tiny", "prompt": "a", **fields}))
    assert error["param"] == param


@pytest.mark.parametrize("field", ["model", "messages"])
def test_a_missing_field_is_named(server: Running, field: str) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
    del body[field]
    assert refused(server.post("/v1/chat/completions", body))["param"] == field


def test_values_that_ask_for_nothing_are_accepted(server: Running) -> None:
    neutral = {"frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "response_format": {"type": "text"}}
    neutral |= {"modalities": ["text"], "tool_choice": "auto", "tools": [], "top_k": -1}
    neutral |= {"n": 1.0}  # which JSON does not tell from 1
    assert server.chat(**neutral, metadata=None, store=False, user="me").status_code == 200
    assert refused(server.chat(store=0))["param"] == "store"


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 200_000, b'{"model": "tiny", "messages": NaN}'],
)
def test_a_body_that_is_no_request_is_a_400(server: Running, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    refused(httpx.post(f"{server.url}/v1/chat/completions", content=body, headers=headers, timeout=30))


def test_invalid_json_says_so(server: Running) -> None:
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{server.url}/v1/completions", content=b'{"model": ', headers=headers)
    assert "JSON" in refused(answer)["message"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"model": "\xff"}', "UTF-8"),
        (b"[" * 100_000, "deep"),
        (b'{"seed": ' + b"9" * 6000 + b"}", "digits"),
    ],
)
def test_json_that_cannot_be_read_says_why(server: Running, body: bytes, reason: str) -> None:
    headers = {"content-type": "application/json"}
    error = refused(httpx.post(f"{server.url}/v1/completions", content=body, headers=headers, timeout=30))
    assert error["code"] == "invalid_json" and reason in error["message"]


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "text/plain"])
def test_a_body_that_is_not_sent_as_json_says_which_header_it_needs(server: Running, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    body = b'{"model": "tiny", "prompt": "a"}'
    error = refused(httpx.post(f"{server.url}/v1/completions", content=body, headers=headers))
    assert error["code"] == "invalid_json" and "Content-Type: application/json" in error["message"]


def test_half_a_surrogate_pair_is_a_400(server: Running) -> None:
    body = b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}'
    answer = httpx.post(f"{server.url}/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert refused(answer)["param"] == "messages[0].content"


def test_a_body_above_the_limit_is_a_413(server: Running) -> None:
    refused(server.chat("x" * (5 << 20)), 413)


def test_the_wrong_model_is_a_404_that_names_the_right_one(server: Running) -> None:
    error = refused(server.chat(model="gpt-4"), 404)
    assert error["code"] == "model_not_found" and "tiny" in error["message"]
    with pytest.raises(openai.NotFoundError):
        server.openai().models.retrieve("gpt-4")


def test_unknown_paths_and_methods_have_the_same_shape(server: Running) -> None:
    refused(httpx.get(f"{server.url}/v1/nothing"), 404)
    wrong_method = httpx.get(f"{server.url}/v1/completions")
    refused(wrong_method, 405)
    assert wrong_method.headers["allow"] == "POST"


def test_a_prompt_longer_than_the_context_is_a_400(server: Running) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        server.openai().completions.create(model="tiny", prompt="x" * 300)
    assert caught.value.code == "context_length_exceeded" and "256" in caught.value.message
    refused(server.chat("x" * 100, max_tokens=200))


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_whose_step_fails_takes_no_other_with_it(server: Running, stream: bool) -> None:
    other = server.openai().completions.create(model="tiny", prompt="once", max_tokens=60, temperature=0, stream=True)
    next(iter(other))
    for token in (POISON_TOKEN, NAN_TOKEN):
        body = {"model": "tiny", "prompt": [5, token], "max_tokens": 4, "stream": stream}
        error = refused(server.post("/v1/completions", body), 500)
        assert error["type"] == "server_error"
    assert len(list(other)) > 30
    assert server.chat().status_code == 200


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    running, stop = start(max_open=2, extra={"step_seconds": 0.1})
    try:
        body = {"model": "tiny", "prompt": "once", "n": 2, "max_tokens": 200, "ignore_eos": True, "stream": True}
        with httpx.stream("POST", f"{running.url}/v1/completions", json=body, timeout=30) as first:
            lines = first.iter_lines()
            next(lines)
            answer = running.chat()
            assert refused(answer, 429)["code"] == "overloaded" and answer.headers["retry-after"] == "1"
    finally:
        stop()
