"""Calls read out of text: however it is cut into pieces, the same text and the same calls come out."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.calls import CallReader, joined
from server.tools import in_words

NAMES = {"weather", "time"}
WEATHER = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bern", "days": [1, {"a": "}"}]}}\n</tool_call>'
TIME = '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>'
CITY = '{"city": "Bern", "days": [1, {"a": "}"}]}'


def read(pieces: Sequence[str], one: bool = False) -> tuple[str, list[tuple[str, str]]]:
    """The text, and name and arguments of each call."""
    reader = CallReader(NAMES, one)
    told = [reader.feed(piece) for piece in pieces if not reader.done] + [reader.finish()]
    calls = joined(call for read in told for call in read.calls)
    assert len({call["id"] for call in calls}) == len(calls)
    functions = [call["function"] for call in calls]
    return "".join(read.text for read in told), [(f["name"], f["arguments"]) for f in functions]


@pytest.mark.parametrize(
    ("text", "shown", "calls"),
    [
        ("Hello <b>.", "Hello <b>.", []),
        (" a \n", " a \n", []),
        (WEATHER, "", [("weather", CITY)]),
        (f"Wait.\n{WEATHER}\n{TIME}\n", "Wait.", [("weather", CITY), ("time", "{}")]),
        (f"a {TIME} b ", "a b", [("time", "{}")]),
        # arguments first, in quotes, or under Llama's name
        ('<tool_call>{"arguments": {"a": 1}, "name": "time"}</tool_call>', "", [("time", '{"a": 1}')]),
        ('<tool_call>{"name": "time", "arguments": "{\\"a\\": 1}"}</tool_call>', "", [("time", '{"a": 1}')]),
        ('<tool_call>{"name": "time", "parameters": {"a": 1}}</tool_call>', "", [("time", '{"a": 1}')]),
        # an argument may hold the closing tag, and is a string until its end
        (
            '<tool_call>{"name": "time", "arguments": {"a": "\\"</tool_call>"}}</tool_call>',
            "",
            [("time", '{"a": "\\"</tool_call>"}')],
        ),
        # no call: another function, no JSON, no name, an end in the middle
        ('<tool_call>{"name": "rm", "arguments": {}}</tool_call>!', None, []),
        ("<tool_call>weather</tool_call>", None, []),
        ('<tool_call>{"arguments": {}}</tool_call>', None, []),
        ("<tool_call>[]</tool_call>", None, []),
        ('<tool_call>{"name": "weather", "arg', None, []),
        ("a <tool_", None, []),
        # cut in the arguments, or broken in them: what was told stays told
        ('<tool_call>{"name": "time", "arguments": {"a": "b', "", [("time", '{"a": "b')]),
        ('<tool_call>{"name": "time", "arguments": {"a": </tool_call> x', " x", [("time", '{"a": ')]),
    ],
)
def test_calls_are_told_apart_from_text(text: str, shown: str | None, calls: list[tuple[str, str]]) -> None:
    expected = (text if shown is None else shown, calls)
    assert read([text]) == expected
    assert read(list(text)) == expected


PARTS = [
    WEATHER,
    TIME,
    "<tool_call>",
    "</tool_call>",
    '{"name": "time", "arguments": ',
    "{",
    "}",
    '"',
    "\\",
    "<",
    " ",
    "x",
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(PARTS), max_size=10).map("".join), st.lists(st.integers(1, 40), max_size=12), st.booleans()
)
def test_how_an_answer_is_cut_into_pieces_changes_nothing(text: str, sizes: list[int], one: bool) -> None:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(text[at : at + size])
        at += size
    pieces.append(text[at:])
    assert read(pieces, one) == read([text], one) == read(list(text), one)


def test_the_name_comes_first_and_arguments_as_they_are_written() -> None:
    reader = CallReader(NAMES)
    seen = [call for character in WEATHER for call in reader.feed(character).calls]
    assert seen[0].name == "weather" and seen[0].arguments == "{" and seen[0].id
    assert all(call.name is None and call.id is None and len(call.arguments) == 1 for call in seen[1:])
    assert "".join(call.arguments for call in seen) == CITY
    (whole,) = CallReader(NAMES).feed(WEATHER).calls
    assert whole.name == "weather" and whole.arguments == CITY, "no call twice in one piece"


def test_with_one_call_the_answer_ends_after_it() -> None:
    reader = CallReader(NAMES, one=True)
    assert reader.feed(WEATHER + TIME).calls and reader.done and reader.count == 1


def test_tools_are_told_in_words_where_the_template_knows_none() -> None:
    tools = [{"type": "function", "function": {"name": "time", "parameters": {"type": "object"}}}]
    call = {"id": "1", "type": "function", "function": {"name": "time", "arguments": {"zone": "CET"}}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "When?"},
        {"role": "assistant", "content": "", "tool_calls": [call, call]},
        {"role": "tool", "content": "noon", "tool_call_id": "1"},
        {"role": "tool", "content": "one", "tool_call_id": "1"},
    ]
    told = in_words(messages, tools)
    assert [m["role"] for m in told] == ["system", "user", "assistant", "user"]
    assert told[0]["content"].startswith("Be brief.\n\n") and json.dumps(tools[0]) in told[0]["content"]
    assert read([told[2]["content"]]) == ("", [("time", '{"zone": "CET"}')] * 2), "what is written is what is read"
    assert told[3]["content"].count("<tool_response>") == 2
    assert in_words(messages[1:2], tools)[0]["role"] == "system" and in_words(messages[1:2], ()) == messages[1:2]
