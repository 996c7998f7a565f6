"""Text of a kernel function -> tree whose nodes carry places of the real file.

The grammar (kernel.lark) is compiled once and its tables kept in the cache folder. What does not parse is refused by
name (refuse.py), statements where they are reached.
"""
from __future__ import annotations

import threading
from contextlib import suppress
from functools import cache, lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any

from rtriton import knobs
from rtriton.errors import CompilationError, UnsupportedLanguageConstruct
from rtriton.frontend.refuse import marked, refusal
from rtriton.ir import Span
from rtriton.source import Source


@cache
def _parser() -> Any:
    from lark import Lark
    from lark.indenter import Indenter

    class KernelIndenter(Indenter):
        @property
        def NL_type(self) -> str:
            return "_NL"

        @property
        def OPEN_PAREN_types(self) -> list[str]:
            return ["LPAR", "LSQB"]

        @property
        def CLOSE_PAREN_types(self) -> list[str]:
            return ["RPAR", "RSQB"]

        @property
        def INDENT_type(self) -> str:
            return "_INDENT"

        @property
        def DEDENT_type(self) -> str:
            return "_DEDENT"

        @property
        def tab_len(self) -> int:
            return 8

    grammar = (Path(__file__).parent / "kernel.lark").read_text()
    parser = Lark(grammar, parser="lalr", postlex=KernelIndenter(), propagate_positions=True, maybe_placeholders=True,
                  cache=_tables())
    _hand_through_single_children(parser)
    return parser


def _hand_through_single_children(parser: Any) -> None:
    """Make `?sum: product` give its child and nothing else. A name goes through sixteen such rules, and Lark's own
    action for them, which looks for the child's place to give it to the child, was half of the time of parsing."""
    actions = parser.parser.parser.parser.callbacks
    for rule in actions:
        one = len(rule.expansion) == 1 and not rule.expansion[0].is_term
        if one and rule.options.expand1 and rule.alias is None:
            actions[rule] = itemgetter(0)


def _tables() -> str | bool:
    """Where the parser's tables are kept; False where the cache folder cannot be written."""
    folder = knobs.cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return False
    return str(folder / "kernel-grammar.lark-cache")


_ONE_AT_A_TIME = threading.Lock()       # the parser knows how deep its text is indented: it is one text's at a time


def parse(source: Source) -> Any:
    """The `funcdef` tree of a kernel; CompilationError where the text is not the kernel language."""
    from lark.exceptions import UnexpectedInput
    from lark.indenter import DedentError

    try:
        function = _tree(source.text.rstrip() + "\n")
    except UnexpectedInput as error:
        raise refusal(source, error.line, error.column) from None
    except DedentError as error:
        place = Span(source.file, source.first_line)
        raise CompilationError(f"the indentation is not consistent: {error}", place) from None
    for param in function.children[1].children if function.children[1] is not None else ():
        if param is not None and param.data in ("star_param", "kw_param"):
            raise UnsupportedLanguageConstruct("the kernel language has no *args and **kwargs: name each parameter, or "
                                               "take a tuple", span_of(source, param, None))
    return function


@lru_cache(maxsize=1024)
def _tree(text: str) -> Any:
    """Trees hold places in their text and nobody changes them: functions of one text, as tests and generated kernels
    are, share one."""
    from lark.exceptions import UnexpectedInput

    with _ONE_AT_A_TIME:
        try:
            return _parser().parse(text).children[-1]
        except UnexpectedInput:
            other = marked(text)
            if other is None:
                raise
            with suppress(UnexpectedInput):
                return _parser().parse(other).children[-1]
            raise


def span_of(source: Source, node: Any, caller: Span | None) -> Span:
    """Where `node` stands in the real file."""
    meta = node.meta if hasattr(node, "meta") else node
    line = getattr(meta, "line", None)
    if line is None:
        return Span(source.file, source.first_line, caller=caller, function=source.function)
    return Span(source.file, source.first_line + line - 1, source.indent + meta.column,
                source.first_line + meta.end_line - 1, source.indent + meta.end_column, caller, source.function)


def parse_expression(text: str) -> Any:
    """The tree of one expression (a field of an f-string)."""
    body = parse(Source(f"def f():\n    {text}\n", "<f-string>", 1, 0))
    return body.children[-1].children[0].children[0]
