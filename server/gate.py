"""The first that a request meets: who may not ask, or asks for too much, is told so before anything else is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.responses import JSONResponse

from server import basic
from server.access import Access, account_of, bearer, find_key, is_name
from server.errors import ApiError
from server.limits import Limiter
from server.record import RECORD, Record
from server.stream import Message, Receive, Send

OPEN = frozenset({"/health", "/ready"})
"""What a load balancer asks, which has no key. Once there is a key, all else needs it: the pages and `/metrics` too."""


class Gate:
    """Lets requests in before anything else of them is read."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]], access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer 403 or 401, or hand on."""
        if scope["type"] == "http":
            # in place: who stands before this reads there what came of it
            scope.update(basic.as_bearer(scope))
        record: Record = scope.get(RECORD) or Record()
        problem = self._problem(scope, record) if scope["type"] == "http" else None
        if problem is None:
            await self.app(scope, receive, send)
            return
        # closed, so that a body which nobody wants is not waited for
        headers = {"connection": "close"}
        if problem.status == 401:
            headers["www-authenticate"] = basic.challenge(scope)
        record.fail(problem)
        await JSONResponse(problem.body(), problem.status, headers)(scope, receive, send)

    def _problem(self, scope: Message, record: Record) -> ApiError | None:
        """Why it is not let in; the record of one that is says whose it is."""
        if self.access.metrics_port is not None:
            aside = scope["server"][1] == self.access.metrics_port
            if aside != (scope["path"] == "/metrics"):
                return ApiError(404, f"There is no {scope['path']} at this port.", code="not_found")
            if aside:
                return None
        if not all(is_name(self.access, value) for value in _header(scope, b"host")):
            message = "This server does not go by the name in the Host header; --allowed-host adds names."
            return ApiError(403, message, code="host_not_allowed")
        given = _header(scope, b"authorization")
        shown = bearer(given[0]) if len(given) == 1 else None
        record.key = find_key(self.access, shown) if self.access.keys and shown else None
        if record.key is not None or not self.access.keys:
            record.account = account_of(self.access, given[0]) if shown else ""
        elif scope["path"] not in OPEN:
            message = "This server needs an API key: Authorization: Bearer KEY."
            return ApiError(401, message, code="invalid_api_key")
        return None


class Limited:
    """Lets a key's request in if it is not too much. What is counted are POSTs: what costs tokens or their making."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]], limiter: Limiter) -> None:
        self.app = app
        self.limiter = limiter

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer 429, or hand on and count until it has ended."""
        record: Record | None = scope.get(RECORD)
        if record is None or record.method != "POST":
            await self.app(scope, receive, send)
            return
        try:
            self.limiter.enter(record)
        except ApiError as error:
            record.fail(error)
            # the connection stays: uvicorn passes over the body, which has as long to come as a head has
            await JSONResponse(error.body(), error.status, error.headers())(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        finally:
            self.limiter.leave(record)


def _header(scope: Message, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]
