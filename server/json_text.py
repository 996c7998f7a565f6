"""The JSON that is taken, of bodies and of the arguments of calls: what every reader of it understands in one way.

It is UTF-8, nests at most `DEPTH` deep, has no NaN, no Infinity and no number that would be read as one (`1e999`). An
object names each of its members once and in whole characters: of two, one would be ignored, and who looked at a
request before this server may have read the other.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import numpy as np

DEPTH = 100
"""Below what Python's parser and pydantic take, above any schema that was written by hand."""


def parse(body: bytes) -> Any:
    """JSON within the limits; `ValueError` where it is not."""
    if depth(body) > DEPTH:
        raise ValueError(f"it nests more than {DEPTH} deep")
    try:
        text = body.decode("utf-8-sig")  # of other encodings nothing above holds
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from None
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_object)
    except ValueError as error:
        if "integer string conversion" in str(error):  # Python's own words, which tell the server's owner what to set
            raise ValueError("it has a whole number of more than 4300 digits") from None
        raise


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


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(members)
    if len(made) < len(members):
        seen: set[str] = set()
        twice = next(name for name, _ in members if name in seen or seen.add(name))
        raise ValueError(f"an object has the name {twice!r:.80} twice")
    try:
        "".join(made).encode()
    except UnicodeEncodeError:
        raise ValueError("a name in it is not valid Unicode: it holds half of a surrogate pair") from None
    return made


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is too large for a number")
    return value
