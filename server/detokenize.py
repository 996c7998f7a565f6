"""Token ids of one choice -> pieces of text that may be shown now.

Two things are held back: bytes that are not yet a whole character (`engine.tokenizer.TokenStream`, at most three), and
text that may become a stop string (`engine.stops.StopStrings`, less than the longest of them).

    text = TextStream(tokenizer.stream(), stops=["END"])
    text.feed([464, 3290])      # "The dog"
    text.finish()               # what was still held back

Law: the pieces of any token sequence, put together, are the text decoded whole (cut at the first stop string).
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.stops import StopStrings
from engine.tokenizer import TokenStream


class TextStream:
    """Incremental decoding, then stop strings. After `stopped` nothing more is shown and no token is counted."""

    def __init__(
        self, decoder: TokenStream, stops: Sequence[str] = (), include_stop: bool = False, unstopped: int = 0
    ) -> None:
        self._decoder = decoder
        self._stops = StopStrings(stops, include_stop)
        self._unstopped = unstopped if stops else 0
        self._whole = not stops
        self.count = 0
        """Tokens read."""
        self.offset = 0
        """Characters decoded: where the next token's text begins."""

    @property
    def stopped(self) -> bool:
        """True once a stop string was completed. In the first `unstopped` tokens none is looked for."""
        return self._stops.hit is not None

    def feed(self, ids: Sequence[int]) -> str:
        """The text that may be shown after `ids`."""
        if self._whole:  # nothing can end it early, so all at once
            shown = self._decoder.feed(ids)
            self.count += len(ids)
            self.offset += len(shown)
            return shown
        shown = ""
        for token in ids:
            if self.stopped:
                break
            text = self._decoder.feed((token,))
            self.count += 1
            self.offset += len(text)
            shown += text if self.count <= self._unstopped else self._stops.feed(text)
        return shown

    def finish(self) -> str:
        """The rest, once no more tokens come. May complete a stop string."""
        text = self._stops.feed(self._decoder.finish())
        return text if self.stopped else text + self._stops.flush()
