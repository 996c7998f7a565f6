"""One generator of deltas per request, and the response that sends it as events or folds it into one answer.

    deltas(link, generation)     engine tokens -> Delta(index, text, tokens, finish_reason, ...)
    Answer(...)                  an ASGI response; streamed and folded answers are the same deltas

The first delta is awaited before the answer begins, so what goes wrong up to then has its own status. A client that
goes away cancels the generator, also while it still waits for its first token, and leaving the generator aborts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.responses import Response

from engine.messages import Submit, TokenOut
from server.answers import Delta, Style, TokenLogprob, usage
from server.detokenize import TextStream
from server.errors import ApiError
from server.link import EngineLink
from server.metrics import Metrics
from server.text import TextModel

log = logging.getLogger("rtriton.server")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True)
class Generation:
    """A request that has been understood: what to submit, and how to turn ids into text."""

    id: str
    text: TextModel
    style: Style
    submits: list[Submit]
    """One per choice, in the order of the answer's indices."""
    prompt_tokens: int
    stops: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = False
    user: str | None = None
    created: int = field(default_factory=lambda: int(time.time()))

    def identity(self) -> dict[str, Any]:
        """What every chunk and the whole answer carry."""
        return {"id": self.id, "created": self.created, "model": self.text.name}


class _Choice:
    """The text of one choice as it grows."""

    def __init__(self, index: int, generation: Generation) -> None:
        self.index = index
        self.begun = False
        self.done = False
        self._text = TextStream(generation.text.tokenizer.stream(), generation.stops)
        self._describe = generation.text.describe
        self._offset = 0

    def take(self, out: TokenOut) -> Delta:
        """The delta that these tokens make; `done` once it is the last."""
        text, finish = self._text.feed(out.token_ids), out.finish_reason
        if finish == "abort":
            raise ApiError(503, "The engine is shutting down.", code="engine_stopped")
        if finish is not None and not self._text.stopped:
            text += self._text.finish()
        if self._text.stopped:
            finish = "stop"
        first, self.begun, self.done = not self.begun, True, finish is not None
        count = len(out.token_ids) + (out.stop_token is not None)
        return Delta(self.index, text, count, finish, self._logprobs(out), first)

    def _logprobs(self, out: TokenOut) -> tuple[TokenLogprob, ...] | None:
        if out.logprobs is None:
            return None
        found: list[TokenLogprob] = []
        for token, logprob in zip(out.token_ids, out.logprobs, strict=True):
            found.append(self._describe(token, logprob.logprob, self._offset))
            self._offset += len(found[-1].text)
        return tuple(found)


async def deltas(link: EngineLink, generation: Generation, metrics: Metrics) -> AsyncGenerator[Delta, None]:
    """Every choice's deltas as the engine gives them; ends when each choice has finished."""
    choices = {submit.request_id: _Choice(i, generation) for i, submit in enumerate(generation.submits)}
    clock = metrics.clock()
    with link.open(generation.submits) as ticket:
        metrics.prompt_tokens.inc(generation.prompt_tokens)
        async for out in ticket:
            choice = choices[out.request_id]
            if choice.done:
                continue  # a stop string ended it while more tokens were on their way
            delta = choice.take(out)
            clock.tokens(choice.index, delta.tokens)
            if choice.done:
                ticket.drop(out.request_id)
            yield delta


class Answer(Response):
    """The response to one generation."""

    def __init__(self, link: EngineLink, generation: Generation, metrics: Metrics) -> None:
        super().__init__()
        self._link = link
        self._generation = generation
        self._metrics = metrics
        self._begun = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, unless the client leaves first."""
        work = asyncio.ensure_future(self._answer(send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # also when this task itself is cancelled: nothing may go on generating for nobody
            gone.cancel()
            work.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
        if work.cancelled():
            self._metrics.requests.labels(self._generation.style.whole_object, "disconnected").inc()
            log.info("%s: the client went away", self._generation.id)
        elif (error := work.exception()) is not None and not isinstance(error, OSError):
            raise error

    async def _answer(self, send: Send) -> None:
        outcome = "200"
        try:
            async with aclosing(deltas(self._link, self._generation, self._metrics)) as source:
                await (self._stream(source, send) if self._generation.stream else self._whole(source, send))
        except ApiError as error:
            outcome = str(error.status)
            await self._fail(error, send)
        except (asyncio.CancelledError, OSError):
            raise
        except Exception:
            outcome = "500"
            log.exception("%s failed", self._generation.id)
            await self._fail(ApiError(500, "The server failed on this request; its log says why."), send)
        self._metrics.requests.labels(self._generation.style.whole_object, outcome).inc()

    async def _whole(self, source: AsyncIterator[Delta], send: Send) -> None:
        generation, by_choice = self._generation, [[] for _ in self._generation.submits]
        async for delta in source:
            by_choice[delta.index].append(delta)
        choices = [generation.style.fold(i, parts) for i, parts in enumerate(by_choice)]
        body = generation.style.envelope(generation.identity(), choices, stream=False)
        body["usage"] = usage(generation.prompt_tokens, sum(d.tokens for parts in by_choice for d in parts))
        await self._send_json(200, body, {}, send)

    async def _stream(self, source: AsyncIterator[Delta], send: Send) -> None:
        generation, completion_tokens = self._generation, 0
        async for delta in source:
            completion_tokens += delta.tokens
            if delta.text or delta.first or delta.finish_reason or delta.logprobs:
                chunk = generation.style.envelope(generation.identity(), [generation.style.chunk(delta)], stream=True)
                await self._send_event(chunk | ({"usage": None} if generation.include_usage else {}), send)
        if generation.include_usage:
            last = generation.style.envelope(generation.identity(), [], stream=True)
            await self._send_event(last | {"usage": usage(generation.prompt_tokens, completion_tokens)}, send)
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def _fail(self, error: ApiError, send: Send) -> None:
        if not self._begun:
            await self._send_json(error.status, error.body(), error.headers(), send)
        else:
            await self._send_event(error.body(), send)
            await send({"type": "http.response.body", "body": b""})

    async def _send_json(self, status: int, body: dict[str, Any], headers: dict[str, str], send: Send) -> None:
        data = msgspec.json.encode(body)
        headers = {"content-type": "application/json", "content-length": str(len(data))} | headers
        await self._begin(status, headers, send)
        await send({"type": "http.response.body", "body": data})

    async def _send_event(self, body: dict[str, Any], send: Send) -> None:
        if not self._begun:
            # no buffering in proxies: a token is worth nothing once the next one is there
            headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
            await self._begin(200, {"content-type": "text/event-stream; charset=utf-8"} | headers, send)
        data = b"data: " + msgspec.json.encode(body) + b"\n\n"
        await send({"type": "http.response.body", "body": data, "more_body": True})

    async def _begin(self, status: int, headers: dict[str, str], send: Send) -> None:
        self._begun = True
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        raw.append((b"x-request-id", self._generation.id.encode()))
        await send({"type": "http.response.start", "status": status, "headers": raw})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
