"""uvicorn around the page, on the loopback interface only."""
from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from rtriton.explore.app import Session, create_app

ADDRESS = "127.0.0.1"


class Server(uvicorn.Server):
    """Says its address when it accepts requests."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def bind(port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. OSError if it is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
    except OSError:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket) -> str:
    return f"http://{ADDRESS}:{listener.getsockname()[1]}"


def server(session: Session, on_ready: Callable[[], None]) -> Server:
    """The server, to be run by `serve(sockets=[...])`."""
    config = uvicorn.Config(create_app(session), log_level="warning", timeout_graceful_shutdown=1, server_header=False,
                            ws="none", lifespan="off")  # fmt: skip
    return Server(config, on_ready)
