"""What an answer must match -> a grammar that the engine follows for some tokens, or an error in OpenAI's shape.

    regex\\n[a-z]+                    # the first line says what the rest is

Compiled twice, as in life: in the API process to be checked, in the engine core with the vocabulary. What the first has
accepted the second may only end with a `GrammarError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from random import Random
from types import SimpleNamespace
from typing import Any, get_args
from unittest.mock import patch

import numpy as np

from engine.guides import GrammarError, Guides, Vocabulary
from server.constraints import Constraint, Kind
from server.errors import ApiError
from server.grammar import grammar_of
from server.json_text import parse
from tests.fuzz.limits import SECONDS
from tests.fuzz.mutate import octets, values, words
from tests.fuzz.target import Target, words_of
from tests.server.tiny import tokenizer

STEPS = 8
KINDS: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}


def run(data: bytes) -> None:
    kind, _, text = data.decode("utf-8", "replace").partition("\n")
    # compiled apart: what takes longer there is refused, and is no finding
    with suppress(ApiError, GrammarError), patch("server.grammar.COMPILE_SECONDS", SECONDS):
        made = _loop().run_until_complete(grammar_of(Constraint(KINDS.get(kind, "json"), _value(kind, text), "x")))
        follow(made)


def _value(kind: str, text: str) -> Any:
    if kind in ("regex", "grammar"):
        return text
    try:
        value = parse(text.encode())
    except ValueError:
        return text if kind != "choice" else [text]
    if kind != "choice":
        return value if isinstance(value, (dict, bool, str)) else text
    return value if value and isinstance(value, list) and all(isinstance(one, str) for one in value) else [text]


def follow(made: str) -> None:
    """Some steps of an answer, each time by the last token that is allowed."""
    guides = _guides()
    guide = guides.begin(made).result()
    size = _vocabulary().tokens
    allowed = np.zeros((1, -(-len(size) // 32)), np.int32)
    for _ in range(STEPS):
        if guide.ended:
            return
        failed = guides.fill([SimpleNamespace(guide=guide, forbidden=())], allowed)  # type: ignore[list-item]
        if failed:
            return
        bits = np.unpackbits(allowed.view(np.uint8), bitorder="little")[: len(size)]
        assert bits.any(), "nothing is allowed"
        guide.accept(int(np.flatnonzero(bits)[-1]))


@cache
def _vocabulary() -> Vocabulary:
    it = tokenizer()
    return Vocabulary([it.token_bytes(i) for i in range(it.vocab_size)], (0, 1, 2), (0,), it.encode)


@cache
def _guides() -> Guides:
    return Guides(len(_vocabulary().tokens), _vocabulary)


_loop: Callable[[], asyncio.AbstractEventLoop] = cache(asyncio.new_event_loop)

# ---- inputs ------------------------------------------------------------------------------------------

WORDS, MARKS = words_of("schema"), words_of("grammar")


def mutate(data: bytes, rng: Random) -> bytes:
    kind, _, text = data.partition(b"\n")
    way = rng.randint(0, 9)
    if way == 0:
        return kind + b"\n" + octets(text, rng)
    if kind in (b"json", b"choice") and way < 7:
        return kind + b"\n" + values(text, rng, WORDS)
    return kind + b"\n" + words(text, rng, [*MARKS, *WORDS])


TARGET = Target(run, list, mutate)
