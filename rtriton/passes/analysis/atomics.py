"""Which atomics one instruction may do on several neighbouring elements."""
from __future__ import annotations

from rtriton.ir import Op
from rtriton.target import Target
from rtriton.types import Pointer, element_of, float32


def adds_vectors(op: Op, target: Target) -> bool:
    """Whether the target has the atomic for two and four elements: sums of f32, from sm_90 on."""
    pointer = op.operands[0]
    if op.kind != "atomic_rmw" or op.attrs["how"] != "add" or pointer is None or target.number < 90:
        return False
    element = element_of(pointer.type)
    return isinstance(element, Pointer) and element.element == float32
