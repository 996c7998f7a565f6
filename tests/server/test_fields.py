"""Fields do what they say: over the real engine and a tiny random model, through the official client."""

from __future__ import annotations

import json
from typing import Any

import httpx
import jsonschema
import openai
import pytest

from server.call_formats import HERMES
from server.replies import ChatChunkReply, TextChunkReply
from server.tools import held

MODEL = "tiny-chat"
HI = [{"role": "user", "content": "the rest"}]
CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Bern", "Oslo"]}, "days": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["city", "days"],
    "additionalProperties": False,
}


def tool(name: str, schema: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": schema or CITY, **fields}}


@pytest.fixture(scope="module")
def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)


def post(url: str, path: str, **body: Any) -> dict[str, Any]:
    answer = httpx.post(url + path, json={"model": MODEL, **body}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def complete(url: str, prompt: Any = "and the", **fields: Any) -> dict[str, Any]:
    return post(url, "/v1/completions", prompt=prompt, **{"temperature": 0, "max_tokens": 8, **fields})


# ---- what an answer must match ----


@pytest.mark.parametrize("seed", range(4))
def test_json_of_a_schema_validates_at_any_temperature(client: openai.OpenAI, seed: int) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    answer = client.chat.completions.create(
        model=MODEL, messages=HI, response_format=form, temperature=1.5, seed=seed, max_tokens=400
    )
    assert answer.choices[0].finish_reason == "stop"
    jsonschema.validate(json.loads(answer.choices[0].message.content), CITY)


@pytest.mark.parametrize(
    ("field", "value", "fits"),
    [
        ("guided_choice", ["yes", "no"], lambda text: text in ("yes", "no")),
        ("guided_regex", "[ab]{3}x", lambda text: len(text) == 4 and set(text[:3]) <= set("ab") and text[3] == "x"),
        ("guided_json", {"enum": [1, "two"]}, lambda text: json.loads(text) in (1, "two")),
        ("guided_json", '{"const": 1}', lambda text: json.loads(text) == 1),
        ("guided_grammar", 'root ::= "a" | "bb"', lambda text: text in ("a", "bb")),
        ("guided_grammar", 'start: "a" | "bb"', lambda text: text in ("a", "bb")),
        ("structured_outputs", {"choice": ["yes", "no"]}, lambda text: text in ("yes", "no")),
    ],
)
def test_a_guided_answer_matches(url: str, field: str, value: Any, fits: Any) -> None:
    for seed in range(3):
        choice = complete(url, temperature=1.5, seed=seed, max_tokens=60, **{field: value})["choices"][0]
        assert fits(choice["text"]) and choice["finish_reason"] == "stop", choice


def test_a_grammar_that_becomes_too_complex_is_the_requests_own_error(url: str) -> None:
    body = {"model": MODEL, "prompt": "and", "max_tokens": 20, "guided_regex": "a{1000000000}"}
    answer = httpx.post(f"{url}/v1/completions", json=body, timeout=60)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "guided_regex", answer.text


# ---- tools ----


def collected(stream: Any) -> dict[str, Any]:
    """A stream put together, after checking that each call's name came first."""
    message: dict[str, Any] = {"content": "", "calls": [], "finish": None}
    for chunk in stream:
        choice = chunk.choices[0]
        message["content"] += choice.delta.content or ""
        message["finish"] = choice.finish_reason or message["finish"]
        for call in choice.delta.tool_calls or ():
            if call.index == len(message["calls"]):
                assert call.id and call.type == "function" and call.function.name
                message["calls"].append([call.function.name, ""])
            else:
                assert call.id is None and call.function.name is None
            message["calls"][call.index][1] += call.function.arguments
    return message


@pytest.mark.parametrize(
    ("choice", "names"),
    [("required", {"weather", "time"}), ({"type": "function", "function": {"name": "time"}}, {"time"})],
)
@pytest.mark.parametrize("seed", range(3))
def test_a_forced_call_is_one_of_the_tools_and_its_arguments_validate(
    client: openai.OpenAI, choice: Any, names: set[str], seed: int
) -> None:
    ask: dict[str, Any] = {"model": MODEL, "messages": HI, "tools": [tool("weather"), tool("time")]}
    ask |= {"tool_choice": choice, "temperature": 1.0, "seed": seed, "max_tokens": 600, "parallel_tool_calls": False}
    whole = client.chat.completions.create(**ask).choices[0]
    assert whole.finish_reason == "tool_calls" and whole.message.content is None
    (call,) = whole.message.tool_calls
    assert call.function.name in names
    jsonschema.validate(json.loads(call.function.arguments), CITY)
    streamed = collected(client.chat.completions.create(**ask, stream=True))
    assert streamed == {
        "content": "",
        "calls": [[call.function.name, call.function.arguments]],
        "finish": "tool_calls",
    }


def test_a_conversation_goes_on_after_a_call(client: openai.OpenAI) -> None:
    tools = [tool("weather")]
    first = client.chat.completions.create(
        model=MODEL, messages=HI, tools=tools, tool_choice="required", parallel_tool_calls=False, seed=1, max_tokens=600
    )
    message = first.choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"}
    answer = client.chat.completions.create(
        model=MODEL, messages=[*HI, message.model_dump(), result], tools=tools, max_tokens=4
    )
    assert answer.usage.prompt_tokens > first.usage.prompt_tokens


def test_the_calls_of_strict_tools_are_held_to_their_schemas_and_text_is_free() -> None:
    llguidance = pytest.importorskip("llguidance")
    functions = [{"name": "weather", "parameters": CITY}, {"name": "any"}]
    grammar = llguidance.LLMatcher.grammar_from_lark(held(functions, HERMES, {}))

    def accepts(text: str) -> bool:
        matcher = llguidance.LLMatcher(tokenizer, grammar)
        return matcher.consume_tokens(tokenizer.tokenize_str(text)) and matcher.is_accepting()

    tokenizer = llguidance.LLTokenizer("byte")
    call = '<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>'
    good = call % ("weather", '{"city": "Oslo", "days": 3}')
    assert accepts("") and accepts("Hello <b>\n{}") and accepts(good) and accepts(f"a{good}\n{good}b")
    assert accepts(call % ("any", '{"x": [1]}'))
    for name, arguments in (("weather", '{"city": "Rome", "days": 3}'), ("weather", "{}"), ("other", "{}")):
        assert not accepts(call % (name, arguments))


def test_strict_tools_are_taken(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=HI, tools=[tool("weather", strict=True)], temperature=1.0, seed=2, max_tokens=12
    )
    assert answer.usage.completion_tokens > 0 and "\ufffd" not in answer.choices[0].message.content[:-1]


def test_without_tool_choice_none_the_model_is_told_of_tools(client: openai.OpenAI) -> None:
    ask: dict[str, Any] = {"model": MODEL, "messages": HI, "max_tokens": 1}
    plain, told, untold = (
        client.chat.completions.create(**ask, **fields).usage.prompt_tokens
        for fields in ({}, {"tools": [tool("f")]}, {"tools": [tool("f")], "tool_choice": "none"})
    )
    assert told > plain == untold


# ---- log probabilities ----


def test_an_echoed_answer_scores_as_it_was_generated(url: str) -> None:
    prompt = post(url, "/tokenize", prompt="and the")["tokens"]
    made = complete(url, prompt, logprobs=0, ignore_eos=True)["choices"][0]
    answer = post(url, "/tokenize", prompt="and the" + made["text"])["tokens"]
    for limit in (0, 1):
        choice = complete(url, answer, echo=True, logprobs=0, max_tokens=limit)["choices"][0]
        shown = choice["logprobs"]
        assert shown["token_logprobs"][0] is None and choice["finish_reason"] == "length"
        assert choice["text"].startswith("and the" + made["text"])
        if answer[: len(prompt)] == prompt and len(answer) == len(prompt) + 8:
            # the text came apart into the same tokens: bit for bit the same numbers
            assert shown["token_logprobs"][len(prompt) : len(answer)] == made["logprobs"]["token_logprobs"]
        assert len(shown["tokens"]) == len(shown["text_offset"]) == len(answer) + limit


def test_a_prompt_is_scored_token_by_token(url: str) -> None:
    prompt = post(url, "/tokenize", prompt="and the rest")["tokens"]
    scores = complete(url, prompt, max_tokens=0, prompt_logprobs=2)["choices"][0]["prompt_logprobs"]
    echoed = complete(url, prompt, max_tokens=0, echo=True, logprobs=2)["choices"][0]["logprobs"]
    assert scores[0] is None and len(scores) == len(prompt)
    for token, score, logprob in zip(prompt[1:], scores[1:], echoed["token_logprobs"][1:], strict=True):
        assert score[str(token)]["logprob"] == logprob and 2 <= len(score) <= 3
        assert {entry["rank"] for entry in score.values()} >= {1, 2}


def test_the_likeliest_tokens_stand_beside_each(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=HI, max_tokens=5, temperature=1.0, seed=3, logprobs=True, top_logprobs=4
    )
    for entry in answer.choices[0].logprobs.content:
        top = [other.logprob for other in entry.top_logprobs]
        assert len(top) == 4 and top == sorted(top, reverse=True) and entry.logprob <= top[0]
    text = client.completions.create(model=MODEL, prompt="the", max_tokens=5, temperature=0, logprobs=3)
    shown = text.choices[0].logprobs
    assert all(
        max(top.values()) == logprob for top, logprob in zip(shown.top_logprobs, shown.token_logprobs, strict=True)
    )


# ---- sampling, stops, text ----


def test_a_bias_decides(url: str) -> None:
    token = post(url, "/tokenize", prompt="w")["tokens"][0]
    assert complete(url, logit_bias={str(token): 100}, max_tokens=4)["choices"][0]["text"] == "wwww"


def test_penalties_change_what_comes(url: str) -> None:
    plain = complete(url, max_tokens=24, ignore_eos=True)["choices"][0]["text"]
    for field, value in (("presence_penalty", 2), ("frequency_penalty", 2), ("repetition_penalty", 5)):
        assert complete(url, max_tokens=24, ignore_eos=True, **{field: value})["choices"][0]["text"] != plain


def test_a_stop_string_waits_for_the_least_tokens_and_may_be_shown(url: str) -> None:
    whole = complete(url, max_tokens=20, ignore_eos=True)["choices"][0]["text"]
    stop = whole[0]
    assert complete(url, max_tokens=20, ignore_eos=True, stop=stop)["choices"][0]["text"] == ""
    shown = complete(url, max_tokens=20, ignore_eos=True, stop=stop, include_stop_str_in_output=True)
    assert shown["choices"][0]["text"] == stop
    waited = complete(url, max_tokens=20, ignore_eos=True, stop=stop, min_tokens=20)
    assert waited["choices"][0]["text"] == whole


def test_the_last_message_is_continued(url: str) -> None:
    opened = [*HI, {"role": "assistant", "content": "the re"}]
    ask = {"messages": opened, "add_generation_prompt": False, "continue_final_message": True}
    tokens = post(url, "/tokenize", **ask)["tokens"]
    assert post(url, "/detokenize", tokens=tokens)["prompt"].endswith("assistant\nthe re")
    chat = post(url, "/v1/chat/completions", **ask, temperature=0, max_tokens=6)
    assert chat["choices"][0]["message"]["content"] == complete(url, tokens, max_tokens=6)["choices"][0]["text"]


def test_text_becomes_tokens_and_tokens_text(url: str) -> None:
    made = post(url, "/tokenize", prompt="and the <|im_end|>", return_token_strs=True)
    assert made["count"] == len(made["tokens"]) == len(made["token_strs"]) and made["max_model_len"] == 2048
    assert "".join(made["token_strs"]) == "and the <|im_end|>"
    assert post(url, "/detokenize", tokens=made["tokens"])["prompt"] == "and the <|im_end|>"
    assert post(url, "/detokenize", tokens=post(url, "/tokenize", messages=HI)["tokens"])["prompt"].startswith("<|im_")


def test_ready_and_version_say_what_is_true(url: str) -> None:
    assert httpx.get(f"{url}/ready").json() == {"status": "ready", "reason": None}
    assert set(httpx.get(f"{url}/version").json()) == {"version"}


def test_a_prompt_is_found_in_the_cache_by_the_same_key_alone(url: str) -> None:
    def cached(key: str) -> int:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        body = {"model": MODEL, "prompt": "and the rest is in the " * 12, "max_tokens": 1}
        answer = httpx.post(f"{url}/v1/completions", json=body, headers=headers, timeout=60).json()
        return answer["usage"]["prompt_tokens_details"]["cached_tokens"]

    assert [cached("one") > 0, cached("one") > 0, cached("two") > 0, cached("two") > 0] == [False, True, False, True]
    assert [cached("") > 0, cached("") > 0] == [False, True]


# ---- a stream says what the whole answer says ----


def streamed(url: str, path: str, **body: Any) -> list[dict[str, Any]]:
    """The events of a stream, which are what the page says and end with [DONE]."""
    body |= {"model": MODEL, "stream": True, "stream_options": {"include_usage": True}}
    with httpx.stream("POST", url + path, json=body, timeout=60) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert lines.pop() == "data: [DONE]"
    chunk = ChatChunkReply if "chat" in path else TextChunkReply
    return [chunk.model_validate_json(line.removeprefix("data: ")).model_dump() for line in lines]


def added_up(events: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Text, finish and log probabilities of each choice."""
    choices: dict[int, dict[str, Any]] = {}
    for event in events:
        for part in event["choices"]:
            choice = choices.setdefault(part["index"], {"text": "", "finish": None, "logprobs": {}})
            assert choice["finish"] is None, "nothing comes after the end"
            choice["text"] += part.get("text") or part.get("delta", {}).get("content") or ""
            choice["finish"] = part["finish_reason"]
            for name, values in (part["logprobs"] or {}).items():
                choice["logprobs"].setdefault(name, []).extend(values or [])
    return choices


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n": 3},
        {"stop": ["e", "the"], "logprobs": 1},
        {"stop": ["e", "the"], "include_stop_str_in_output": True, "min_tokens": 5},
        {"echo": True, "logprobs": 2, "n": 2},
        {"echo": True, "max_tokens": 0},
        {"skip_special_tokens": False, "logit_bias": {"2": 8}, "ignore_eos": True, "logprobs": 0},
        {"guided_regex": "[a-c]{2,9}", "prompt": ["and", [70, 71], "is"]},
    ],
)
def test_a_streamed_completion_is_the_whole_one(url: str, fields: dict[str, Any]) -> None:
    ask = {"prompt": "and the", "temperature": 1.2, "seed": 9, "max_tokens": 24, **fields}
    whole, events = post(url, "/v1/completions", **ask), streamed(url, "/v1/completions", **ask)
    told = {
        choice["index"]: {
            "text": choice["text"],
            "finish": choice["finish_reason"],
            "logprobs": {name: values or [] for name, values in (choice["logprobs"] or {}).items()},
        }
        for choice in whole["choices"]
    }
    assert added_up(events[:-1]) == told
    for usage in (events[-1]["usage"], whole["usage"]):
        usage.pop("prompt_tokens_details")  # what was in the cache is another matter
    assert events[-1]["usage"] == whole["usage"] and events[-1]["choices"] == []


def test_a_streamed_call_is_told_as_the_page_says(url: str) -> None:
    ask = {"messages": HI, "tools": [tool("weather")], "tool_choice": "required", "max_tokens": 600, "seed": 1}
    events = streamed(url, "/v1/chat/completions", **ask, parallel_tool_calls=False)
    calls = [call for event in events[:-1] for call in event["choices"][0]["delta"]["tool_calls"]]
    assert calls[0]["function"]["name"] == "weather" and events[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_streamed_chat_is_the_whole_one(url: str) -> None:
    ask = {"messages": HI, "temperature": 1.2, "seed": 9, "max_tokens": 24, "logprobs": True, "top_logprobs": 1, "n": 2}
    whole, events = post(url, "/v1/chat/completions", **ask), streamed(url, "/v1/chat/completions", **ask)
    choices = added_up(events)
    for choice in whole["choices"]:
        same = choices[choice["index"]]
        assert same["text"] == choice["message"]["content"] and same["finish"] == choice["finish_reason"]
        assert same["logprobs"]["content"] == choice["logprobs"]["content"]
