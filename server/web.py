"""uvicorn around the application: says when it accepts requests, ends when the engine ends."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from server.access import Access
from server.app import create_app
from server.limits import Limiter
from server.link import Core
from server.patient import PatientProtocol
from server.settings import Settings
from server.state import Server
from server.text import TextModel
from server.tls import Tls

KEEP_ALIVE_SECONDS = 60
LOOK_SECONDS = 0.05
"""How often it looks whether the last request has ended."""
LAST_WORDS_SECONDS = 2
"""What remains for errors to be sent when the time to drain is over."""


async def run_app(
    core: Core,
    text: TextModel,
    listeners: list[socket.socket],
    settings: Settings,
    on_ready: Callable[[], None],
    access: Access,
    limiter: Limiter,
    tls: Tls | None = None,
) -> int:
    """Serve until told to stop, or until the engine has stopped; the exit status."""
    failures: list[str] = []

    def failed(reason: str) -> None:
        failures.append(reason)
        server.should_exit = True

    app = create_app(
        text,
        core,
        settings.max_open,
        failed,
        access=access,
        limiter=limiter,
        usage_file=settings.quota_file,
        request_seconds=settings.request_timeout,
        hang_seconds=settings.engine_timeout,
    )
    server = _Server(config_of(app, tls), on_ready, settings.drain_seconds, lambda: app.state.server)
    await server.serve(sockets=listeners)
    return 1 if failures else 0


def config_of(app: FastAPI, tls: Tls | None = None) -> uvicorn.Config:
    """How uvicorn serves."""
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        log_config=None,
        access_log=False,  # the record of a request is its line
        timeout_graceful_shutdown=LAST_WORDS_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        server_header=False,
        ws="none",
        **({} if tls is None else tls.for_uvicorn()),
    )


class _Server(uvicorn.Server):
    """Says when it accepts requests. Told to stop, it goes on listening until what is open has ended, so that it can
    say that it takes nothing more: /ready is 503 from the signal on, and so is every new generation.
    """

    def __init__(
        self, config: uvicorn.Config, on_ready: Callable[[], None], drain_seconds: int, state: Callable[[], Server]
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._drain_seconds = drain_seconds
        self._state = state
        self._hurried = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listening has begun when this returns."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal. A second one ends what is open."""
        self._hurried = self.should_exit
        super().handle_exit(sig, frame)
        if self.started:
            self._state().link.draining = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """What is open goes on for so long; what uvicorn would cut in the middle ends with an error first."""
        server = self._state()
        server.link.draining = True
        deadline = time.monotonic() + self._drain_seconds
        while server.journal.working and not self._hurried and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
        server.link.end_all()
        await super().shutdown(sockets)
