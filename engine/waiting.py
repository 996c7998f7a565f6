"""The queue: who is next, and whether one more fits in.

Lower priority numbers go first. Among equals what was preempted goes first, since it has been begun; then the account
that has been served least, counted in tokens that were computed for it; then arrival. An account that comes back counts
as served as much as the least served one that is there: it cannot save up (virtual token counters, as in "Fairness in
Serving Large Language Models", Sheng and others, 2024).
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Callable, Iterator

from engine.sequence import Sequence

REMEMBERED = 4096
"""Accounts whose service is remembered while nothing of theirs is there."""
Lane = tuple[int, bool, str]
Rank = tuple[int, bool, int, int]


class Waiting:
    """Sequences that have no blocks, and the service that each account has had."""

    def __init__(self) -> None:
        self._members: set[Sequence] = set()
        self._lanes: dict[Lane, list[Sequence]] = {}
        """By priority, begun or not, and account; within a lane arrival decides, so that only its first one is looked
        at."""
        self._served: dict[str, int] = {}
        self._present: dict[str, int] = {}
        self.tokens = 0
        """Tokens of all that waits."""

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, sequence: Sequence) -> bool:
        return sequence in self._members

    def __iter__(self) -> Iterator[Sequence]:
        """In the order in which they are next as things are."""
        return iter(sorted(self._members, key=self._rank))

    def enter(self, sequence: Sequence) -> None:
        """A new sequence; its account is present until `leave`."""
        account = sequence.account
        if account not in self._present:
            least = min((self._served[name] for name in self._present), default=0)
            self._served[account] = max(self._served.get(account, 0), least)
        self._present[account] = self._present.get(account, 0) + 1
        self.put(sequence)

    def put(self, sequence: Sequence) -> None:
        """One that waits, or waits again."""
        self._members.add(sequence)
        insort(self._lanes.setdefault(_lane(sequence), []), sequence, key=lambda it: it.arrival)
        self.tokens += len(sequence.tokens)

    def take(self, sequence: Sequence) -> None:
        """It waits no longer."""
        self._members.remove(sequence)
        lane = self._lanes[_lane(sequence)]
        lane.remove(sequence)
        if not lane:
            del self._lanes[_lane(sequence)]
        self.tokens -= len(sequence.tokens)

    def leave(self, sequence: Sequence) -> None:
        """It has ended, wherever it was."""
        account = sequence.account
        self._present[account] -= 1
        if not self._present[account]:
            del self._present[account]
            if len(self._served) > REMEMBERED:
                self._served = {name: self._served[name] for name in self._present}

    def serve(self, sequence: Sequence, tokens: int) -> None:
        """So many tokens are computed for it."""
        self._served[sequence.account] += tokens

    def best(self, ready: Callable[[Sequence], bool]) -> Sequence | None:
        """Who is next, of those that are ready."""
        # ranks differ, since arrivals do: lanes are never compared
        heads = [(self._rank(lane[0]), 0, lane) for lane in self._lanes.values()]
        heapq.heapify(heads)
        while heads:
            _, place, lane = heads[0]
            if ready(lane[place]):
                return lane[place]
            if place + 1 < len(lane):
                heapq.heapreplace(heads, (self._rank(lane[place + 1]), place + 1, lane))
            else:
                heapq.heappop(heads)
        return None

    def _rank(self, sequence: Sequence) -> Rank:
        return sequence.priority, not sequence.begun, self._served[sequence.account], sequence.arrival


def _lane(sequence: Sequence) -> Lane:
    return sequence.priority, sequence.begun, sequence.account
