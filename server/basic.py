"""How a browser shows an API key: HTTP Basic, any user name, the key as the password.

A browser cannot send `Authorization: Bearer` when it is led to a page, but asks for a password where it is challenged
and sends that with whatever is asked of this origin from then on, also when a page of another origin asks. So it counts
for reading the pages, and elsewhere only beside a header that no other origin's page can send: `x-rtriton-page` needs a
CORS preflight, which is never granted, and `Sec-Fetch-Site` is the browser's own word.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from server.stream import Message

PAGES = frozenset({"/", "/docs", "/openapi.json"})
PAGE_FILES = "/page/"
MARK = b"x-rtriton-page"
CHALLENGE = 'Basic realm="rtriton: any user name, an API key as the password", charset="UTF-8"'


def is_page(scope: Message) -> bool:
    """Whether a browser is led here, so that it is worth asking its user for a key."""
    path = scope["path"]
    return scope["method"] in ("GET", "HEAD") and (path in PAGES or path.startswith(PAGE_FILES))


def challenge(scope: Message) -> str:
    """What a refusal says is needed here."""
    return CHALLENGE if is_page(scope) else "Bearer"


def as_bearer(scope: Message) -> Message:
    """The request with its key as every other client sends it, where a password counts; else as it is. One key is so
    one account, whatever the user name.
    """
    given = list(_values(scope, b"authorization"))
    if len(given) != 1 or given[0][:6].lower() != "basic " or not (is_page(scope) or _is_ours(scope)):
        return scope
    try:
        said = base64.b64decode(given[0][6:].strip(), validate=True)
    except ValueError:  # no base64, or no ASCII
        return scope
    key = said.partition(b":")[2]
    headers = [(name, value) for name, value in scope["headers"] if name != b"authorization"]
    return {**scope, "headers": [*headers, (b"authorization", b"Bearer " + key)]}


def _is_ours(scope: Message) -> bool:
    return any(_values(scope, MARK)) and set(_values(scope, b"sec-fetch-site")) <= {"same-origin"}


def _values(scope: Message, name: bytes) -> Iterable[str]:
    return (value.decode("latin-1") for key, value in scope["headers"] if key == name)
