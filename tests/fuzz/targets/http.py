"""Bytes on a connection -> answers that a client can read, or a closed connection; never a 500, never silence for ever.

The server's own protocol, gate, limits and routes, over a transport in memory and an engine that answers each request
with three tokens. `\\x00|\\n` in the input is where one packet ends and the next begins.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from functools import cache
from random import Random
from typing import Any

import h11
import uvicorn
from uvicorn.server import ServerState

from engine.messages import Event, Logprob, ModelInfo, StepOutput, StepStats, Submit, TokenOut
from server.access import access_for
from server.app import create_app
from server.patient import PatientProtocol
from tests.engine.fake_runner import VOCAB
from tests.fuzz.mutate import ODD, octets, values, words
from tests.fuzz.target import Target, words_of
from tests.fuzz.targets.request import BODIES, NAMES
from tests.server.tiny import text_model

PACKET = b"\x00|\n"
PATHS = {
    "chat": "/v1/chat/completions",
    "completion": "/v1/completions",
    "response": "/v1/responses",
    "embedding": "/v1/embeddings",
    "tokenize": "/tokenize",
    "detokenize": "/detokenize",
}
TURNS = 400
"""Of the loop, after which an answer that has not come is a hang: nothing here waits for a clock."""


class Memory(asyncio.Transport):
    """A connection whose other end reads everything."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 8000)})
        self.said = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.said += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...


class ThreeTokens:
    """An engine core that knows only to answer."""

    info = ModelInfo("tiny", VOCAB, 4096, 16, 256, "cpu", (0,))

    def __init__(self) -> None:
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def submit(self, request: Submit) -> None:
        asked, prompt = request.params, request.token_ids
        out = TokenOut(
            request.request_id,
            request.choice,
            [70, 71, 300],
            "length",
            logprobs=None if asked.logprobs is None else [_likely(asked.logprobs)] * 3,
            prompt_logprobs=None if asked.prompt_logprobs is None else _scored(len(prompt), asked.prompt_logprobs),
            cached_tokens=0,
            queue_seconds=0.0,
        )
        stats = StepStats(0, 0, 0, 64, 1, 1, 1, 0, 0, 0, 0.0, 0.0)
        self._events.put_nowait(StepOutput([out], stats))

    def abort(self, request_id: str) -> None: ...

    async def ping(self, timeout: float = 5.0) -> float:
        return 0.0

    async def events(self) -> AsyncIterator[Event]:
        while True:
            yield await self._events.get()

    async def close(self, drain: bool = True, timeout: float = 30.0) -> None: ...


def _likely(count: int) -> Logprob:
    return Logprob(-1.0, 1, [(token, -1.0) for token in range(count)])


def _scored(tokens: int, count: int) -> list[Logprob | None]:
    return [None, *[_likely(count)] * (tokens - 1)]


class Failures(logging.Handler):
    """What the server's log says went wrong."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record)


class Connections:
    """The server, ready to be connected to."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.failures = Failures()
        for name in ("uvicorn.error", "asyncio", "rtriton.server"):
            logging.getLogger(name).addHandler(self.failures)
        app = create_app(text_model(), ThreeTokens(), access=access_for("127.0.0.1"))
        self.config = uvicorn.Config(
            app, http=PatientProtocol, log_config=None, lifespan="off", ws="none", server_header=False
        )
        self.config.load()
        self._lifespan = app.router.lifespan_context(app)
        self.loop.run_until_complete(self._lifespan.__aenter__())

    def talk(self, data: bytes) -> bytes:
        """All that the server says to a client that sends `data` and goes."""
        self.failures.heard.clear()
        said = self.loop.run_until_complete(self._talk(data))
        for record in self.failures.heard:
            raise AssertionError(record.getMessage()) from (record.exc_info[1] if record.exc_info else None)
        return said

    async def _talk(self, data: bytes) -> bytes:
        state = ServerState()
        protocol = PatientProtocol(config=self.config, server_state=state, app_state={}, _loop=self.loop)
        transport = Memory()
        protocol.connection_made(transport)
        for packet in data.split(PACKET):
            if packet and not transport.closed:
                protocol.data_received(packet)
                await asyncio.sleep(0)
        await self._quiet(protocol)
        if not transport.closed:
            protocol.eof_received()
        protocol.connection_lost(None)
        await self._quiet(protocol)
        assert not state.tasks, "a request goes on without its client"
        return bytes(transport.said)

    async def _quiet(self, protocol: Any) -> None:
        for turn in range(TURNS):
            await asyncio.sleep(0 if turn < 50 else 0.005)
            cycle = protocol.cycle
            if not protocol.server_state.tasks or (turn > 60 and cycle is not None and cycle.more_body):
                return  # all is answered, or it is the client's turn
        raise AssertionError("no answer came")


