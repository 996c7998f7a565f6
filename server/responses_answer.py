"""What a response looks like: whole, or as the events of a stream.

    event: response.output_text.delta
    data: {"type": "response.output_text.delta", "item_id": ..., "delta": "Hi", ..., "sequence_number": 4}

Both come from one `Output`. A stream begins with the response in progress and closes with the whole of it, complete,
incomplete (cut by the limit of tokens) or failed; no [DONE] follows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from server.answers import Delta, Used, encode
from server.errors import ApiError
from server.responses_output import Event, Output, Status


@dataclass(frozen=True)
class ResponseStyle:
    """How /v1/responses writes its answer to one request, of which the response repeats what is `said`."""

    said: dict[str, Any]
    prefix: str = "resp_"
    whole_object: str = "response"

    def whole(self, identity: dict[str, Any], by_choice: Sequence[Sequence[Delta]], used: Used) -> dict[str, Any]:
        """The response object."""
        writer = self.writer(identity)
        for delta in by_choice[0]:
            writer.take(delta)
        return writer.last(used)[-1][1]["response"]

    def writer(self, identity: dict[str, Any], include_usage: bool = False) -> ResponseWriter:
        """Its stream, which always ends with the usage."""
        head = {"id": identity["id"], "object": "response", "created_at": identity["created"]}
        return ResponseWriter({**head, "model": identity["model"]}, self.said)


class ResponseWriter:
    """Writes the events of one stream. `head` identifies the response."""

    def __init__(self, head: dict[str, Any], said: dict[str, Any]) -> None:
        self._head = head
        self._said = said
        self._output = Output()
        self._sent = 0
        self._status: Status = "completed"

    def event(self, delta: Delta) -> bytes:
        """One delta's events; before the first, that there is a response."""
        begun = {"response": self._response("in_progress")}
        first = [("response.created", begun), ("response.in_progress", begun)] if delta.first else []
        return self._written([*first, *self.take(delta)])

    def end(self, used: Used) -> bytes:
        """The events that end what is open, and the whole response."""
        return self._written(self.last(used))

    def failed(self, error: ApiError) -> bytes:
        """The response as far as it came."""
        told = {"code": _CODES.get(error.status, "server_error"), "message": error.message}
        ended = self._output.end("incomplete") if self._output.items else []
        return self._written([*ended, ("response.failed", {"response": self._response("failed", error=told)})])

    def take(self, delta: Delta) -> list[Event]:
        """What a delta adds to the output."""
        if delta.finish_reason == "length":
            self._status = "incomplete"
        return self._output.take(delta)

    def last(self, used: Used) -> list[Event]:
        """What ends the output, and the whole response."""
        status = self._status
        ended = self._output.end(status)
        rest: dict[str, Any] = {"usage": _usage(used)}
        if status == "completed":
            rest["completed_at"] = int(time.time())
        else:
            rest["incomplete_details"] = {"reason": "max_output_tokens"}
        return [*ended, (f"response.{status}", {"response": self._response(status, **rest)})]

    def _response(self, status: str, **rest: Any) -> dict[str, Any]:
        nothing = {"completed_at": None, "error": None, "incomplete_details": None, "usage": None}
        return {**self._head, "status": status, "output": list(self._output.items), **nothing, **self._said, **rest}

    def _written(self, events: list[Event]) -> bytes:
        lines: list[bytes] = []
        for kind, fields in events:
            data = encode({"type": kind, **fields, "sequence_number": self._sent})
            lines.append(b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n")
            self._sent += 1
        return b"".join(lines)


_CODES = {400: "invalid_prompt", 429: "rate_limit_exceeded"}
"""Of the codes that OpenAI has for a response that failed, those that say why one failed here."""


def _usage(used: Used) -> dict[str, Any]:
    return {
        "input_tokens": used.prompt,
        # what is written to the cache is not counted
        "input_tokens_details": {"cached_tokens": used.cached or 0, "cache_write_tokens": 0},
        "output_tokens": used.answer,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": used.prompt + used.answer,
    }
