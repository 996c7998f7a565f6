"""The two files of a batch: what a line of the input may say, what a line of the output says, what is answered already.

A line of the input that is no request becomes a line with an `error`, which says where it is; it ends nothing. The
output is written a line at a time. It is all that a run leaves behind, so what a killed run had finished is what its
whole lines say, and half a line at the end was never finished.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from pydantic import ValidationError

from server.answers import encode
from server.body import LIMIT
from server.errors import ApiError, from_validation
from server.json_text import parse
from server.run import Refused
from server.strict import Str, Strict

SHOWN = 5
"""Of many mistakes of one kind, so many are told."""


class Asked(Strict):
    """One line of the input."""

    custom_id: Str
    method: Literal["POST"]
    url: Literal["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"]
    body: dict[str, Any]


@dataclass(frozen=True)
class Line:
    """A line of the input, counted from 1, and what it asks, or why it asks nothing."""

    number: int
    custom_id: str | None
    """None where none can be read."""
    asked: Asked | ApiError

    @property
    def key(self) -> str | int:
        """What the output knows it by."""
        return self.number if self.custom_id is None else self.custom_id


def read(path: Path) -> Iterator[Line]:
    """Every line that is not blank."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.isspace():
                yield _line(number, raw)


def _line(number: int, raw: bytes) -> Line:
    if len(raw) > LIMIT:
        return Line(number, None, ApiError(413, f"The line is larger than {LIMIT} bytes.", code="invalid_line"))
    try:
        said = parse(raw)
    except ValueError as error:
        return Line(number, None, ApiError(400, f"The line is not valid JSON: {error}.", code="invalid_json"))
    if not isinstance(said, dict):
        return Line(number, None, ApiError(400, "A line is a JSON object.", code="invalid_value"))
    custom_id = said.get("custom_id")
    try:
        return Line(number, custom_id, Asked.model_validate(said))
    except ValidationError as error:
        known = isinstance(custom_id, str) and _printable(custom_id) == custom_id
        return Line(number, custom_id if known else None, invalid(error))


def invalid(error: ValidationError) -> ApiError:
    """As the server says it of a body."""
    return from_validation([{**found, "loc": ("body", *found["loc"])} for found in error.errors(include_url=False)])


def survey(path: Path) -> Set[str | int]:
    """The keys of all lines; `Refused` where two lines have one `custom_id`."""
    first: dict[str | int, int] = {}
    twice: dict[str | int, list[int]] = {}
    try:
        for line in read(path):
            if first.setdefault(line.key, line.number) != line.number:
                twice.setdefault(line.key, [first[line.key]]).append(line.number)
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}") from None
    if twice:
        told = [f"{key!r} is on lines {', '.join(map(str, lines))}" for key, lines in list(twice.items())[:SHOWN]]
        rest = f"; and {len(twice) - SHOWN} more" if len(twice) > SHOWN else ""
        raise Refused(f"each line of {path} needs a custom_id of its own: {'; '.join(told)}{rest}")
    return first.keys()


# ---- the output --------------------------------------------------------------------------------------

Record = dict[str, Any]
_BEGINNING = b'{"id":"batch_req_'
"""How every line of an output begins: half a line is only thrown away where it is one of these."""


def answered(line: Line, status: int, request_id: str, body: dict[str, Any]) -> Record:
    """What the server would have answered."""
    return _record(line, {"status_code": status, "request_id": request_id, "body": body}, None)


def refused(line: Line, error: ApiError) -> Record:
    """A request's own error, in the words of the server."""
    return answered(line, error.status, f"req_{secrets.token_hex(12)}", _printable(error.body()))


def unusable(line: Line, error: ApiError) -> Record:
    """The line is no request at all."""
    told = {"code": error.code, "message": error.message, "param": error.param, "line": line.number}
    return _record(line, None, _printable(told))


def succeeded(record: Record) -> bool:
    """Whether it has the answer that was asked for."""
    return record["error"] is None and record["response"]["status_code"] == 200


def _record(line: Line, response: dict[str, Any] | None, error: dict[str, Any] | None) -> Record:
    return {
        "id": f"batch_req_{secrets.token_hex(12)}",
        "custom_id": line.custom_id,
        "response": response,
        "error": error,
    }


def _printable(said: Any) -> Any:
    """Errors quote what was sent, which may hold half of a surrogate pair."""
    if isinstance(said, dict):
        return {key: _printable(value) for key, value in said.items()}
    return said.encode("utf-8", "backslashreplace").decode() if isinstance(said, str) else said


class Output:
    """The output file of one run, which nobody else may write meanwhile. `done` has the keys of its lines, `failed`
    counts those without an answer.
    """

    def __init__(self, path: Path, keys: Set[str | int]) -> None:
        """Open it, drop half a line at its end; `Refused` where it is no output for lines with these keys."""
        self.done: set[str | int] = set()
        self.failed = 0
        self._path = path
        try:
            # unbuffered: nothing is left to be written once a write has failed
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise Refused(f"cannot write {path}: {error.strerror or error}") from None
        try:
            self._lock()
            self._recover(keys)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Output:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def write(self, key: str | int, record: Record) -> None:
        """Append a line; once this returns, the end of this process cannot undo it."""
        size, rest = os.fstat(self._file.fileno()).st_size, encode(record) + b"\n"
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._file.truncate(size)  # no other line may follow half of this one
            raise Refused(f"cannot write {self._path}: {error.strerror}; run the same command to go on") from None
        self._count(key, record)

    def _count(self, key: str | int, record: Record) -> None:
        self.done.add(key)
        self.failed += not succeeded(record)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refused(f"another run is writing {self._path}") from None

    def _recover(self, keys: Set[str | int]) -> None:
        with self._path.open("rb") as file:
            whole = sum(self._recovered(number, raw, keys) for number, raw in enumerate(file, 1))
        self._file.truncate(whole)

    def _recovered(self, number: int, raw: bytes, keys: Set[str | int]) -> int:
        """Take a line into account; its length, or 0 where it is half a line."""
        if not raw.endswith(b"\n"):
            if raw[: len(_BEGINNING)] != _BEGINNING[: len(raw)]:
                raise self._foreign(number)
            return 0
        try:
            record = json.loads(raw)
            key = record["error"]["line"] if record["custom_id"] is None else record["custom_id"]
            self._count(key, record)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._foreign(number) from None
        if key not in keys:
            raise Refused(f"{self._path} line {number} answers {key!r}, which the input does not have")
        return len(raw)

    def _foreign(self, number: int) -> Refused:
        return Refused(f"{self._path} line {number} is no line of a batch's output; name another file")
