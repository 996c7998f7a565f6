"""What a request's answer must match -> one grammar in llguidance's form, checked before the engine hears of it.

    await grammar_of(Constraint("json", {"type": "object"}, "response_format"))

A grammar that does not compile is a 400 that names the field. Compiling takes up to a second for the worst ones, and
some end the process that does it (llguidance follows them by calls of its own until there is no stack). So it is tried
in processes apart, `CHECKERS` at a time; what they said of the last ones is remembered, since a program sends the same
few again and again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from engine import grammar
from engine.apart import Ended, Process
from server.constraints import Constraint
from server.errors import ApiError
from server.json_text import parse
from server.strict import unicode_throughout

REMEMBERED = 256
LONGEST = 128 << 10
"""Characters of a grammar: each of its rows in the engine holds what is compiled from it."""

COMPILE_SECONDS = 10.0
CHECKERS = 4
"""Processes that compile grammars at once; each is started when it is needed first."""


async def grammar_of(constraint: Constraint) -> str:
    """The grammar of a constraint that a request asks for."""
    try:
        made = _MAKERS[constraint.kind](constraint.value)
    except (ValueError, RecursionError) as error:
        raise _refused(constraint.param, str(error)) from None
    return await checked(made, constraint.param)


async def checked(made: str, param: str) -> str:
    """`made` itself, once it is known that it compiles; `param` is the field that it came from."""
    if len(made) > LONGEST:
        raise _refused(param, f"the grammar has {len(made)} characters, more than {LONGEST}")
    try:
        problem = await asyncio.to_thread(_problem, made)
    except Ended:
        problem = (
            f"the grammar takes more than {COMPILE_SECONDS:g} seconds to compile, or more memory than there is for it"
        )
    if problem is not None:
        # some of llguidance's reasons are the names of its own errors
        raise _refused(param, problem if " " in problem else f"it cannot be compiled to a grammar ({problem})")
    return made


@lru_cache(REMEMBERED)
def _problem(made: str) -> str | None:
    return _checkers.problem(made)


class _Checkers:
    """Processes of `file` that say what `engine.grammar.tried` says."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._room = threading.Semaphore(CHECKERS)
        self._free: list[Process] = []

    def problem(self, made: str) -> str | None:
        """`Ended` where it cannot be found out."""
        with self._room:
            process = self._free.pop() if self._free else Process(self._file)
            try:
                return process.ask(made, COMPILE_SECONDS)
            finally:
                self._free.append(process)


_checkers = _Checkers(str(grammar.__file__))


def _json(schema: Any) -> str:
    """A schema may come as JSON text, as vLLM takes it; `true` allows anything."""
    if isinstance(schema, str):
        schema = unicode_throughout(parse(schema.encode()))
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        raise ValueError("a schema is an object that some value satisfies")
    return grammar.json_schema(schema)


def _free(text: str) -> str:
    """Lark's or llama.cpp's notation, told apart as llguidance does."""
    from llguidance.gbnf_to_lark import any_to_lark

    if text.lstrip().startswith("{"):
        raise ValueError("not a grammar: it begins with a brace")  # llguidance's own form is not for requests
    try:
        return grammar.lark(any_to_lark(text))
    except Exception as error:  # noqa: BLE001 - the converter raises what it happens to meet
        raise ValueError(f"not a grammar: {error}") from None


_MAKERS: dict[str, Callable[[Any], str]] = {
    "json": _json,
    "regex": grammar.regex,
    "choice": grammar.choice,
    "grammar": _free,
}


def _refused(param: str, why: str) -> ApiError:
    return ApiError(400, f"`{param}`: {why.rstrip('.')}.", param=param, code="invalid_value")
