"""Which ended requests are remembered: the last ones of every account, however much another asks.

    KEPT            of one account; it loses its own oldest row to a further one
    KEPT_IN_ALL     of all together; beyond that, the account with the most rows loses its oldest

An account is a key that lets in; all that came without one are one account together. So a key that floods has at most
`KEPT` rows, and takes one of another's only when that has at least as many as itself.
"""

from __future__ import annotations

from collections import deque

from server.record import Record

KEPT = 512
KEPT_IN_ALL = 16 * KEPT


class Ended:
    """Records of requests that have ended, in that order."""

    def __init__(self, of_one: int = KEPT, in_all: int = KEPT_IN_ALL) -> None:
        self._of_one = of_one
        self._in_all = in_all
        self._count = 0
        self._by_account: dict[str, deque[Record]] = {}

    def __len__(self) -> int:
        """Records of all accounts."""
        return self._count

    def add(self, record: Record) -> None:
        """Remember it; what is one too many is forgotten."""
        own = self._by_account.setdefault(record.owner, deque())
        own.append(record)
        self._count += 1
        if len(own) > self._of_one:
            self._forget(own)
        elif self._count > self._in_all:
            self._forget(max(self._by_account.values(), key=len))

    def of(self, owner: str) -> list[Record]:
        """Those of one account, the first that ended first."""
        return list(self._by_account.get(owner, ()))

    def _forget(self, records: deque[Record]) -> None:
        records.popleft()
        self._count -= 1
