"""HEAD is answered as GET would be, without a body: monitors and `curl -I` ask so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from server.stream import Message, Receive, Send


class Heads:
    """Shows the routes a GET. That no body is sent is uvicorn's to see to, which looks at what was really asked."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hand on."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        shown = {**scope, "method": "GET"}
        try:
            await self.app(shown, receive, send)
        finally:
            scope["route"] = shown.get("route")  # the record wants to know
