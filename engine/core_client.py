"""The API process's end of the engine core: start it, send commands, receive events, notice its death.

    client = await CoreClient.start(EngineConfig(model="smollm2.gguf"))
    client.submit(Submit("r1", token_ids, SamplingParams()))
    async for event in client.events():      # StepOutput, RequestFailed; Down and Ready around a restart
        ...
    await client.close(drain=True)

A core that dies is started anew, after a pause that doubles with each attempt (`Backoff`). What it was doing is lost:
`Down` says so, and from then until `Ready` nothing is taken. Each core has a process, a directory and a socket of its
own, so that nothing meant for a dead one reaches its successor.

`SyncCoreClient` is for scripts: no asyncio, no restarts. Commands given between two turns of the event loop travel in
one frame.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import zmq
import zmq.asyncio

from engine.config import EngineConfig
from engine.core_life import Backoff, CoreDied, CoreProcess
from engine.messages import (
    Abort,
    Command,
    Down,
    Event,
    Fatal,
    ModelInfo,
    Ping,
    Pong,
    Ready,
    Shutdown,
    Submit,
    decode_events,
    encode,
    packed,
)

LIVENESS_MILLISECONDS = 500
"""How long a silent core may be dead before its death is noticed."""
START_SECONDS = 300.0
"""How long a core may take to load its model."""


class CoreClient:
    """For asyncio. All methods belong to the loop that started it; one consumer reads `events`."""

    def __init__(self, config: EngineConfig, timeout: float = START_SECONDS, restart: bool = True) -> None:
        self._config = config
        self._timeout = timeout
        self._restart = restart
        self._context = zmq.asyncio.Context()
        self._backoff = Backoff()
        self._outgoing: list[msgspec.Raw] = []
        self._pings: dict[int, asyncio.Future[None]] = {}
        self._next_ping = 0
        self._sends: set[asyncio.Future[Any]] = set()
        self._info: ModelInfo | None = None
        self._leaving = False
        self._ready_since = 0.0
        self.down: str | None = None
        """Why there is no core at the moment, or None while there is one."""
        self.restarts = 0
        """Cores that were started after one that had died and that became ready."""

    @classmethod
    async def start(cls, config: EngineConfig, timeout: float = START_SECONDS, restart: bool = True) -> CoreClient:
        """Spawn a core and wait until it has loaded the model. `CoreDied` says why it could not; a first start is not
        tried again. `restart` is about a core that dies later: without it `events` ends with `CoreDied`.
        """
        client = cls(config, timeout, restart)
        try:
            await client._spawn()
        except BaseException:
            await client.close(drain=False, timeout=0.0)
            raise
        return client

    async def _spawn(self) -> None:
        self._process = CoreProcess(self._config)
        self._socket: zmq.asyncio.Socket = self._context.socket(zmq.PAIR)
        self._process.bind(self._socket)
        self._process.spawn()
        async with asyncio.timeout(self._timeout):
            self._info = _ready(await self._receive())
        self._ready_since = time.monotonic()
        self.down = None

    @property
    def info(self) -> ModelInfo:
        """What the core said of the model when it was ready."""
        assert self._info is not None
        return self._info

    @property
    def pid(self) -> int:
        return self._process.pid

    def submit(self, request: Submit) -> None:
        """Hand over a choice. `CoreDied` while there is no core; what has no form on the wire (a text with half a
        surrogate pair, a number beyond 64 bits) is an error here and now.
        """
        if self.down is not None:
            raise CoreDied(self.down)
        self._send(request)

    def abort(self, request_id: str) -> None:
        """Fine at any time: what a dead core knew is gone anyway."""
        if self.down is None:
            self._send(Abort(request_id))

    async def ping(self, timeout: float = 5.0) -> float:
        """Seconds for a round trip through the engine loop; `CoreDied` while there is none. Someone must be reading
        `events`.
        """
        if self.down is not None:
            raise CoreDied(self.down)
        number, self._next_ping = self._next_ping, self._next_ping + 1
        answered = self._pings[number] = asyncio.get_running_loop().create_future()
        started = time.perf_counter()
        self._send(Ping(number))
        try:
            await asyncio.wait_for(answered, timeout)
        finally:
            del self._pings[number]
        return time.perf_counter() - started

    async def events(self) -> AsyncIterator[Event]:
        """Step outputs and failures as they come; `Down` and `Ready` when a core has died and another one is there.
        Ends with `CoreDied` once the core has left as it was told to.
        """
        while True:
            try:
                events = await self._receive()
            except CoreDied as died:
                if self._leaving or not self._restart:
                    raise
                async for event in self._start_again(str(died)):
                    yield event
                continue
            for event in events:
                if isinstance(event, Pong):
                    self._answer(event.number)
                else:
                    yield event

    async def _start_again(self, reason: str) -> AsyncIterator[Event]:
        """`Down` before each attempt, `Ready` after the one that succeeds."""
        lived = time.monotonic() - self._ready_since
        while True:
            self._lost(reason)
            pause = self._backoff.after(lived)
            yield Down(reason, pause)
            await asyncio.to_thread(self._process.end, 0.0)
            self._socket.close(0)
            await asyncio.sleep(pause)
            if self._leaving:
                raise CoreDied(reason)
            try:
                await self._spawn()
            except (CoreDied, OSError) as error:
                # late, or no process, folder or descriptor was to be had: what killed the last one may go on
                reason, lived = str(error) or "it was not ready in time", 0.0
                continue
            self.restarts += 1
            assert self._info is not None
            yield Ready(self._info)
            return

    def _lost(self, reason: str) -> None:
        """What was on its way to the core, or waited for it, has no receiver any more."""
        self.down = reason
        self._outgoing.clear()
        for waiting in self._pings.values():
            if not waiting.done():
                waiting.set_exception(CoreDied(reason))

    def _answer(self, number: int) -> None:
        waiting = self._pings.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def kill(self) -> None:
        """End a core that does not answer. It counts as one that has died."""
        self._process.kill()

    def shutdown(self, drain: bool = True) -> None:
        """Ask the core to leave. `events` goes on until it has."""
        self._leaving = True
        self._send(Shutdown(drain))

    async def close(self, drain: bool = True, timeout: float = 30.0) -> None:
        """Leave, finishing what was accepted if `drain`, at most `timeout` seconds; then the core is killed."""
        if self._context.closed:
            return
        self.shutdown(drain)
        self._flush()
        deadline = time.monotonic() + timeout
        while self._process.died() is None and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(self._process.end, 0.0)
        self._socket.close(0)
        self._context.term()

    def _send(self, command: Command) -> None:
        message = packed(command)  # now: what cannot be sent is its sender's error, and keeps no other command back
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(message)

    def _flush(self) -> None:
        if not self._outgoing or self._socket.closed:
            return
        frame, self._outgoing = encode(self._outgoing), []
        future = asyncio.ensure_future(self._socket.send(frame))
        self._sends.add(future)
        future.add_done_callback(self._sends.discard)

    async def _receive(self) -> list[Event]:
        """The next frame; `CoreDied` if the core has ended, or says that it is about to."""
        while not await self._socket.poll(LIVENESS_MILLISECONDS):
            # one more look after the death: its last words may have come in between
            if (died := self._process.died()) and not await self._socket.poll(0):
                raise died
        return _living(decode_events(await self._socket.recv()))


class SyncCoreClient:
    """The same for threads and scripts: `receive` blocks."""

    def __init__(self, config: EngineConfig, timeout: float = 300.0) -> None:
        self._process = CoreProcess(config)
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.PAIR)
        try:
            self._process.bind(self._socket)
            self._process.spawn()
            self.info = _ready(self.receive(timeout))
        except BaseException:
            self.close(drain=False, timeout=0.0)
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, *commands: Command) -> None:
        """One frame."""
        self._socket.send(encode(list(commands)))

    def receive(self, timeout: float = 60.0) -> list[Event]:
        """The next frame of events, at least one. `CoreDied` if the core has ended, `TimeoutError` if nothing came."""
        deadline = time.monotonic() + timeout
        while not self._socket.poll(LIVENESS_MILLISECONDS):
            if (died := self._process.died()) and not self._socket.poll(0):
                raise died
            if time.monotonic() > deadline:
                raise TimeoutError(f"the engine core said nothing for {timeout} seconds")
        return _living(decode_events(self._socket.recv()))

    def close(self, drain: bool = True, timeout: float = 30.0) -> None:
        """Leave, finishing what was accepted if `drain`; after `timeout` seconds the core is killed."""
        if self._socket.closed:
            return
        if self._process.died() is None and timeout:
            self.send(Shutdown(drain))
        self._process.end(timeout)
        self._socket.close(0)
        self._context.term()


def _living(events: list[Event]) -> list[Event]:
    for event in events:
        if isinstance(event, Fatal):
            raise CoreDied(event.message)
    return events


def _ready(events: list[Event]) -> ModelInfo:
    first = events[0]
    if not isinstance(first, Ready):
        raise CoreDied(f"the engine core began with {type(first).__name__} instead of Ready")
    return first.info
