"""Requests of this process <-> the engine core's process: who gets which token, who is told when the core has gone.

    link = EngineLink(await CoreClient.start(config), max_open=256)
    with link.open(submits) as ticket:        # leaving aborts whatever is unfinished
        while outs := await ticket.take():    # TokenOuts of any of the submits
            ...

One task reads the core's events and gives each to the ticket it belongs to. When the core dies every open request gets
an error; its client starts another core, and until that is ready (`Down` ... `Ready`) requests are refused.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.core_client import CoreDied
from engine.messages import Down, Event, ModelInfo, Ready, RequestFailed, StepOutput, StepStats, Submit, TokenOut
from server.errors import ApiError, draining, engine_stopped, from_engine, overloaded

log = logging.getLogger("rtriton.server")


class Core(Protocol):
    """What the link needs of `engine.core_client.CoreClient`."""

    @property
    def info(self) -> ModelInfo: ...
    def submit(self, request: Submit) -> None: ...
    def abort(self, request_id: str) -> None: ...
    async def ping(self, timeout: float = 5.0) -> float: ...
    def events(self) -> AsyncIterator[Event]: ...
    def kill(self) -> None: ...
    async def close(self, drain: bool = True, timeout: float = 30.0) -> None: ...


AT_ONCE = 128
"""Generations that one request has open at once: all that a request may ask for. Of inputs to be embedded there may be
more, which follow as others finish."""


@dataclass(frozen=True)
class Deadline:
    """When generations end, finished or not, and with what error."""

    left: float
    """Seconds from now."""
    error: ApiError


class Ticket:
    """The open generations of one HTTP request. Take their tokens; leave to abort what is unfinished."""

    def __init__(self, link: EngineLink, submits: Sequence[Submit], deadline: Deadline | None = None) -> None:
        self._link = link
        self._deadline = deadline
        self._timer: asyncio.TimerHandle | None = None
        self._later = deque(submits)
        self._unfinished: set[str] = set()
        self._outs: list[TokenOut] = []
        self._error: ApiError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __enter__(self) -> Ticket:
        self._link.admit(self, self._following(AT_ONCE))
        if self._deadline is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._deadline.left, self._expire, self._deadline.error)
        return self

    def __exit__(self, *reason: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._later.clear()
        for request_id in list(self._unfinished):
            self.drop(request_id)

    @property
    def waiting(self) -> bool:
        """Whether something has come that was not taken."""
        return bool(self._outs)

    async def take(self) -> list[TokenOut]:
        """All that has come, waiting for something to come; nothing once every generation has finished."""
        while not self._outs:
            if self._error is not None:
                raise self._error
            if not self._unfinished:
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        outs, self._outs = self._outs, []
        return outs

    def drop(self, request_id: str) -> None:
        """Stop one generation; tokens of it that are on their way are thrown away."""
        if request_id in self._unfinished:
            self._unfinished.discard(request_id)
            self._link.abort(request_id)
            self._follow()

    def put(self, out: TokenOut) -> None:
        """Called by the link's reader."""
        self._outs.append(out)
        if out.finish_reason is not None:
            self._unfinished.discard(out.request_id)
            self._follow()
        self._wake()

    def fail(self, request_id: str, error: ApiError) -> None:
        """Called by the link's reader: this generation has ended without an answer, and so the whole request."""
        self._unfinished.discard(request_id)
        self._error = self._error or error
        self._wake()

    def _following(self, count: int) -> list[Submit]:
        """The next so many, which are open from now on."""
        submits = [self._later.popleft() for _ in range(min(count, len(self._later)))]
        self._unfinished.update(submit.request_id for submit in submits)
        return submits

    def _follow(self) -> None:
        if self._later and self._error is None:
            self._link.submit(self, self._following(1))

    def _expire(self, error: ApiError) -> None:
        """What is not finished ends; what has come can still be taken."""
        if not self._unfinished:
            return
        self._error = self._error or error
        for request_id in list(self._unfinished):
            self.drop(request_id)
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)


