"""Streams: when events leave, what a slow reader gets, what becomes of one that stands still, the bytes of events."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator
from types import FrameType
from typing import Any

import httpx
import pytest

from engine.messages import Event, ModelInfo, SamplingParams, StepOutput, StepStats, Submit, TokenOut
from server.answers import CHAT, TEXT, Alternative, ChoiceStyle, Delta, Envelope, Style, TokenLogprob, merged
from server.app import create_app
from server.calls import CallDelta
from server.link import EngineLink
from server.metrics import Metrics
from server.record import RECORD, Record
from server.stream import Answer, Generation
from tests.server.conftest import Running, start
from tests.server.test_life import within
from tests.server.tiny import text_model, tokenizer

WORDS = tokenizer().encode("abcdefghij")
STATS = StepStats(1, 0, 1, 64, 1, 1, 1, 0, 1, 0, 0.0, 0.0)


class FakeCore:
    """A core whose steps are put into it."""

    info = ModelInfo("fake", 997, 256, 4, 64, "cpu")

    def __init__(self) -> None:
        self.steps: asyncio.Queue[Event] = asyncio.Queue()
        self.aborted: list[str] = []
        self.id = "r/0"

    def submit(self, request: Submit) -> None:
        self.id = request.request_id

    def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)

    async def ping(self, timeout: float = 5.0) -> float:
        return 0.0

    async def events(self) -> AsyncIterator[Event]:
        while True:
            yield await self.steps.get()

    async def close(self, drain: bool = True, timeout: float = 30.0) -> None: ...
    def token(self, at: int, last: bool = False) -> None:
        out = TokenOut(self.id, 0, [WORDS[at]], "length" if last else None)
        self.steps.put_nowait(StepOutput([out], STATS))


class Client:
    """The other end of an ASGI response; while `hold` is set, its buffers are full."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()
        self.events: list[dict[str, Any]] = []

    async def send(self, message: Any) -> None:
        await self.free.wait()
        for line in message.get("body", b"").split(b"\n\n"):
            if line.startswith(b"data: {"):
                self.events.append(json.loads(line[6:]))

    async def receive(self) -> Any:
        await asyncio.Event().wait()

    @property
    def texts(self) -> list[str]:
        return [event["choices"][0]["text"] for event in self.events]


async def answering(
    core: FakeCore, client: Client, stall_seconds: float = 60.0, style: Style = TEXT
) -> tuple[Record, asyncio.Task[None]]:
    link = EngineLink(core)
    metrics = Metrics("tiny", lambda: link.stats, lambda: 0)
    submit = Submit("r/0", [1, 2], SamplingParams())
    generation = Generation("r", text_model(), style, [submit], 2, stream=True)
    answer = Answer(link, generation, metrics, stall_seconds)
    record = Record()
    task = asyncio.create_task(answer({RECORD: record}, client.receive, client.send))
    await settled()
    return record, task


