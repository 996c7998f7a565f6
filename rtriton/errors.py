"""Errors as users see them: what was wanted, what was got, where, and how it came there.

    matmul.py:31:15: dot needs equal inner sizes, got 128x64 and 32x128
       31 |     acc = tl.dot(a, b, acc)
          |           ^^^^^^^^^^^^^^^^^
      a: 128x64xf16, loaded at matmul.py:28:9
    called from matmul.py:55:5
"""
from __future__ import annotations

import linecache
from collections.abc import Iterable, Sequence
from typing import Any

from rtriton.ir import NO_SPAN, Span


class RtritonError(Exception):
    """Anything rtriton says is wrong."""


TritonError = RtritonError      # the name that programs written for Triton catch


class KernelError(RtritonError):
    """A kernel that cannot be compiled; `span` is where, `notes` are further lines."""

    as_triton = False                  # programs written for Triton find places in its way too: compat.py turns it on

    def __init__(self, message: str, span: Span = NO_SPAN, notes: Sequence[str] = (),
                 source: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message, self.span, self.notes, self.source = message, span, list(notes), list(source)
        self.place = ""                # line and column within the function's own text, as Triton says them

    @property
    def error_message(self) -> str:
        """The sentence without its place, by the name that programs written for Triton know."""
        return self.message

    def __str__(self) -> str:
        text = render(self.message, self.span, self.notes)
        return f"{text}\n{self.place}\n{self.message}" if self.as_triton and self.place else text

    def within(self, first_line: int, indent: int, span: Span) -> KernelError:
        """This error as the function that begins at `first_line` sees it, `span` being the place there: itself if it
        arose there; under `as_triton` one caused by it if it comes from a function that is called there."""
        place = f"at {span.line - first_line + 1}:{span.column - 1 - indent}:"
        if not self.place or not self.as_triton:
            self.place = self.place or place
            return self
        outer = type(self)(self.message, self.span, self.notes, self.source)
        outer.place, outer.__cause__ = place, self
        return outer

    def __reduce__(self) -> tuple[type[KernelError], tuple[object, ...], dict[str, str]]:
        return type(self), (self.message, self.span, self.notes, self.source), {"place": self.place}


class InterpreterError(RtritonError):
    """A kernel that went wrong while the interpreter ran it."""


class CompilationError(KernelError, InterpreterError):
    """Triton's name for a kernel that cannot be compiled. Under TRITON_INTERPRET=1 Triton tells the same rules as an
    InterpreterError, so that programs which catch that one catch this one."""


class UnsupportedLanguageConstruct(CompilationError):
    """Python that the kernel language does not have."""


class CompileTimeAssertionFailure(CompilationError):
    """A `static_assert` that does not hold."""


class OutOfResources(RtritonError):
    """A kernel that needs more shared memory, registers or threads than the device has."""

    def __init__(self, required: int, limit: int, name: str) -> None:
        super().__init__(f"out of resource: {name}, Required: {required}, Hardware limit: {limit}. "
                         "Reducing block sizes or `num_stages` may help.")
        self.required, self.limit, self.name = required, limit, name

    def __reduce__(self) -> tuple[type[OutOfResources], tuple[object, ...]]:
        return type(self), (self.required, self.limit, self.name)


class OptionError(RtritonError, ValueError, AssertionError):
    """A launch option that cannot be what it was set to. Triton fails an assertion or raises a ValueError there."""


class DeviceAssertError(KernelError, InterpreterError, RuntimeError):
    """A `device_assert` that did not hold while a kernel ran; `where` says for which program or kernel."""

    def __init__(self, text: str, where: str, span: Span = NO_SPAN) -> None:
        super().__init__(f"device-side assert failed{': ' if text else ''}{text} ({where})", span)
        self.text, self.where = text, where

    def __reduce__(self) -> tuple[type[KernelError], tuple[object, ...], dict[str, str]]:
        return type(self), (self.text, self.where, self.span), {"place": self.place}


class BoundsError(KernelError, InterpreterError, IndexError):
    """Accesses out of bounds that RTRITON_CHECK=bounds found in a launch: `found` has what and where of each."""

    def __init__(self, kernel: str, found: Sequence[tuple[str, Span]]) -> None:
        super().__init__(*found[0])
        self.kernel, self.found = kernel, list(found)

    def __str__(self) -> str:
        head = [f"kernel {self.kernel} is out of bounds in {len(self.found)} places:"] if len(self.found) > 1 else []
        return "\n\n".join([*head, *(render(*one) for one in self.found)])

    def __reduce__(self) -> tuple[type[KernelError], tuple[object, ...], dict[str, str]]:
        return type(self), (self.kernel, self.found), {"place": self.place}


class EmulatorError(RtritonError):
    """Faults of a kernel that the emulator ran. `findings` has one per place: problem, span, notes, times; the message
    tells each with its thread, the user's line and that of the PTX."""

    def __init__(self, message: str, findings: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


class EmulatorWarning(UserWarning):
    """What a kernel that the emulator ran does that may give other results on another day."""


class LaunchError(RtritonError):
    """A kernel that could not be launched or failed on the device."""


class PTXASError(RtritonError):
    """PTX that the assembler refused: Triton's name for it."""


class AutotunerError(RtritonError):
    """Autotuning that cannot choose a configuration."""

    def __str__(self) -> str:
        return f"Autotuner error: {super().__str__()}"


def render(message: str, span: Span, notes: Sequence[str] = ()) -> str:
    """The message with its place, the source line and carets under what is wrong."""
    if span == NO_SPAN:
        return "\n".join([message, *("  " + n for n in notes)])
    lines = [f"{span}: {message}", *excerpt(span), *("  " + n for n in notes)]
    caller = span.caller
    while caller is not None:
        lines.append(f"called from {caller}")
        caller = caller.caller
    return "\n".join(lines)


def nearest(name: str, names: Iterable[str]) -> str:
    """What ends a message about a name that is not there: ", did you mean 'arange'?", or nothing where none is near."""
    from difflib import get_close_matches

    found = get_close_matches(name, [n for n in names if not n.startswith("_")], 1, 0.76)
    return f", did you mean {found[0]!r}?" if found else ""


def outside(span: Span) -> Span:
    """The place in the user's code that led to `span`, which may be in one of the language's own functions."""
    while span.caller is not None and is_library_file(span.file):
        span = span.caller
    return span


def is_library_file(file: str) -> bool:
    """Whether a file has the language's own functions, those that are written in the language."""
    return "/rtriton/language/" in file.replace("\\", "/")


def excerpt(span: Span) -> list[str]:
    """The source line of a span and a line of carets; nothing if the source cannot be read."""
    text = linecache.getline(span.file, span.line).rstrip("\n")
    if not text.strip():
        return []
    one_line = span.end_line in (0, span.line)
    end = span.end_column if one_line and span.end_column > span.column else len(text) + 1
    number = f"{span.line:5d}"
    return [f"{number} | {text}", f"{' ' * len(number)} | {' ' * (span.column - 1)}{'^' * max(1, end - span.column)}"]
