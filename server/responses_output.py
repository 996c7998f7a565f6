"""The output of a response as it grows: messages and calls of functions, and the events that say what was added.

    output = Output()
    output.take(Delta(0, "Hi", 1, first=True))
        # [("response.output_item.added", {...}), ..., ("response.output_text.delta", {"delta": "Hi", ...})]

Text between two calls is a message of its own, so items stand in the order in which they were written, however an
answer was cut into deltas. A streamed response and a whole one are the same items.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from server.answers import Alternative, Delta, TokenLogprob
from server.calls import CallDelta

Event = tuple[str, dict[str, Any]]
"""A type and the fields beside it."""
Status = Literal["completed", "incomplete"]


class _Message:
    """The message that is being written. Its text is one part."""

    def __init__(self, index: int) -> None:
        self.item: dict[str, Any] = {"id": f"msg_{secrets.token_hex(12)}", "type": "message", "status": "in_progress"}
        self.item |= {"role": "assistant", "content": []}
        self._index = index
        self._at = {"item_id": self.item["id"], "output_index": index, "content_index": 0}
        self._texts: list[str] = []
        self._tokens: list[TokenLogprob] = []

    def begun(self) -> list[Event]:
        return [
            ("response.output_item.added", {"output_index": self._index, "item": dict(self.item)}),
            ("response.content_part.added", {**self._at, "part": self._part()}),
        ]

    def add(self, text: str, tokens: Sequence[TokenLogprob]) -> Event:
        self._texts.append(text)
        self._tokens += tokens
        return "response.output_text.delta", {**self._at, "delta": text, "logprobs": [_shown(t) for t in tokens]}

    def ended(self, status: Status) -> list[Event]:
        part = self._part()
        self.item |= {"status": status, "content": [part]}
        tokens = [_shown(token) for token in self._tokens]
        return [
            ("response.output_text.done", {**self._at, "text": part["text"], "logprobs": tokens}),
            ("response.content_part.done", {**self._at, "part": part}),
            ("response.output_item.done", {"output_index": self._index, "item": self.item}),
        ]

    def _part(self) -> dict[str, Any]:
        tokens = [_with_bytes(token) for token in self._tokens]
        return {"type": "output_text", "text": "".join(self._texts), "annotations": [], "logprobs": tokens}


class _Call:
    """The call that is being written."""

    def __init__(self, index: int, call: CallDelta) -> None:
        self.item: dict[str, Any] = {"id": f"fc_{secrets.token_hex(12)}", "type": "function_call"}
        self.item |= {"status": "in_progress", "call_id": call.id, "name": call.name, "arguments": ""}
        self._index = index
        self._at = {"item_id": self.item["id"], "output_index": index}
        self._pieces: list[str] = []

    def begun(self) -> list[Event]:
        return [("response.output_item.added", {"output_index": self._index, "item": dict(self.item)})]

    def add(self, arguments: str) -> Event:
        self._pieces.append(arguments)
        return "response.function_call_arguments.delta", {**self._at, "delta": arguments}

    def ended(self, status: Status) -> list[Event]:
        arguments = "".join(self._pieces)
        self.item |= {"status": status, "arguments": arguments}
        done = {**self._at, "name": self.item["name"], "arguments": arguments}
        return [
            ("response.function_call_arguments.done", done),
            ("response.output_item.done", {"output_index": self._index, "item": self.item}),
        ]


class Output:
    """Give it every delta of an answer, then the end."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        """Those that are ended are whole."""
        self._open: _Message | _Call | None = None
        self._characters = 0
        """Of text, told with earlier deltas."""

    def take(self, delta: Delta) -> list[Event]:
        """What it adds. An answer that shows log probabilities has no calls, so all of a delta's are of its text."""
        events: list[Event] = []
        text, tokens = delta.text, delta.logprobs or ()
        at = 0
        for call in delta.calls:
            if call.id is not None:
                before = call.offset - self._characters
                events += self._text(text[at:before], ())
                at = before
                events += self._begin(_Call(len(self.items), call))
            if call.arguments:
                events += self._arguments(call.arguments)
        events += self._text(text[at:], tokens)
        self._characters += len(text)
        return events

    def end(self, status: Status) -> list[Event]:
        """No delta follows. An answer of nothing is a message of nothing."""
        begun = [] if self.items else self._begin(_Message(0))
        return [*begun, *self._end_open(status)]

    def _text(self, text: str, tokens: Sequence[TokenLogprob]) -> list[Event]:
        if not text and not tokens:
            return []
        begun = [] if isinstance(self._open, _Message) else self._begin(_Message(len(self.items)))
        assert isinstance(self._open, _Message)
        return [*begun, self._open.add(text, tokens)]

    def _arguments(self, arguments: str) -> Iterable[Event]:
        assert isinstance(self._open, _Call), "arguments follow the name of their call"
        return [self._open.add(arguments)]

    def _begin(self, item: _Message | _Call) -> list[Event]:
        ended = self._end_open("completed")
        self.items.append(item.item)
        self._open = item
        return [*ended, *item.begun()]

    def _end_open(self, status: Status) -> list[Event]:
        ended, self._open = self._open, None
        return [] if ended is None else ended.ended(status)


def _shown(token: TokenLogprob) -> dict[str, Any]:
    """As events show a token."""
    top = [{"token": other.text, "logprob": other.logprob} for other in token.top]
    return {"token": token.text, "logprob": token.logprob, "top_logprobs": top}


def _with_bytes(token: TokenLogprob) -> dict[str, Any]:
    """As items show it."""
    return {**_alternative(token), "top_logprobs": [_alternative(other) for other in token.top]}


def _alternative(token: TokenLogprob | Alternative) -> dict[str, Any]:
    return {"token": token.text, "bytes": list(token.data), "logprob": token.logprob}
