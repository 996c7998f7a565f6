"""What tests/frontend/test_known_values.py reaches through a module."""
from __future__ import annotations

import enum
import types

import rtriton
import rtriton.language as tl

FACTOR = tl.constexpr(9)


class Mode(enum.IntEnum):
    FAST = 1
    EXACT = 2


def plain(x: int) -> int:
    """Plain Python, which kernels may call through its module on what is known."""
    return x + 1


@rtriton.jit
def negated(x):
    return -x


nested = types.ModuleType("nested")
nested.negated = negated
