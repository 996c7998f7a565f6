"""What an answer looks like: each endpoint's whole answer and the chunks of its stream, out of the same deltas.

A `Style` is the difference between the endpoints: it makes a whole answer of all deltas, and a `Writer` that makes
events of them. Chat and completions are `ChoiceStyle`s: `chunk` turns one delta into the choices entry of an event,
`fold` turns a choice's deltas into the choices entry of a whole answer. Their `Envelope` writes events: what no delta
changes is encoded once, and the event of a piece of plain text is cut out of an encoded example, so that there is one
format.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from server.calls import CallDelta, joined, one_piece_each
from server.errors import ApiError

encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Shape:
    """How the tokens of a request's choices become its answer."""

    stops: tuple[str, ...] = ()
    include_stop: bool = False
    unstopped: int = 0
    """Tokens in which no stop string is looked for."""
    skip_special: bool = True
    echo: bool = False
    logprobs: int | None = None
    """Alternatives to show for each token; None shows no log probabilities."""
    prompt_logprobs: int | None = None
    tools: frozenset[str] = frozenset()
    """Names of functions whose calls are read out of the text."""
    one_call: bool = False
    base64: bool = False
    """An embedding is the base64 of its bytes, not a list of numbers."""


class Alternative(msgspec.Struct, frozen=True):
    """A token, its bytes and the log probability that it had."""

    text: str
    data: bytes
    logprob: float


class TokenLogprob(msgspec.Struct, frozen=True):
    """One token of the text: with its log probability, where in the text it begins, and the likeliest tokens there."""

    text: str
    data: bytes
    logprob: float | None
    """None for the first token of an echoed prompt."""
    offset: int
    top: tuple[Alternative, ...] = ()


class Delta(msgspec.Struct, frozen=True):
    """What one step added to one choice. Only the last one of a choice has a `finish_reason`."""

    index: int
    text: str
    tokens: int
    finish_reason: str | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    first: bool = False
    calls: tuple[CallDelta, ...] = ()
    prompt_logprobs: list[dict[str, dict[str, object]] | None] | None = None
    cached_tokens: int | None = None
    embedding: msgspec.Raw | None = None
    """JSON of the vector that a prompt became."""

    @property
    def plain(self) -> bool:
        """Text and nothing else."""
        return not (self.first or self.finish_reason or self.calls) and self.logprobs is None

    @property
    def says_something(self) -> bool:
        """Whether a client would see anything of it."""
        return bool(self.text or self.first or self.finish_reason or self.calls or self.logprobs)


def merged(deltas: Sequence[Delta]) -> list[Delta]:
    """One delta for each choice, for a reader who did not keep up."""
    by_choice: dict[int, list[Delta]] = {}
    for delta in deltas:
        by_choice.setdefault(delta.index, []).append(delta)
    return [parts[0] if len(parts) == 1 else _joined(parts) for parts in by_choice.values()]


def _joined(parts: list[Delta]) -> Delta:
    first, logprobs = parts[0], [entry for part in parts for entry in part.logprobs or ()]
    return Delta(
        first.index,
        "".join(part.text for part in parts),
        sum(part.tokens for part in parts),
        parts[-1].finish_reason,
        tuple(logprobs) if any(part.logprobs is not None for part in parts) else None,
        first.first,
        one_piece_each(call for part in parts for call in part.calls),
        first.prompt_logprobs,
        first.cached_tokens,
    )


class Used(msgspec.Struct, frozen=True):
    """Tokens read and tokens delivered; of those read, how many the prefix cache had, where there is one."""

    prompt: int
    answer: int
    cached: int | None = None


class Writer(Protocol):
    """Writes the stream of one answer, in bytes that are sent as they stand."""

    def event(self, delta: Delta) -> bytes:
        """What a delta that says something adds."""
        ...

    def end(self, used: Used) -> bytes:
        """What closes the stream after the last delta."""
        ...

    def failed(self, error: ApiError) -> bytes:
        """What closes a stream that has begun and cannot go on."""
        ...


class Style(Protocol):
    """How one endpoint writes its answers. `identity` is what `Generation.identity` gives."""

    @property
    def prefix(self) -> str:
        """How ids of its answers begin."""
        ...

    @property
    def whole_object(self) -> str:
        """What its whole answers are called."""
        ...

    def whole(self, identity: dict[str, Any], by_choice: Sequence[Sequence[Delta]], used: Used) -> dict[str, Any]:
        """The whole answer that these deltas make."""
        ...

    def writer(self, identity: dict[str, Any], include_usage: bool) -> Writer:
        """What writes the same answer as events."""
        ...


@dataclass(frozen=True)
class ChoiceStyle:
    """The style of chat and completions, whose answers are choices."""

    prefix: str
    whole_object: str
    chunk_object: str
    chunk: Callable[[Delta], dict[str, Any]]
    fold: Callable[[int, Sequence[Delta]], dict[str, Any]]
    scores: Callable[[dict[str, Any], Sequence[Sequence[Delta]]], None]
    """Puts the prompt's log probabilities into a whole answer, where vLLM has them."""

    def whole(self, identity: dict[str, Any], by_choice: Sequence[Sequence[Delta]], used: Used) -> dict[str, Any]:
        """The answer with a choice for each of `by_choice`."""
        choices = [self.fold(i, parts) for i, parts in enumerate(by_choice)]
        body = {**identity, "object": self.whole_object, "choices": choices}
        if by_choice[0][0].prompt_logprobs is not None:
            self.scores(body, by_choice)
        return {**body, "usage": usage(used)}

    def writer(self, identity: dict[str, Any], include_usage: bool) -> Envelope:
        """A chunk for each delta, then [DONE]."""
        return Envelope(self, identity, include_usage)


