"""A connection that waits for a request, but not for ever, and stays what it is: two things that uvicorn leaves open.

From connecting, or from the first byte of a further request, the head has `HEAD_SECONDS`, and `HEAD_BYTES` in all. The
body's own time is in `body`.

`Upgrade` is an offer to speak something else (Java's client offers HTTP/2 with every request), which a server may pass
over. uvicorn does not take it up either, but its parser then takes the request for one without a body, and the body
for the next request: who sends through a proxy could put a request into it that the proxy has not seen.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_SECONDS = 10.0
HEAD_BYTES = 64 << 10
_UPGRADE = re.compile(rb"\r?\nupgrade[ \t]*:[^\r\n]*", re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")


class PatientProtocol(AutoHTTPProtocol):  # type: ignore[valid-type, misc]  # whichever of uvicorn's two is installed
    """uvicorn's connection, closed when a head is late or too long."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._late: asyncio.TimerHandle | None = None
        self._head = 0
        self._body: bool | None = None
        """Whether a body is being read; None where the parser does not say so."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The first request is waited for from here."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Whether it was the end of a head is seen by the request that uvicorn makes of it."""
        before = self.cycle
        in_body = self._in_body()  # as it was: this may be the body's last
        super().data_received(data if in_body else _without_upgrade(data))
        if self.cycle is not before:
            self._done()
            return
        if before is None or before.response_complete:
            self._expect()
        if not in_body:
            self._head += len(data)
            if self._head > HEAD_BYTES:
                self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is waited for."""
        self._done()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """Said by httptools' parser, the next one too."""
        super().on_headers_complete()
        self._body = True

    def on_message_complete(self) -> None:
        """Also of a body that nobody reads, since its request was answered before."""
        super().on_message_complete()
        self._body = False

    def _in_body(self) -> bool:
        if self._body is None:
            return self.cycle is not None and self.cycle.more_body
        return self._body

    def _unsupported_upgrade_warning(self) -> None:
        """uvicorn has met one in spite of `_without_upgrade`: in a head that came in pieces, or behind another body.
        Nothing more is read of what may be a body itself.
        """
        self.transport.close()

    def _expect(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _done(self) -> None:
        self._head = 0
        if self._late is not None:
            self._late.cancel()
            self._late = None


def _without_upgrade(data: bytes) -> bytes:
    """The head that begins or goes on in `data` without the header, and what follows it as it is."""
    end = _END.search(data)
    head = len(data) if end is None else end.start()
    return _UPGRADE.sub(b"", data[:head]) + data[head:]
