"""What an answer looks like: each endpoint's whole answer and the chunks of its stream, out of the same deltas.

A `Style` is the difference between the endpoints: `chunk` turns one delta into the choices entry of an event, `fold`
turns a choice's deltas into the choices entry of a whole answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TokenLogprob:
    """One sampled token, its bytes, the log probability it had, and where in the answer's text it begins."""

    text: str
    data: bytes
    logprob: float
    offset: int


@dataclass(frozen=True)
class Delta:
    """What one step added to one choice. Only the last one of a choice has a `finish_reason`."""

    index: int
    text: str
    tokens: int
    finish_reason: str | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    first: bool = False


@dataclass(frozen=True)
class Style:
    """How one endpoint writes its answers."""

    prefix: str
    whole_object: str
    chunk_object: str
    chunk: Callable[[Delta], dict[str, Any]]
    fold: Callable[[int, Sequence[Delta]], dict[str, Any]]

    def envelope(self, identity: dict[str, Any], choices: list[dict[str, Any]], stream: bool) -> dict[str, Any]:
        """The object around the choices."""
        return {**identity, "object": self.chunk_object if stream else self.whole_object, "choices": choices}


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Tokens read and tokens delivered."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def _chat_chunk(delta: Delta) -> dict[str, Any]:
    content: dict[str, Any] = {"role": "assistant", "content": delta.text} if delta.first else {}
    if delta.text:
        content["content"] = delta.text
    return {
        "index": delta.index,
        "delta": content,
        "logprobs": _chat_logprobs([delta]),
        "finish_reason": delta.finish_reason,
    }


def _chat_fold(index: int, deltas: Sequence[Delta]) -> dict[str, Any]:
    return {
        "index": index,
        "message": {"role": "assistant", "content": "".join(d.text for d in deltas), "refusal": None},
        "logprobs": _chat_logprobs(deltas),
        "finish_reason": deltas[-1].finish_reason,
    }


def _chat_logprobs(deltas: Sequence[Delta]) -> dict[str, Any] | None:
    if all(d.logprobs is None for d in deltas):
        return None
    tokens = [t for d in deltas for t in d.logprobs or ()]
    entries = [{"token": t.text, "logprob": t.logprob, "bytes": list(t.data), "top_logprobs": []} for t in tokens]
    return {"content": entries, "refusal": None}


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
        "top_logprobs": None,
        "text_offset": [t.offset for t in tokens],
    }


CHAT = Style("chatcmpl-", "chat.completion", "chat.completion.chunk", _chat_chunk, _chat_fold)
TEXT = Style("cmpl-", "text_completion", "text_completion", _text_chunk, _text_fold)
