"""Ops that own blocks, and the one that ends a block."""
from __future__ import annotations

from collections.abc import Sequence

from rtriton import ir
from rtriton.language.table import CONTROL, Const, Operand, op, types_of
from rtriton.types import Type, element_of, int1, show_type, show_types


@op("for")
def for_(low: Operand, high: Operand, step: Operand, *init: Operand, num_stages: Const = 0, unroll: Const = 0,
         disable_licm: Const = False, flatten: Const = False, warp_specialize: Const = False,
         disallow_acc_multi_buffer: Const = False, regions: Sequence[ir.Block] = ()) -> tuple[Type, ...]:
    """index = low, low + step, ... below high (above it for a negative step); `init` are carried from turn to turn.
    The pass licm leaves one with `disable_licm` alone; the last three are wishes that no pass has a use for."""
    (body,) = regions
    if not (low == high == step) or element_of(low).kind not in "iu":
        raise TypeError(f"for needs integer bounds of one type, got {show_types((low, high, step))}")
    if types_of(body.params) != [low, *init] or types_of(body.yielded) != list(init):
        raise TypeError(f"for carries {show_types(init)} but yields {show_types(types_of(body.yielded))}")
    return tuple(init)


@op("while")
def while_(*init: Operand, disable_licm: Const = False, regions: Sequence[ir.Block] = ()) -> tuple[Type, ...]:
    """While the first region yields true, the second makes the next carried values."""
    test, body = regions
    if types_of(test.yielded) != [int1]:
        raise TypeError("the condition of a while is one i1")
    if any(types_of(values) != list(init) for values in (test.params, body.params, body.yielded)):
        raise TypeError(f"while carries {show_types(init)} but yields {show_types(types_of(body.yielded))}")
    return tuple(init)


@op("if")
def if_(condition: Operand, *, regions: Sequence[ir.Block] = ()) -> tuple[Type, ...]:
    """The values of the first region if the scalar condition is true, else of the second."""
    if condition != int1:
        raise TypeError(f"the condition of an if is one i1, got {show_type(condition)}")
    then, otherwise = regions
    if types_of(then.yielded) != types_of(otherwise.yielded):
        raise TypeError(f"the branches of an if give {show_types(types_of(then.yielded))} "
                        f"and {show_types(types_of(otherwise.yielded))}")
    return tuple(types_of(then.yielded))


@op("yield", effects=CONTROL)
def yield_(*values: Operand) -> tuple[Type, ...]:
    """Ends a region and hands out its values."""
    return ()
