"""Each family's format: calls are read however they are cut, and what a grammar holds an answer to is what is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import grammar
from engine.chat_template import ChatTemplate
from engine.guides import GrammarError, Guides, Vocabulary
from engine.messages import SamplingParams, Submit, TokenOut
from engine.tokenizer import CONTROL, NORMAL, Tokenizer
from server.answers import Shape
from server.call_formats import FORMATS, HERMES, LLAMA, MISTRAL, MISTRAL_ARGS, Format, format_of
from server.calls import CallReader, joined
from server.choice import Choice
from server.text import Sampling, TextModel
from server.tools import forced, held
from tests.server.test_fields import CITY
from tests.server.tiny import SPECIALS, byte_alphabet, text_model

NAMES = {"weather", "time"}
BERN = '{"city": "Bern", "days": 3}'
MARKS = ("[TOOL_CALLS]", "[ARGS]", "<|python_tag|>")


def read(pieces: Sequence[str], format: Format, one: bool = False) -> tuple[str, list[tuple[str, str]]]:
    """The text, and name and arguments of each call."""
    reader = CallReader(NAMES, one, format)
    told = [reader.feed(piece) for piece in pieces if not reader.done] + [reader.finish()]
    functions = [call["function"] for call in joined(call for read in told for call in read.calls)]
    return "".join(read.text for read in told), [(f["name"], f["arguments"]) for f in functions]


@pytest.mark.parametrize(
    ("template", "format"),
    [
        ("{{ '{\"name\": \"' + name + '\", ' }}{{ '\"parameters\": ' }}<|start_header_id|>", LLAMA),
        ("{{ '[TOOL_CALLS] [' }}{{ tool_call.function|tojson }}", MISTRAL),
        ("{{ '[TOOL_CALLS]' + name + '[ARGS]' + arguments }}", MISTRAL_ARGS),
        ('<tool_call>\n{"name": "<name>", "arguments": ...}</tool_call> {"parameters": ...} <|im_start|>', HERMES),
        ("<|im_start|>{{ message }}", HERMES),
    ],
)
def test_a_template_says_which_format_its_model_writes(template: str, format: Format) -> None:
    assert format_of(template) is format


def test_a_template_that_knows_no_tools_has_its_model_told_of_the_hermes_format() -> None:
    assert text_model().calls is HERMES
    assert model(LLAMA, "<|start_header_id|>{{ '\"parameters\": ' }}").calls is HERMES


CASES: list[tuple[Format, str, str, list[tuple[str, str]]]] = [
    (LLAMA, f'{{"name": "weather", "parameters": {BERN}}}', "", [("weather", BERN)]),
    (
        LLAMA,
        f'\n<|python_tag|>{{"type": "function", "name": "weather", "parameters": {BERN}}}',
        "",
        [("weather", BERN)],
    ),
    (
        LLAMA,
        '{"name": "time", "parameters": {}}; {"name": "weather", "parameters": {"a": 1}}\n'
        '{"name": "time", "parameters": {}}',
        "",
        [("time", "{}"), ("weather", '{"a": 1}'), ("time", "{}")],
    ),
    (LLAMA, '{"parameters": {"a": 1}, "name": "time"} Done.', " Done.", [("time", '{"a": 1}')]),
    # no call: JSON that is an answer, another function, JSON after text, Python
    (LLAMA, ' {"city": "Bern", "name": "time"}', ' {"city": "Bern", "name": "time"}', []),
    (LLAMA, "{}", "{}", []),
    (LLAMA, '{"name": "Bern", "parameters": {}} is it', '{"name": "Bern", "parameters": {}} is it', []),
    (LLAMA, 'So {"name": "time", "parameters": {}}', 'So {"name": "time", "parameters": {}}', []),
    (LLAMA, "<|python_tag|>print(1)", "<|python_tag|>print(1)", []),
    (LLAMA, '{"na', '{"na', []),
    (LLAMA, '{"name": "time", "parameters": {}}; {"name": 1}', '; {"name": 1}', [("time", "{}")]),
    (MISTRAL, f'[TOOL_CALLS][{{"name": "weather", "arguments": {BERN}}}]', "", [("weather", BERN)]),
    (
        MISTRAL,
        '[TOOL_CALLS] [{"name": "time", "arguments": {}, "id": "a1"}, {"name": "weather", "arguments": {"a": 1}}]',
        "",
        [("time", "{}"), ("weather", '{"a": 1}')],
    ),
    (MISTRAL, '[TOOL_CALLS][{"arguments": {}, "name": "time"}, {"name": "weather", "arguments": {}}]', "", None),
    (MISTRAL, '[TOOL_CALLS][{"name": "rm", "arguments": {}}]!', '[TOOL_CALLS][{"name": "rm", "arguments": {}}]!', []),
    (MISTRAL, "Well. [TOOL_CALLS] none", "Well. [TOOL_CALLS] none", []),
    (MISTRAL, '[{"name": "time", "arguments": {}}]', '[{"name": "time", "arguments": {}}]', []),
    (
        MISTRAL_ARGS,
        f"Wait.[TOOL_CALLS]weather[ARGS]{BERN}[TOOL_CALLS]time{{}}",
        "Wait.",
        [("weather", BERN), ("time", "{}")],
    ),
    (MISTRAL_ARGS, f"[TOOL_CALLS]weather[CALL_ID]9a[ARGS]{BERN}", "", [("weather", BERN)]),
    (MISTRAL_ARGS, '[TOOL_CALLS]rm[ARGS]{"a": 1} no', '[TOOL_CALLS]rm[ARGS]{"a": 1} no', []),
    (
        HERMES,
        '<tool_call>[{"name": "time", "arguments": {}}, {"name": "weather", "arguments": {"a": 1}}]</tool_call>',
        "",
        [("time", "{}"), ("weather", '{"a": 1}')],
    ),
]
BOTH = [("time", "{}"), ("weather", "{}")]


@pytest.mark.parametrize(("format", "text", "shown", "calls"), CASES)
def test_calls_are_told_apart_from_text(format: Format, text: str, shown: str, calls: Any) -> None:
    expected = (shown, BOTH if calls is None else calls)
    assert read([text], format) == expected
    assert read(list(text), format) == expected


PARTS = [
    '{"name": "time", "parameters": {}}',
    '{"name": "time", "arguments": {"a": "]"}}',
    '{"parameters": {}, "name": "weather"}',
    "[TOOL_CALLS]",
    "[ARGS]",
    "<|python_tag|>",
    "time",
    '{"name": ',
    *'[]{}",; \\<x',
]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.lists(st.sampled_from(PARTS), max_size=10).map("".join),
    st.lists(st.integers(1, 40), max_size=12),
    st.booleans(),
)
def test_how_an_answer_is_cut_into_pieces_changes_nothing(
    format: Format, text: str, sizes: list[int], one: bool
) -> None:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(text[at : at + size])
        at += size
    pieces.append(text[at:])
    assert read(pieces, format, one) == read([text], format, one) == read(list(text), format, one)


def test_an_answer_that_is_json_and_no_call_is_shown_as_it_comes() -> None:
    reader = CallReader(NAMES, format=LLAMA)
    assert reader.feed('{"city"').text == '{"city"' and reader.feed(': "Bern"').text == ': "Bern"'


# ---- with a vocabulary in which marks are control tokens ----


def model(format: Format, template: str | None = None, control: bool = True) -> TextModel:
    """A model whose template knows tools and has the format's marks."""
    tokens = [*SPECIALS, *(MARKS if control else ()), *byte_alphabet(), "he"]
    specials = len(tokens) - 257
    tokenizer = Tokenizer.from_metadata(
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "smollm",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": [CONTROL] * specials + [NORMAL] * 257,
            "tokenizer.ggml.merges": ["h e"],
            "tokenizer.ggml.eos_token_id": 0,
        }
    )
    said = " ".join(format.marks)
    source = template or f"{{% if tools %}}{{{{ {said!r} }}}}{{% endif %}}{{{{ messages[0]['content'] }}}}"
    return TextModel("tiny", tokenizer, ChatTemplate(source, tokenizer), Sampling())


