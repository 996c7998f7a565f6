"""Reads calls of tools out of an answer while it is written.

    reader = CallReader({"weather"})
    reader.feed('Wait.\\n<tool_call>\\n{"name": "weather", "arguments": {"ci')
        # Read("Wait.", [CallDelta(0, id, "weather", ""), CallDelta(0, arguments='{"ci')])

A call's name comes first, then its arguments in the pieces in which they are written. What only looks like a call (no
such function, no JSON) stays text, as it was written. White space that touches a call is dropped: it only sets the
call apart. `call_formats` says what calls look like.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from engine.stops import held_back
from server.call_formats import HERMES, Format

LONGEST_HEAD = 16_384
"""Characters after the opening of a call in which a name must be found; what is longer is text."""


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
    """Feed text as it comes; `finish` gives what was held back. With `one`, it is `done` after the first call. `hide`
    leaves out what opened a call that was none: it is a control token.
    """

    def __init__(self, names: Collection[str], one: bool = False, format: Format = HERMES, hide: bool = False) -> None:
        self._names = names
        self._one = one
        self._format = format
        self._hide = hide
        self._bare = format.bare
        """Whether a call may begin here that nothing opens."""
        self._opened = ""
        """What stood before the call that may be there."""
        self._state = self._in_text
        self._buffer = ""
        self._text: list[str] = []
        self._calls: list[CallDelta] = []
        self._space = ""
        """White space that is text only if text follows."""
        self._characters = 0
        """Of text, told or about to be."""
        self._arguments = self._rest = _JsonObject()
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
        elif self._state in (self._in_text, self._between) and not self.done:
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
        if self._bare:
            rest = self._buffer.lstrip()
            if not rest:
                return False
            self._bare = False
            if rest[0] == "{":
                return self._open(self._buffer[: -len(rest)], rest)
        before, tag, after = self._buffer.partition(self._format.opens)
        if tag:
            self._show(before)
            return self._open("" if self._hide else tag, after)
        keep = held_back(before, (self._format.opens,))
        self._show(before[: len(before) - keep])
        self._buffer = before[len(before) - keep :]
        return False

    def _open(self, opened: str, rest: str) -> bool:
        """A call may be what follows."""
        self._opened, self._buffer, self._state = opened, rest, self._in_head
        return True

    def _in_head(self) -> bool:
        heads = [head for pattern in self._format.heads if (head := pattern.match(self._buffer))]
        head = heads[0] if heads else None
        if head is not None and head[1] in self._names:
            self._begin(head[1])
            self._buffer, self._state = self._buffer[head.end() :], self._in_arguments
            # a name alone is in no object that would go on after its arguments
            self._rest = _JsonObject(int("{" in head[0]))
            return True
        end, after = self._body(0 if head is None or "{" in head[0] else head.end())
        if end is None:
            return False
        body, tag = self._buffer[:end], self._buffer[end:after]
        self._buffer, self._state = self._buffer[after:], self._in_text
        self._whole_call(body, tag)
        return True

    def _body(self, start: int) -> tuple[int | None, int]:
        """Where what may be a call ends, and where what closes it does; None where it goes on. Its JSON begins at
        `start`, or after it.
        """
        text, closes, no_call = self._buffer, self._format.closes, self._format.no_call
        if no_call is not None and no_call.match(text):
            return 0, 0
        if closes and (at := text.find(closes)) >= 0:
            return at, at + len(closes)
        if not closes and text[start:].lstrip()[:1] in ("{", "["):
            value = _JsonObject()
            size = start + value.take(text[start:])
            if value.ended:
                return size, size
        return (len(text), len(text)) if len(text) > LONGEST_HEAD else (None, 0)

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
        closes = self._format.closes
        if not closes:
            self._buffer = self._buffer[self._rest.take(self._buffer) :]
            if not self._rest.ended:
                return False
            self._state = self._between
        else:
            _, tag, after = self._buffer.partition(closes)
            if not tag:
                self._buffer = self._buffer[-len(closes) :]
                return False
            self._buffer, self._state = after, self._in_text
        self.done = self._one
        return True

    def _between(self) -> bool:
        rest = self._buffer.lstrip()
        if rest[:1] == self._format.between:
            call = rest[1:].lstrip()
            if not call:
                return False
            if call[0] == "{":
                return self._open(self._buffer[: -len(call)], call)
        elif not rest:
            return False
        elif rest[0] == "{" and self._format.bare:
            return self._open(self._buffer[: -len(rest)], rest)
        elif rest[0] == self._format.ends:
            self._buffer = rest[1:]
        self._state = self._in_text
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
        """What could not be told piece by piece: arguments before the name, arguments in quotes, a list of calls where
        one was looked for, or no call at all.
        """
        calls = _parsed(body)
        if not calls or any(name not in self._names for name, _ in calls):
            self._show(self._opened + body + tag)
            return
        for name, arguments in calls[: 1 if self._one else None]:
            self._begin(name)
            self._calls.append(CallDelta(self.count - 1, arguments=arguments))
        self.done = self._one
        if not self._format.closes:
            self._state = self._between


def _parsed(body: str) -> list[tuple[str, str]]:
    """Names and arguments of whole calls; none where something else is there."""
    try:
        found = json.loads(body)
        return [_call(call) for call in (found if isinstance(found, list) else [found])]
    except (ValueError, AttributeError, RecursionError):
        return []


def _call(call: Any) -> tuple[str, str]:
    arguments = call.get("arguments", call.get("parameters"))
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not isinstance(arguments, dict) or not isinstance(call.get("name"), str):
        raise ValueError("no call")
    return call["name"], json.dumps(arguments, ensure_ascii=False)


class _JsonObject:
    """Finds the end of an object, or a list, that comes in pieces; `depth` of them have begun already. Outside of
    strings `<` is no JSON: it ends a broken one.
    """

    def __init__(self, depth: int | None = None) -> None:
        self._depth = depth or 0
        self._string = self._escaped = False
        self.ended = depth == 0
        """With nothing begun, and nothing to come, it has."""

    def take(self, text: str) -> int:
        """How many characters of `text` belong to the object."""
        if self.ended:
            return 0
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
