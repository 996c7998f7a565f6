"""uvicorn around the application: says when it accepts requests, ends when the engine ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from server.access import Access
from server.app import create_app
from server.link import Core
from server.patient import PatientProtocol
from server.text import TextModel

KEEP_ALIVE_SECONDS = 60
LAST_WORDS_SECONDS = 2
"""What remains for errors to be sent when the time to drain is over."""


async def run_app(
    core: Core,
    text: TextModel,
    listeners: list[socket.socket],
    max_open: int,
    drain_seconds: int,
    on_ready: Callable[[], None],
    access: Access,
) -> int:
    """Serve until told to stop, or until the engine has stopped; the exit status."""
    failures: list[str] = []

    def failed(reason: str) -> None:
        failures.append(reason)
        server.should_exit = True

    app = create_app(text, core, max_open, failed, access=access)
    config = config_of(app, drain_seconds)
    server = _Server(config, on_ready, drain_seconds, lambda: app.state.server.link.end_all())
    await server.serve(sockets=listeners)
    return 1 if failures else 0


def config_of(app: FastAPI, drain_seconds: int) -> uvicorn.Config:
    """How uvicorn serves."""
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        log_config=None,
        access_log=False,  # the record of a request is its line
        timeout_graceful_shutdown=drain_seconds + LAST_WORDS_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        server_header=False,
        ws="none",
    )


class _Server(uvicorn.Server):
    """Says when it accepts requests, and when those that are still open when it stops have had their time."""

    def __init__(
        self, config: uvicorn.Config, on_ready: Callable[[], None], drain_seconds: int, on_late: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._drain_seconds = drain_seconds
        self._on_late = on_late

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listening has begun when this returns."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """What uvicorn would cut in the middle ends with an error first."""
        late = asyncio.get_running_loop().call_later(self._drain_seconds, self._on_late)
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()
