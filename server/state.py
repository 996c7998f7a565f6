"""What the routes share once the engine is there."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import time

from engine.messages import StepStats
from server.link import EngineLink
from server.metrics import Metrics
from server.stream import STALL_SECONDS, Answer, Generation
from server.text import TextModel

log = logging.getLogger("rtriton.server")


class Server:
    """One model behind one engine."""

    def __init__(self, text: TextModel, link: EngineLink, stall_seconds: float = STALL_SECONDS) -> None:
        self.text = text
        self.link = link
        self.metrics = Metrics(text.name, self.stats, lambda: link.restarts)
        self.started = int(time.time())
        self._stall_seconds = stall_seconds
        self._secret = secrets.token_bytes(32)

    def stats(self) -> StepStats | None:
        """The engine's state after its last step."""
        return self.link.stats

    def account(self, authorization: str | None) -> str:
        """Whose request it is: a name made of the API key, from which nobody can tell the key. Without a key, none."""
        if not authorization:
            return ""
        return hmac.new(self._secret, authorization.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()

    def answer(self, generation: Generation) -> Answer:
        """The response to a request that has been understood."""
        log.info(
            "%s: %d prompt tokens, %d choices, stream=%s, user=%r",
            generation.id,
            generation.prompt_tokens,
            len(generation.submits),
            generation.stream,
            generation.user,
        )
        return Answer(self.link, generation, self.metrics, self._stall_seconds)
