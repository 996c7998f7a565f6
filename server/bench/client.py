"""One streamed request over HTTP, and what its client saw of it: a `Record`.

Whatever goes wrong is a kind of error in the record, never an exception: a server that fails is a result.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import aiohttp

from server.bench.prompts import Prompt

DONE = b"[DONE]"


@dataclass(frozen=True)
class Target:
    """Whom to ask, and how."""

    url: str
    """With the `/v1`, without a slash at its end."""
    model: str = ""
    """Its id; empty until the server was asked for the first one that it lists."""
    chat: bool = False
    """Ask /chat/completions rather than /completions."""
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    """Further fields of every request's body."""

    @property
    def path(self) -> str:
        return f"{self.url}/chat/completions" if self.chat else f"{self.url}/completions"

    def of(self, model: str) -> Target:
        """The same for another model."""
        return replace(self, model=model)

    def body(self, prompt: Prompt) -> dict[str, Any]:
        said = {"messages": [{"role": "user", "content": prompt.text}]} if self.chat else {"prompt": prompt.text}
        common = {"model": self.model, "max_tokens": prompt.max_tokens, "temperature": 0}
        return {**common, **said, "stream": True, "stream_options": {"include_usage": True}, **self.fields}


@dataclass(frozen=True)
class Record:
    """One request; times are seconds."""

    due: float
    """When it should have begun, by `time.perf_counter`."""
    seconds: float
    """From then to its end."""
    first: float | None = None
    """From then to the first text; None if none came."""
    gaps: tuple[float, ...] = ()
    """Between events with text. One event may hold several tokens."""
    tokens: int = 0
    """Generated, as the server says; the number of events with text where it says nothing."""
    counted: bool = False
    """Whether the server said how many tokens there were."""
    prompt_tokens: int = 0
    error: str | None = None
    """The kind of what went wrong; such a request counts in no latency."""
    detail: str = ""

    @property
    def per_token(self) -> float | None:
        """The mean time of a token after the first; None where there is no second one."""
        return sum(self.gaps) / (self.tokens - 1) if self.gaps and self.tokens > 1 else None


class Failed(Exception):
    """A request that went wrong, with the kind of error."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass
class _Stream:
    """What has come of one answer."""

    times: list[float] = field(default_factory=list[float])
    usage: dict[str, int] = field(default_factory=dict[str, int])
    finished: bool = False

    def record(self, due: float, now: float, error: str | None = None, detail: str = "") -> Record:
        gaps = tuple(after - before for before, after in zip(self.times, self.times[1:], strict=False))
        first = self.times[0] - due if self.times else None
        tokens = self.usage.get("completion_tokens")
        return Record(
            due,
            now - due,
            first,
            gaps,
            len(self.times) if tokens is None else tokens,
            tokens is not None,
            self.usage.get("prompt_tokens", 0),
            error,
            detail[:200],
        )


async def ask(session: aiohttp.ClientSession, target: Target, prompt: Prompt, due: float) -> Record:
    """Send one request and read its answer to the end."""
    stream = _Stream()
    try:
        async with session.post(target.path, json=target.body(prompt)) as response:
            if response.status != 200:
                raise Failed(f"http_{response.status}", await response.text(errors="replace"))
            await _read(response, stream)
    except Failed as failed:
        return stream.record(due, time.perf_counter(), failed.kind, str(failed))
    except aiohttp.ClientConnectorError as error:
        return stream.record(due, time.perf_counter(), "connect", str(error))
    except TimeoutError:
        return stream.record(due, time.perf_counter(), "timeout", "no answer, or not all of it, in time")
    except (aiohttp.ClientError, OSError) as error:
        return stream.record(due, time.perf_counter(), "disconnected", f"{type(error).__name__}: {error}")
    return stream.record(due, time.perf_counter())


async def _read(response: aiohttp.ClientResponse, stream: _Stream) -> None:
    async for data in _events(response):
        if data == DONE:
            if not stream.finished:
                raise Failed("malformed", "[DONE] before a finish_reason")
            return
        _take(data, stream)
    # some servers leave [DONE] out; an answer that says why it ended is whole without it
    if not stream.finished:
        raise Failed("incomplete", "the stream ended before its finish_reason")


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The data of each event, as it comes. Comments and other fields of the protocol mean nothing here."""
    rest = b""
    async for piece in response.content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
    if rest.startswith(b"data:"):
        yield rest[5:].strip()


def _take(data: bytes, stream: _Stream) -> None:
    now = time.perf_counter()
    try:
        event: dict[str, Any] = json.loads(data)
        if error := event.get("error"):
            raise Failed("stream_error", _message(error))
        if usage := event.get("usage"):
            stream.usage = {name: int(usage[name]) for name in ("prompt_tokens", "completion_tokens")}
        for choice in event.get("choices") or ():
            if _has_text(choice):
                stream.times.append(now)
            stream.finished |= choice.get("finish_reason") is not None
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise Failed("malformed", f"{type(error).__name__}: {error}: {data[:80]!r}") from None


def _message(error: Any) -> str:
    """What an error object says; the object itself where it says nothing."""
    return str(cast(dict[str, Any], error).get("message", error) if isinstance(error, dict) else error)


def _has_text(choice: dict[str, Any]) -> bool:
    """Whether text was generated: of a completion, a chat, or a chat's reasoning."""
    delta: dict[str, Any] = choice.get("delta") or {}
    return bool(choice.get("text") or delta.get("content") or delta.get("reasoning_content"))


async def first_model(session: aiohttp.ClientSession, url: str) -> str:
    """The id of the first model that the server lists. Failed says what is wrong with the server or its answer."""
    try:
        async with session.get(f"{url}/models") as response:
            if response.status != 200:
                raise Failed(f"http_{response.status}", f"GET {url}/models got {response.status}")
            return str((await response.json(content_type=None))["data"][0]["id"])
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Failed("connect", f"nothing answers at {url}: {error}") from None
    except (ValueError, KeyError, IndexError, TypeError):
        raise Failed("malformed", f"{url}/models lists no model; give --model") from None
