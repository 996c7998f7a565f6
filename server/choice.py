"""One choice of an answer as it grows: the engine's tokens in, deltas of text, calls and log probabilities out; or the
one delta that is an embedding.

Everything that an answer is made of is decided here, so a streamed answer and a whole one cannot differ.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

import msgspec
import numpy as np

from engine.messages import Logprob, Submit, TokenOut
from server.answers import Alternative, Delta, Shape, TokenLogprob, encode
from server.calls import CallReader, Read, one_piece_each
from server.detokenize import TextStream
from server.errors import ApiError
from server.text import TextModel


class Choice:
    """Give it every output of its generation; it is `done` once a delta was the last."""

    def __init__(self, index: int, submit: Submit, text: TextModel, shape: Shape) -> None:
        self.index = index
        self.done = False
        self._submit = submit
        self._model = text
        self._shape = shape
        # what opens calls is read where it is a control token too, which is no text otherwise
        read = text.tokenizer.control_ids(text.calls.hidden) if shape.tools and shape.skip_special else {}
        decoder = text.tokenizer.stream(skip_special=shape.skip_special, shown=frozenset(read.values()))
        self._text = TextStream(decoder, shape.stops, shape.include_stop, shape.unstopped)
        self._calls = CallReader(shape.tools, shape.one_call, text.calls, bool(read)) if shape.tools else None
        self._plain = self._calls is None and not shape.stops
        self._begun = False
        self._shift = 0
        """Characters of an echoed prompt before the answer's own."""

    def take(self, out: TokenOut) -> Delta:
        """What these tokens add."""
        if not self._begun:
            return self._first(out)
        if self._plain and out.finish_reason is None and out.logprobs is None:
            # nearly every token of nearly every answer
            return Delta(self.index, self._text.feed(out.token_ids), len(out.token_ids))
        return self._next(out)

    def _first(self, out: TokenOut) -> Delta:
        self._begun = True
        if out.embedding is not None:
            return self._embedded(out, out.embedding)
        shape, scores = self._shape, out.prompt_logprobs
        echoed, entries = "", None
        if shape.echo:
            echoed = self._model.tokenizer.decode(self._submit.token_ids, skip_special=shape.skip_special)
            if shape.logprobs is not None:
                entries = self._prompt_entries(scores or [])
            self._shift = len(echoed)
        delta = self._next(out)
        return Delta(
            delta.index,
            echoed + delta.text,
            delta.tokens,
            delta.finish_reason,
            delta.logprobs if entries is None else entries + (delta.logprobs or ()),
            True,
            delta.calls,
            None if shape.prompt_logprobs is None else self._prompt_scores(scores or []),
            out.cached_tokens,
        )

    def _embedded(self, out: TokenOut, vector: bytes) -> Delta:
        """A vector is encoded when it comes: all of a large request's at once would keep other answers waiting."""
        self.done = True
        written = b64encode(vector).decode() if self._shape.base64 else np.frombuffer(vector, "<f4").tolist()
        raw = msgspec.Raw(encode(written))
        return Delta(self.index, "", 0, out.finish_reason, first=True, cached_tokens=out.cached_tokens, embedding=raw)

    def _next(self, out: TokenOut) -> Delta:
        finish = out.finish_reason
        if finish == "abort":
            raise ApiError(503, "The engine is shutting down.", code="engine_stopped")
        before = self._text.count
        entries = self._entries(out) if out.logprobs is not None else None
        text = self._text.feed(out.token_ids) if entries is None else "".join(shown for _, shown in entries)
        tokens = self._text.count - before
        if out.stop_token is not None:
            tokens += 1
            if self._shape.include_stop:
                text += self._text.feed((out.stop_token,))
        if finish is not None and not self._text.stopped:
            text += self._text.finish()
        if self._text.stopped:
            finish = "stop"
        read = self._read(text, finish is not None)
        if self._calls is not None and self._calls.count and (finish == "stop" or self._calls.done):
            finish = "tool_calls"
        self.done = finish is not None
        logprobs = None if entries is None else tuple(entry for entry, _ in entries)
        return Delta(self.index, read.text, tokens, finish, logprobs, False, read.calls)

    def _read(self, text: str, last: bool) -> Read:
        if self._calls is None:
            return Read(text)
        read = self._calls.feed(text)
        if not last:
            return read
        rest = self._calls.finish()
        return Read(read.text + rest.text, one_piece_each(read.calls + rest.calls))

    # ---- log probabilities ----

    def _entries(self, out: TokenOut) -> list[tuple[TokenLogprob, str]]:
        """Each token as its log probabilities show it, and the text that it gave."""
        found: list[tuple[TokenLogprob, str]] = []
        for token, logprob in zip(out.token_ids, out.logprobs or (), strict=True):
            if self._text.stopped:
                break
            entry = self._entry(token, logprob, self._shift + self._text.offset)
            found.append((entry, self._text.feed((token,))))
        return found

    def _prompt_entries(self, scores: Sequence[Logprob | None]) -> tuple[TokenLogprob, ...]:
        """An echoed prompt's tokens, the first without a probability: nothing predicts it."""
        decoder = TextStream(self._model.tokenizer.stream(skip_special=self._shape.skip_special))
        entries: list[TokenLogprob] = []
        for token, logprob in zip(self._submit.token_ids, scores, strict=True):
            entries.append(self._entry(token, logprob, decoder.offset))
            decoder.feed((token,))
        return tuple(entries)

    def _entry(self, token: int, logprob: Logprob | None, offset: int) -> TokenLogprob:
        shown = self._alternative(token, 0.0 if logprob is None else logprob.logprob)
        if logprob is None:
            return TokenLogprob(shown.text, shown.data, None, offset)
        top = logprob.top[: self._shape.logprobs]
        return TokenLogprob(
            shown.text, shown.data, logprob.logprob, offset, tuple(self._alternative(*other) for other in top)
        )

    def _alternative(self, token: int, logprob: float) -> Alternative:
        return Alternative(self._model.tokenizer.token_text(token), self._model.tokenizer.token_bytes(token), logprob)

    def _prompt_scores(self, scores: Sequence[Logprob | None]) -> list[dict[str, dict[str, object]] | None]:
        """vLLM's form: of each token of the prompt, the likeliest tokens and itself, by their ids."""
        told: list[dict[str, dict[str, object]] | None] = []
        for token, score in zip(self._submit.token_ids, scores, strict=True):
            if score is None:
                told.append(None)
                continue
            top = score.top[: self._shape.prompt_logprobs]
            ranked = {other: (rank, logprob) for rank, (other, logprob) in enumerate(top, 1)}
            ranked[token] = (score.rank, score.logprob)
            told.append(
                {
                    str(other): {
                        "logprob": logprob,
                        "rank": rank,
                        "decoded_token": self._model.tokenizer.token_text(other),
                    }
                    for other, (rank, logprob) in ranked.items()
                }
            )
        return told
