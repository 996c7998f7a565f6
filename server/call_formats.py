r"""How families of models write calls of tools: a table, and the row that a chat template is of.

    hermes         <tool_call>\n{"name": "weather", "arguments": {"city": "Bern"}}\n</tool_call>
    llama3_json    {"name": "weather", "parameters": {"city": "Bern"}}             at the beginning of an answer
    mistral        [TOOL_CALLS][{"name": "weather", "arguments": {"city": "Bern"}}]
    mistral_args   [TOOL_CALLS]weather[ARGS]{"city": "Bern"}

Names are those of vLLM's tool parsers, which has one for both of Mistral's. What opens a call is a control token in
some vocabularies and text in others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_NAME = r"([a-zA-Z0-9_.-]+)"
_TYPE = r'(?:"type"\s*:\s*"function"\s*,\s*)?'
_IN_JSON = re.compile(rf'\s*\{{\s*{_TYPE}"name"\s*:\s*"{_NAME}"\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{{)')
_IN_LIST = re.compile(r"\s*(?:\[\s*)?" + _IN_JSON.pattern)
_BY_NAME = re.compile(rf"\s*{_NAME}(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?\s*(?=\{{)")


@dataclass(frozen=True)
class Format:
    """One row."""

    name: str
    marks: tuple[str, ...]
    """Texts that a chat template of the family has."""
    opens: str
    """What stands before calls."""
    heads: tuple[re.Pattern[str], ...]
    """What a call is from there up to its arguments, its name the first group."""
    key: str = "arguments"
    """What arguments are called."""
    closes: str = ""
    """What stands after each call; where nothing does, its JSON ends it."""
    between: str = ""
    """The character between a call and the next, where nothing opens that one."""
    ends: str = ""
    """The character after the last of such calls."""
    bare: bool = False
    """Whether an answer may begin with a call that nothing opens."""
    no_call: re.Pattern[str] | None = None
    """What begins like this, where a call could begin, will never be one."""
    hidden: tuple[str, ...] = ()
    """Control tokens of the family's vocabularies that are read although they are no text."""


HERMES = Format("hermes", ("<tool_call>",), "<tool_call>", (_IN_JSON,), closes="</tool_call>")
LLAMA = Format(
    "llama3_json",
    ('"parameters": ', "<|start_header_id|>"),
    "<|python_tag|>",
    (_IN_JSON,),
    key="parameters",
    between=";",
    bare=True,
    hidden=("<|python_tag|>",),
    # another first key, or no object at all
    no_call=re.compile(r'\s*(?:[^\s{]|\{\s*(?:[^\s"]|"(?!(?:type|name|parameters|arguments)")[^"]*"))'),
)
MISTRAL = Format(
    "mistral",
    ("[TOOL_CALLS]",),
    "[TOOL_CALLS]",
    (_IN_LIST, _BY_NAME),
    between=",",
    ends="]",
    hidden=("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"),
)
MISTRAL_ARGS = replace(MISTRAL, name="mistral_args", marks=("[TOOL_CALLS]", "[ARGS]"))
FORMATS = (MISTRAL_ARGS, MISTRAL, HERMES, LLAMA)
"""The first whose marks are there is meant."""


def format_of(template: str) -> Format:
    """The format of models with this chat template. What none is known of is told to write Hermes'."""
    return next((row for row in FORMATS if all(mark in template for mark in row.marks)), HERMES)
