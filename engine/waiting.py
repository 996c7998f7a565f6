"""The queue: who is next, and whether one more fits in.

Lower priority numbers go first. Among equals what was preempted goes first, since it has been begun; then the account
that has been served least, counted in tokens that were computed for it; then arrival. An account that comes back counts
as served as much as the least served one that is there: it cannot save up (virtual token counters, as in "Fairness in
Serving Large Language Models", Sheng and others, 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from engine.sequence import Sequence

REMEMBERED = 4096
"""Accounts whose service is remembered while nothing of theirs is there."""


class Waiting:
    """Sequences that have no blocks, and the service that each account has had."""

    def __init__(self) -> None:
        self._sequences: dict[Sequence, None] = {}
        self._served: dict[str, int] = {}
        self._present: dict[str, int] = {}
        self.tokens = 0
        """Tokens of all that waits."""

    def __len__(self) -> int:
        return len(self._sequences)

    def __contains__(self, sequence: Sequence) -> bool:
        return sequence in self._sequences

    def __iter__(self) -> Iterator[Sequence]:
        """In the order in which they are next as things are."""
        return iter(sorted(self._sequences, key=self._rank))

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
        self._sequences[sequence] = None
        self.tokens += len(sequence.tokens)

    def take(self, sequence: Sequence) -> None:
        """It waits no longer."""
        del self._sequences[sequence]
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
        rest = list(self._sequences)
        while rest:
            first = min(rest, key=self._rank)
            if ready(first):
                return first
            rest.remove(first)
        return None

    def _rank(self, sequence: Sequence) -> tuple[int, bool, int, int]:
        return sequence.priority, not sequence.begun, self._served[sequence.account], sequence.arrival
