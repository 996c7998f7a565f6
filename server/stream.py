"""One generator of deltas per request, and the response that sends it as events or folds it into one answer.

    deltas(link, generation)     engine tokens -> Delta(index, text, tokens, finish_reason, ...)
    folded(generation, deltas)   the whole answer
    Answer(...)                  an ASGI response; streamed and folded answers are the same deltas

The first delta is awaited before the answer begins, so what goes wrong up to then has its own status. A client that
goes away cancels the generator, also while it still waits for its first token, and leaving the generator aborts. So
does one that stays and reads nothing for `STALL_SECONDS`. One that reads slowly gets several tokens in one event.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from starlette.responses import Response

from engine.messages import Submit
from server.answers import Delta, Shape, Style, Used, Writer, encode, merged
from server.choice import Choice
from server.errors import ApiError, too_long
from server.link import Deadline, EngineLink
from server.metrics import Metrics
from server.record import RECORD, SEND, Record
from server.text import TextModel

log = logging.getLogger("rtriton.server")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
STALL_SECONDS = 60.0


@dataclass(frozen=True)
class Generation:
    """A request that has been understood: what to submit, and how to turn ids into text."""

    id: str
    text: TextModel
    style: Style
    submits: list[Submit]
    """One per choice, in the order of the answer's indices."""
    prompt_tokens: int
    shape: Shape = field(default_factory=Shape)
    stream: bool = False
    include_usage: bool = False
    user: str | None = None
    fields: dict[str, str] = field(default_factory=dict[str, str])
    """The request's names of what the engine may find wrong."""
    created: int = field(default_factory=lambda: int(time.time()))

    def identity(self) -> dict[str, Any]:
        """What every chunk and the whole answer carry."""
        return {"id": self.id, "created": self.created, "model": self.text.name}

    def used(self, tokens: int, first: dict[int, Delta]) -> Used:
        """What was read and delivered: `tokens`, and what the first delta of each choice says."""
        return Used(self.prompt_tokens, tokens, self._cached_tokens(first))

    def _cached_tokens(self, first: dict[int, Delta]) -> int | None:
        """Tokens of the prompts that were in the prefix cache, by the first delta of each prompt's first choice."""
        counts = [delta.cached_tokens for i, delta in first.items() if self.submits[i].choice == 0]
        known = [count for count in counts if count is not None]
        return sum(known) if known else None


async def deltas(
    link: EngineLink,
    generation: Generation,
    metrics: Metrics,
    record: Record | None = None,
    deadline: Deadline | None = None,
) -> AsyncGenerator[Delta]:
    """What each step adds, until every choice has its last. Closing it aborts what is unfinished. The record is told
    what comes.
    """
    submits = generation.submits
    choices = {s.request_id: Choice(i, s, generation.text, generation.shape) for i, s in enumerate(submits)}
    with link.open(submits, deadline) as ticket:
        clock = metrics.clock(generation.prompt_tokens, record or Record())
        lagging = False
        while outs := await ticket.take():
            found: list[Delta] = []
            for out in outs:
                choice = choices[out.request_id]
                if choice.done:
                    continue  # a stop string ended it while more tokens were on their way
                delta = choice.take(out)
                clock.tokens(out, delta)
                if choice.done:
                    ticket.drop(out.request_id)
                found.append(delta)
            for delta in merged(found) if lagging else found:
                yield delta
            # nothing can come in while a delta is sent unless the reader's buffers are full and sending had to wait
            lagging = ticket.waiting
        clock.finished()


async def folded(generation: Generation, source: AsyncIterator[Delta]) -> dict[str, Any]:
    """The whole answer that these deltas make."""
    by_choice: list[list[Delta]] = [[] for _ in generation.submits]
    async for delta in source:
        by_choice[delta.index].append(delta)
    tokens = sum(delta.tokens for parts in by_choice for delta in parts)
    used = generation.used(tokens, {i: parts[0] for i, parts in enumerate(by_choice)})
    return generation.style.whole(generation.identity(), by_choice, used)


