"""What becomes of pointers that are cast."""
from __future__ import annotations

import rtriton.language as tl
from rtriton.frontend.lower import lower
from rtriton.ir import walk
from rtriton.source import KernelFunction
from rtriton.types import Pointer, float32, show_type


@KernelFunction
def addresses(x, n):
    tl.device_print("addresses", x.to(tl.int64), x.to(tl.uint64), x.to(tl.int1))


def test_a_pointer_converts_to_integers_of_64_bits_and_to_a_mask() -> None:
    kernel = lower(addresses, {"x": Pointer(float32)}, {"n": 0}).kernel
    (op,) = (op for op in walk(kernel.body) if op.kind == "print")
    assert [show_type(v.type) for v in op.operands if v is not None] == ["i64", "u64", "i1"]
