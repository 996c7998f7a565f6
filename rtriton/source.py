"""A Python function that is kernel code: its text, where it stands, and the names it can see.

`KernelFunction` is what `@rtriton.jit` makes (jit.py adds launching) and what the language's own derived functions are.
`Written`, below it and `constexpr_function`, is a function by its text, which may be changed.
"""
from __future__ import annotations

import ast
import hashlib
import inspect
import linecache
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import FunctionType
from typing import Any, cast

from rtriton import executed


@dataclass(frozen=True)
class Source:
    """Dedented text of a function with the place of its first line and the columns that dedenting took away."""

    text: str
    file: str
    first_line: int
    indent: int
    original: str = ""

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(f"{self.text}|{self.first_line}".encode()).hexdigest()

    @cached_property
    def function(self) -> str:
        """The function's name; "" for a lambda."""
        found = re.search(r"^\s*(?:async\s+)?def\s+(\w+)", self.text, re.MULTILINE)
        return found[1] if found else ""


@dataclass(frozen=True)
class Param:
    """A kernel function's parameter; `annotation` as Python holds it (an object, or its text)."""

    name: str
    annotation: Any
    default: Any
    is_constexpr: bool
    num: int = 0
    do_not_specialize: bool = False
    do_not_specialize_on_alignment: bool = False

    @property
    def has_default(self) -> bool:
        return self.default is not inspect.Parameter.empty


_edits = 0
on_edit: list[Callable[[], None]] = []      # called when a kernel function's text was changed: kernels may be stale


class Written:
    """A Python function by its text."""

    def __init__(self, fn: Callable[..., Any], hold: bool = False) -> None:
        """`hold`: keep the file's lines as they are now, so that editing it later changes nothing."""
        self.fn = fn
        self.__name__ = fn.__name__
        self.__qualname__ = fn.__qualname__
        self.__module__ = fn.__module__
        self.__doc__ = fn.__doc__
        # Python keeps the source of files and notebook cells, not of what `exec` runs: that is looked for now or never
        self._executed = executed.remember(fn) if inspect.isfunction(fn) else None
        self._lines = _lines_now(fn) if hold and self._executed is None else None
        self._source: Source | None = None
        self.hash: str | None = None         # the code_key, once it was asked for; None has it made anew
        self._hashed_at = _edits

    @property
    def code_key(self) -> str:
        """A digest of all that the function's code depends on but its arguments; of one that no text can stand for,
        what tells it apart in this process."""
        found = self.hash
        if found is None or self._hashed_at != _edits:
            from rtriton.reach import code_key

            self._hashed_at, self.hash = _edits, code_key(self)
            return self.hash
        return found

    @property
    def cache_key(self) -> str:
        """Triton's name of the code_key."""
        return self.code_key

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.fn)

    @property
    def source(self) -> Source:
        if self._source is None:
            self._source = self._read()
        return self._source

    def _read(self) -> Source:
        if self._executed is not None:
            return _source_of(*self._executed, self.fn)
        first = self.fn.__code__.co_firstlineno
        if not self._lines or first > len(self._lines):
            return read_source(self.fn)
        return _source_of(inspect.getblock(self._lines[first - 1:]), first, self.fn.__code__.co_filename, self.fn)

    @property
    def src(self) -> str:
        """The text from `def` on. It cannot be assigned: see _unsafe_update_src."""
        return self.source.text

    def _unsafe_update_src(self, new_src: str) -> None:
        """Give the function another text, as Triton's tests do. Whatever was compiled with the old one is compiled
        anew when it is next launched."""
        global _edits
        self._source = replace(self.source, text=new_src)
        _edits += 1
        for call in on_edit:
            call()


