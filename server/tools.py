"""How a model is told of tools, and what its calls may be held to.

A chat template that knows tools writes all of it itself, in the model's own format (`call_formats`). For one that does
not, `in_words` puts tools, calls and results into ordinary messages, in the Hermes format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.grammar import WHITESPACE
from server.call_formats import HERMES, LLAMA, MISTRAL, MISTRAL_ARGS, Format

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
    return f"{HERMES.opens}\n{json.dumps(body, ensure_ascii=False)}\n{HERMES.closes}"


# ---- grammars ----------------------------------------------------------------------------------------

_LIST = '" "? "[" call (", " call)* "]"'  # templates have the space, models mostly not
# of each format: one call that must be made; several; what follows OPEN in a text
_CALLS: dict[str, tuple[str, str, str]] = {
    HERMES.name: ("OPEN call", 'OPEN call ("\\n" OPEN call)*', "call"),
    LLAMA.name: ("call", "call", "call"),  # its templates take one call in a turn
    MISTRAL.name: ('OPEN " "? "[" call "]"', f"OPEN {_LIST}", _LIST),
    MISTRAL_ARGS.name: ("OPEN call", "(OPEN call)+", "call"),
}


def forced(functions: Sequence[Mapping[str, Any]], many: bool, format: Format, control: Mapping[str, int]) -> str:
    """In Lark: one call of one of the functions, or `many`. `control` has the ids of texts that are control tokens."""
    return _written(f"start: {_CALLS[format.name][many]}\n", functions, format, control)


def held(functions: Sequence[Mapping[str, Any]], format: Format, control: Mapping[str, int]) -> str:
    """In Lark: any text, in which every call is one of the functions."""
    calls = _CALLS[format.name][2]
    if format.bare:
        # a text that begins with neither white space nor a brace begins with no call
        start = f"start: {calls} | TEXT\nTEXT: /([^{{\\s](.|\\n)*)?/\n"
    elif format.opens in control:
        start = f"start: TEXT (OPEN {calls} TEXT)*\nTEXT: /(.|\\n)*/\n"
    else:
        start = f"start: (lead {calls})* tail\nlead[lazy]: TEXT OPEN\ntail: TEXT\nTEXT: /(.|\\n)*/\n"
    return _written(start, functions, format, control)


def _written(start: str, functions: Sequence[Mapping[str, Any]], format: Format, control: Mapping[str, int]) -> str:
    """The grammar whose rule `start` is of `OPEN`, what opens calls, and `call`, one of the functions."""
    opens = f"<[{control[format.opens]}]>" if format.opens in control else _quoted(format.opens)
    one = " | ".join(f"f{i}" for i in range(len(functions)))
    around = f'"\\n" ({one}) {_quoted(chr(10) + format.closes)}' if format.closes else one
    rules = [start.replace("OPEN", opens) + f"call: {around}"]
    for i, function in enumerate(functions):
        schema = {"type": "object", **function.get("parameters", {}), "x-guidance": {"whitespace_pattern": WHITESPACE}}
        before, after = _around_arguments(function["name"], format, control)
        rules.append(f"f{i}: {before} a{i} {after}\na{i}: %json {json.dumps(schema)}")
    return "\n".join(rules) + "\n"


def _around_arguments(name: str, format: Format, control: Mapping[str, int]) -> tuple[str, str]:
    """What stands before and after a call's arguments."""
    if format is MISTRAL_ARGS:
        mark = f"<[{control['[ARGS]']}]>" if "[ARGS]" in control else _quoted("[ARGS]")
        return f"{_quoted(name)} {mark}", ""
    head = json.dumps({"name": name}, ensure_ascii=False)[:-1] + f', "{format.key}": '
    return _quoted(head), _quoted("}")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
