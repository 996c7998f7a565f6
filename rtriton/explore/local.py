"""Web pages for this machine alone: who is answered, and what a page may load.

A page that listens on the loopback interface can still be reached by a web site whose name is made to lead there, so
that only requests which name this machine are answered. Pages load nothing from elsewhere and run no text as code.
"""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HEADERS = (
    (b"content-security-policy",
     b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)  # fmt: skip


def host_of(header: str) -> str:
    """The name in a Host header, without its port."""
    if header.startswith("["):
        return header.partition("]")[0] + "]"
    return header.partition(":")[0].lower()


class OnlyLocal:
    """ASGI middleware: refuses requests for other hosts (421) and those that pages of other sites make (403; a link may
    lead here), and puts the headers above on every answer."""

    def __init__(self, app: App, hosts: tuple[str, ...] = LOOPBACK) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        status, reason = self.refused(scope["headers"])
        if not status:
            await self.app(scope, receive, with_headers)
            return
        await with_headers({"type": "http.response.start", "status": status,
                            "headers": [(b"content-type", b"text/plain; charset=utf-8")]})  # fmt: skip
        await send({"type": "http.response.body", "body": f"{reason}\n".encode()})

    def refused(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, str]:
        """Status and reason of a refusal; status 0 for what is answered."""
        given = [(name, value.decode("latin-1")) for name, value in headers]
        named = [value for name, value in given if name == b"host"]
        if len(named) != 1 or host_of(named[0]) not in self.hosts:
            return 421, f"This page answers only to {', '.join(self.hosts)}."
        fetched = dict(given)
        if fetched.get(b"sec-fetch-site") == "cross-site" and fetched.get(b"sec-fetch-mode") != "navigate":
            return 403, "Another web site asked for this."
        return 0, ""
