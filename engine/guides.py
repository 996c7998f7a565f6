"""Which tokens may come next: grammars in progress, and stop tokens before their time.

    guides = Guides(vocab_size, vocabulary)
    guide = guides.begin(grammar).result()        # compiled in a thread: a large grammar takes its time
    guides.fill([sequence, ...], allowed)         # one line of bits per sequence, by all threads of `LLExecutor`
    guide.accept(token)

A line is never empty. Where a grammar allows nothing but the end, the end is allowed, whatever `min_tokens` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence as Items
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from engine.sequence import Sequence

COMPILERS = 2
"""Grammars that are compiled at once."""
KEPT = 32
"""Compiled grammars that are kept: the tools and schemas of an application come again with each of its requests."""


class GrammarError(ValueError):
    """A grammar that cannot be used, and why."""


class TooComplex(GrammarError):
    """A grammar that has come to a place where following it takes more than llguidance allows."""


@dataclass(frozen=True)
class Vocabulary:
    """What a grammar needs to know of a tokenizer."""

    tokens: list[bytes]
    """The bytes of each token, by id."""
    special: tuple[int, ...]
    """Ids that stand for no text."""
    end: tuple[int, ...]
    """Ids that end an answer; at least one."""
    encode: Callable[[str], list[int]]


class Guide:
    """One answer's way through its grammar."""

    def __init__(self, matcher: Any) -> None:
        self.matcher = matcher

    def accept(self, token: int) -> None:
        """Go on by a token. `GrammarError` if the grammar does not have it there, or cannot tell."""
        if self.matcher.consume_token(token):
            return
        why = _line(self.matcher.get_error())
        if self.matcher.stop_reason().endswith("TooComplex") or why.startswith("lexer error"):
            raise TooComplex(f"the grammar is too complex: {why}")
        raise GrammarError(f"token {token} does not fit the grammar: {why}")

    @property
    def ended(self) -> bool:
        """Nothing can follow."""
        return self.matcher.is_stopped()


class Guides:
    """Compiles grammars and fills masks. What it needs of the tokenizer is loaded with the first grammar."""

    def __init__(self, vocab_size: int, vocabulary: Callable[[], Vocabulary]) -> None:
        self._words = -(-vocab_size // 32)
        self._vocabulary = vocabulary
        self._compilers = ThreadPoolExecutor(COMPILERS, thread_name_prefix="grammar")
        self._compiled = lru_cache(KEPT)(self._compile)

    def begin(self, grammar: str) -> Future[Guide]:
        """A guide at the grammar's start, or the `GrammarError` that says what is wrong with it."""
        return self._compilers.submit(self._begin, grammar)

    def fill(self, sequences: Items[Sequence], allowed: np.ndarray) -> dict[int, str]:
        """Write the tokens that may come next, line by line: i32[lines, words], bit t of a line for token t. Gives what
        went wrong with a line (a grammar that has become too complex), which then allows everything.
        """
        guided = [(s.guide.matcher, line) for line, s in enumerate(sequences) if s.guide is not None]
        allowed[: len(sequences)] = 0
        if guided:
            with _no_panic():
                self._executor.unsafe_compute_mask_ptr(guided, allowed.ctypes.data, 4 * self._words, len(allowed))
        failed: dict[int, str] = {}
        for line, sequence in enumerate(sequences):
            guide = sequence.guide
            if guide is None:
                allowed[line] = -1
            elif guide.matcher.is_error():
                failed[line] = _line(guide.matcher.get_error())
                allowed[line] = -1
            _forbid(allowed[line], sequence.forbidden)
        return failed

    def close(self) -> None:
        """End the threads."""
        self._compilers.shutdown(wait=False, cancel_futures=True)

    @cached_property
    def _executor(self) -> Any:
        from llguidance import LLExecutor

        return LLExecutor()

    @cached_property
    def _tokenizer(self) -> Any:
        from llguidance import LLTokenizer, TokenizerWrapper

        it = self._vocabulary()
        return LLTokenizer(TokenizerWrapper(_Wrapped(it)), n_vocab=len(it.tokens), eos_token=list(it.end))

    def _begin(self, grammar: str) -> Guide:
        with _no_panic():
            return Guide(self._compiled(grammar).deep_copy())

    def _compile(self, grammar: str) -> Any:
        """A matcher at the grammar's start, which is copied and never goes on itself."""
        from llguidance import LLMatcher

        matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise GrammarError(_line(matcher.get_error()))
        return matcher


class _Wrapped:
    """A vocabulary as llguidance asks for it."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.tokens = vocabulary.tokens
        self.special_token_ids = list(vocabulary.special)
        self.eos_token_id = vocabulary.end[0]
        self._encode = vocabulary.encode

    def __call__(self, text: bytes | str) -> list[int]:
        return self._encode(text if isinstance(text, str) else text.decode("utf-8", "replace"))


@contextmanager
def _no_panic() -> Iterator[None]:
    """A panic of the library is no `Exception`, and would end the process for everyone."""
    try:
        yield
    except (Exception, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise GrammarError(f"llguidance: {error}") from error


def _forbid(line: np.ndarray, tokens: Items[int]) -> None:
    """Take tokens out, unless nothing would be left."""
    if not tokens:
        return
    kept = line.copy()
    for token in tokens:
        line[token // 32] &= ~(1 << token % 32) if token % 32 < 31 else 0x7FFFFFFF
    if not line.any():
        line[:] = kept


def _line(text: str) -> str:
    return text.strip().partition("\n")[0]
