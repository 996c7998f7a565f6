"""Every request has a record from its first byte to its end: one log line, one row of the page, one count.

    app.add_middleware(Recorded, journal=journal, routes=...)

`Recorded` stands before everything else, so that what is refused is recorded too. Answered GETs, and what load
balancers and Prometheus ask, are said at the level `debug`, and neither counted nor shown.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from engine.logs import REQUEST_ID
from server.ended import Ended
from server.record import RECORD, SEND, Record, make_id
from server.stream import Message, Receive, Send

log = logging.getLogger("rtriton.requests")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OURS = frozenset({"failed", "engine_died", "unavailable"})
"""Outcomes that are the server's own fault."""
PROBES = frozenset({"/health", "/ready", "/metrics"})


class Journal:
    """The open requests, the last ones of each account that have ended, and how many of each kind there were."""

    def __init__(self) -> None:
        self.open: dict[Record, None] = {}
        self.ended = Ended()
        self.totals: Counter[tuple[str, str, str]] = Counter()
        """By route, status and outcome."""

    @property
    def working(self) -> bool:
        """Whether something is asked for that is worth waiting for before the server ends."""
        return any(record.method == "POST" for record in self.open)

    def end(self, record: Record) -> None:
        """Say and count how it ended."""
        record.finish()
        self.open.pop(record, None)
        quiet = record.route in PROBES or (record.method in ("GET", "HEAD") and (record.status or 500) < 400)
        if not quiet:
            self.totals[record.route, str(record.status or ""), record.outcome or ""] += 1
            self.ended.add(record)
        level = logging.DEBUG if quiet else logging.WARNING if record.outcome in OURS else logging.INFO
        if log.isEnabledFor(level):
            facts = record.facts()
            log.log(level, "%s", said(facts), extra={"facts": facts})

    def rows(self, owner: str, most: int) -> list[dict[str, Any]]:
        """The last requests of one account, oldest first, open ones last; see `Record.owner`."""
        open_ones = [record for record in self.open if record.method == "POST" and record.owner == owner]
        return [record.row() for record in [*self.ended.of(owner), *open_ones][-most:]]


def said(facts: dict[str, Any]) -> str:
    """A line of text: `POST /v1/completions 200 length request_id=req_12 prompt_tokens=3 ... total_ms=12.5`."""
    head = [str(facts[name]) for name in ("method", "route", "status", "outcome")]
    rest = {name: value for name, value in facts.items() if name not in ("method", "route", "status", "outcome")}
    return " ".join([*head, *(f"{name}={_shown(value)}" for name, value in rest.items() if value is not None)])


def _shown(value: object) -> str:
    """A text that others may have written stands in quotes."""
    text = str(value)
    return text if text.replace("-", "").replace("_", "").replace(".", "").replace(":", "").isalnum() else repr(text)


class Recorded:
    """Gives each request its record and its id."""

    def __init__(
        self, app: Callable[[Message, Receive, Send], Awaitable[None]], journal: Journal, routes: frozenset[str]
    ) -> None:
        self.app = app
        self.journal = journal
        self.routes = routes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hand on; whatever comes of it is recorded."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        record = self._record(scope)

        def noted(message: Message) -> Awaitable[None]:
            # no coroutine of its own: this is passed for each token
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [*message["headers"], *record.headers.items()]
            return send(message)

        scope[SEND] = send
        self.journal.open[record] = None
        token = REQUEST_ID.set(record.id)
        try:
            await self.app(scope, receive, noted)
        except asyncio.CancelledError:
            record.outcome = record.outcome or "drained"
            raise
        except BaseException:
            record.outcome, record.status = "failed", record.status or 500
            raise
        finally:
            route = scope.get("route")
            record.route = getattr(route, "path", record.route)
            self.journal.end(record)
            REQUEST_ID.reset(token)

    def _record(self, scope: Message) -> Record:
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"]
        record = Record(make_id(given[0] if len(given) == 1 else None))
        record.method = scope["method"] if scope["method"] in METHODS else "OTHER"
        # the pattern, if it has one, is known once it is routed
        record.route = scope["path"] if scope["path"] in self.routes else "other"
        record.headers[b"x-request-id"] = record.id.encode()
        scope[RECORD] = record
        return record


def now() -> float:
    """The time that rows are to be compared with, in seconds since the epoch."""
    return round(time.time(), 6)
