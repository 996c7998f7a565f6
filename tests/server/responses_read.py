"""Responses read as the official client and our OpenAPI page say that they are, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import httpx
from openai.types.responses import Response, ResponseFunctionCallArgumentsDoneEvent, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from server.responses_replies import EVENTS, ResponseReply

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
OUR_EVENTS = {kind: event for event in EVENTS for kind in event.model_fields["type"].annotation.__args__}


def exactly(kind: Any, data: str | bytes) -> Any:
    """`data` read as the official client's type: nothing wrong in it, and nothing more but for `store`, which OpenAI
    sends and the client has no name for, and the `name` of a function, which some versions of the client have in the
    event and others do not.
    """
    found = (kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)).validate_json(data, strict=True)

    def look(value: Any) -> None:
        if isinstance(value, BaseModel):
            named = isinstance(value, ResponseFunctionCallArgumentsDoneEvent)
            extra = set(value.model_extra or ()) - {"store"} - ({"name"} if named else set())
            assert not extra, f"{type(value).__name__} has no {extra}"
            look([getattr(value, name) for name in type(value).model_fields])
        elif isinstance(value, list):
            for one in value:
                look(one)

    look(found)
    return found


def post(url: str, **body: Any) -> dict[str, Any]:
    answer = httpx.post(f"{url}/v1/responses", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    exactly(Response, answer.content)
    ResponseReply.model_validate_json(answer.content)
    return answer.json()


def stream(url: str, **body: Any) -> list[dict[str, Any]]:
    """The events' data, each of which is what the client and the OpenAPI page say."""
    with httpx.stream("POST", f"{url}/v1/responses", json={**body, "stream": True}, timeout=60) as answer:
        raw = answer.read().decode()
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream"), raw
    return read(raw)


def read(raw: str) -> list[dict[str, Any]]:
    events = []
    assert raw.endswith("\n\n")
    for i, event in enumerate(raw.split("\n\n")[:-1]):
        kind, data = event.split("\n")
        told = json.loads(data.removeprefix("data: "))
        assert kind == f"event: {told['type']}" and told["sequence_number"] == i
        assert exactly(EVENT, data.removeprefix("data: ")).type == told["type"]
        OUR_EVENTS[told["type"]].model_validate(told)
        events.append(told)
    return events


def told(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items but for their ids, which are drawn."""
    return [{key: value for key, value in item.items() if key not in ("id", "call_id")} for item in items]


def put_together(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items that a stream's pieces make, after checking that everything comes in its order and once."""
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] in ("response.completed", "response.incomplete", "response.failed")
    items: list[dict[str, Any]] = []
    for event in events[2:-1]:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert event["output_index"] == len(items) and all(item["status"] != "in_progress" for item in items)
            items.append(event["item"])
            continue
        item = items[-1]
        assert event["output_index"] == len(items) - 1 and event.get("item_id", item["id"]) == item["id"]
        part = item["content"][0] if item.get("content") else None
        match kind:
            case "content_part.added":
                assert item["content"] == []
                item["content"].append(event["part"])
            case "output_text.delta":
                part["text"] += event["delta"]
                part["logprobs"] += event["logprobs"]
            case "output_text.done":
                assert (event["text"], event["logprobs"]) == (part["text"], part["logprobs"])
            case "content_part.done":
                assert event["part"]["text"] == part["text"]
                part["logprobs"] = event["part"]["logprobs"]
            case "function_call_arguments.delta":
                item["arguments"] += event["delta"]
            case "function_call_arguments.done":
                assert (event["arguments"], event["name"]) == (item["arguments"], item["name"])
            case _:
                assert kind == "output_item.done"
                item["status"] = event["item"]["status"]
                assert event["item"] == item and item["status"] in ("completed", "incomplete")
    return items
