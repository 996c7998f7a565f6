"""Whole tiles at once: is every lane of a mask true? Then a consumer's loops need no masks at all.

`all_true(mask)` is one scalar, computed from the bounds of the tiles that are compared: offs < n holds everywhere if the
largest of offs is below n. `versioned` emits a consumer twice, without the masks where that scalar is true, with them
elsewhere. It is done where a masked access costs much more than a plain one; AVX-512 has predicates for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rtriton.backend.cpu.facts import HINTS
from rtriton.backend.cpu.llvm import V
from rtriton.backend.cpu.lower import Lowering
from rtriton.ir import Op, Value
from rtriton.types import element_of, shape_of

SAME = ("splat", "broadcast", "expand_dims", "reshape", "trans", *HINTS)
Bounds = tuple[V, V]


def versioned(low: Lowering, values: Sequence[Value | None], emit: Callable[[], list[V]]) -> list[V]:
    """Emit a consumer of `values` (masks of its own among them), in two versions where that pays."""
    masks = [] if low.target.vector_bits == 512 or low.assumed else _masks(low, values)
    wanted = [(mask, flag) for mask in masks if (flag := all_true(low, mask)) is not None and flag.const is None]
    if not wanted:
        return emit()
    b, condition = low.b, wanted[0][1]
    for _, flag in wanted[1:]:
        condition = b.op("and", condition, flag)
    held = dict(low.held)
    results: list[list[V]] = []
    arms = []
    for assumed in ({mask for mask, _ in wanted}, set[Value]()):
        b.open_branch()
        low.assumed, low.brief = assumed, not assumed
        results.append(emit())
        low.assumed, low.brief = set(), False
        arms.append(b.end_arm())
        low.held = dict(held)  # what one arm holds does not exist in the other
    return b.close_branch(condition, (arms[0], arms[1]), list(zip(results[0], results[1], strict=True)))


def _masks(low: Lowering, values: Sequence[Value | None]) -> list[Value]:
    """The masks of the loads that evaluating the values reaches, and masks among the values."""
    found: dict[Value, None] = {}
    seen: set[Value] = set()
    todo = [v for v in values if v is not None]
    for value in todo:
        if element_of(value.type).kind == "b" and shape_of(value.type):
            found[value] = None
    while todo:
        value = todo.pop()
        op = low.facts.definition.get(value)
        if op is None or value in seen or value in low.held or not shape_of(value.type) or op.regions:
            continue
        seen.add(value)
        if op.kind == "load" and (mask := low.optional(op, 1)) is not None:
            found[mask] = None
        todo += [v for v in op.operands if v is not None]
    return list(found)


def all_true(low: Lowering, mask: Value) -> V | None:
    """A scalar that is true only if the mask is everywhere; None if no such is known."""
    if not shape_of(mask.type):
        return low.scalars[mask]
    op = low.facts.definition.get(mask)
    if op is None or mask in low.held:
        return None
    if op.kind in SAME:
        return all_true(low, low.operand(op, 0))
    if op.kind == "const":
        return low.b.int(bool(op.attrs["value"]), "i1")
    if op.kind == "and":
        x, y = all_true(low, low.operand(op, 0)), all_true(low, low.operand(op, 1))
        return None if x is None or y is None else low.b.op("and", x, y)
    if op.kind in ("lt", "le", "gt", "ge") and element_of(low.operand(op, 0).type).kind in "iu":
        return _compared(low, op)
    return None


def _compared(low: Lowering, op: Op) -> V | None:
    first, second = low.operand(op, 0), low.operand(op, 1)
    if op.kind in ("gt", "ge"):
        first, second = second, first
    x, y = bounds(low, first), bounds(low, second)
    if x is None or y is None:
        return None
    return low.b.cmp("icmp slt" if op.kind in ("lt", "gt") else "icmp sle", x[1], y[0])


def bounds(low: Lowering, value: Value) -> Bounds | None:
    """The smallest and the largest of a tile of integers, as 64-bit scalars."""
    element, b = element_of(value.type), low.b
    if element.kind not in "iu":
        return None
    if not shape_of(value.type):
        x = b.cast("sext" if element.kind == "i" else "zext", low.scalars[value], "i64")
        return x, x
    op = low.facts.definition.get(value)
    if op is None or value in low.held:
        return None
    if op.kind == "const":
        return low.index(int(op.attrs["value"])), low.index(int(op.attrs["value"]))
    if op.kind == "arange":
        return low.index(op.attrs["start"]), low.index(op.attrs["end"] - 1)
    if op.kind in SAME:
        return bounds(low, low.operand(op, 0))
    if op.kind == "cast":
        source = element_of(low.operand(op, 0).type)
        return bounds(low, low.operand(op, 0)) if source.kind in "iu" and source.bits <= element.bits else None
    if op.kind in ("add", "sub", "mul", "shl", "minimum"):
        x, y = bounds(low, low.operand(op, 0)), bounds(low, low.operand(op, 1))
        return None if x is None or y is None else _combined(low, op.kind, x, y)
    return None


def _combined(low: Lowering, kind: str, x: Bounds, y: Bounds) -> Bounds | None:
    b = low.b
    if kind == "add":
        return b.op("add", x[0], y[0]), b.op("add", x[1], y[1])
    if kind == "sub":
        return b.op("sub", x[0], y[1]), b.op("sub", x[1], y[0])
    if kind == "minimum":
        return _least(low, x[0], y[0]), _least(low, x[1], y[1])
    if y[0].text != y[1].text:  # a product of two ranges: not needed for masks
        return None
    if kind == "shl":
        return b.op("shl", x[0], y[0]), b.op("shl", x[1], y[0])
    p, q = b.op("mul", x[0], y[0]), b.op("mul", x[1], y[0])
    swapped = b.cmp("icmp slt", q, p)
    return b.select(swapped, q, p), b.select(swapped, p, q)


def _least(low: Lowering, x: V, y: V) -> V:
    return low.b.select(low.b.cmp("icmp slt", x, y), x, y)
