"""Stop strings: cut a stream of text before the first of them, and hold back what may become one.

stops = StopStrings(["END"])
stops.feed("1 E")        # "1 ", the "E" may be a stop's beginning
stops.feed("N.")         # "EN."
stops.feed(" END ...")   # " ", and stops.hit is "END"
"""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Feed text as it comes, show what comes back, finish with `flush` unless `hit` is set."""

    def __init__(self, stops: Sequence[str], include: bool = False) -> None:
        """`include` shows the stop string itself, as the end of the text."""
        if any(not stop for stop in stops):
            raise ValueError("a stop string must not be empty")
        self.stops = tuple(stops)
        self.hit: str | None = None
        self._include = include
        self._held = ""

    def feed(self, text: str) -> str:
        """The part of the text so far that may be shown now. After a hit there is none."""
        if self.hit is not None:
            return ""
        if not self.stops:
            return text
        text = self._held + text
        # the one that ends first wins: only that does not depend on how the text was cut into pieces
        found = [(at + len(stop), at, stop) for stop in self.stops if (at := text.find(stop)) >= 0]
        if found:
            end, at, self.hit = min(found)
            self._held = ""
            return text[: end if self._include else at]
        keep = held_back(text, self.stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back, once no more text comes."""
        held, self._held = self._held, ""
        return held


def held_back(text: str, marks: Sequence[str]) -> int:
    """How many characters at the end of `text` may be the beginning of one of `marks`."""
    return max((_overlap(text, mark) for mark in marks), default=0)


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of `text` that begin `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
