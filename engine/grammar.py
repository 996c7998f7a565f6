"""What an answer must match, as one string in llguidance's own form: what `SamplingParams.grammar` holds.

    SamplingParams(grammar=json_schema({"type": "object"}))
    SamplingParams(grammar=lark('start: "yes" | "no"'))

Made in the API process, run by the engine core. Checked (`problem`) in a process between them, which runs this file:
there are grammars that end the process which compiles them. llguidance is imported when a grammar is made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any


WHITESPACE = r"[ \n]{0,16}"
"""Between the parts of JSON: enough to indent, and not without end, which weak models never leave."""


def json_schema(schema: dict[str, Any]) -> str:
    """JSON that validates against the schema; a keyword that is not understood is for `problem` to say."""
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_json_schema(json.dumps(schema), {"whitespace_pattern": WHITESPACE})


def json_object() -> str:
    """Any JSON object."""
    return json_schema({"type": "object"})


def regex(pattern: str) -> str:
    """Text that the regular expression matches whole."""
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_regex(pattern)


def choice(texts: Sequence[str]) -> str:
    """One of the texts."""
    if not texts:
        raise ValueError("a choice needs at least one text")
    return lark("start: " + " | ".join(json.dumps(text, ensure_ascii=False) for text in texts))


def lark(grammar: str) -> str:
    """Text of a Lark grammar whose rule is `start`; `%json {...}` in it takes a schema."""
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_lark(grammar)


def problem(grammar: str) -> str | None:
    """Why a grammar cannot be used, in one line, or None."""
    from llguidance import LLMatcher

    if _parts(grammar) > MOST_PARTS:
        return f"rules and references may nest in too many ways: more than {MOST_PARTS} parts"
    try:
        return LLMatcher.validate_grammar(grammar).strip().partition("\n")[0] or None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic of the library is no `Exception`
        return f"llguidance: {error}".partition("\n")[0]


MOST_PARTS = 1000
"""llguidance follows rules by calls of its own: a chain of some 2,500 ends the process for want of stack."""
_LITERALS = re.compile(r'"(?:\\.|[^"\\\n])*"|/(?:\\.|[^/\\\n])+/')


def _parts(grammar: str) -> int:
    """At most so many calls deep does llguidance get: a bound on how rules, brackets and references can nest."""
    if grammar.lstrip().startswith("{"):
        return max((_parts_of_json(part.get("json_schema")) for part in _grammars(grammar)), default=0)
    most, rest = 0, grammar
    # each `%json` schema stands for itself: it cannot refer to rules
    while (at := rest.find("%json")) >= 0:
        schema_text = rest[at + len("%json") :].lstrip()
        try:
            schema, size = json.JSONDecoder().raw_decode(schema_text)
        except (ValueError, RecursionError):
            break
        most = max(most, _parts_of_json(schema))
        rest = rest[:at] + schema_text[size:]
    bare = _LITERALS.sub("", rest)
    return most + sum(bare.count(mark) for mark in ":([{")


def _grammars(grammar: str) -> list[dict[str, Any]]:
    try:
        return json.loads(grammar)["grammars"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return []  # for llguidance to complain of


def _parts_of_json(schema: Any) -> int:
    """The objects of a schema that refers to itself. One that does not is as deep as its text, which is limited."""
    found, refers, left = 0, False, [schema]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            found += 1
            refers |= "$ref" in value
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    return found if refers else 0


def tried(grammar: str) -> str | None:
    """`problem`, and then what compiling as the engine does says: it may take for ever, or end this process."""
    from llguidance import LLMatcher, LLTokenizer

    found = problem(grammar)
    if found is None:
        # a vocabulary of bytes: what takes long does not depend on the words
        matcher = LLMatcher(LLTokenizer("byte"), grammar, log_level=0)
        found = matcher.get_error().strip().partition("\n")[0] or None
    return found


STACK = 4 << 20
"""Bytes of stack to check with: half of what the threads have that compile it in the engine core."""


def _serve() -> None:
    import threading

    import llguidance  # noqa: F401 - before anybody waits for it
    from engine.apart import serve

    threading.stack_size(STACK)
    thread = threading.Thread(target=serve, args=(tried,))
    thread.start()
    thread.join()


if __name__ == "__main__":
    _serve()
