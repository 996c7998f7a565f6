"""What an answer must match, as one string in llguidance's own form: what `SamplingParams.grammar` holds.

    SamplingParams(grammar=json_schema({"type": "object"}))
    SamplingParams(grammar=lark('start: "yes" | "no"'))

Made and checked in the API process (`problem`), run by the engine core. llguidance is imported when a grammar is made.
"""

from __future__ import annotations

import json
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

    return LLMatcher.validate_grammar(grammar).strip().partition("\n")[0] or None
