"""The text of functions that `exec` made: Python keeps none, but whoever called `exec` usually still holds it.

    text = TEMPLATE.replace("OP", "x + y")
    exec(text, namespace)               # a @jit inside is decorated while `text` is alive in this frame

The texts that the calling frames hold are compiled again; one whose code equals the running code is the source. So a
text is never guessed: another one gives other code. It is kept in linecache, where errors find their lines.
"""
from __future__ import annotations

import __future__
import hashlib
import inspect
import linecache
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

FUTURES = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)


def remember(fn: Callable[..., Any]) -> tuple[list[str], int, str] | None:
    """The lines of `fn`, the number of the first, and the file name they are kept under; None if `fn` was not made by a
    running `exec` whose text can be found. To be called while that `exec` runs, as decorators are."""
    if not fn.__code__.co_filename.startswith("<"):
        return None
    frame = _module_frame(fn.__code__)
    if frame is None or frame.f_back is None:
        return None
    for text in _texts(frame.f_back):
        if f"def {fn.__name__}" in text and _code_of(text, frame) == frame.f_code:
            return _kept(text, fn)
    return None


def _module_frame(code: CodeType) -> FrameType | None:
    """The frame that runs the executed text which holds `code`."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_filename == code.co_filename and frame.f_code.co_name == "<module>":
            return frame
        frame = frame.f_back
    return None


def _texts(frame: FrameType) -> Iterator[str]:
    """The texts that a frame holds: its variables, and the constants of its code."""
    for value in (*frame.f_locals.values(), *frame.f_code.co_consts):
        if isinstance(value, str):
            yield value


def _code_of(text: str, frame: FrameType) -> CodeType | None:
    flags = frame.f_code.co_flags & FUTURES
    try:
        return compile(text, frame.f_code.co_filename, "exec", flags=flags, dont_inherit=True)
    except (SyntaxError, ValueError):
        return None


def _kept(text: str, fn: Callable[..., Any]) -> tuple[list[str], int, str]:
    lines = text.splitlines(keepends=True)
    file = f"<exec {hashlib.sha256(text.encode()).hexdigest()[:8]}>"
    linecache.cache[file] = (len(text), None, lines, file)
    first = fn.__code__.co_firstlineno
    return inspect.getblock(lines[first - 1:]), first, file
