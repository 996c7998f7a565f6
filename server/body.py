"""How much of a request is read, how long it may take to come, and what its JSON may hold.

A body has `LIMIT` bytes at most, as declared or as it comes, and `BODY_SECONDS` to come in. Its JSON nests at most
`DEPTH` deep and has no NaN, no Infinity, and no number that would be read as one (`1e999`).
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import numpy as np
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from server.stream import Message, Receive, Send

LIMIT = 4 << 20
BODY_SECONDS = 30.0
DEPTH = 100
"""Below what Python's parser and pydantic take, above any schema that was written by hand."""


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
        if not hasattr(self, "_json"):
            self._json = parse(await self.body())
        return self._json


class JsonRoute(APIRoute):
    """FastAPI's way to have its own requests be of another kind."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """FastAPI's handler on a `JsonRequest`."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return handler


def parse(body: bytes) -> Any:
    """JSON within the limits; `ValueError` where it is not."""
    if depth(body) > DEPTH:
        raise ValueError(f"it nests more than {DEPTH} deep")
    return json.loads(body, parse_constant=_no_constant, parse_float=_finite)


# what is not closed goes on to the end; possessive, so that no body takes more than linear time
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))


def depth(body: bytes) -> int:
    """How deep arrays and objects nest in what should be JSON, in the time of a few passes over its bytes."""
    if body.count(b"[") + body.count(b"{") <= DEPTH:
        return 0
    brackets = np.frombuffer(_STRING.sub(b"", body).translate(None, _OTHERS), np.uint8)
    opens = (brackets == ord("[")) | (brackets == ord("{"))
    return int(np.cumsum(np.where(opens, 1, -1)).max(initial=0))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is too large for a number")
    return value
