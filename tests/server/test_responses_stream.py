"""/v1/responses, streamed: the whole answer's items, however the answer is cut into pieces."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response

from engine.messages import RequestFailed
from server.answers import Delta, Used, merged
from server.calls import CallReader
from server.responses_answer import ResponseStyle
from server.responses_output import Output
from server.responses_replies import ResponseReply
from tests.server.conftest import Running
from tests.server.responses_read import exactly, post, put_together, read, stream, told
from tests.server.test_calls import NAMES, PARTS
from tests.server.test_stream import Client, FakeCore, answering, settled

SAID = {
    **dict.fromkeys(ResponseReply.model_fields),
    "background": False,
    "metadata": {},
    "parallel_tool_calls": True,
    "store": False,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
}
SAID = {key: SAID[key] for key in SAID.keys() - {"id", "object", "created_at", "model", "status", "output"}}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"max_output_tokens": 1},
        {"max_output_tokens": 200},
        {"include": ["message.output_text.logprobs"], "top_logprobs": 2, "stop": ["w5"]},
        {"stop": ["w"]},
    ],
)
def test_a_streamed_response_is_the_whole_one(server: Running, fields: dict[str, Any]) -> None:
    ask = {"model": "tiny", "input": "hi", "temperature": 1.0, "seed": 3, "max_output_tokens": 30, **fields}
    whole, events = post(server.url, **ask), stream(server.url, **ask)
    last = events[-1]["response"]
    assert put_together(events) == last["output"]
    assert told(last["output"]) == told(whole["output"])
    for key in whole.keys() - {"id", "created_at", "completed_at", "output"}:
        assert last[key] == whole[key] or key == "usage", key
    assert last["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    assert events[0]["response"]["status"] == "in_progress" and events[0]["response"]["output"] == []


class Raw(Client):
    """The other end of a response, with all that it was sent."""

    text = ""

    async def send(self, message: Any) -> None:
        self.text += message.get("body", b"").decode()


def test_a_stream_that_fails_ends_with_the_response_that_failed() -> None:
    async def run() -> list[dict[str, Any]]:
        core, client = FakeCore(), Raw()
        _, task = await answering(core, client, style=ResponseStyle(SAID))
        core.token(0)
        await settled()
        core.steps.put_nowait(RequestFailed("r/0", 0, "failed", "it broke"))
        await task
        return read(client.text)

    events = asyncio.run(run())
    put_together(events)
    failed = events[-1]["response"]
    assert events[-1]["type"] == "response.failed" and failed["status"] == "failed"
    assert failed["error"] == {"code": "server_error", "message": "it broke"}
    assert failed["output"][0]["content"][0]["text"] == "a" and failed["output"][0]["status"] == "incomplete"


# ---- items, however an answer is cut ----


def items_of(text: str, cuts: Sequence[int], joined: bool) -> tuple[list[dict[str, Any]], list[tuple[str, dict]]]:
    """The items of an answer that comes in pieces, each of so many characters, for a reader who lags or does not."""
    reader, output = CallReader(NAMES), Output()
    pieces, at = [], 0
    for size in cuts:
        pieces.append(text[at : at + size])
        at += size
    reads = [reader.feed(piece) for piece in (*pieces, text[at:])] + [reader.finish()]
    deltas = [Delta(0, read.text, 1, calls=read.calls) for read in reads]
    events = [event for delta in (merged(deltas) if joined else deltas) for event in output.take(delta)]
    return output.items, events + output.end("completed")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=10).map("".join), st.lists(st.integers(1, 40), max_size=12))
def test_how_an_answer_is_cut_into_deltas_changes_no_item(text: str, cuts: list[int]) -> None:
    whole, _ = items_of(text, [], False)
    for joined in (False, True):
        items, events = items_of(text, cuts, joined)
        assert told(items) == told(whole)
        numbered = [{"type": kind, **fields} for kind, fields in json.loads(json.dumps(events))]
        ends = [{"type": f"response.{kind}"} for kind in ("created", "in_progress", "completed")]
        assert put_together([*ends[:2], *numbered, ends[2]]) == items


def test_text_between_calls_is_a_message_of_its_own() -> None:
    call = '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>'
    items, _ = items_of(f"One.{call}{call} Two.{call}", [], False)
    assert [item.get("name") or item["content"][0]["text"] for item in items] == [
        "One.",
        "time",
        "time",
        " Two.",
        "time",
    ]
    assert len({item["call_id"] for item in items if "call_id" in item}) == 3
    (nothing,), _ = items_of("", [], False)
    assert nothing["content"][0]["text"] == "" and nothing["status"] == "completed"


def test_usage_counts_what_the_prefix_cache_had() -> None:
    style = ResponseStyle(SAID)
    identity = {"id": "resp_1", "created": 1, "model": "tiny"}
    body = style.whole(identity, [[Delta(0, "a", 1, "stop", first=True)]], Used(9, 1, 4))
    assert body["usage"]["input_tokens_details"]["cached_tokens"] == 4 and body["usage"]["total_tokens"] == 10
    assert body["status"] == "completed" and body["completed_at"]
    exactly(Response, json.dumps(body))