async def settled() -> None:
    """Everything that can happen without time passing has happened."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_each_token_leaves_before_the_next_is_there() -> None:
    async def run() -> None:
        core, client = FakeCore(), Client()
        _, task = await answering(core, client)
        for at in range(4):
            core.token(at)
            await settled()
            assert client.texts == list("abcdefghij"[: at + 1])
        core.token(4, last=True)
        await task
        assert client.texts == list("abcde")

    asyncio.run(run())


def test_tokens_that_come_together_are_not_merged_for_a_reader_who_keeps_up() -> None:
    async def run() -> None:
        core, client = FakeCore(), Client()
        _, task = await answering(core, client)
        for at in range(5):
            core.token(at, last=at == 4)
        await task
        assert client.texts == list("abcde")

    asyncio.run(run())


def test_a_reader_who_lags_gets_what_he_missed_in_one_event() -> None:
    async def run() -> None:
        core, client = FakeCore(), Client()
        _, task = await answering(core, client)
        core.token(0)
        await settled()
        client.free.clear()
        for at in range(1, 6):
            core.token(at)
            await settled()
        client.free.set()
        await settled()
        core.token(6, last=True)
        await task
        assert client.texts == ["a", "b", "cdef", "g"]
        assert client.events[-1]["choices"][0]["finish_reason"] == "length"

    asyncio.run(run())


def test_a_reader_who_stands_still_is_given_up() -> None:
    async def run() -> None:
        core, client = FakeCore(), Client()
        record, task = await answering(core, client, stall_seconds=0.1)
        core.token(0)
        await settled()
        client.free.clear()
        core.token(1)
        await asyncio.wait_for(task, 30)
        assert core.aborted == ["r/0"] and record.outcome == "client_stalled"

    asyncio.run(run())


def test_the_sockets_of_a_reader_who_stands_still_do_not_hold_the_engine() -> None:
    running, stop = start(stall_seconds=0.5, num_blocks=4096, max_num_seqs=64, max_batched_tokens=64)
    try:
        # what is kept between the two is little, whatever the system's own measure is
        running.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        body = {"model": "tiny", "prompt": "once", "n": 64, "max_tokens": 250, "ignore_eos": True, "stream": True}
        data = json.dumps(body | {"logprobs": 5}).encode()
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", int(running.url.rsplit(":", 1)[1])))
            head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
            reader.sendall(f"POST /v1/completions HTTP/1.1\r\n{head}".encode() + data)
            assert within(30, lambda: 'outcome="client_stalled"' in httpx.get(f"{running.url}/metrics").text)
            assert within(30, lambda: running.metric("vllm:num_requests_running") == 0)
        assert running.chat().status_code == 200
    finally:
        stop()


LOGPROB = TokenLogprob("a", b"a", -1.0, 3, (Alternative("b", b"b", -2.0),))


@pytest.mark.parametrize("style", [CHAT, TEXT])
@pytest.mark.parametrize("include_usage", [False, True])
def test_an_event_cut_out_of_an_example_is_the_event_itself(style: ChoiceStyle, include_usage: bool) -> None:
    identity = {"id": "x", "created": 1, "model": 'a "text" b'}
    envelope = Envelope(style, identity, include_usage)
    for text in ("a", '"', "\\", "\n", "é\0", "\ud7ff", "</script>"):
        for delta in (
            Delta(3, text, 1),
            Delta(3, text, 1, first=True),
            Delta(3, text, 1, "stop"),
            Delta(3, text, 1, None, (LOGPROB,)),
        ):
            event = envelope.event(delta)
            assert event.startswith(b"data: {") and event.endswith(b"}\n\n") and event.count(b"\n") == 2
            told = {**identity, "object": style.chunk_object, "choices": [style.chunk(delta)]}
            assert json.loads(event[6:]) == told | ({"usage": None} if include_usage else {})


def test_merged_deltas_say_what_their_parts_say() -> None:
    first = Delta(0, "a", 1, None, (LOGPROB,), True, (CallDelta(0, "id", "f"),))
    last = Delta(0, "b", 2, "stop", None, False, (CallDelta(0, arguments="{}"),))
    other = Delta(1, "x", 1)
    joined, kept = merged([first, other, last])
    assert kept is other
    assert joined == Delta(0, "ab", 3, "stop", (LOGPROB,), True, (CallDelta(0, "id", "f", "{}"),))


def test_counting_a_token_is_cheap_and_no_label_comes_from_a_request(server: Running) -> None:
    server.chat(user='"} evil{x="')
    page = httpx.get(f"{server.url}/metrics").text
    assert "evil" not in page and 'model_name="tiny"' in page
    clock = Metrics("tiny", lambda: None, lambda: 0).clock(1, Record())
    started = time.process_time()
    for _ in range(10_000):
        clock.tokens(TokenOut("r", 0, [1]), Delta(0, "a", 1))
    assert time.process_time() - started < 0.5


def test_a_token_passes_few_functions_on_its_way_through_the_application() -> None:
    """What a token costs, on any machine: `benchmarks.serve_cpu` measures the time."""
    passed: list[str] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_globals["__name__"].startswith(("engine.", "server.", "starlette.")):
            passed.append(frame.f_code.co_name)

    async def run() -> None:
        core = FakeCore()
        app = create_app(text_model(), core)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            body = {"model": "tiny", "prompt": "a", "stream": True, "max_tokens": 10}
            answer = asyncio.create_task(client.post("http://localhost/v1/completions", json=body))
            for at in range(10):
                await settled()
                sys.setprofile(note if 3 <= at < 8 else None)  # the first ones make what the others use
                core.token(at % 3, last=at == 9)
            assert (await answer).text.count("data: ") == 11

    try:
        asyncio.run(run())
    finally:
        sys.setprofile(None)
    assert 5 < len(passed) / 5 <= 25, passed
