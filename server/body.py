"""How much of a request is read, how long it may take to come, and that it is JSON as `json_text` takes it.

A body has `LIMIT` bytes at most, as declared or as it comes, and `BODY_SECONDS` to come in. It comes as it is: what a
compressed one would become is not known before it is unpacked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from server.json_text import parse
from server.stream import Message, Receive, Send

LIMIT = 4 << 20
BODY_SECONDS = 30.0
LONG_BODY = 64 << 10
"""Bytes from which a body is parsed beside what else there is to do."""


class LimitBody:
    """Refuses bodies that are too large or come too slowly."""

    def __init__(
        self,
        app: Callable[[Message, Receive, Send], Awaitable[None]],
        limit: int = LIMIT,
        seconds: float = BODY_SECONDS,
    ) -> None:
        self.app = app
        self.limit = limit
        self.seconds = seconds

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Count what the application reads."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        seen = int(declared) if declared.isdigit() and int(declared) > self.limit else 0
        deadline = asyncio.get_running_loop().time() + self.seconds
        whole = False

        async def counted() -> Message:
            nonlocal seen, whole
            if whole:  # what else there is to hear is that the client has gone
                return await receive()
            if seen <= self.limit:
                try:
                    async with asyncio.timeout_at(deadline):
                        message = await receive()
                except TimeoutError:
                    raise _given_up(408, f"The body did not come within {self.seconds:g} seconds.") from None
                seen += len(message.get("body", b""))
                whole = not message.get("more_body", False)
            if seen > self.limit:
                raise _given_up(413, f"The body is larger than {self.limit} bytes.")
            return message

        await self.app(scope, counted, send)


def _given_up(status: int, message: str) -> HTTPException:
    """No ApiError: reading the body, FastAPI lets only its own kind of exception pass. The rest is not waited for."""
    return HTTPException(status, message, {"connection": "close"})


class JsonRequest(Request):
    """A request whose JSON is held to the limits."""

    async def json(self) -> Any:
        """The body; `ValueError` says what is wrong with it."""
        packed = self.headers.get("content-encoding", "identity")
        if packed.lower() != "identity":
            raise HTTPException(415, f"The body must not be packed (Content-Encoding: {packed:.40})")
        if not hasattr(self, "_json"):
            body = await self.body()
            self._json = parse(body) if len(body) < LONG_BODY else await asyncio.to_thread(parse, body)
        return self._json


class JsonRoute(APIRoute):
    """FastAPI's way to have its own requests be of another kind."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """FastAPI's handler on a `JsonRequest`."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return handler
