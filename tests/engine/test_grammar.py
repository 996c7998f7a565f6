"""Grammars are made of schemas, expressions, choices and Lark texts, and what is wrong with one is said."""

import json

import pytest

pytest.importorskip("llguidance")

from engine import grammar
from engine.guides import GrammarError, Guides, Vocabulary


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


def test_a_grammar_is_compiled_once_and_each_answer_goes_its_own_way_through_it():
    loaded: list[int] = []

    def vocabulary() -> Vocabulary:
        loaded.append(1)
        return Vocabulary([b"<end>", b"a", b"b"], (0,), (0,), lambda text: [1 + ord(c) - 97 for c in text])

    guides = Guides(3, vocabulary)
    first, second = (guides.begin(grammar.regex("ab|ba")).result() for _ in range(2))
    assert guides._compiled.cache_info().misses == 1
    first.accept(1)
    second.accept(2)
    first.accept(2)
    assert (first.ended, second.ended) == (True, False)
    with pytest.raises(GrammarError, match="token 2 does not fit"):
        second.accept(2)
    assert loaded == [1]
    guides.close()


def test_a_grammar_that_is_wrong_is_so_each_time():
    guides = Guides(2, lambda: Vocabulary([b"<end>", b"a"], (0,), (0,), lambda text: [1]))
    for _ in range(2):
        with pytest.raises(GrammarError):
            guides.begin("nonsense").result()
    guides.close()


def test_chains_of_rules_and_references_end_before_the_stack_does():
    count = 5000
    rules = "start: x0\n" + "\n".join(f"x{i}: x{i + 1}" for i in range(count)) + f'\nx{count}: "a"'
    links = {f"a{i}": {"type": "array", "items": {"$ref": f"#/$defs/a{i + 1}"}} for i in range(count)}
    schema = {"$ref": "#/$defs/a0", "$defs": {**links, f"a{count}": {"type": "integer"}}}
    inside = json.dumps(schema).replace("$ref", "\\u0024ref")
    for made in (grammar.lark(rules), grammar.json_schema(schema), grammar.lark(f"start: %json {inside}")):
        assert "parts" in (grammar.problem(made) or "")


def test_what_is_large_and_shallow_is_no_chain():
    choices = grammar.choice([f"f({i}): [x]" for i in range(2000)])
    schema = grammar.json_schema({"enum": [f"{{{i}" for i in range(3000)]})
    tools = "start: " + " | ".join(f'%json {{"type": "array", "items": {{"const": {i}}}}}' for i in range(400))
    assert [grammar.problem(made) for made in (choices, schema, grammar.lark(tools))] == [None] * 3
