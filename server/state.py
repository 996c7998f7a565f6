"""What the routes share once the engine is there."""

from __future__ import annotations

import time

from engine.messages import StepStats
from server.access import Access
from server.journal import Journal
from server.limits import Limiter
from server.link import EngineLink
from server.metrics import Metrics
from server.stream import STALL_SECONDS, Answer, Generation
from server.text import TextModel


class Server:
    """One model behind one engine."""

    def __init__(
        self,
        text: TextModel,
        link: EngineLink,
        stall_seconds: float = STALL_SECONDS,
        access: Access = Access(),
        journal: Journal | None = None,
        limiter: Limiter | None = None,
        most_seconds: float | None = None,
    ) -> None:
        self.text = text
        self.link = link
        self.access = access
        self.journal = journal or Journal()
        self.metrics = Metrics(text.name, self.stats, lambda: link.restarts, lambda: self.journal.totals)
        self.started = int(time.time())
        self._stall_seconds = stall_seconds
        self._limiter = limiter or Limiter()
        self._most_seconds = most_seconds

    def stats(self) -> StepStats | None:
        """The engine's state after its last step."""
        return self.link.stats

    def answer(self, generation: Generation) -> Answer:
        """The response to a request that has been understood."""
        read = self._limiter.read
        return Answer(self.link, generation, self.metrics, self._stall_seconds, self._most_seconds, read)
