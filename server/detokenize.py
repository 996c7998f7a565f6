"""Token ids of one choice -> pieces of text that may be shown now.

Two things are held back: bytes that are not yet a whole character (`engine.tokenizer.TokenStream`), and text that may
become a stop string (`engine.stops.StopStrings`).

    text = TextStream(tokenizer.stream(), stops=["END"])
    text.feed([464, 3290])      # "The dog"
    text.finish()               # what was still held back

Law: the pieces of any token sequence, put together, are the text decoded whole (cut before the first stop string).
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.stops import StopStrings
from engine.tokenizer import TokenStream


class TextStream:
    """Incremental decoding, then stop strings. After `stopped` nothing more is shown."""

    def __init__(self, decoder: TokenStream, stops: Sequence[str] = ()) -> None:
        self._decoder = decoder
        self._stops = StopStrings(stops)

    @property
    def stopped(self) -> bool:
        """True once a stop string was completed; it is not part of the text."""
        return self._stops.hit is not None

    def feed(self, ids: Sequence[int]) -> str:
        """The text that may be shown after `ids`."""
        return self._stops.feed(self._decoder.feed(ids))

    def finish(self) -> str:
        """The rest, once no more tokens come. May complete a stop string."""
        text = self._stops.feed(self._decoder.finish())
        return text if self.stopped else text + self._stops.flush()
