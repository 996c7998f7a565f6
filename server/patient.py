"""A connection that waits for a request, but not for ever: uvicorn itself has no limit on how slowly a head may come.

From connecting, or from the first byte of a further request, the head has `HEAD_SECONDS`, and `HEAD_BYTES` in all. The
body's own time is in `body`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_SECONDS = 10.0
HEAD_BYTES = 64 << 10


class PatientProtocol(AutoHTTPProtocol):  # type: ignore[valid-type, misc]  # whichever of uvicorn's two is installed
    """uvicorn's connection, closed when a head is late or too long."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._late: asyncio.TimerHandle | None = None
        self._head = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The first request is waited for from here."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Whether it was the end of a head is seen by the request that uvicorn makes of it."""
        before = self.cycle
        in_body = before is not None and before.more_body  # as it was: this may be the body's last
        super().data_received(data)
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

    def _expect(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _done(self) -> None:
        self._head = 0
        if self._late is not None:
            self._late.cancel()
            self._late = None
