"""Requests of this process <-> the engine core's process: who gets which token, who is told when the core has gone.

    link = EngineLink(await CoreClient.start(config), max_open=256)
    with link.open(submits) as ticket:        # leaving aborts whatever is unfinished
        async for out in ticket:              # TokenOut of any of the submits
            ...

One task reads the core's events and puts each into the queue of the request it belongs to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from engine.core_client import CoreDied
from engine.messages import Down, Event, ModelInfo, Ready, RequestFailed, StepOutput, StepStats, Submit, TokenOut
from server.errors import ApiError, engine_stopped, overloaded

log = logging.getLogger("rtriton.server")


class Core(Protocol):
    """What the link needs of `engine.core_client.CoreClient`."""

    @property
    def info(self) -> ModelInfo: ...
    def submit(self, request: Submit) -> None: ...
    def abort(self, request_id: str) -> None: ...
    async def ping(self, timeout: float = 5.0) -> float: ...
    def events(self) -> AsyncIterator[Event]: ...
    async def close(self, drain: bool = True, timeout: float = 30.0) -> None: ...


class Ticket:
    """The open generations of one HTTP request. Iterate for their tokens; leave to abort what is unfinished."""

    def __init__(self, link: EngineLink, submits: Sequence[Submit]) -> None:
        self._link = link
        self._submits = list(submits)
        self._unfinished = {s.request_id for s in submits}
        self._events: asyncio.Queue[TokenOut | ApiError] = asyncio.Queue()

    def __enter__(self) -> Ticket:
        self._link.admit(self, self._submits)
        return self

    def __exit__(self, *reason: object) -> None:
        for request_id in list(self._unfinished):
            self.drop(request_id)

    def __aiter__(self) -> Ticket:
        return self

    async def __anext__(self) -> TokenOut:
        if not self._unfinished and self._events.empty():
            raise StopAsyncIteration
        event = await self._events.get()
        if isinstance(event, ApiError):
            raise event
        return event

    def drop(self, request_id: str) -> None:
        """Stop one generation; tokens of it that are on their way are thrown away."""
        if request_id in self._unfinished:
            self._unfinished.discard(request_id)
            self._link.abort(request_id)

    def put(self, event: TokenOut | ApiError, last_of: str | None = None) -> None:
        """Called by the link's reader."""
        self._events.put_nowait(event)
        if last_of is not None:
            self._unfinished.discard(last_of)


class EngineLink:
    """Owns the client of the engine core and everything that waits for it."""

    def __init__(self, core: Core, max_open: int = 256, on_failure: Callable[[str], None] | None = None) -> None:
        self._core = core
        self._max_open = max_open
        self._on_failure = on_failure
        self._tickets: dict[str, Ticket] = {}
        self._reader = asyncio.create_task(self._read(), name="engine events")
        self.stats: StepStats | None = None
        self.failure: str | None = None
        """Why there is no engine at the moment."""

    @property
    def info(self) -> ModelInfo:
        """What the core said of its model."""
        return self._core.info

    @property
    def context(self) -> int:
        """Tokens that a prompt and its answer may have together: the model's context, or the whole KV cache."""
        return min(self.info.context_length, self.info.num_blocks * self.info.block_size)

    def open(self, submits: Sequence[Submit]) -> Ticket:
        """A ticket for these generations; they are submitted when it is entered."""
        return Ticket(self, submits)

    def admit(self, ticket: Ticket, submits: Sequence[Submit]) -> None:
        """Submit, or refuse: the queue is bounded."""
        if self.failure is not None:
            raise engine_stopped(self.failure)
        if self._tickets and len(self._tickets) + len(submits) > self._max_open:
            raise overloaded(len(self._tickets))
        for submit in submits:
            self._tickets[submit.request_id] = ticket
            self._core.submit(submit)

    def abort(self, request_id: str) -> None:
        """Free what the core holds for this generation; nobody wants its tokens any more."""
        self._tickets.pop(request_id, None)
        if self.failure is None:
            self._core.abort(request_id)

    async def heartbeat(self, timeout: float) -> float | None:
        """Seconds for a round trip through the engine's loop; None if it did not answer in time."""
        if self.failure is not None:
            return None
        try:
            return await self._core.ping(timeout)
        except (TimeoutError, CoreDied):
            return None

    async def close(self) -> None:
        """Leave: open generations end with an error, the core ends."""
        self._reader.cancel()
        self._fail("the server is shutting down")
        await self._core.close(drain=False)

    async def _read(self) -> None:
        reason = "it closed its socket"
        try:
            async for event in self._core.events():
                self._dispatch(event)
        except Exception as error:  # noqa: BLE001 - whatever ended the reader, nobody may wait for it for ever
            reason = str(error) or type(error).__name__
        log.error("the engine has stopped: %s", reason)
        self._fail(reason)
        if self._on_failure is not None:
            self._on_failure(reason)

    def _dispatch(self, event: Event) -> None:
        match event:
            case StepOutput(tokens=tokens, stats=stats):
                self.stats = stats
                for out in tokens:
                    self._deliver(out.request_id, out, last=out.finish_reason is not None)
            case RequestFailed(request_id=request_id, message=message):
                self._deliver(request_id, ApiError(event.status, message, code="request_failed"), last=True)
            case Down(reason=reason, retry_seconds=seconds):
                log.error("the engine has stopped: %s; starting it again in %.1f seconds", reason, seconds)
                self._fail(reason)
            case Ready():
                log.info("the engine is there again")
                self.failure = None
            case _:
                log.warning("unexpected message of the engine: %r", event)

    def _deliver(self, request_id: str, event: TokenOut | ApiError, last: bool) -> None:
        ticket = self._tickets.get(request_id)
        if ticket is None:
            return  # dropped while its tokens were on their way
        ticket.put(event, last_of=request_id if last else None)
        if last:
            del self._tickets[request_id]

    def _fail(self, reason: str) -> None:
        self.failure = reason
        tickets, self._tickets = self._tickets, {}
        for request_id, ticket in tickets.items():
            ticket.put(engine_stopped(reason), last_of=request_id)
