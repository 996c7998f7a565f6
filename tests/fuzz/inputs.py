"""Inputs for a target as hypothesis makes them: one of the corpus, changed in a few places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.target import Target, kept

Draw = Callable[[st.SearchStrategy[Any]], Any]


def beginnings(name: str, target: Target) -> list[bytes]:
    """What the search begins with."""
    return [*target.seeds(), *kept(name).values()]


@st.composite
def inputs(draw: Draw, target: Target, known: list[bytes]) -> bytes:
    """Any bytes now and then; else a known input after one to three changes."""
    if draw(st.integers(0, 15)) == 15:
        return draw(st.binary(max_size=64))
    data = draw(st.sampled_from(known))
    rng = draw(st.randoms(use_true_random=False))
    for _ in range(draw(st.integers(1, 3))):
        data = target.mutate(data, rng)
    return data
