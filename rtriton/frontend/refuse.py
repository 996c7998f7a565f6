"""What Python has and the kernel language does not: each construct by name, with what to write instead.

Text that the grammar does not take is parsed by Python, and the first construct of the table is what is refused; only
text that is no Python either is a syntax error.
"""
from __future__ import annotations

import ast
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
    try:
        tree = ast.parse(source.text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    lines = source.text.splitlines()
    found = _first(tree, lines) if tree is not None else None
    if found is not None:
        node, words = found
        return UnsupportedLanguageConstruct(f"the kernel language has no {words}", _span(source, lines, node))
    row = min(max(1, line), max(1, len(lines)))
    rest = (lines[row - 1] if lines else "")[max(0, column - 1):].split()
    place = Span(source.file, source.first_line + row - 1, source.indent + max(1, column))
    return CompilationError(f"syntax error at {rest[0] if rest else 'the end of the line'}", place)


def _first(tree: ast.Module, lines: list[str]) -> tuple[Any, str] | None:
    """The first construct that is refused, in the order of the text."""
    kernel = tree.body[0] if tree.body else None
    found: list[tuple[int, int, Any, str]] = []
    for node in ast.walk(tree):
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


def _span(source: Source, lines: list[str], node: Any) -> Span:
    """Where a node of Python's tree stands; its columns count bytes."""
    def column(row: int, offset: int) -> int:
        return len(lines[row - 1].encode()[:offset].decode(errors="replace")) + 1

    row, end = node.lineno, node.end_lineno or node.lineno
    if end != row:                                  # a block: point at its first line
        return Span(source.file, source.first_line + row - 1, source.indent + column(row, node.col_offset))
    return Span(source.file, source.first_line + row - 1, source.indent + column(row, node.col_offset),
                source.first_line + end - 1, source.indent + column(end, node.end_col_offset or node.col_offset))
