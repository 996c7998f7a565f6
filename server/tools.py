"""Tools in the Hermes format, which Qwen and many others are trained on: how a model is told of them, what it may be
held to, and how its calls are read.

    <tool_call>
    {"name": "weather", "arguments": {"city": "Bern"}}
    </tool_call>

A chat template that knows tools writes all of it itself. For one that does not, `in_words` puts tools, calls and
results into ordinary messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.grammar import WHITESPACE

OPEN, CLOSE = "<tool_call>", "</tool_call>"

_PREAMBLE = """\
You can call functions. Each line between the tags describes one, in JSON:
<tools>
{tools}
</tools>
To call a function, write its name and its arguments as one JSON object in this form:
<tool_call>
{{"name": "function name", "arguments": {{"argument": "value"}}}}
</tool_call>
What a call returned is given to you between <tool_response> and </tool_response>."""


def in_words(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same conversation in messages of text alone: tools in the system's, calls in the assistant's, results in
    the user's."""
    told: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] == "tool":
            text, role = f"<tool_response>\n{message['content']}\n</tool_response>", "user"
            if told and told[-1].get("results"):
                told[-1]["content"] += "\n" + text  # of one turn: many templates want roles to alternate
                continue
            told.append({"role": role, "content": text, "results": True})
        else:
            calls = [_call_text(call["function"]) for call in message.get("tool_calls", ())]
            text = "\n".join([message["content"], *calls] if message["content"] else calls)
            told.append({"role": message["role"], "content": text})
    told = [{"role": message["role"], "content": message["content"]} for message in told]
    return _with_preamble(told, tools) if tools else told


def _with_preamble(messages: list[dict[str, Any]], tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    preamble = _PREAMBLE.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    if messages and messages[0]["role"] == "system":
        first = {"role": "system", "content": f"{messages[0]['content']}\n\n{preamble}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": preamble}, *messages]


def _call_text(function: Mapping[str, Any]) -> str:
    body = {"name": function["name"], "arguments": function["arguments"]}
    return f"{OPEN}\n{json.dumps(body, ensure_ascii=False)}\n{CLOSE}"


# ---- grammars ----------------------------------------------------------------------------------------


def forced(functions: Sequence[Mapping[str, Any]], many: bool) -> str:
    """In Lark: one call of one of the functions, or `many`."""
    more = ' ("\\n" call)*' if many else ""
    return f"start: call{more}\ncall: {_quoted(OPEN)} body\n" + _bodies(functions)


def held(functions: Sequence[Mapping[str, Any]]) -> str:
    """In Lark: any text, in which every call is one of the functions."""
    lead = f"lead[lazy]: TEXT {_quoted(OPEN)}"
    return f"start: (lead body)* tail\n{lead}\ntail: TEXT\nTEXT: /(.|\\n)*/\n" + _bodies(functions)


def _bodies(functions: Sequence[Mapping[str, Any]]) -> str:
    """The rule `body`: what follows the opening tag, the closing one included."""
    rules = [f'body: "\\n" ({" | ".join(f"f{i}" for i in range(len(functions)))}) {_quoted(chr(10) + CLOSE)}']
    for i, function in enumerate(functions):
        head = json.dumps({"name": function["name"]}, ensure_ascii=False)[:-1] + ', "arguments": '
        schema = {"type": "object", **function.get("parameters", {}), "x-guidance": {"whitespace_pattern": WHITESPACE}}
        rules.append(f"f{i}: {_quoted(head)} a{i} {_quoted('}')}\na{i}: %json {json.dumps(schema)}")
    return "\n".join(rules) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
