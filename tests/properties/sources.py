"""Random source text: token soup in the body of a kernel, and real kernels with a few tokens or lines changed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.kernels import tutorials

Draw = Callable[[st.SearchStrategy[Any]], Any]

KEYWORDS = (
    "if elif else for while in is not and or return pass break continue assert with as lambda def class try except "
    "raise import from global nonlocal del yield await async None True False match"
).split()
NAMES = "x n B y tl a i kernel range static_range print len float int max self constexpr __class__ _".split()
CALLS = (
    "tl.load(x); tl.store(x, n); tl.arange(0, B); tl.arange(0, n); tl.sum(a, 0); tl.zeros((4,), tl.float32); *a; **a; "
    "tl.dot(a, a); tl.where(n, a, y); tl.reshape(a, 2, 2); tl.full((B,), 1, tl.int32); .to(tl.float32); [:, None]; "
    "[None]; [0:2]; .shape; .dtype; .T; tl.float32; tl.constexpr; tl.range(n); tl.static_range(2); tl.program_id(0); "
    "tl.reduce(a, 0, kernel)"
).split("; ")
SYMBOLS = (
    "( ) [ ] { } , : ; . = == != < <= > >= + - * / // % ** @ & | ^ ~ << >> -> := += -= *= @= ... \\ ` ? $ !"
).split()
LITERALS = ["0", "1", "2", "-1", "0x1F", "1.5", "1e3", "1e999", ".5", "3.", "07", "1_0", "'s'", '"s', "'''", "f'{n}'",
            "f'{'", "b'1'", "r'\\'", "1j", "#", "é", "\u2028", "\x00", "\t", "\x0c"]  # fmt: skip
POOL = [*NAMES, *LITERALS, *SYMBOLS, *CALLS, *KEYWORDS]
BREAKS = ["\n", "\n    ", "\n        ", "\n  ", ":\n        ", "\n\t"]

KERNELS = [value for value in vars(tutorials).values() if hasattr(value, "arg_names")]
TOKEN = re.compile(r"\s+|\w+|[^\w\s]")


@st.composite
def soups(draw: Draw) -> str:
    """A function with tokens for a body."""
    tokens = draw(st.lists(st.sampled_from([*POOL, *BREAKS]), max_size=25))
    return "def kernel(x, n, B: tl.constexpr):\n    a = tl.arange(0, B)\n    " + " ".join(tokens) + "\n"


@st.composite
def mutants(draw: Draw) -> tuple[Any, str]:
    """A kernel of the tutorials, and its text changed in one to four places."""
    fn = draw(st.sampled_from(KERNELS))
    tokens = TOKEN.findall(fn.source.text)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(tokens) - 1))
        change = draw(st.sampled_from(["delete", "replace", "repeat", "insert", "swap", "cut"]))
        other = draw(st.integers(0, len(tokens) - 1))
        if change == "delete":
            del tokens[at]
        elif change == "replace":
            tokens[at] = draw(st.sampled_from([*POOL, *BREAKS]))
        elif change == "repeat":
            tokens.insert(at, tokens[other])
        elif change == "insert":
            tokens.insert(at, " " + draw(st.sampled_from(POOL)) + " ")
        elif change == "swap":
            tokens[at], tokens[other] = tokens[other], tokens[at]
        else:
            del tokens[min(at, other) : min(at, other) + 1 + abs(at - other) % 12]
        if not tokens:
            tokens = ["\n"]
    return fn, "".join(tokens)
