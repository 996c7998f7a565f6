"""canonicalize: one spelling for each meaning, and the shortest.

Constants are folded, identities removed, constants stand to the right, index arithmetic on splats becomes scalar
arithmetic, branches and loops that are decided already go away. The rules are in _arithmetic.py, _shapes.py and
_control.py; they are applied until none has anything to say. A rule never makes a kernel slower by itself: work moves
from tiles to scalars and from large tiles to small ones only.
"""

from __future__ import annotations

from typing import Any

from rtriton.ir import Builder, Kernel, Op
from rtriton.passes import _arithmetic, _control, _shapes, register
from rtriton.passes._facts import Facts, Given, Operands, rewrite

MOST_SWEEPS = 50  # rules shorten or move in one direction; this many sweeps mean two rules that undo each other
RULES = (*_arithmetic.RULES, *_shapes.RULES, *_control.RULES)


@register
def canonicalize(kernel: Kernel, target: Any) -> Kernel:
    """Fold, simplify and order.

    before:  %b: i32 = const {value = 128, type = type(i32)}
             %s: i32 = mul %b, %pid
             %t: 128xi32 = splat %s {shape = (128,)}
             %n: 128xi32 = splat %m {shape = (128,)}
             %u: 128xi32 = add %t, %n
    after:   %s: i32 = mul %pid, %b
             %v: i32 = add %s, %m
             %u: 128xi32 = splat %v {shape = (128,)}
    """
    for _ in range(MOST_SWEEPS):
        simpler = rewrite(kernel, _simplify)
        if simpler is kernel:
            return kernel
        kernel = simpler
    raise AssertionError(f"canonicalize did not come to an end on kernel {kernel.name}")


def _simplify(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    for rule in RULES:
        given = rule(op, args, build, facts)
        if given is not None:
            return given
    return None
