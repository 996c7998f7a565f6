"""Stop strings do not depend on how the text was cut into pieces."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.stops import StopStrings


def shown(stops: list[str], pieces: list[str]) -> tuple[str, str | None]:
    it = StopStrings(stops)
    text = "".join(it.feed(piece) for piece in pieces)
    return (text if it.hit else text + it.flush()), it.hit


def test_text_before_the_stop_is_shown_and_nothing_after():
    assert shown(["END"], ["one ", "E", "ND two"]) == ("one ", "END")


def test_what_only_looked_like_a_stop_is_shown_late():
    it = StopStrings(["\n\n"])
    assert it.feed("a\n") == "a"
    assert it.feed("b") == "\nb"
    assert it.hit is None


def test_text_held_back_at_the_end_is_flushed():
    assert shown(["END"], ["an EN"]) == ("an EN", None)


def test_the_stop_that_is_complete_first_wins():
    assert shown(["abcd", "bc"], ["abcd"]) == ("a", "bc")


def test_an_empty_stop_is_refused():
    with pytest.raises(ValueError, match="empty"):
        StopStrings([""])


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3),
    st.text("abc", max_size=24),
    st.lists(st.integers(0, 24)),
)
def test_cut_anywhere_gives_the_same(stops: list[str], text: str, cuts: list[int]):
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]
    got, hit = shown(stops, pieces)
    assert (got, hit) == shown(stops, list(text))
    assert text.startswith(got)
    if hit is None:
        assert got == text
        assert not any(stop in text for stop in stops)
    else:
        assert text.startswith(got + hit)
        first_end = min(text.find(stop) + len(stop) for stop in stops if stop in text)
        assert len(got + hit) == first_end
