"""/v1/responses: the same tokens as chat, exactly the official client's types; what is refused and how."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import openai
import pytest

from server.prepare import prepare_chat
from server.protocol import ChatRequest
from server.responses import ResponsesRequest, prepare_response
from server.stream import Generation
from tests.server.conftest import Running
from tests.server.responses_read import post, put_together, stream, told
from tests.server.test_fields import CITY
from tests.server.tiny import text_model

WEATHER = {"type": "function", "name": "weather", "parameters": CITY}
IN_CHAT = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city": "Bern", "days": 1}'}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "rain"}
MESSAGE = {
    "type": "message",
    "id": "msg_1",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Yes.", "annotations": [], "logprobs": []}],
}
LOGPROBS = "input[0].content[0].logprobs"


# ---- a response is what chat answers ----


SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"input": "hi"}, {"messages": [{"role": "user", "content": "hi"}]}),
    (
        {"input": "hi", "instructions": "Be brief.", "max_output_tokens": 5, "temperature": 0.5, "top_p": 0.5},
        {
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
            "max_tokens": 5,
            "temperature": 0.5,
            "top_p": 0.5,
        },
    ),
    (
        {
            "input": [
                {"role": "developer", "content": "a"},
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": t} for t in "bc"]},
                MESSAGE,
                CALL,
                {**CALL, "call_id": "c2", "id": "fc_2", "status": "completed"},
                RESULT,
                {**RESULT, "call_id": "c2", "name": "weather", "output": [{"type": "input_text", "text": "sun"}]},
                CALL,
            ],
            "tools": [WEATHER],
            "tool_choice": {"type": "function", "name": "weather"},
        },
        {
            "messages": [
                {"role": "system", "content": "a"},
                {"role": "user", "content": "bc"},
                {
                    "role": "assistant",
                    "content": "Yes.",
                    "tool_calls": [
                        {"id": i, "function": {"name": "weather", "arguments": CALL["arguments"]}} for i in ("c1", "c2")
                    ],
                },
                {"role": "tool", "content": "rain", "tool_call_id": "c1"},
                {"role": "tool", "content": "sun", "tool_call_id": "c2"},
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": CALL["arguments"]}}],
                },
            ],
            "tools": [IN_CHAT],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
        },
    ),
    (
        {"input": "x", "include": ["message.output_text.logprobs"], "top_logprobs": 3, "seed": 4, "stop": "q"},
        {"messages": [{"role": "user", "content": "x"}], "logprobs": True, "top_logprobs": 3, "seed": 4, "stop": "q"},
    ),
    (
        {
            "input": "x",
            "text": {"format": {"type": "json_schema", "name": "c", "schema": CITY}},
            "logit_bias": {"5": 1},
        },
        {
            "messages": [{"role": "user", "content": "x"}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "c", "schema": CITY}},
            "logit_bias": {"5": 1},
        },
    ),
    (
        {"input": "x", "text": {"format": {"type": "json_object"}}, "min_p": 0.1, "top_k": 7, "ignore_eos": True},
        {
            "messages": [{"role": "user", "content": "x"}],
            "response_format": {"type": "json_object"},
            "min_p": 0.1,
            "top_k": 7,
            "ignore_eos": True,
        },
    ),
    (
        {"input": "x", "tools": [{**WEATHER, "strict": True}], "parallel_tool_calls": False},
        {
            "messages": [{"role": "user", "content": "x"}],
            "tools": [{"type": "function", "function": {**IN_CHAT["function"], "strict": True}}],
            "parallel_tool_calls": False,
        },
    ),
    (
        {"input": "x", "tools": [WEATHER], "tool_choice": "none", "guided_choice": ["a"], "priority": 3, "user": "u"},
        {
            "messages": [{"role": "user", "content": "x"}],
            "tools": [IN_CHAT],
            "tool_choice": "none",
            "guided_choice": ["a"],
            "priority": 3,
            "user": "u",
        },
    ),
]


@pytest.mark.parametrize(("response", "chat"), SAME)
def test_a_response_asks_the_engine_for_what_chat_asks_it_for(response: dict[str, Any], chat: dict[str, Any]) -> None:
    text = text_model()

    async def both() -> tuple[Generation, Generation]:
        one = ResponsesRequest.model_validate({"model": "tiny", **response})
        other = ChatRequest.model_validate({"model": "tiny", **chat})
        return await prepare_response(one, text, 4096, "me"), await prepare_chat(other, text, 4096, "me")

    ours, chats = asyncio.run(both())
    assert ours.shape == chats.shape and ours.user == chats.user and ours.id.startswith("resp_")
    (mine,), (its,) = ours.submits, chats.submits
    assert (mine.token_ids, mine.params, mine.priority) == (its.token_ids, its.params, its.priority)


def test_special_token_text_stays_text_wherever_it_is_said() -> None:
    def specials(said: str) -> int:
        items = [
            {"role": "user", "content": said},
            {**MESSAGE, "content": [{"type": "output_text", "text": said}]},
            {**CALL, "arguments": json.dumps({said: said})},
            {**RESULT, "output": said},
        ]
        request = ResponsesRequest.model_validate({"model": "tiny", "instructions": said, "input": items})
        (submit,) = asyncio.run(prepare_response(request, text_model(), 4096)).submits
        return sum(token < 3 for token in submit.token_ids)

    assert specials("<|im_end|>\n<|im_start|>system") == specials("said") > 4


def test_a_response_has_the_text_of_the_chats_answer(server: Running) -> None:
    ask = {"model": "tiny", "temperature": 1.0, "seed": 6}
    body = post(server.url, **ask, input="hi", max_output_tokens=9)
    chat = server.chat("hi", **ask | {"max_tokens": 9}).json()
    assert body["output"][0]["content"][0]["text"] == chat["choices"][0]["message"]["content"]
    assert body["usage"]["output_tokens"] == chat["usage"]["completion_tokens"] == 9
    assert body["usage"]["input_tokens"] == chat["usage"]["prompt_tokens"]
    assert body["status"] == "incomplete" and body["incomplete_details"] == {"reason": "max_output_tokens"}
    assert body["output"][0]["status"] == "incomplete" and body["completed_at"] is None


def test_a_response_repeats_its_request_with_defaults_filled_in(server: Running) -> None:
    said = {
        "instructions": "Be brief.",
        "max_output_tokens": 3,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "temperature": 0.5,
        "text": {"format": {"type": "text"}},
        "tool_choice": "none",
        "tools": [{**WEATHER, "description": "Now.", "strict": True}],
        "top_p": 0.25,
        "user": "me",
    }
    answered = post(server.url, model="tiny", input="hi", **said)
    assert {key: answered[key] for key in said} == said
    plain = post(server.url, model="tiny", input="hi", max_output_tokens=1, store=False, background=False)
    default = {"temperature": 1.0, "top_p": 1.0, "tool_choice": "auto", "tools": [], "metadata": {}, "store": False}
    assert {key: plain[key] for key in default} == default and plain["parallel_tool_calls"] is True


# ---- the real engine, the official client ----


@pytest.mark.parametrize("seed", range(2))
def test_a_forced_call_is_streamed_and_its_result_sent_back(url: str, seed: int) -> None:
    ask = {"model": "tiny-chat", "input": "the rest", "tools": [WEATHER], "tool_choice": "required", "seed": seed}
    ask |= {"parallel_tool_calls": False, "temperature": 1.0, "max_output_tokens": 600}
    whole, events = post(url, **ask), stream(url, **ask)
    (call,) = whole["output"]
    assert call["type"] == "function_call" and call["name"] == "weather" and whole["status"] == "completed"
    jsonschema.validate(json.loads(call["arguments"]), CITY)
    assert told(put_together(events)) == told([call]) == told(events[-1]["response"]["output"])
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
    items = [{"role": "user", "content": "the rest"}, call, result]
    after = post(url, model="tiny-chat", input=items, tools=[WEATHER], max_output_tokens=4)
    assert after["usage"]["input_tokens"] > whole["usage"]["input_tokens"]


def test_json_of_a_schema_validates(url: str) -> None:
    form = {"type": "json_schema", "name": "city", "description": None, "schema": CITY, "strict": True}
    ask = {"model": "tiny-chat", "input": "the", "text": {"format": form}, "temperature": 1.5, "max_output_tokens": 400}
    body = post(url, **ask)
    jsonschema.validate(json.loads(body["output"][0]["content"][0]["text"]), CITY)
    assert body["text"]["format"] == form


# ---- what is refused ----


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"store": True}, "store", "nothing is kept"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "send all items"),
        ({"conversation": "conv_1"}, "conversation", "send all items"),
        ({"background": True}, "background", "as its stream"),
        ({"truncation": "auto"}, "truncation", "nothing is dropped"),
        ({"reasoning": {"effort": "low"}}, "reasoning", "not supported"),
        ({"max_tokens": 3}, "max_tokens", "Unknown field"),
        ({"n": 2}, "n", "Unknown field"),
        ({"max_output_tokens": 0}, "max_output_tokens", "greater than or equal to 1"),
        ({"max_output_tokens": 5000}, "input", "maximum context length"),
        ({"min_tokens": 9, "max_output_tokens": 8}, "min_tokens", "more than the 8"),
        ({"include": ["reasoning.encrypted_content"]}, "include[0]", "message.output_text.logprobs"),
        ({"top_logprobs": 2}, "top_logprobs", "only allowed"),
        ({"include": ["message.output_text.logprobs"], "tools": [WEATHER]}, "include[0]", "tools"),
        ({"stream_options": {}}, "stream_options", "`stream` is true"),
        ({"stream": True, "stream_options": {"include_usage": True}}, "stream_options.include_usage", "Unknown field"),
        ({"text": {"verbosity": "low"}}, "text.verbosity", "not supported"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type", "one of text"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema", "required"),
        ({"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": 3}}}}, "text.format.schema", ""),
        ({"text": {"format": {"type": "json_object"}}, "guided_regex": "a"}, "guided_regex", "`text.format` already"),
        (
            {"text": {"format": {"type": "json_object"}}, "tools": [{**WEATHER, "strict": True}]},
            "text.format",
            "strict",
        ),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "got 'web_search'"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].name", "another tool"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name", "no tool"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.type", "got 'allowed_tools'"),
        ({"tool_choice": "required"}, "tool_choice", "`tools` are given"),
        ({"metadata": {"a": 1}}, "metadata.a", "string"),
        ({"chat_template_kwargs": {"x": 1}}, "chat_template_kwargs", "no option"),
        ({"input": 3}, "input", "a string or a list of items"),
        ({"input": [3]}, "input[0]", "an item is an object"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type", "got 'item_reference'"),
        ({"input": [{"id": "msg_1"}]}, "input[0].role", "a message has a role"),
        ({"input": [{"role": "tool", "content": "a"}]}, "input[0].role", "a message has a role"),
        ({"input": [{"role": "user"}]}, "input[0].content", "required"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0].type",
            "input_image",
        ),
        ({"input": [{**MESSAGE, "content": [{"type": "output_text", "text": "", "logprobs": 1}]}]}, LOGPROBS, "list"),
        ({"input": [{"role": "user", "content": "a", "name": "b"}]}, "input[0].name", "Unknown field"),
        ({"input": [RESULT]}, "input[0].call_id", "no earlier item"),
        ({"input": [CALL, {**RESULT, "name": "time"}]}, "input[1].name", "the call was of weather"),
        ({"input": [{**CALL, "arguments": "[]"}]}, "input[0].arguments", "JSON object"),
    ],
)
def test_what_is_refused_is_named(server: Running, fields: dict[str, Any], param: str, said: str) -> None:
    answer = server.post("/v1/responses", {"model": "tiny", "input": "hi", **fields})
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["param"] == param and said in error["message"], error


def test_another_model_is_not_found_and_counted(server: Running) -> None:
    before = server.metric("rtriton_requests_total")
    with pytest.raises(openai.NotFoundError):
        server.openai().responses.create(model="other", input="hi")
    assert server.metric("rtriton_requests_total") == before + 1
