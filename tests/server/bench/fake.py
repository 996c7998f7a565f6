"""A server whose answers a test scripts: what it sends, when, and with which status."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

web = pytest.importorskip("aiohttp.web")


@dataclass
class Fake:
    """Where it is, and the bodies it got."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


Script = Callable[[int, Any], Awaitable[Any]]
"""Answers request number i (from 0, warm-up included)."""


def event(text: str = "", finish: str | None = None, **more: Any) -> bytes:
    data = {"choices": [{"index": 0, "text": text, "finish_reason": finish}], **more}
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def usage(prompt: int, completion: int) -> bytes:
    data = {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}
    return b"data: " + json.dumps(data).encode() + b"\n\n"


async def send(request: Any, *parts: bytes | float) -> Any:
    """Stream the parts; a number is a pause in seconds."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for part in parts:
        if isinstance(part, bytes):
            await response.write(part)
        else:
            await asyncio.sleep(part)
    return response


@contextmanager
def serving(script: Script) -> Iterator[Fake]:
    """The fake server, in a thread, until the block ends."""
    fake, ready, stopped = Fake(), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def completions(request: Any) -> Any:
        fake.bodies.append(await request.json())
        return await script(len(fake.bodies) - 1, request)

    async def models(request: Any) -> Any:
        return web.json_response({"data": [{"id": "fake"}]})

    async def run() -> None:
        app = web.Application()
        app.add_routes([web.post("/v1/completions", completions), web.get("/v1/models", models)])
        app.add_routes([web.post("/v1/chat/completions", completions)])
        runner = web.AppRunner(app, shutdown_timeout=1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        await stopped.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert ready.wait(60)
    try:
        yield fake
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(60)
        assert not thread.is_alive()
        loop.close()