@cache
def _connections() -> Connections:
    return Connections()


def run(data: bytes) -> None:
    said = _connections().talk(data)
    if b"HEAD" not in data:  # whose answers say how long a body would be
        readable(said)


def readable(said: bytes) -> None:
    """Every answer is whole and HTTP, none is a failure of the server's, and JSON is JSON."""
    while said and said != b"HTTP/1.1 100 Continue\r\n\r\n":  # a body that was asked for and never came
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(said)
        if not said.endswith(b"\r\n0\r\n\r\n"):
            client.receive_data(b"")  # an answer may end by closing
        said = _one(client)


def _one(client: h11.Connection) -> bytes:
    """Reads an answer; what follows it."""
    body, kind = bytearray(), b""
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            assert event.status_code < 500 or event.status_code == 503, event
            kind = dict(event.headers).get(b"content-type", b"")
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            assert isinstance(event, h11.InformationalResponse), event
    if kind.startswith(b"application/json") and body:
        json.loads(body)
    return client.trailing_data[0]


# ---- inputs ------------------------------------------------------------------------------------------


HOST = "Host: localhost:8000\r\n"
GETS = (
    "/ /page/none /requests /health /ready /version /metrics /v1/models /v1/models/tiny /docs /openapi.json /%00?a=%ff"
)


def _post(kind: str, body: dict[str, Any]) -> bytes:
    text = json.dumps(body).encode()
    head = f"POST {PATHS[kind]} HTTP/1.1\r\n{HOST}Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    return head.encode() + text


def seeds() -> list[bytes]:
    posts = [_post(*BODIES[i]) for i in (0, 1, 4, 8, 13, 10, 12)]
    chunked = posts[5].partition(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n\r\n"
    chunked += b'5\r\n{"pro\r\n' + PACKET + b'b;x=y\r\nmpt": "abc"\r\n1\r\n}\r\n0\r\nTrailer: 1\r\n\r\n'
    gets = [f"GET {path} HTTP/1.1\r\n{HOST}Authorization: Bearer x\r\n\r\n".encode() for path in GETS.split()]
    expect = posts[0].replace(b"Host", b"Expect: 100-continue\r\nHost").replace(b"\r\n\r\n", b"\r\n\r\n" + PACKET)
    old = b"GET /version HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    return [*posts, *gets, chunked, expect, old, gets[2] + gets[2], posts[0] + posts[2] + gets[0]]


DICTIONARY = [*words_of("http"), "\r\n", "\n", "\r", "\r\n\r\n", "0\r\n\r\n", "ffffffff\r\n", "\0", "\x7f", "\0|\n"]


def mutate(data: bytes, rng: Random) -> bytes:
    way = rng.randint(0, 9)
    if way <= 2:
        return octets(data, rng)
    if way == 3:
        at = rng.randint(0, len(data))
        return data[:at] + PACKET + data[at:]
    if way == 4:
        return data + rng.choice(seeds())
    head, blank, body = data.partition(b"\r\n\r\n")
    if way <= 6 and body:
        body = values(body, rng, NAMES)
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
        return b"\r\n".join([*lines, b"Content-Length: %d" % len(body)]) + blank + body
    return _head(head, rng) + blank + body


def _head(head: bytes, rng: Random) -> bytes:
    lines = head.split(b"\r\n")
    at = rng.randint(0, len(lines) - 1)
    way = rng.randint(0, 3)
    if way == 0:
        lines.insert(at, lines[rng.randint(0, len(lines) - 1)])
    elif way == 1:
        lines.insert(at, (rng.choice(DICTIONARY) + " " + rng.choice([*DICTIONARY, *ODD])).encode("utf-8", "replace"))
    else:
        lines[at] = words(lines[at], rng, DICTIONARY)
    return b"\r\n".join(lines)


TARGET = Target(run, seeds, mutate)
