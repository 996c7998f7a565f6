"""The first that a request meets: who may not ask is told so before anything else of the request is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.responses import JSONResponse

from server import basic
from server.access import Access, account_of, bearer, is_key, is_name
from server.errors import ApiError
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
        problem = self._problem(scope) if scope["type"] == "http" else None
        record: Record | None = scope.get(RECORD)
        if problem is None:
            if record is not None:
                record.account = account_of(self.access, next(iter(_header(scope, b"authorization")), None))
            await self.app(scope, receive, send)
            return
        # closed, so that a body which nobody wants is not waited for
        headers = {"connection": "close"}
        if problem.status == 401:
            headers["www-authenticate"] = basic.challenge(scope)
        if record is not None:
            record.fail(problem)
        await JSONResponse(problem.body(), problem.status, headers)(scope, receive, send)

    def _problem(self, scope: Message) -> ApiError | None:
        if self.access.metrics_port is not None:
            aside = scope["server"][1] == self.access.metrics_port
            if aside != (scope["path"] == "/metrics"):
                return ApiError(404, f"There is no {scope['path']} at this port.", code="not_found")
            if aside:
                return None
        if not all(is_name(self.access, value) for value in _header(scope, b"host")):
            message = "This server does not go by the name in the Host header; --allowed-host adds names."
            return ApiError(403, message, code="host_not_allowed")
        if not self.access.keys or scope["path"] in OPEN:
            return None
        given = _header(scope, b"authorization")
        if len(given) == 1 and (key := bearer(given[0])) is not None and is_key(self.access, key):
            return None
        message = "This server needs an API key: Authorization: Bearer KEY."
        return ApiError(401, message, code="invalid_api_key")


def _header(scope: Message, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]
