"""Errors as OpenAI's clients know them: one exception, one JSON shape, and what a validation failure turns into.

    {"error": {"message": "`tools` is not supported by this server.", "type": "invalid_request_error",
               "param": "tools", "code": "unsupported_field"}}

`param` names the field as a path, `messages[0].content`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from engine.messages import RequestFailed


class ApiError(Exception):
    """What one request gets instead of an answer; every other request goes on."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        outcome: str | None = None,
        kind: str | None = None,
        hopeless: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after
        """Seconds after which to come back, where that may help."""
        self.outcome = outcome
        """What the log calls it, where the status alone does not say (see `record`)."""
        self.kind = kind or _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
        """OpenAI's `type`."""
        self.hopeless = hopeless
        """OpenAI's clients ask again by themselves after some statuses; they shall not after this one."""
        self.request_id: str | None = None
        """Set by the record of the request that ends with it."""

    def body(self) -> dict[str, Any]:
        """The JSON body of the answer, or of the last event of a stream that had already begun."""
        named = {} if self.request_id is None else {"request_id": self.request_id}
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code, **named}}

    def headers(self) -> dict[str, str]:
        """Retry-After takes whole seconds, and 0 would be a loop."""
        hopeless = {"x-should-retry": "false"} if self.hopeless else {}
        if self.retry_after is None:
            return hopeless
        return {"Retry-After": str(max(1, math.ceil(self.retry_after)))} | hopeless

    def said_of(self, fields: Mapping[str, str]) -> ApiError:
        """The same about the request's own field where `fields` has a name for what the engine calls `param`."""
        if self.param is None or self.param not in fields:
            return self
        name = fields[self.param]
        return ApiError(
            self.status,
            f"`{name}`: {self.message}",
            param=name,
            code=self.code,
            retry_after=self.retry_after,
            outcome=self.outcome,
            kind=self.kind,
            hopeless=self.hopeless,
        )


_KINDS = {429: "rate_limit_error"}


def overloaded(limit: int) -> ApiError:
    """The server's own queue is full. It empties soon."""
    message = f"The server already has {limit} generations open; try again in a moment."
    return ApiError(429, message, code="overloaded", retry_after=1)


def draining() -> ApiError:
    """The server was told to stop; who asks again comes to another one, or to the next."""
    return ApiError(503, "The server is shutting down.", code="shutting_down", retry_after=5)


def too_long(seconds: float) -> ApiError:
    """A generation has taken all the time that one may take; the same would happen again."""
    message = f"The request was not finished within {seconds:g} seconds, which is the most that this server gives one."
    return ApiError(408, message, code="request_timeout", outcome="timed_out", kind="timeout_error", hopeless=True)


def engine_stopped(reason: str, outcome: str | None = None) -> ApiError:
    """The engine core has gone, and with it every open request; it is being started again."""
    return ApiError(503, f"The engine has stopped: {reason}", code="engine_stopped", retry_after=2, outcome=outcome)


_CODES = {
    "invalid": "invalid_value",
    "unsupported": "unsupported_field",
    "overloaded": "overloaded",
    "failed": "request_failed",
    "stopping": "engine_stopped",
    "expired": "queue_timeout",
}


def from_engine(failed: RequestFailed) -> ApiError:
    """Why the engine gives no answer, or no more of it."""
    code, outcome = _CODES[failed.code], "timed_out" if failed.code == "expired" else None
    after = failed.retry_after
    return ApiError(failed.status, failed.message, param=failed.param, code=code, retry_after=after, outcome=outcome)


def not_sent_as_json(content_type: str) -> ApiError:
    """The body was not even looked at: curl's -d alone says that it is a form."""
    got = f"got {content_type!r}" if content_type else "got none"
    return ApiError(400, f"The request needs the header Content-Type: application/json, {got}.", code="invalid_json")


def from_validation(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """The first failed check of a request body, said with the name of its field."""
    first = errors[0]
    if first["type"] == "json_invalid":
        detail = first.get("ctx", {}).get("error", first["msg"])
        return ApiError(400, f"The body is not valid JSON: {detail}.", code="invalid_json")
    param = _param(first)
    if first["type"] == "extra_forbidden":
        return ApiError(400, f"Unknown field `{param}`.", param=param, code="unknown_field")
    if first["type"] == "missing":
        what = f"`{param}` is required." if param else "The request needs a JSON body."
        return ApiError(400, what, param=param, code="missing_field")
    message = "an object is wanted" if first["type"] == "model_attributes_type" else str(first["msg"]).rstrip(".")
    if first["type"] == "unsupported":
        reason = f": {message}" if message else ""
        text = f"`{param}` is not supported by this server{reason}."
        return ApiError(400, text, param=param, code="unsupported_field")
    return ApiError(400, f"`{param}`: {message}." if param else f"{message}.", param=param, code="invalid_value")


def _param(error: Mapping[str, Any]) -> str | None:
    """`messages[0].content` out of ("body", "messages", 0, "content") and what the check itself adds to it."""
    parts = [*error["loc"][1:], *error.get("ctx", {}).get("inside", ())]
    # tags of unions, see strict.tag_of; pydantic's word for a name that is wrong itself
    parts = [part for part in parts if not str(part).startswith("<") and part != "[key]"]
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or None
