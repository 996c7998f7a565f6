"""What a program says of its values: to people, by assertions and prints; to the compiler, by hints and assumptions."""
from __future__ import annotations

from typing import Any

from rtriton.language.table import WRITES, Const, Operand, check_mask, op
from rtriton.types import Type, int1, show_type


@op("assert", effects=WRITES)
def assert_(condition: Operand, mask: Operand = None, *, message: Const) -> tuple[Type, ...]:
    """Stop the kernel with `message` if the condition is false anywhere."""
    check_mask("device_assert", condition)
    return ()


@op("print", effects=WRITES)
def print_(*values: Operand, prefix: Const, hex: Const = False) -> tuple[Type, ...]:
    """Print `prefix` and the values from every program."""
    return ()


def hint(name: str, doc: str) -> Any:
    """A row that says something about a value and gives the value itself; axis analysis reads it."""

    @op(name)
    def rule(x: Operand, *, values: Const) -> Type:
        return x

    return rule


hint("multiple_of", "x, whose elements at the start of each run are multiples of `values`.")
hint("max_contiguous", "x, in which runs of `values` elements rise by one.")
hint("max_constancy", "x, in which runs of `values` elements are equal.")


@op("assume", effects=WRITES)
def assume(condition: Operand) -> tuple[Type, ...]:
    """The condition holds here; the compiler may rely on it."""
    if condition != int1:
        raise TypeError(f"assume needs one i1, got {show_type(condition)}")
    return ()
