"""uvicorn around the application: says when it accepts requests, ends when the engine ends."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from server.app import create_app
from server.link import Core
from server.text import TextModel

KEEP_ALIVE_SECONDS = 60


async def run_app(
    core: Core,
    text: TextModel,
    listener: socket.socket,
    max_open: int,
    drain_seconds: int,
    on_ready: Callable[[], None],
) -> int:
    """Serve until told to stop, or until the engine has stopped; the exit status."""
    failures: list[str] = []

    def failed(reason: str) -> None:
        failures.append(reason)
        server.should_exit = True

    config = uvicorn.Config(
        create_app(text, core, max_open, failed),
        log_config=None,
        timeout_graceful_shutdown=drain_seconds,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        server_header=False,
        ws="none",
    )
    server = _Server(config, on_ready)
    await server.serve(sockets=[listener])
    return 1 if failures else 0


class _Server(uvicorn.Server):
    """Says when it accepts requests."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listening has begun when this returns."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()
