"""Grammars are made of schemas, expressions, choices and Lark texts, and what is wrong with one is said."""

import pytest

pytest.importorskip("llguidance")

from engine import grammar


@pytest.mark.parametrize(
    "made",
    [
        grammar.json_object(),
        grammar.json_schema({"type": "array", "items": {"enum": [1, "a"]}}),
        grammar.json_schema({}),
        grammar.regex("[a-z]+[0-9]?"),
        grammar.choice(["yes", 'say "no"', "ja\n", "déjà"]),
        grammar.lark('start: "a" %json {"type": "number"}'),
    ],
)
def test_what_is_made_can_be_used(made: str):
    assert grammar.problem(made) is None


@pytest.mark.parametrize(
    "made", [grammar.regex("["), grammar.lark("start: b"), grammar.json_schema({"type": "thing"}), "nonsense"]
)
def test_what_cannot_be_used_says_why_in_a_line(made: str):
    complaint = grammar.problem(made)
    assert complaint
    assert "\n" not in complaint


def test_a_choice_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one text"):
        grammar.choice([])
