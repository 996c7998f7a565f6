"""One record for each request: what a log line, the page's timeline and the counters say of it.

    received -> submitted -> scheduled -> first token -> ended, with an outcome

Every request ends in exactly one outcome:

    ok              answered; not a generation
    stop, length, tool_calls, abort     generated; the choices' finish reasons, joined by "+" where they differ
    refused         4xx, `code` says why
    unavailable     503 before anything was generated: no engine, or the server is draining
    failed          500: this request failed, others did not
    engine_died     the engine's process ended while it was open
    timed_out       it was open for longer than the server allows, see `--request-timeout` and `--queue-timeout`
    drained         the server was told to stop, and the time to drain was over
    client_left     the client closed the connection
    client_stalled  the client stayed and read nothing

No prompt, answer or key is in it.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from server.errors import ApiError

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

    from server.keys import Key

RECORD = "rtriton.record"
"""The record's name in an ASGI scope."""
SEND = "rtriton.send"
"""In an ASGI scope: what passes on the body of an answer that has begun. What stands between there and the route looks
only at how answers begin, and would cost each token a coroutine of its own."""
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
"""A request id that is taken from a client."""


def make_id(given: str | None) -> str:
    """The client's own id if it is well formed, else a new one."""
    return given if given is not None and ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"


@dataclass(slots=True, eq=False)
class Record:
    """One request. Times but `received` are those of `time.perf_counter`, None where they have not been reached."""

    id: str = field(default_factory=lambda: make_id(None))
    method: str = ""
    route: str = "other"
    """The route's pattern; never what a client wrote."""
    account: str = ""
    """Whose it is: made of the API key, which nobody can tell from it."""
    key: Key | None = None
    """The key that let it in, where keys are needed."""
    received: float = field(default_factory=time.time)
    began: float = field(default_factory=time.perf_counter)
    submitted: float | None = None
    scheduled: float | None = None
    first_token: float | None = None
    ended: float | None = None
    answer: str | None = None
    """The id in the body of the answer."""
    stream: bool = False
    user: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int = 0
    reasons: list[str] = field(default_factory=list[str])
    """Finish reasons of choices that have ended."""
    status: int | None = None
    """As sent; a stream that fails later has 200."""
    outcome: str | None = None
    code: str | None = None
    headers: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    """What the response has besides its own."""

    @property
    def state(self) -> str:
        """`received`, `queued` (submitted), `running` (its first token is there), `done`."""
        if self.ended is not None:
            return "done"
        if self.first_token is not None:
            return "running"
        return "received" if self.submitted is None else "queued"

    @property
    def owner(self) -> str:
        """The account that its row is shown to; without a key of this server all are one, whatever they sent."""
        return self.account if self.key else ""

    @property
    def who(self) -> str | None:
        """Whose it is, for a log: the operator's name of the key, or the beginning of what was made of the key."""
        return (self.key.given if self.key else None) or self.account[:12] or None

    def fail(self, error: ApiError) -> None:
        """It ends with this error, which then names it."""
        error.request_id = self.id
        self.code = error.code
        self.outcome = error.outcome or self._outcome(error.status)

    def finish(self) -> None:
        """It has ended; what nobody has said of it follows from its status."""
        self.ended = time.perf_counter()
        if self.outcome is None:
            # without a status nothing was sent: uvicorn has cancelled it
            self.outcome = "drained" if self.status is None else self._outcome(self.status)

    def _outcome(self, status: int) -> str:
        if status < 400:
            return "+".join(sorted(set(self.reasons))) or "ok"
        if status < 500:
            return "refused"
        if status != 503:
            return "failed"
        return "unavailable" if self.submitted is None else "engine_died"

    def facts(self) -> dict[str, Any]:
        """What a log says of it; times in milliseconds, from `received` on but for `queue_ms`."""
        facts: dict[str, Any] = {
            "request_id": self.id,
            "account": self.who,
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "outcome": self.outcome,
            "code": self.code,
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": None if self.prompt_tokens is None else self.output_tokens,
            "queue_ms": _ms(self.submitted, self.scheduled),
            "ttft_ms": _ms(self.began, self.first_token),
            "total_ms": _ms(self.began, self.ended),
        }
        if self.answer is not None:
            facts |= {"answer": self.answer, "stream": self.stream, "user": self.user}
        return facts

    def row(self) -> dict[str, Any]:
        """What a page shows of it: no names, times in seconds since the epoch."""
        return {
            "id": self.id,
            "route": self.route,
            "state": self.state,
            "stream": self.stream,
            "received": round(self.received, 6),
            "submitted": self._since_epoch(self.submitted),
            "scheduled": self._since_epoch(self.scheduled),
            "first_token": self._since_epoch(self.first_token),
            "ended": self._since_epoch(self.ended),
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.output_tokens,
            "status": self.status,
            "outcome": self.outcome,
            "code": self.code,
        }

    def _since_epoch(self, moment: float | None) -> float | None:
        return None if moment is None else round(self.received + moment - self.began, 6)


def _ms(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else round(1000 * (end - start), 3)


def record_of(request: HTTPConnection) -> Record:
    """The record of the request that a route has been given."""
    return request.scope[RECORD]