class EngineLink:
    """Owns the client of the engine core and everything that waits for it."""

    def __init__(
        self,
        core: Core,
        max_open: int = 256,
        on_failure: Callable[[str], None] | None = None,
        hang_seconds: float | None = None,
    ) -> None:
        self._core = core
        self._max_open = max_open
        self._on_failure = on_failure
        self._tickets: dict[str, Ticket] = {}
        self._reader = asyncio.create_task(self._read(), name="engine events")
        self.stats: StepStats | None = None
        self.failure: str | None = None
        """Why there is no engine now; None while there is one."""
        self.draining = False
        """What is open goes on; nothing more is let in."""
        self.restarts = 0
        self._heard = 0.0
        self._watch: asyncio.Task[None] | None = None
        if hang_seconds is not None:
            self._watch = asyncio.create_task(self._watch_for_hanging(hang_seconds), name="engine watch")

    @property
    def info(self) -> ModelInfo:
        """What the core said of its model."""
        return self._core.info

    @property
    def context(self) -> int:
        """Tokens that a prompt and its answer may have together: the model's context, or the whole KV cache."""
        return min(self.info.context_length, self.info.num_blocks * self.info.block_size)

    @property
    def unavailable(self) -> str | None:
        """Why nothing is let in now, or None."""
        return "the server is shutting down" if self.draining else self.failure

    def open(self, submits: Sequence[Submit], deadline: Deadline | None = None) -> Ticket:
        """A ticket for these generations; they are submitted when it is entered."""
        return Ticket(self, submits, deadline)

    def admit(self, ticket: Ticket, submits: Sequence[Submit]) -> None:
        """Submit, or refuse: the queue is bounded."""
        if self.draining:
            raise draining()
        if self.failure is not None:
            raise engine_stopped(self.failure)
        if not self._tickets:
            self._heard = time.monotonic()  # it had nothing to say
        # a request that alone asks for more than the limit may have an empty server
        if self._tickets and len(self._tickets) + len(submits) > self._max_open:
            raise overloaded(len(self._tickets))
        self.submit(ticket, submits)

    def submit(self, ticket: Ticket, submits: Sequence[Submit]) -> None:
        """Of a request that has been admitted."""
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

    def end_all(self) -> None:
        """Every open generation ends with an error, and no other one is taken."""
        for request_id in self._tickets:
            self._core.abort(request_id)
        self._fail("the server is shutting down", "drained")

    async def close(self) -> None:
        """Leave: open generations end with an error, the core ends."""
        self._reader.cancel()
        if self._watch is not None:
            self._watch.cancel()
        self.end_all()
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

    async def _watch_for_hanging(self, seconds: float) -> None:
        """An engine that has work and says nothing for so long is ended; its client starts another one."""
        pause = min(seconds / 4, 5.0)
        while True:
            began = time.monotonic()
            await asyncio.sleep(pause)
            now = time.monotonic()
            # while this process stood still, as in a container that is paused, it could not have heard anything
            self._heard = min(now, self._heard + max(0.0, now - began - pause))
            if self._tickets and self.failure is None and now - self._heard > seconds:
                log.error("the engine has said nothing for %g seconds though it has work; it is ended", seconds)
                self._core.kill()
                self._heard = now

    def _dispatch(self, event: Event) -> None:
        self._heard = time.monotonic()
        match event:
            case StepOutput(tokens=tokens, stats=stats):
                self.stats = stats
                tickets = self._tickets
                for out in tokens:
                    # none: dropped while its tokens were on their way
                    if (ticket := tickets.get(out.request_id)) is not None:
                        if out.finish_reason is not None:
                            del tickets[out.request_id]
                        ticket.put(out)
            case RequestFailed(request_id=request_id):
                ticket = self._tickets.pop(request_id, None)
                if ticket is not None:
                    ticket.fail(request_id, from_engine(event))
            case Down(reason=reason, retry_seconds=seconds):
                log.error("the engine has stopped: %s; starting it again in %.1f s", reason, seconds)
                self._fail(reason)
            case Ready():
                log.warning("the engine is back")
                self.failure = None
                self.restarts += 1
            case _:
                log.warning("unexpected message of the engine: %r", event)

    def _fail(self, reason: str, outcome: str | None = None) -> None:
        """Tell every open request, and whoever comes until the engine is back."""
        self.failure = reason
        tickets, self._tickets = self._tickets, {}
        for request_id, ticket in tickets.items():
            ticket.fail(request_id, engine_stopped(reason, outcome))