class KernelFunction(Written):
    """A function written in the kernel language. Inside kernels it is inlined where it is called."""

    def __init__(self, fn: Callable[..., Any], hold: bool = False) -> None:
        super().__init__(inspect.unwrap(fn), hold)       # under functools.wraps, the function that was written
        self.params = _params(self.fn)
        self.arg_names = [p.name for p in self.params]

    @property
    def signature(self) -> inspect.Signature:
        """The parameters, as Python has them."""
        return inspect.signature(self.fn)

    @property
    def rewritten(self) -> bool:
        """Does the text differ from what Python compiled, so that the names in its bytecode do not count?"""
        return self._source is not None and self._source.text != self._source.original

    @property
    def globals(self) -> Mapping[str, Any]:
        return self.fn.__globals__

    def nonlocals(self) -> dict[str, Any]:
        """What the function closes over, by name (cells that are still empty left out)."""
        found: dict[str, Any] = {}
        for name, cell in zip(self.fn.__code__.co_freevars, self.fn.__closure__ or (), strict=True):
            try:
                found[name] = cell.cell_contents
            except ValueError:
                continue
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"Cannot call @triton.jit'd {self.__name__} outside of the scope of a kernel: "
                           f"launch it as {self.__name__}[grid](...)")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.__module__}:{self.__qualname__})"


def compiled_again(fn: FunctionType, text: str) -> FunctionType:
    """The Python function that `text`, one `def`, makes where `fn` stands: it sees the same globals and closes over the
    same cells."""
    made = ast.parse(text).body[0]
    outer = ast.parse(f"def outer({', '.join(fn.__code__.co_freevars)}): pass")
    cast("ast.FunctionDef", outer.body[0]).body = [made, ast.Return(ast.Name(fn.__name__, ast.Load()))]
    ast.fix_missing_locations(outer)
    found: dict[str, Any] = {}
    flags = fn.__code__.co_flags & executed.FUTURES
    exec(compile(outer, fn.__code__.co_filename, "exec", flags=flags, dont_inherit=True), fn.__globals__, found)
    cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))
    inner = found["outer"](*cells)
    again = FunctionType(inner.__code__, fn.__globals__, fn.__name__, inner.__defaults__,
                         tuple(cells[name] for name in inner.__code__.co_freevars))
    again.__kwdefaults__, again.__module__, again.__qualname__ = inner.__kwdefaults__, fn.__module__, fn.__qualname__
    return again


def _lines_now(fn: Callable[..., Any]) -> list[str]:
    """The lines of the file that `fn` stands in (read once per file; none for what is no file or notebook cell)."""
    file = fn.__code__.co_filename
    linecache.checkcache(file)
    return linecache.getlines(file, fn.__globals__)


def read_source(fn: Callable[..., Any]) -> Source:
    """The text of `fn` from its `def` on, out of its file (or the notebook cell, or linecache). Decorators are Python
    that has run already, so what they hold (dicts, lambdas) need not be the kernel language."""
    try:
        lines, first = inspect.getsourcelines(fn)
    except OSError as error:
        raise OSError(f"the source text of {fn.__qualname__} cannot be read ({error}); "
                      "define the kernel in a file or a notebook cell") from error
    return _source_of(lines, first, inspect.getsourcefile(fn) or fn.__code__.co_filename, fn)


def _source_of(lines: list[str], first: int, file: str, fn: Callable[..., Any]) -> Source:
    margin = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
    dedented = "".join(_without(margin, line) for line in lines)
    start = re.search(r"^(async\s+)?def\b", dedented, re.MULTILINE)
    if start is None:
        raise TypeError(f"{fn.__qualname__} is no function made by def: a kernel has a name and statements of its own")
    skipped = dedented.count("\n", 0, start.start())
    text = dedented[start.start():]
    return Source(text, file, first + skipped, len(margin), text)


def _without(margin: str, line: str) -> str:
    """A line without what stands before the whole function; comments, strings and what is in brackets may stand
    further left."""
    return line.removeprefix(margin) if line.strip() else "\n"


def _params(fn: Callable[..., Any]) -> list[Param]:
    return [Param(p.name, p.annotation, p.default, is_constexpr_annotation(p.annotation), i)
            for i, p in enumerate(inspect.signature(fn).parameters.values())]


def is_constexpr_annotation(annotation: Any) -> bool:
    """Is this `tl.constexpr`, the class or its text?"""
    if isinstance(annotation, str):
        return annotation.rsplit(".", 1)[-1] == "constexpr"
    return getattr(annotation, "__name__", "") == "constexpr"
