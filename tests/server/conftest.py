"""A running server over the tiny model: real HTTP on a free loopback port, real engine core process, fake runner."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import httpx
import openai
import pytest
import uvicorn

from engine.config import EngineConfig
from engine.core_client import CoreClient
from server.access import Access
from server.app import create_app
from tests.engine.fake_runner import paced
from tests.make_model import write_model
from tests.server.tiny import text_model

ROOT = Path(__file__).parents[2]


@dataclass
class Running:
    """A server and ways to talk to it."""

    url: str
    core: CoreClient
    failures: list[str]
    pace: Path
    listener: socket.socket

    def openai(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="unused", max_retries=0, **options)

    def post(self, path: str, body: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=30)

    def chat(self, content: Any = "hi", **fields: Any) -> httpx.Response:
        body = {"model": "tiny", "messages": [{"role": "user", "content": content}], "max_tokens": 8, **fields}
        return self.post("/v1/chat/completions", body)

    def metric(self, name: str) -> float:
        page = httpx.get(f"{self.url}/metrics", timeout=30).text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in page if line.replace("{", " ").split(" ")[0] == name)

    def rows(self) -> list[dict[str, Any]]:
        """The requests that it knows of, the last one last."""
        return httpx.get(f"{self.url}/requests", timeout=30).json()["requests"]

    def paced(self, step_seconds: float) -> AbstractContextManager[None]:
        """Steps take so long meanwhile: what is to be seen in the middle of a generation is there to be seen."""
        return paced(self.pace, step_seconds)


def start(
    max_open: int = 256,
    stall_seconds: float = 60.0,
    access: Access = Access(),
    app_options: Mapping[str, Any] = {},
    **engine: Any,
) -> tuple[Running, Callable[[], None]]:
    """A server in a thread of this process, and what stops it."""
    options = {"block_size": 4, "num_blocks": 64, "max_num_seqs": 8, "max_batched_tokens": 16, **engine}
    folder = tempfile.TemporaryDirectory()
    pace = Path(folder.name, "pace")
    options["extra"] = {"pace": str(pace), **engine.get("extra", {})}
    config = EngineConfig(model="fake", runner="tests.engine.fake_runner:load", **options)
    failures: list[str] = []
    cores: list[CoreClient] = []
    servers: list[uvicorn.Server] = []

    async def serve() -> None:
        cores.append(await CoreClient.start(config))
        app = create_app(
            text_model(),
            cores[0],
            max_open,
            on_failure=failures.append,
            stall_seconds=stall_seconds,
            access=access,
            **app_options,
        )
        servers.append(uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=30)))
        await servers[0].serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    deadline = time.monotonic() + 60
    while not (servers and servers[0].started):
        assert thread.is_alive() and time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    server = servers[0]
    [listener] = server.servers[0].sockets

    def stop() -> None:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive(), "the server did not stop"
        folder.cleanup()

    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    return Running(url, cores[0], failures, pace, listener), stop


@pytest.fixture(scope="session")
def server() -> Iterator[Running]:
    """One server for all tests that leave it as it was."""
    running, stop = start()
    yield running
    stop()


@pytest.fixture(scope="session")
def slow_server() -> Iterator[Running]:
    """Its steps take 20 ms, so that there is time to leave in the middle."""
    running, stop = start(extra={"step_seconds": 0.02})
    yield running
    stop()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_model(tmp_path_factory.mktemp("model") / "tiny-chat.Q4_1.gguf", context=2048))


@contextmanager
def launched(model: Path, *options: str, stderr: TextIO | None = None) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`rtriton serve` as a user starts it, on a free port and the CPU: its url, and the process, which is told to end
    and has to do so with status 0.
    """
    command = [sys.executable, "-m", "server.cli", "serve", "--model", str(model), "--device", "cpu", "--port", "0"]
    environment = {**os.environ, "COLUMNS": "200"}
    with subprocess.Popen(
        [*command, *options], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        ready = next((line for line in lines if "serving at" in line), None)
        assert ready is not None, "the server ended before it was ready"
        # what else it says is read, so that it never waits for a full pipe
        threading.Thread(target=lambda: [*lines], daemon=True).start()
        try:
            yield ready.split("serving at ")[1].split()[0], process
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()


@contextmanager
def serving(model: Path, *options: str, stderr: TextIO | None = None) -> Iterator[str]:
    """The url of such a server."""
    with launched(model, *options, stderr=stderr) as (url, _):
        yield url


@pytest.fixture(scope="session")
def url(model: Path) -> Iterator[str]:
    """A server over the real engine and a tiny random model."""
    with serving(model) as address:
        yield address
