"""Through which of the kernel's arguments memory is read and written, as far as pointers can be followed.

A load that several threads do of one element may be done late by some of them: a write of the kernel to the same memory
could come before. Where nothing is written through a load's argument none does.
"""
from __future__ import annotations

from collections.abc import Mapping

from rtriton.ir import Kernel, Op, Value, definitions, walk

FOLLOWED = ("addptr", "splat", "broadcast", "expand_dims", "reshape", "trans", "convert_layout", "multiple_of",
            "max_contiguous", "max_constancy")  # fmt: skip
WRITERS = ("store", "atomic_rmw", "atomic_cas")


def unwritten_loads(kernel: Kernel) -> frozenset[Op]:
    """The loads through arguments through which the kernel writes nothing; none where it writes who knows where."""
    made, carried = definitions(kernel.body), _carried(kernel)
    arguments = set(kernel.params)
    written = {_root(op.operands[0], made, carried) for op in walk(kernel.body) if op.kind in WRITERS}
    if not written <= arguments:
        return frozenset()
    read = arguments - {v for v in written if v is not None}
    return frozenset(
        op for op in walk(kernel.body) if op.kind == "load" and _root(op.operands[0], made, carried) in read
    )


def _carried(kernel: Kernel) -> dict[Value, Value | None]:
    """For each value that a loop carries what it starts from; a turn moves a pointer, but to no other array."""
    found: dict[Value, Value | None] = {}
    for op in walk(kernel.body):
        if op.kind not in ("for", "while"):
            continue
        init = op.operands[3:] if op.kind == "for" else op.operands
        for region in op.regions:
            params = region.params[1:] if op.kind == "for" else region.params
            found.update(zip(params, init, strict=True))
        found.update(zip(op.results, init, strict=True))
    return found


def _root(value: Value | None, made: Mapping[Value, Op], carried: Mapping[Value, Value | None]) -> Value | None:
    while value is not None:
        if value in carried:
            value = carried[value]
            continue
        op = made.get(value)
        if op is None:
            return value
        value = op.operands[0] if op.kind in FOLLOWED else None
    return None