def answered(text: TextModel, ids: Sequence[int], tools: frozenset[str]) -> tuple[str, list[Any]]:
    """What a choice tells of these tokens."""
    choice = Choice(0, Submit("r", [1], SamplingParams()), text, Shape(tools=tools))
    deltas = [choice.take(TokenOut("r", 0, [token])) for token in ids]
    deltas.append(choice.take(TokenOut("r", 0, [], "stop")))
    calls = joined(call for delta in deltas for call in delta.calls)
    return "".join(delta.text for delta in deltas), [(c["function"]["name"], c["function"]["arguments"]) for c in calls]


@pytest.mark.parametrize(
    ("format", "marked", "plain", "shown"),
    [
        (MISTRAL, '[TOOL_CALLS][{"name": "time", "arguments": {}}]', '[{"name": "time", "arguments": {}}]', ""),
        (MISTRAL_ARGS, "Wait.[TOOL_CALLS]time[ARGS]{}", "Wait.time{}", "Wait."),
        (LLAMA, '<|python_tag|>{"name": "time", "parameters": {}}', '{"name": "time", "parameters": {}}', ""),
    ],
)
def test_what_opens_a_call_is_read_where_it_is_a_control_token(
    format: Format, marked: str, plain: str, shown: str
) -> None:
    text = model(format)
    assert text.calls is format
    ids = text.tokenizer.encode(marked, allow_special=True)
    assert len(ids) < len(text.tokenizer.encode(marked)), "the mark is one token"
    assert answered(text, ids, frozenset(NAMES)) == (shown, [("time", "{}")])
    assert answered(text, ids, frozenset()) == (plain, []), "without tools it is no text"


