"""Templates are programs of strangers: they run in jinja2's sandbox, and a model file's in a process of its own.

The sandbox keeps a template from the machine but not from its time and memory (`{{ 'a' * 10 ** 10 }}`). So the
process has `MEMORY` and is killed after `SECONDS`; a text of more than `SIZE` characters is given up. It is started
with the template and asked again for each text:

    template = Apart(source)              # or Sandbox(source), in this process, for templates that are trusted
    template.variables                    # the names that it reads
    template.render({"messages": [...]})  # `RenderError` says why there is no text

This file is also what that process runs, so it imports jinja2 and nothing of the engine.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn, Protocol

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

SECONDS = 5.0
"""For one text, from asking to answer: a conversation takes milliseconds."""
MEMORY = 1 << 30
"""Bytes of address space."""
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
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
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
        except (TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
            # what a template's own expressions raise on input that it was not written for
            raise RenderError(f"cannot render this conversation: {error}") from error
        except ValueError as error:
            if isinstance(error, RenderError):
                raise
            raise RenderError(f"cannot render this conversation: {error}") from error


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
        self._process: subprocess.Popen[str] | None = None
        self.variables = frozenset(self._start())

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text."""
        try:
            asked = json.dumps(variables)
        except (TypeError, ValueError, RecursionError) as error:
            raise RenderError(f"cannot render this conversation: {error}") from error
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            return self._ask(asked)

    def _start(self) -> list[str]:
        # the path of this process and nothing else of its environment; no signal of its terminal
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="ascii",
            start_new_session=True,
        )
        weakref.finalize(self, _end, self._process)
        return self._ask(json.dumps(self._source), SECONDS + 25)  # the interpreter's own start, on a busy machine

    def _ask(self, line: str, seconds: float | None = None) -> Any:
        process, limit = self._process, SECONDS if seconds is None else seconds
        assert process is not None and process.stdin is not None and process.stdout is not None
        late = threading.Timer(limit, process.kill)
        late.start()
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            late.cancel()
        if not answer.endswith("\n"):
            _end(process)
            raise RenderError(f"it took more than {limit:g} seconds, or more memory than {MEMORY >> 20} MiB")
        said = json.loads(answer)
        if "error" in said:
            raise RenderError(said["error"])
        return said["value"]


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # what was not written yet
                pipe.close()


def _serve() -> None:
    """The first line is the template, every other one the variables of a text. It ends when nobody asks any more."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    template: Sandbox | None = None
    for line in sys.stdin:
        try:
            if template is None:
                template = Sandbox(json.loads(line))
                said: dict[str, Any] = {"value": sorted(template.variables)}
            else:
                said = {"value": template.render(json.loads(line))}
        except RenderError as error:
            said = {"error": str(error)}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    _serve()
