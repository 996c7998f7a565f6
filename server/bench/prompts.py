"""What request number i says: random words or a file's prompts, and how long its answer may be.

Everything is decided by the seed and the request's number alone, never by when it is sent: two servers get the same
requests. Random prompts are made of short common words, which most vocabularies hold as one token each; how many
tokens a prompt was is what the server says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

_COMMON = (
    "time year people way day man thing woman life child world school state family student group country problem hand "
    "part place case week company system program question work government number night point home water room mother "
    "area money story fact month lot right study book eye job word business issue side kind head house service friend "
    "father power hour game line end member law car city name team minute idea body back parent face level office "
    "door"
)
WORDS = _COMMON.split()


@dataclass(frozen=True)
class Lengths:
    """A range of whole numbers, both ends included; drawn from uniformly."""

    low: int
    high: int

    @staticmethod
    def parse(text: str) -> Lengths:
        """`N` or `LOW:HIGH`, at least 1; ValueError otherwise."""
        low, colon, high = text.partition(":")
        try:
            lengths = Lengths(int(low), int(high if colon else low))
        except ValueError:
            raise ValueError(f"expected N or LOW:HIGH, got {text!r}") from None
        if not 1 <= lengths.low <= lengths.high:
            raise ValueError(f"expected 1 <= LOW <= HIGH, got {text!r}")
        return lengths

    def draw(self, rng: np.random.Generator) -> int:
        return int(rng.integers(self.low, self.high + 1))


@dataclass(frozen=True)
class Prompt:
    """One request's text, and the most tokens of its answer."""

    text: str
    max_tokens: int


@dataclass(frozen=True)
class Prompts:
    """All requests of a run."""

    seed: int
    tokens: Lengths
    words: Lengths | None
    """Of random prompts; prompts of a file are cut to so many, or whole without."""
    texts: tuple[str, ...] = ()
    """Of a file, taken in order and again from the start; none means random prompts."""

    def __getitem__(self, index: int) -> Prompt:
        rng = np.random.default_rng((self.seed, index))
        max_tokens = self.tokens.draw(rng)
        count = self.words.draw(rng) if self.words else None
        if self.texts:
            text = self.texts[index % len(self.texts)]
            return Prompt(text if count is None else " ".join(text.split()[:count]), max_tokens)
        assert count is not None, "random prompts have a length"
        return Prompt(" ".join(rng.choice(WORDS, count)), max_tokens)


def read(path: Path) -> tuple[str, ...]:
    """The prompts of a file: one a line, or in a .jsonl file the field `prompt` of each line. ValueError, OSError."""
    texts: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            texts.append(_prompt_of(line, f"{path}:{number}") if path.suffix == ".jsonl" else line)
    if not texts:
        raise ValueError(f"{path} has no prompts")
    return tuple(texts)


def _prompt_of(line: str, place: str) -> str:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{place}: no JSON: {error}") from None
    prompt = cast(dict[str, object], row).get("prompt") if isinstance(row, dict) else None
    if not isinstance(prompt, str):
        raise ValueError(f'{place}: expected an object with the text "prompt"')
    return prompt
