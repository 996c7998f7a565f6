"""What comes of one streamed answer, event by event: when text came, how many tokens, whether it ended as it should.

    answer = Answer()
    answer.take(b'{"choices": [{"text": "a", "finish_reason": null}]}', time.perf_counter())

It takes what servers of this API send: text of completions and chats, reasoning, tool calls, usage at the end or in
every event or never. What is no answer is `Failed`, with the kind of error.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

DONE = b"[DONE]"
TEXTS = ("content", "reasoning_content", "reasoning", "refusal")
"""Fields of a chat's delta that hold generated text."""


class Failed(Exception):
    """A request that went wrong, with the kind of error."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass
class Answer:
    """What has come so far."""

    times: list[float] = field(default_factory=list[float])
    """Of the events with text."""
    tokens: int | None = None
    """Generated, as far as the server has said."""
    prompt_tokens: int = 0
    finished: bool = False
    """Whether a finish_reason came."""
    ended: float | None = None
    """When `[DONE]` came."""

    def take(self, data: bytes, now: float) -> None:
        """The data of one event, which came at `now`. Failed where the answer ends badly with it."""
        if data == DONE:
            if not self.finished:
                raise Failed("malformed", "[DONE] before a finish_reason")
            self.ended = now
            return
        try:
            event: dict[str, Any] = json.loads(data)
            if (error := event.get("error")) or event.get("object") == "error":
                raise Failed("stream_error", _message(error or event))
            if usage := event.get("usage"):
                self._count(usage)
            for choice in event.get("choices") or ():
                if _has_text(choice):
                    self.times.append(now)
                self.finished |= choice.get("finish_reason") is not None
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
            raise Failed("malformed", f"{type(error).__name__}: {error}: {data[:80]!r}") from None

    def _count(self, usage: dict[str, Any]) -> None:
        """Either number may lack: some servers count only one of them, or say null until the end."""
        if (tokens := usage.get("completion_tokens")) is not None:
            self.tokens = int(tokens)
        if (tokens := usage.get("prompt_tokens")) is not None:
            self.prompt_tokens = int(tokens)


def _message(error: Any) -> str:
    """What an error object says; the object itself where it says nothing."""
    return str(cast(dict[str, Any], error).get("message", error) if isinstance(error, dict) else error)


def _has_text(choice: dict[str, Any]) -> bool:
    """Whether something was generated: of a completion or of a chat. A role alone is nothing."""
    delta: dict[str, Any] = choice.get("delta") or {}
    return bool(choice.get("text") or any(delta.get(name) for name in TEXTS) or delta.get("tool_calls"))


async def events(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The data of each event, as it comes. Comments and other fields of the protocol mean nothing here, but for the
    field `error` of older servers of llama.cpp.
    """
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if (data := _data(line)) is not None:
                yield data
    if (data := _data(rest)) is not None:
        yield data


def _data(line: bytes) -> bytes | None:
    name, colon, value = line.partition(b":")
    if name == b"error" and colon:
        raise Failed("stream_error", value.strip().decode(errors="replace"))
    return value.strip() if name == b"data" else None