def test_a_control_token_that_opened_no_call_is_not_shown() -> None:
    text = model(LLAMA)
    ids = text.tokenizer.encode("<|python_tag|>print(1)", allow_special=True)
    assert answered(text, ids, frozenset(NAMES)) == ("print(1)", [])


GOOD = {
    "hermes": f'<tool_call>\n{{"name": "weather", "arguments": {BERN}}}\n</tool_call>',
    "llama3_json": f'{{"name": "weather", "parameters": {BERN}}}',
    "mistral": f'[TOOL_CALLS][{{"name": "weather", "arguments": {BERN}}}]',
    "mistral_args": f"[TOOL_CALLS]weather[ARGS]{BERN}",
}


@pytest.mark.parametrize("control", [True, False])
@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_an_answer_is_held_to_the_calls_that_are_read(format: Format, control: bool) -> None:
    pytest.importorskip("llguidance")
    text = model(format, control=control)
    ids = text.tokenizer.control_ids(format.hidden)
    assert bool(ids) == (control and format is not HERMES)
    functions = [{"name": "weather", "parameters": CITY}]
    good = GOOD[format.name]
    wrong = good.replace("Bern", "Rome")
    for lark, free in ((forced(functions, False, format, ids), False), (held(functions, format, ids), True)):
        assert accepts(text, lark, good) and not accepts(text, lark, wrong)
        assert accepts(text, lark, "Hello.") == accepts(text, lark, "") == free
    if format is MISTRAL:
        assert accepts(text, forced(functions, False, format, ids), good.replace("][", "] ["))
    assert accepts(text, forced([*functions, {"name": "time"}], True, format, ids), good)
    assert read([good], format) == ("", [("weather", BERN)])


def accepts(text: TextModel, lark: str, answer: str) -> bool:
    """Whether an answer, its marks as control tokens where they are some, may be given and end."""
    tokenizer = text.tokenizer
    made = grammar.lark(lark)
    assert grammar.problem(made) is None
    control = tuple(tokenizer.control_ids([*SPECIALS, *MARKS]).values())
    tokens = [tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)]
    guides = Guides(tokenizer.vocab_size, lambda: Vocabulary(tokens, control, (0,), tokenizer.encode))
    guide = guides.begin(made).result()
    try:
        for token in tokenizer.encode(answer, allow_special=True):
            guide.accept(token)
    except GrammarError:
        return False
    finally:
        guides.close()
    return guide.matcher.is_accepting()


def test_several_forced_calls_are_read_one_by_one() -> None:
    hermes = f"{GOOD['hermes']}\n{GOOD['hermes']}"
    args = GOOD["mistral_args"] * 2
    listed = GOOD["mistral"].replace("}}]", "}}, " + GOOD["mistral"][len("[TOOL_CALLS][") :])
    for format, several in ((HERMES, hermes), (MISTRAL_ARGS, args), (MISTRAL, listed)):
        text = model(format)
        lark = forced(
            [{"name": "weather", "parameters": CITY}], True, format, text.tokenizer.control_ids(format.hidden)
        )
        assert accepts(text, lark, several)
        strict = held([{"name": "weather", "parameters": CITY}], format, text.tokenizer.control_ids(format.hidden))
        assert accepts(text, strict, several) and not accepts(text, strict, several.replace("Bern", "Rome"))
        assert read([several], format) == ("", [("weather", BERN)] * 2)
