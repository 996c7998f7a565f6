"""The ways in which servers of one API differ: each is read for what it says."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.server.bench.fake import event, send, serving, usage

pytest.importorskip("aiohttp")
from server.bench.client import Record, Target
from server.bench.load import Load
from server.bench.prompts import Lengths, Prompts
from server.bench.run import measure

DONE = b"data: [DONE]\n\n"


def data(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(finish: str | None = None, **fields: Any) -> bytes:
    return data({"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]})


def asked(*parts: bytes | float) -> Record:
    """One request to a server that answers with the parts."""

    async def script(index: int, request: Any) -> Any:
        return await send(request, *parts)

    with serving(script) as fake:
        prompts = Prompts(0, Lengths(9, 9), Lengths(3, 3))
        target = Target(f"{fake.url}/v1", "fake", chat=True)
        [record] = asyncio.run(measure(target, Load(requests=1), prompts, warmup=0)).records
    return record


def test_a_role_alone_is_no_token() -> None:
    record = asked(delta(role="assistant", content=""), 0.2, delta(content="a"), delta("stop"), DONE)
    assert record.first is not None and record.first >= 0.2
    assert (record.tokens, record.gaps, record.error) == (1, (), None)


def test_several_tokens_of_an_event_are_shared_out() -> None:
    record = asked(delta(content="a"), 0.2, delta(content="b c d e"), delta("length"), usage(7, 5), DONE)
    assert record.counted and (record.tokens, record.prompt_tokens, len(record.gaps)) == (5, 7, 1)
    assert record.per_token == record.gaps[0] / 4


@pytest.mark.parametrize("told", [None, {}, {"prompt_tokens": 7}, {"completion_tokens": None}])
def test_without_a_count_events_are_counted(told: Any) -> None:
    last = data({"choices": [], "usage": told})
    record = asked(delta(content="a"), delta(content="b"), delta("stop"), last, DONE)
    assert (record.tokens, record.counted, record.error) == (2, False, None)
    assert record.prompt_tokens == (7 if told and "prompt_tokens" in told else 0)


def test_a_count_in_every_event_is_that_of_the_last() -> None:
    counts = [{"prompt_tokens": 3, "completion_tokens": i} for i in (1, 4, 9)]
    texts = [data({"choices": [{"delta": {"content": "a"}, "finish_reason": None}], "usage": c}) for c in counts]
    record = asked(*texts, delta("stop"), DONE)
    assert (record.tokens, record.counted) == (9, True)


def test_comments_names_and_carriage_returns_mean_nothing() -> None:
    ping = b": ping - 2026-12-01\r\n\r\n"
    told = b'event: delta\r\nid: 4\r\ndata:{"choices":[{"delta":{"content":"a"}}]}\r\n\r\n'
    record = asked(ping, 0.2, told, ping, delta("stop"), b"retry: 10\n\n", DONE)
    assert record.error is None and record.tokens == 1 and record.first is not None and record.first >= 0.2


def test_an_event_in_pieces_is_one() -> None:
    whole = delta(content="aé\u2028b")
    record = asked(whole[:9], 0.02, whole[9:30], 0.02, whole[30:], delta("stop"), DONE[:7], 0.02, DONE[7:])
    assert (record.error, record.tokens) == (None, 1)


@pytest.mark.parametrize("field", ["content", "reasoning_content", "reasoning", "refusal"])
def test_all_that_is_generated_is_text(field: str) -> None:
    assert asked(delta(**{field: "a"}), delta("stop"), DONE).tokens == 1


def test_calls_of_tools_are_text() -> None:
    call = {"index": 0, "id": "x", "type": "function", "function": {"name": "f", "arguments": ""}}
    record = asked(delta(tool_calls=[call]), delta(tool_calls=[call]), delta("tool_calls"), DONE)
    assert (record.error, record.tokens, len(record.gaps)) == (None, 2, 1)


@pytest.mark.parametrize(
    "part",
    [
        data({"error": {"message": "it broke", "code": 500}}),
        data({"error": "it broke"}),
        data({"object": "error", "message": "it broke"}),
        b"event: error\n" + data({"error": {"message": "it broke"}}),
        b'error: {"message": "it broke"}\n\n',
    ],
    ids=["object", "text", "old vLLM", "named event", "old llama.cpp"],
)
def test_an_error_inside_a_stream_is_one(part: bytes) -> None:
    record = asked(delta(content="a"), part, delta("stop"), DONE)
    assert record.error == "stream_error" and "it broke" in record.detail


def test_a_connection_that_breaks_after_the_answer_is_no_error() -> None:
    async def abrupt(index: int, request: Any) -> Any:
        response = await send(request, event("a", "stop"), DONE, 0.05)
        request.transport.abort()
        return response

    with serving(abrupt) as fake:
        prompts = Prompts(0, Lengths(9, 9), Lengths(3, 3))
        target = Target(f"{fake.url}/v1", "fake")
        records = asyncio.run(measure(target, Load(requests=2), prompts, warmup=0)).records
    assert [record.error for record in records] == [None, None]


def test_an_answer_that_is_no_stream_is_said_to_be_none() -> None:
    async def whole(index: int, request: Any) -> Any:
        from tests.server.bench.fake import web

        return web.json_response({"choices": [{"text": "a", "finish_reason": "stop"}]})

    with serving(whole) as fake:
        target = Target(f"{fake.url}/v1", "fake")
        load, prompts = Load(requests=1), Prompts(0, Lengths(9, 9), Lengths(3, 3))
        [record] = asyncio.run(measure(target, load, prompts, warmup=0)).records
    assert record.error == "incomplete" and "application/json" in record.detail
