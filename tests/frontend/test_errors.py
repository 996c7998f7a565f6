"""A bad kernel gets one located error: the right line and column, and a sentence that says what to write instead.

The kernels stand in tests/frontend/errors/, grouped by theme; a comment `# ERROR column: text` marks the line that must
be named and says how the message begins; `pytest --update-golden` writes it anew, to be read in the diff. Parameters
have the type that their name says (TYPES).
"""
from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

from rtriton.errors import CompilationError, CompileTimeAssertionFailure, KernelError, UnsupportedLanguageConstruct
from rtriton.frontend.lower import lower
from rtriton.source import KernelFunction
from rtriton.types import Pointer, float16, float32, int8, int32
from tests.frontend import errors
from tests.frontend.errors import names, products, shapes, syntax

TYPES: dict[str, Any] = {"x": Pointer(float32), "h": Pointer(float16), "b": Pointer(int8),
                         "c": Pointer(float32, const=True), "n": int32}
MODULES = [importlib.import_module(f"{errors.__name__}.{m.name}") for m in pkgutil.iter_modules(errors.__path__)]
CASES = [(module.__name__.rpartition(".")[2], v) for module in MODULES for v in vars(module).values()
         if isinstance(v, KernelFunction) and "# ERROR" in v.source.text]


def expected(fn: KernelFunction) -> tuple[int, int, str]:
    for i, line in enumerate(fn.source.text.splitlines()):
        if match := re.search(r"# ERROR (\d+): (.*)", line):
            return fn.source.first_line + i, int(match.group(1)), match.group(2)
    raise AssertionError(f"{fn.__name__} does not say which error it wants")


def write_expected(fn: KernelFunction, line: int, column: int, message: str) -> None:
    path = Path(fn.source.file)
    lines = path.read_text().split("\n")
    head = f"{lines[line - 1].split('  # ERROR')[0]}  # ERROR {column}: "
    room = 120 - len(head)
    short = message if len(message) <= room else message[:room].rsplit(" ", 1)[0].rstrip(" ,:;")
    lines[line - 1] = head + short
    path.write_text("\n".join(lines))


def error_of(fn: KernelFunction) -> KernelError:
    with pytest.raises(KernelError) as caught:
        lower(fn, {name: TYPES.get(name, int32) for name in fn.arg_names}, {})
    return caught.value


def test_there_are_many_bad_kernels() -> None:
    assert len(CASES) >= 180 and len(MODULES) >= 7


@pytest.mark.parametrize(("theme", "fn"), CASES, ids=[f"{theme}-{fn.__name__}" for theme, fn in CASES])
def test_the_error_names_the_place_and_the_remedy(theme: str, fn: KernelFunction, request: Any) -> None:
    error = error_of(fn)
    root = error.span
    while root.caller is not None:              # inside a function of the user's: the call in the kernel counts
        root = root.caller
    if request.config.getoption("--update-golden"):
        write_expected(fn, root.line, root.column, error.message)
        return
    line, column, sentence = expected(fn)
    assert error.message.startswith(sentence)
    assert (root.file, root.line, root.column) == (fn.source.file, line, column), str(error)
    assert isinstance(error, CompilationError) and "internal error" not in error.message
    if sentence.startswith("the kernel language has no ") and theme == "syntax":
        assert isinstance(error, UnsupportedLanguageConstruct)


def test_the_message_shows_the_source_line_with_carets_and_where_the_operands_were_made() -> None:
    fn = products.loaded_operands
    line, file = expected(fn)[0], fn.source.file
    first, source, carets, *notes = str(error_of(fn)).splitlines()
    assert first == f"{file}:{line}:15: dot needs equal inner sizes, got 16x32 and 16x16"
    assert source.startswith(f"{line:5d} |         acc = tl.dot(a, b, acc)")
    assert carets == "      |" + " " * 15 + "^" * len("tl.dot(a, b, acc)")
    assert notes == [f"  a: 16x32xf16, loaded at {file}:{line - 4}:9", f"  b: 16x16xf16, loaded at {file}:{line - 3}:9",
                     "  acc: 16x16xf32, carried by a loop"]


def test_an_error_in_a_called_function_names_the_calls_too() -> None:
    text = str(error_of(names.returns_of_two_types))
    assert text.splitlines()[0].startswith(f"{names.__file__}:{names.of_two_types.source.first_line + 3}:5: ")
    assert text.splitlines()[-1] == f"called from {names.__file__}:{expected(names.returns_of_two_types)[0]}:9"


def test_an_error_inside_the_language_is_told_at_the_users_call() -> None:
    first, *_, last = str(error_of(shapes.sum_over_a_missing_axis)).splitlines()
    assert first.startswith(f"{shapes.__file__}:{expected(shapes.sum_over_a_missing_axis)[0]}:9: ")
    assert "in tl.sum, at " in last


def test_a_static_assertion_has_a_type_of_its_own() -> None:
    assert isinstance(error_of(names.static_assertion), CompileTimeAssertionFailure)


def test_what_the_grammar_takes_and_the_language_does_not_is_no_other_error() -> None:
    assert isinstance(error_of(syntax.matmul_operator), UnsupportedLanguageConstruct)
    assert isinstance(error_of(syntax.else_of_a_for), UnsupportedLanguageConstruct)


def test_programs_written_for_triton_find_its_way_to_say_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KernelError, "as_triton", True)
    error = error_of(names.returns_of_two_types)
    *_, place, message = str(error).splitlines()
    assert (place, message) == ("at 2:8:", error.message)                     # the call, in the kernel's own text
    assert isinstance(error.__cause__, KernelError) and "at 4:4:" in str(error.__cause__)     # the second return
