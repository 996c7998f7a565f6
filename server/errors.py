"""Errors as OpenAI's clients know them: one exception, one JSON shape, and what a validation failure turns into.

    {"error": {"message": "`tools` is not supported by this server.", "type": "invalid_request_error",
               "param": "tools", "code": "unsupported_field"}}

`param` names the field as a path, `messages[0].content`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class ApiError(Exception):
    """What one request gets instead of an answer; every other request goes on."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code

    def body(self) -> dict[str, Any]:
        """The JSON body of the answer, or of the last event of a stream that had already begun."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """A full queue empties soon, so clients are told when to come back."""
        return {"Retry-After": "1"} if self.code == "overloaded" else {}


def overloaded(limit: int) -> ApiError:
    """The queue is full."""
    return ApiError(503, f"The server already has {limit} generations open; try again in a moment.", code="overloaded")


def engine_stopped(reason: str) -> ApiError:
    """The engine core has gone, and with it every open request."""
    return ApiError(503, f"The engine has stopped: {reason}", code="engine_stopped")


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
    message = str(first["msg"]).rstrip(".")
    if first["type"] == "unsupported":
        reason = f": {message}" if message else ""
        text = f"`{param}` is not supported by this server{reason}."
        return ApiError(400, text, param=param, code="unsupported_field")
    return ApiError(400, f"`{param}`: {message}." if param else f"{message}.", param=param, code="invalid_value")


def _param(error: Mapping[str, Any]) -> str | None:
    """`messages[0].content` out of ("body", "messages", 0, "content") and what the check itself adds to it."""
    parts = [*error["loc"][1:], *error.get("ctx", {}).get("inside", ())]
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or None