def usage(used: Used) -> dict[str, Any]:
    """As chat and completions show it."""
    details = {} if used.cached is None else {"prompt_tokens_details": {"cached_tokens": used.cached}}
    return {
        "prompt_tokens": used.prompt,
        "completion_tokens": used.answer,
        "total_tokens": used.prompt + used.answer,
        **details,
    }


class Envelope:
    """Writes the events of one stream of chunks."""

    def __init__(self, style: ChoiceStyle, identity: dict[str, Any], include_usage: bool) -> None:
        self._style = style
        self._base = {**identity, "object": style.chunk_object}
        self._include_usage = include_usage
        self._rest = {"usage": None} if include_usage else {}
        self._around: dict[int, tuple[bytes, bytes]] = {}

    def event(self, delta: Delta) -> bytes:
        """The event of one delta."""
        if not delta.plain:
            return self._written({"choices": [self._style.chunk(delta)], **self._rest})
        around = self._around.get(delta.index)
        if around is None:
            around = self._around[delta.index] = self._cut(delta.index)
        return around[0] + encode(delta.text) + around[1]

    def end(self, used: Used) -> bytes:
        """An event without choices that has the usage, where it is asked for, and [DONE]."""
        told = self._written({"choices": [], "usage": usage(used)}) if self._include_usage else b""
        return told + b"data: [DONE]\n\n"

    def failed(self, error: ApiError) -> bytes:
        """The error, after which no [DONE] follows."""
        return b"data: " + encode(error.body()) + b"\n\n"

    def _written(self, rest: dict[str, Any]) -> bytes:
        return b"data: " + encode({**self._base, **rest}) + b"\n\n"

    def _cut(self, index: int) -> tuple[bytes, bytes]:
        """What stands before and after the text in a plain event of this choice."""
        mark = "\0text\0"
        example = self._written({"choices": [self._style.chunk(Delta(index, mark, 1))], **self._rest})
        before, after = example.split(encode(mark))
        return before, after


# ---- chat --------------------------------------------------------------------------------------------


def _chat_chunk(delta: Delta) -> dict[str, Any]:
    content: dict[str, Any] = {"role": "assistant", "content": None if delta.calls else ""} if delta.first else {}
    if delta.text:
        content["content"] = delta.text
    if delta.calls:
        content["tool_calls"] = [_call_chunk(call) for call in delta.calls]
    return {
        "index": delta.index,
        "delta": content,
        "logprobs": _chat_logprobs([delta]),
        "finish_reason": delta.finish_reason,
    }


def _call_chunk(call: CallDelta) -> dict[str, Any]:
    if call.id is None:
        return {"index": call.index, "function": {"arguments": call.arguments}}
    function = {"name": call.name, "arguments": call.arguments}
    return {"index": call.index, "id": call.id, "type": "function", "function": function}


def _chat_fold(index: int, deltas: Sequence[Delta]) -> dict[str, Any]:
    text = "".join(delta.text for delta in deltas)
    calls = joined(call for delta in deltas for call in delta.calls)
    message: dict[str, Any] = {"role": "assistant", "content": None if calls and not text else text, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    return {
        "index": index,
        "message": message,
        "logprobs": _chat_logprobs(deltas),
        "finish_reason": deltas[-1].finish_reason,
    }


def _chat_logprobs(deltas: Sequence[Delta]) -> dict[str, Any] | None:
    if all(d.logprobs is None for d in deltas):
        return None
    entries = [
        {**_chat_token(token), "top_logprobs": [_chat_token(other) for other in token.top]}
        for delta in deltas
        for token in delta.logprobs or ()
    ]
    return {"content": entries, "refusal": None}


def _chat_token(token: TokenLogprob | Alternative) -> dict[str, Any]:
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.data)}


def _chat_scores(body: dict[str, Any], by_choice: Sequence[Sequence[Delta]]) -> None:
    body["prompt_logprobs"] = by_choice[0][0].prompt_logprobs


# ---- completions -------------------------------------------------------------------------------------


def _text_chunk(delta: Delta) -> dict[str, Any]:
    return _text_fold(delta.index, [delta])


def _text_fold(index: int, deltas: Sequence[Delta]) -> dict[str, Any]:
    return {
        "index": index,
        "text": "".join(d.text for d in deltas),
        "logprobs": _text_logprobs(deltas),
        "finish_reason": deltas[-1].finish_reason,
    }


def _text_logprobs(deltas: Sequence[Delta]) -> dict[str, Any] | None:
    if all(d.logprobs is None for d in deltas):
        return None
    tokens = [t for d in deltas for t in d.logprobs or ()]
    return {
        "tokens": [t.text for t in tokens],
        "token_logprobs": [t.logprob for t in tokens],
        "top_logprobs": [_text_top(t) for t in tokens] if any(t.top for t in tokens) else None,
        "text_offset": [t.offset for t in tokens],
    }


def _text_top(token: TokenLogprob) -> dict[str, float] | None:
    """The likeliest tokens and the one that came. Of tokens that look the same, the likeliest is shown."""
    if token.logprob is None:
        return None
    shown: dict[str, float] = {}
    for other in token.top:
        shown.setdefault(other.text, other.logprob)
    shown.setdefault(token.text, token.logprob)
    return shown


def _text_scores(body: dict[str, Any], by_choice: Sequence[Sequence[Delta]]) -> None:
    for choice, deltas in zip(body["choices"], by_choice, strict=True):
        choice["prompt_logprobs"] = deltas[0].prompt_logprobs


CHAT = ChoiceStyle("chatcmpl-", "chat.completion", "chat.completion.chunk", _chat_chunk, _chat_fold, _chat_scores)
TEXT = ChoiceStyle("cmpl-", "text_completion", "text_completion", _text_chunk, _text_fold, _text_scores)