class Answer(Response):
    """The response to one generation."""

    def __init__(
        self,
        link: EngineLink,
        generation: Generation,
        metrics: Metrics,
        stall_seconds: float = STALL_SECONDS,
        most_seconds: float | None = None,
        admit: Callable[[Record, int], None] | None = None,
    ) -> None:
        """`most_seconds`: how long the request may be open. `admit` is told how many tokens the prompt has, and raises
        if they are too many for whose request it is.
        """
        super().__init__()
        self._link = link
        self._generation = generation
        self._metrics = metrics
        self._stall_seconds = stall_seconds
        self._most_seconds = most_seconds
        self._admit = admit
        self._record = Record()
        self._begun = False
        self._start: Send
        self._send: Send
        self._sending = 0.0
        """When the event that is being sent was given to the connection; 0 while none is."""

    @cached_property
    def _writer(self) -> Writer:
        """Of an answer that is streamed; not every style has one."""
        return self._generation.style.writer(self._generation.identity(), self._generation.include_usage)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, unless the client leaves first."""
        self._start, self._send = send, scope.get(SEND, send)
        record = self._record = scope.get(RECORD, self._record)
        record.prompt_tokens, record.stream = self._generation.prompt_tokens, self._generation.stream
        record.answer, record.user = self._generation.id, self._generation.user
        work = asyncio.ensure_future(self._answer())
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await self._until_done(work, gone)
        finally:
            # also when this task itself is cancelled: nothing may go on generating for nobody
            outcome = "client_stalled" if self._stalled() else "client_left"
            gone.cancel()
            work.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
        if work.cancelled():
            record.outcome = outcome
        elif (error := work.exception()) is not None and not isinstance(error, OSError):
            raise error

    async def _until_done(self, work: asyncio.Future[None], gone: asyncio.Future[None]) -> None:
        """Until the answer is sent, the client has left, or it has not read for too long."""
        done: set[asyncio.Future[None]] = set()
        while not done and not self._stalled():
            done, _ = await asyncio.wait(
                {work, gone}, timeout=self._stall_seconds / 4, return_when=asyncio.FIRST_COMPLETED
            )

    def _stalled(self) -> bool:
        return self._sending > 0 and time.monotonic() - self._sending > self._stall_seconds

    async def _answer(self) -> None:
        generation = self._generation
        try:
            if self._admit is not None:
                self._admit(self._record, generation.prompt_tokens)
            found = deltas(self._link, generation, self._metrics, self._record, self._deadline())
            async with aclosing(found) as source:
                await (self._stream(source) if generation.stream else self._whole(source))
        except ApiError as error:
            await self._fail(error.said_of(self._generation.fields))
        except (asyncio.CancelledError, OSError):
            raise
        except Exception:
            log.exception("%s failed", self._generation.id)
            await self._fail(ApiError(500, "The server failed on this request; its log says why."))

    def _deadline(self) -> Deadline | None:
        if self._most_seconds is None:
            return None
        gone = time.perf_counter() - self._record.began
        return Deadline(max(0.0, self._most_seconds - gone), too_long(self._most_seconds))

    async def _whole(self, source: AsyncIterator[Delta]) -> None:
        await self._send_json(200, await folded(self._generation, source), {})

    async def _stream(self, source: AsyncIterator[Delta]) -> None:
        tokens, writer = 0, self._writer
        first: dict[int, Delta] = {}
        async for delta in source:
            tokens += delta.tokens
            if delta.first:
                first[delta.index] = delta
            if delta.says_something:
                await self._send_event(writer.event(delta))
        await self._send_event(writer.end(self._generation.used(tokens, first)), last=True)

    async def _fail(self, error: ApiError) -> None:
        self._record.fail(error)
        if not self._begun:
            await self._send_json(error.status, error.body(), error.headers())
        else:
            await self._send_event(self._writer.failed(error), last=True)

    async def _send_json(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
        data = encode(body)
        headers = {"content-type": "application/json", "content-length": str(len(data))} | headers
        await self._begin(status, headers)
        await self._send({"type": "http.response.body", "body": data})

    async def _send_event(self, event: bytes, last: bool = False) -> None:
        if not self._begun:
            # no buffering in proxies: a token is worth nothing once the next one is there
            headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
            await self._begin(200, {"content-type": "text/event-stream; charset=utf-8"} | headers)
        self._sending = time.monotonic()
        await self._send({"type": "http.response.body", "body": event, "more_body": not last})
        self._sending = 0.0

    async def _begin(self, status: int, headers: dict[str, str]) -> None:
        self._begun = True
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self._start({"type": "http.response.start", "status": status, "headers": raw})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
