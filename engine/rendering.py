"""Templates are programs of strangers: they run in jinja2's sandbox, and a model file's in a process of its own.

The sandbox keeps a template from the machine but not from its time and memory (`{{ 'a' * 10 ** 10 }}`). So the
process has little memory (`engine.apart`) and is killed after `SECONDS`; a text of more than `SIZE` characters is given
up. It is told the template first and asked again for each text:

    template = Apart(source)              # or Sandbox(source), in this process, for templates that are trusted
    template.variables                    # the names that it reads
    template.render({"messages": [...]})  # `RenderError` says why there is no text

This file is also what that process runs, so it imports jinja2 and next to nothing of the engine.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, NoReturn, Protocol

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.apart import MEMORY, Ended, Failed, Process, serve

SECONDS = 5.0
"""For one text, from asking to answer: a conversation takes milliseconds."""
SIZE = 16 << 20
LONGEST_SOURCE = 1 << 20
"""Characters of a template: published ones have some ten thousand."""


class RenderError(ValueError):
    """A template that does not compile, or gives no text."""


class Renderer(Protocol):
    """What both kinds have."""

    variables: frozenset[str]

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text. `RenderError` says why there is none."""
        ...


# ---- in this process ---------------------------------------------------------------------------------


class Sandbox:
    """A template in jinja2's sandbox, as published templates are written for."""

    def __init__(self, source: str) -> None:
        if len(source) > LONGEST_SOURCE:
            raise RenderError(f"it has {len(source)} characters, more than {LONGEST_SOURCE}")
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        try:
            self._compiled = environment.from_string(source)
            self.variables = frozenset(meta.find_undeclared_variables(environment.parse(source)))
        except jinja2.TemplateError as error:
            raise RenderError(str(error)) from error
        except (RecursionError, MemoryError, SyntaxError, ArithmeticError, ValueError) as error:
            # of constants that jinja2 computes, or hands to Python's own compiler
            raise RenderError(f"{type(error).__name__}: {error}") from error

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text."""
        pieces: list[str] = []
        size = 0
        try:
            for piece in self._compiled.generate(variables):
                pieces.append(piece)
                size += len(piece)
                if size > SIZE:
                    raise RenderError(f"its text has more than {SIZE} characters")
            return "".join(pieces)
        except jinja2.TemplateError as error:
            raise RenderError(str(error)) from error
        except MemoryError:
            raise RenderError("it needs too much memory") from None
        except (TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, NameError) as error:
            # what a template's own expressions raise on input it was not written for; `1e999` becomes the name `inf`
            raise RenderError(f"cannot render this conversation: {error}") from error
        except ValueError as error:
            if isinstance(error, RenderError):
                raise
            raise RenderError(f"cannot render this conversation: {error}") from error


class Generation(Extension):
    """`{% generation %}` marks what the assistant wrote, for training. What is inside is rendered like all else."""

    tags: ClassVar[set[str]] = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        """The statements up to `{% endgeneration %}`, in a scope of their own."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    # jinja's own filter escapes for HTML, which a prompt is not
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    if not re.fullmatch(r"[ -~]{1,100}", form):
        raise jinja2.TemplateError(f"strftime_now needs a short ASCII format, got {form!r:.40}")
    return datetime.now().strftime(form)


# ---- in its own --------------------------------------------------------------------------------------


class Apart:
    """A template in a process of its own, for any thread to ask, one at a time."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._process = Process(__file__)
        self.variables = frozenset(self._ask({"template": self._source}))

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text."""
        with self._lock:
            if not self._process.running:
                self._ask({"template": self._source})
            return self._ask({"variables": variables})

    def _ask(self, question: dict[str, Any]) -> Any:
        try:
            return self._process.ask(question, SECONDS)
        except Failed as failed:
            raise RenderError(str(failed)) from None
        except Ended:
            limits = f"more than {SECONDS:g} seconds, or more memory than {MEMORY >> 20} MiB"
            raise RenderError(f"it took {limits}") from None
        except (TypeError, ValueError, RecursionError) as error:
            raise RenderError(f"cannot render this conversation: {error}") from error


class _Served:
    """What that process does: it is told the template, then the variables of each text."""

    template: Sandbox | None = None

    def answer(self, question: dict[str, Any]) -> Any:
        """The names that the template reads, or a text."""
        try:
            if "template" in question:
                self.template = Sandbox(question["template"])
                return sorted(self.template.variables)
            assert self.template is not None
            return self.template.render(question["variables"])
        except RenderError as error:
            raise Failed(str(error)) from None


if __name__ == "__main__":
    serve(_Served().answer)
