"""Which functions a model may call, which it must call, and how often: what `tools` and the fields beside them come to.

offer([weather, time], Choice(named="time"), None)      # told of both, must call time, once
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from server.conversation import Function
from server.strict import wrong


@dataclass(frozen=True)
class Choice:
    """What `tool_choice` says: a mode, or the name of a function."""

    mode: Literal["auto", "none", "required"] | None = None
    named: str | None = None


@dataclass(frozen=True)
class Offer:
    """Functions that the model is told of; of these, the ones of which one has to be called; whether it may call more
    than once.
    """

    functions: tuple[Function, ...] = ()
    forced: tuple[Function, ...] = ()
    many: bool = True


def offer(functions: Sequence[Function], choice: Choice, parallel: bool | None) -> Offer:
    """`parallel` is `parallel_tool_calls`."""
    many = parallel is not False and choice.named is None
    if choice.mode == "none":
        return Offer(many=many)
    forced = [f for f in functions if choice.mode == "required" or f.name == choice.named]
    return Offer(tuple(functions), tuple(forced), many)


def check(functions: Sequence[Function], choice: Choice, parallel: bool | None, *inside: str) -> None:
    """No two functions have one name, and what is said of functions is said where there are some. A name is `inside`
    its tool or choice.
    """
    names = [function.name for function in functions]
    if twice := next((i for i, name in enumerate(names) if name in names[:i]), None):
        raise wrong("another tool has this name", "tools", twice, *inside)
    if not names:
        if choice.named is not None or choice.mode == "required":
            raise wrong("is only allowed when `tools` are given", "tool_choice")
        if parallel is not None:
            raise wrong("is only allowed when `tools` are given", "parallel_tool_calls")
    elif choice.named is not None and choice.named not in names:
        raise wrong("there is no tool of this name", "tool_choice", *inside)
