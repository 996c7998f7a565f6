"""Reads calls of tools out of an answer while it is written.

    reader = CallReader({"weather"})
    reader.feed('Wait.\\n<tool_call>\\n{"name": "weather", "arguments": {"ci')
        # Read("Wait.", [CallDelta(0, id, "weather", ""), CallDelta(0, arguments='{"ci')])

A call's name comes first, then its arguments in the pieces in which they are written. What only looks like a call (no
such function, no JSON) stays text, as it was written. White space that touches a call is dropped: it only sets the
call apart.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Iterable

import msgspec

from engine.stops import held_back
from server.tools import CLOSE, OPEN

LONGEST_HEAD = 16_384
"""Characters after an opening tag in which a name must be found; what is longer is text."""
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*"([a-zA-Z0-9_.-]+)"\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)')


class CallDelta(msgspec.Struct, frozen=True):
    """A piece of one call. Its first has the id and the name, and how much text the answer had before the call."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    offset: int = 0


class Read(msgspec.Struct, frozen=True):
    """What a piece of an answer held."""

    text: str
    calls: tuple[CallDelta, ...] = ()


class CallReader:
    """Feed text as it comes; `finish` gives what was held back. With `one`, it is `done` after the first call."""

    def __init__(self, names: Collection[str], one: bool = False) -> None:
        self._names = names
        self._one = one
        self._state = self._in_text
        self._buffer = ""
        self._text: list[str] = []
        self._calls: list[CallDelta] = []
        self._space = ""
        """White space that is text only if text follows."""
        self._characters = 0
        """Of text, told or about to be."""
        self._arguments = _JsonObject()
        self.count = 0
        self.done = False

    def feed(self, text: str) -> Read:
        """What may be told after `text`."""
        self._buffer += text
        while not self.done and self._state():
            pass
        return self._told()

    def finish(self) -> Read:
        """The rest, once no more text comes."""
        if self._state == self._in_head and not self.done:
            self._whole_call(self._buffer)
        elif self._state == self._in_text and not self.done:
            self._show(self._buffer)
        if self._space and not self.count:
            self._tell(self._space)
        self._buffer = self._space = ""
        return self._told()

    def _told(self) -> Read:
        read = Read("".join(self._text), one_piece_each(self._calls))
        self._text, self._calls = [], []
        return read

    # ---- states: each takes from the buffer what it can, and says whether the next one may go on ----

    def _in_text(self) -> bool:
        before, tag, after = self._buffer.partition(OPEN)
        if tag:
            self._show(before)
            self._buffer, self._state = after, self._in_head
            return True
        keep = held_back(before, (OPEN,))
        self._show(before[: len(before) - keep])
        self._buffer = before[len(before) - keep :]
        return False

    def _in_head(self) -> bool:
        head = _HEAD.match(self._buffer)
        if head is not None and head[1] in self._names:
            self._begin(head[1])
            self._buffer, self._state = self._buffer[head.end() :], self._in_arguments
            return True
        body, tag, after = self._buffer.partition(CLOSE)
        if not tag and len(body) <= LONGEST_HEAD:
            return False
        self._buffer, self._state = after, self._in_text
        self._whole_call(body, tag)
        return True

    def _in_arguments(self) -> bool:
        size = self._arguments.take(self._buffer)
        if size:
            self._calls.append(CallDelta(self.count - 1, arguments=self._buffer[:size]))
        self._buffer = self._buffer[size:]
        if not self._arguments.ended:
            return False
        self._state = self._after_arguments
        return True

    def _after_arguments(self) -> bool:
        _, tag, after = self._buffer.partition(CLOSE)
        if not tag:
            self._buffer = self._buffer[-len(CLOSE) :]
            return False
        self._buffer, self._state = after, self._in_text
        self.done = self._one
        return True

    # ---- what they tell ----

    def _show(self, text: str) -> None:
        text = self._space + text
        shown = text.rstrip()
        self._space = text[len(shown) :]
        self._tell(shown)

    def _tell(self, text: str) -> None:
        self._text.append(text)
        self._characters += len(text)

    def _begin(self, name: str) -> None:
        self._space = ""
        self._arguments = _JsonObject()
        self._calls.append(CallDelta(self.count, f"call_{secrets.token_hex(12)}", name, offset=self._characters))
        self.count += 1

    def _whole_call(self, body: str, tag: str = "") -> None:
        """What could not be told piece by piece: arguments before the name, arguments in quotes, or no call at all."""
        name, arguments = _parsed(body)
        if name not in self._names:
            self._show(OPEN + body + tag)
            return
        self._begin(name)
        self._calls.append(CallDelta(self.count - 1, arguments=arguments))
        self.done = self._one


def _parsed(body: str) -> tuple[str, str]:
    """Name and arguments of a whole call; an empty name where it is none."""
    try:
        call = json.loads(body)
        arguments = call.get("arguments", call.get("parameters"))
        if isinstance(arguments, str):
            arguments = json.loads(arguments)
    except (ValueError, AttributeError, RecursionError):
        return "", ""
    if not isinstance(arguments, dict) or not isinstance(call.get("name"), str):
        return "", ""
    return call["name"], json.dumps(arguments, ensure_ascii=False)


class _JsonObject:
    """Finds the end of an object that comes in pieces. Outside of strings `<` is no JSON: it ends a broken one."""

    def __init__(self) -> None:
        self._depth = 0
        self._string = self._escaped = False
        self.ended = False

    def take(self, text: str) -> int:
        """How many characters of `text` belong to the object."""
        for at, character in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif self._string:
                self._escaped, self._string = character == "\\", character != '"'
            elif character == '"':
                self._string = True
            elif character in "{[":
                self._depth += 1
            elif character == "<":
                self.ended = True
                return at
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self.ended = True
                    return at + 1
        return len(text)


def one_piece_each(pieces: Iterable[CallDelta]) -> tuple[CallDelta, ...]:
    """The same in one piece of each call: clients expect no call twice in an event."""
    by_call: dict[int, list[CallDelta]] = {}
    for piece in pieces:
        by_call.setdefault(piece.index, []).append(piece)
    return tuple(
        parts[0]
        if len(parts) == 1
        else CallDelta(index, parts[0].id, parts[0].name, "".join(part.arguments for part in parts), parts[0].offset)
        for index, parts in by_call.items()
    )


def joined(pieces: Iterable[CallDelta]) -> list[dict[str, object]]:
    """Whole calls of all their pieces, as a whole answer shows them."""
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in one_piece_each(pieces)
    ]
