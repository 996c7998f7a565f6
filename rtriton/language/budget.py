"""How much a kernel may ask for while it is compiled: a few words of text could want more than any machine has.

Far above what kernels do (the largest of this project makes 1,400 ops in 4,000 steps), and low enough that compiling
one that goes on without end takes less than a second until it is told so. A number's bits have a limit of their own,
where powers and shifts are computed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rtriton.guards import is_list

MAX_OPS = 1 << 14
"""Ops of a kernel, with all that is inlined and unrolled."""
MAX_STEPS = 1 << 16
"""Expressions and turns of loops that are evaluated when compiling."""
MAX_PARTS = 1 << 14
"""Parts of a tuple that is known when compiling, at any depth."""
MAX_TEXT = 1 << 20
"""Characters of a text that is known when compiling."""
MAX_WIDTH = 1 << 12
"""Of a field in a format."""


def check_known(x: Any) -> None:
    """OverflowError where a text or a tuple is larger than compiling ever needs."""
    if isinstance(x, str):
        check_length(x, 1)
    elif is_list(x):
        left: list[Any] = [x]
        parts = 0
        while left:
            last = left.pop()
            parts += len(last)
            if parts > MAX_PARTS:
                raise OverflowError(f"a tuple that is known when compiling has at most {MAX_PARTS} parts")
            left += [part for part in last if is_list(part)]


def check_range(numbers: range) -> None:
    """The same of a range that becomes a tuple; its length may be more than `len` can say."""
    if numbers[MAX_PARTS:]:
        raise OverflowError(f"a tuple that is known when compiling has at most {MAX_PARTS} parts")


def check_length(x: Any, times: Any) -> None:
    """The same of `x * times` before it is made."""
    if not isinstance(times, int):
        return
    if isinstance(x, str) and len(x) * times > MAX_TEXT:
        raise OverflowError(f"a text that is known when compiling has at most {MAX_TEXT} characters")
    if is_list(x) and len(x) * times > MAX_PARTS:
        raise OverflowError(f"a tuple that is known when compiling has at most {MAX_PARTS} parts")


def check_format(text: str) -> None:
    """The same of what a format makes of a value: its width and precision."""
    if any(len(digits) > 5 or int(digits) > MAX_WIDTH for digits in re.findall(r"\d+", text)):
        raise OverflowError(f"a format's width and precision are at most {MAX_WIDTH}")


def check_method(text: str, name: str, args: Sequence[Any]) -> None:
    """The same of what a method of a text makes: it is formatted, or made as wide as an argument says."""
    if name in ("format", "format_map"):
        check_format(text)
    for x in args:
        check_length("x", x)
