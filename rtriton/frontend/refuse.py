"""What Python has and the kernel language does not: each construct by name, with what to write instead.

Text that the grammar does not take is parsed by Python. Each statement that holds a construct of the table becomes a
`$`, which the grammar takes and which is refused when it is lowered: one that no path known when compiling reaches does
no harm, as in Triton. Where that does not help the first construct is refused at once; only text that is no Python
either is a syntax error.
"""
from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from rtriton.errors import CompilationError, UnsupportedLanguageConstruct
from rtriton.ir import Span
from rtriton.source import Source

TRY = "try: a kernel cannot catch errors; check with tl.device_assert, or branch on a condition"
DEF = "nested functions: define it outside the kernel under @jit"
IMPORT = "import: import at the top of the file"
ASYNC = "async: a kernel runs on the device from start to end"
YIELD = "yield: a kernel function is no generator; return a tuple"
DICT = "dict and set displays: use a tuple"
INSTEAD: dict[str, str] = {
    "Lambda": "lambda: define a function under @jit and pass its name",
    "Try": TRY, "TryStar": TRY, "Raise": "raise: use tl.device_assert, or tl.static_assert for what is known",
    "ClassDef": "class: define it outside the kernel", "FunctionDef": DEF, "AsyncFunctionDef": ASYNC,
    "Import": IMPORT, "ImportFrom": IMPORT,
    "Global": "global: return the value, or pass it as an argument",
    "Nonlocal": "nonlocal: return the value, or pass it as an argument",
    "Delete": "del: just do not use the name again",
    "Yield": YIELD, "YieldFrom": YIELD, "Await": ASYNC, "AsyncFor": ASYNC, "AsyncWith": ASYNC,
    "NamedExpr": "walrus assignments: write the assignment on a line of its own",
    "Dict": DICT, "Set": DICT, "DictComp": DICT, "SetComp": DICT,
    "GeneratorExp": "generator expressions: write [... for ... in ...] over a tuple known when compiling",
    "Match": "match: write if, elif and else",
    "TypeAlias": "type statements: name the type outside the kernel",
}
# what the grammar takes for a name because it stands alone
KEYWORDS = {"raise": INSTEAD["Raise"], "yield": YIELD, "await": ASYNC, "lambda": INSTEAD["Lambda"]}


def refusal(source: Source, line: int, column: int) -> CompilationError:
    """The error for text that does not parse from `line`, `column` on (both counted from 1 in the text)."""
    tree, lines = _python(source.text), source.text.splitlines()
    found = _first(ast.walk(tree), tree.body[0]) if tree is not None and tree.body else None
    if found is not None:
        return _error(source, lines, *found)
    row = min(max(1, line), max(1, len(lines)))
    rest = (lines[row - 1] if lines else "")[max(0, column - 1):].split()
    place = Span(source.file, source.first_line + row - 1, source.indent + max(1, column))
    return CompilationError(f"syntax error at {rest[0] if rest else 'the end of the line'}", place)


def marked(text: str) -> str | None:
    """The text with a `$` for each statement that is refused, every line where it was; None if there is none."""
    lines = text.splitlines()
    found = [statement for statement, _, _ in _refused(text)]
    for statement in reversed(found):
        (row, column), end = _start(statement, lines), int(statement.end_lineno)
        after = lines[end - 1][_column(lines, end, statement.end_col_offset) - 1:]
        lines[row - 1:end] = [lines[row - 1][:column - 1] + "$" + after, *[""] * (end - row)]
    return "\n".join(lines) + "\n" if found else None


def refused_at(source: Source, line: int, column: int, caller: Span | None) -> CompilationError:
    """The error for the statement that `marked` replaced at `line`, `column`."""
    lines = source.text.splitlines()
    for statement, node, words in _refused(source.text):
        if _start(statement, lines) == (line, column):
            return _error(source, lines, node, words, caller)
    return CompilationError("syntax error at $", Span(source.file, source.first_line + line - 1, caller=caller))


def _python(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _refused(text: str) -> list[tuple[Any, Any, str]]:
    """The smallest statements of a function that hold something refused: each with what that is, and the words."""
    tree = _python(text)
    kernel = tree.body[0] if tree is not None and tree.body else None
    return list(_in_block(kernel.body)) if isinstance(kernel, ast.FunctionDef) else []


def _in_block(statements: Iterable[ast.stmt]) -> Iterator[tuple[Any, Any, str]]:
    for statement in statements:
        found = _first(_own(statement), None)
        if found is not None:
            yield statement, *found
        else:
            yield from _in_block(n for n in ast.iter_child_nodes(statement) if isinstance(n, ast.stmt))


def _own(statement: ast.stmt) -> Iterator[ast.AST]:
    """A statement and the expressions in it, without the statements in it."""
    todo: list[ast.AST] = [statement]
    while todo:
        node = todo.pop()
        yield node
        todo += [n for n in ast.iter_child_nodes(node) if not isinstance(n, ast.stmt)]


def _first(nodes: Iterable[ast.AST], kernel: ast.AST | None) -> tuple[Any, str] | None:
    """The first construct that is refused, in the order of the text."""
    found: list[tuple[int, int, Any, str]] = []
    for node in nodes:
        words = _words(node, node is kernel)
        if words:
            place: Any = node
            found.append((place.lineno, place.col_offset, node, words))
    if not found:
        return None
    _, _, node, words = min(found, key=lambda f: f[:2])
    return node, words


def _words(node: ast.AST, is_kernel: bool) -> str | None:
    if isinstance(node, ast.FunctionDef) and is_kernel:
        return "type parameters: annotate parameters with tl types" if getattr(node, "type_params", None) else None
    if isinstance(node, ast.Constant) and isinstance(node.value, complex):
        return "complex numbers: keep the real and the imaginary part apart"
    if isinstance(node, ast.ListComp) and len(node.generators) > 1:
        return "comprehensions with several for: nest them"
    return INSTEAD.get(type(node).__name__)


def _error(source: Source, lines: list[str], node: Any, words: str,
           caller: Span | None = None) -> UnsupportedLanguageConstruct:
    """The refusal of a node of Python's tree, where it stands."""
    row, end = node.lineno, node.end_lineno or node.lineno
    place = Span(source.file, source.first_line + row - 1, source.indent + _column(lines, row, node.col_offset),
                 caller=caller)
    if end == row:                                  # of a block point at its first line
        last = source.indent + _column(lines, end, node.end_col_offset or node.col_offset)
        place = replace(place, end_line=source.first_line + end - 1, end_column=last)
    return UnsupportedLanguageConstruct(f"the kernel language has no {words}", place)


def _start(statement: Any, lines: list[str]) -> tuple[int, int]:
    """Line and column of a statement, its decorators included."""
    column = _column(lines, statement.lineno, statement.col_offset)
    return min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", ()))]), column


def _column(lines: list[str], row: int, offset: int) -> int:
    """The column, from 1, of a place in Python's tree, which counts bytes."""
    return len(lines[row - 1].encode()[:offset].decode(errors="replace")) + 1


def no_target(rule: str, target: Any) -> str:
    """The rule that a target which is no name breaks; under an index there is perhaps memory meant."""
    memory = "; memory is written with tl.store(pointer + i, value)" if target.data == "subscript" else ""
    return f"{rule}: tiles and tuples are values{memory}"
