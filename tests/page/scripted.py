"""A server whose engine says what a test tells it to say: real HTTP and the real application, no model and no process.

Its tokens are bytes and words of `tests.server.tiny`; it keeps a batch, a queue and blocks as the engine's core does,
so that the page has figures to draw.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from engine.messages import Down, Event, ModelInfo, Ready, RequestFailed, StepOutput, StepStats, Submit, TokenOut
from server.access import Access
from server.app import create_app
from tests.server.tiny import text_model, tokenizer

TOKENIZER = tokenizer()
INFO = ModelInfo("scripted", 997, 4096, 16, 256, "cpu", (0,), 0.1, {"dtype": "float32", "threads": "2"})


@dataclass
class Running:
    """A generation in the batch."""

    submit: Submit
    rest: deque[int]
    prefill: int
    queued: float
    """Seconds that it has waited; told once."""
    made: int = 0

    @property
    def blocks(self) -> int:
        return -(-(len(self.submit.token_ids) + self.made) // INFO.block_size)


@dataclass
class Script:
    """`replies`: what is said to a prompt that has the key in it, else `otherwise`. `failing`: prompts that fail after
    their first tokens.
    """

    replies: dict[str, str] = field(default_factory=dict)
    otherwise: str = "A short answer."
    failing: str | None = None
    down: str = ""
    """Why there is no engine, for as long as there is none."""
    step_seconds: float = 0.002
    tokens_a_step: int = 1
    most: int = 8
    prefill_a_step: int = 64

    @contextmanager
    def paced(self, step_seconds: float) -> Iterator[None]:
        """Steps take so long meanwhile."""
        before, self.step_seconds = self.step_seconds, step_seconds
        try:
            yield
        finally:
            self.step_seconds = before

    def reply(self, prompt: str) -> str:
        last = prompt.rpartition("<|im_start|>user")[2]
        return next((reply for key, reply in self.replies.items() if key in last), self.otherwise)


class ScriptedCore:
    """Stands in for `engine.core_client.CoreClient`."""

    info = INFO

    def __init__(self, script: Script) -> None:
        self.script = script
        self.waiting: deque[Submit] = deque()
        self.running: list[Running] = []
        self.submits: list[Submit] = []
        self._since: dict[str, float] = {}
        self._down = ""
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._counts = {"steps": 0, "prefill_tokens": 0, "decode_tokens": 0}
        self._loop = asyncio.create_task(self._turn())

    def submit(self, request: Submit) -> None:
        self.submits.append(request)
        self.waiting.append(request)
        self._since[request.request_id] = time.perf_counter()

    def abort(self, request_id: str) -> None:
        self.running = [each for each in self.running if each.submit.request_id != request_id]
        self.waiting = deque(each for each in self.waiting if each.request_id != request_id)

    async def ping(self, timeout: float = 5.0) -> float:
        return 0.0001

    async def events(self) -> AsyncIterator[Event]:
        while True:
            yield await self._events.get()

    def kill(self) -> None:
        """Nobody does."""

    async def close(self, drain: bool = True, timeout: float = 30.0) -> None:
        self._loop.cancel()

    async def _turn(self) -> None:
        while True:
            await asyncio.sleep(self.script.step_seconds)
            if self.script.down != self._down:
                self._down = self.script.down
                self._events.put_nowait(Down(self._down, 1.0) if self._down else Ready(INFO))
            while self.waiting and len(self.running) < self.script.most:
                self._admit(self.waiting.popleft())
            busy = bool(self.running)
            outs = [out for each in list(self.running) for out in self._step(each)]
            if busy:
                self._counts["steps"] += 1
            self._events.put_nowait(StepOutput(outs, self._stats()))

    def _admit(self, submit: Submit) -> None:
        prompt = TOKENIZER.decode(submit.token_ids, skip_special=False)
        tokens = TOKENIZER.encode(self.script.reply(prompt))[: submit.params.max_tokens]
        queued = time.perf_counter() - self._since.pop(submit.request_id)
        self.running.append(Running(submit, deque(tokens), len(submit.token_ids), queued))

    def _step(self, it: Running) -> list[TokenOut]:
        request_id, script = it.submit.request_id, self.script
        if it.prefill > 0:
            self._counts["prefill_tokens"] += min(it.prefill, script.prefill_a_step)
            it.prefill -= script.prefill_a_step
            return []
        if script.failing and it.made and script.failing in TOKENIZER.decode(it.submit.token_ids):
            self.running.remove(it)
            self._events.put_nowait(RequestFailed(request_id, 0, "failed", "the scripted failure has come"))
            return []
        tokens = [it.rest.popleft() for _ in range(min(script.tokens_a_step, len(it.rest)))]
        queued = it.queued if it.made == 0 else None
        it.made += len(tokens)
        self._counts["decode_tokens"] += len(tokens)
        if it.rest:
            return [TokenOut(request_id, 0, tokens, queue_seconds=queued)]
        self.running.remove(it)
        if it.made == it.submit.params.max_tokens:
            return [TokenOut(request_id, 0, tokens, "length", queue_seconds=queued)]
        return [TokenOut(request_id, 0, tokens, "stop", 0, queue_seconds=queued)]

    def _stats(self) -> StepStats:
        used = sum(each.blocks for each in self.running)
        still = {"preemptions": 0, "replays": 0, "mixed_steps": 0, "step_seconds": 0.0, "kernel_seconds": 0.0}
        return StepStats(len(self.running), len(self.waiting), used, INFO.num_blocks, **self._counts, **still)


@dataclass
class Served:
    """Where it is, and what its engine was told."""

    url: str
    core: ScriptedCore


@contextmanager
def served(script: Script, access: Access = Access(), **options: Any) -> Iterator[Served]:
    """A server in a thread of this process."""
    cores: list[ScriptedCore] = []
    servers: list[uvicorn.Server] = []

    async def serve() -> None:
        cores.append(ScriptedCore(script))
        app = create_app(text_model(), cores[0], access=access, **options)
        servers.append(uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=2)))
        await servers[0].serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    while not (servers and servers[0].started):
        assert thread.is_alive(), "the server did not start"
        threading.Event().wait(0.01)
    try:
        yield Served(f"http://127.0.0.1:{servers[0].servers[0].sockets[0].getsockname()[1]}", cores[0])
    finally:
        servers[0].should_exit = True
        thread.join(60)
