"""Whole tiles at once: conditions, tested once, under which a consumer's loops become simpler.

- `offs < n` holds everywhere if the largest of offs is below n: then no access needs its mask;
- `min(offs, n - 1)` and `offs % n` are offs itself if no element of offs reaches n: then what is loaded through them
  are neighbours, and a vector load does what a gather did.

`versioned` emits a consumer twice, for the tiles where the conditions hold and for those at the edge. Masks are worth
it where a masked access costs much more than a plain one (AVX-512 has predicates for nothing), gathers always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rtriton.backend.cpu.facts import HINTS
from rtriton.backend.cpu.llvm import Region, V
from rtriton.backend.cpu.lower import Lowering
from rtriton.ir import Op, Value
from rtriton.types import element_of, shape_of

SAME = ("splat", "broadcast", "expand_dims", "reshape", "trans", *HINTS)
Bounds = tuple[V, V]


def versioned(
    low: Lowering, values: Sequence[Value | None], axis: int, lanes: int, emit: Callable[[], list[V]]
) -> list[V]:
    """Emit a consumer of `values` (its masks among them), lanes along `axis`, in two versions if that pays."""
    if low.assumed or low.facts.same or low.brief:
        return emit()
    masks = [] if low.target.vector_bits == 512 else _masks(low, values)
    wanted = {mask: flag for mask in masks if (flag := all_true(low, mask)) is not None and flag.const is None}
    clamps = {v: flag for v in _clamps(low, values, axis, lanes) if (flag := _unclamped(low, v)) is not None}
    flags = [*wanted.values(), *clamps.values()]
    if not flags:
        return emit()
    condition = flags[0]
    for flag in flags[1:]:
        condition = low.b.op("and", condition, flag)
    same = {v: low.facts.clamps[v] for v in clamps}
    first, results = _arm(low, emit, set(wanted), same, brief=False)
    second, others = _arm(low, emit, set(), {}, brief=True)
    return low.b.close_branch(condition, (first, second), list(zip(results, others, strict=True)))


def _arm(low: Lowering, emit: Callable[[], list[V]], assumed: set[Value], same: dict[Value, Value],
         brief: bool) -> tuple[Region, list[V]]:  # fmt: skip
    held = dict(low.held)
    low.b.open_branch()
    low.assumed, low.brief = assumed, brief
    with low.facts.taking(same):
        results = emit()
    low.assumed, low.brief = set(), False
    low.held = held  # what one arm holds does not exist in the other
    return low.b.end_arm(), results


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


def _clamps(low: Lowering, values: Sequence[Value | None], axis: int, lanes: int) -> list[Value]:
    """The clamped indices without which the pointers that are reached would point at neighbours."""
    found: dict[Value, None] = {}
    if not lanes or not low.facts.clamps:
        return []
    seen: set[tuple[Value, int]] = set()
    todo = [(v, axis, False) for v in values if v is not None]
    while todo:
        value, along, addressing = todo.pop()
        op = low.facts.definition.get(value)
        if (
            op is None
            or (value, along) in seen
            or value in low.held
            or along < 0
            or not shape_of(value.type)
            or op.regions
        ):
            continue
        seen.add((value, along))
        if element_of(value.type).kind == "p" and not addressing:
            if low.facts.chunk(value, along, lanes).stride is not None:
                continue
            with low.facts.taking(low.facts.clamps):
                addressing = low.facts.chunk(value, along, lanes).stride is not None
        if addressing and value in low.facts.clamps and low.facts.chunk(value, along, lanes).stride is None:
            found[value] = None
        moved = op.kind in ("expand_dims", "broadcast", "trans", "reshape", "splat")
        source = low.facts.mapped(op, along, lanes) if moved else along
        if source is not None:
            todo += [(v, source, addressing) for v in op.operands if v is not None]
    return list(found)


def _unclamped(low: Lowering, value: Value) -> V | None:
    """A scalar that is true only if min(x, s), or x % s, is x everywhere."""
    op = low.facts.definition[value]
    x, y = bounds(low, low.operand(op, 0)), bounds(low, low.operand(op, 1))
    if x is None or y is None:
        return None
    b = low.b
    if op.kind == "minimum":
        return b.cmp("icmp sle", x[1], y[0])
    return b.op("and", b.cmp("icmp sge", x[0], low.index(0)), b.cmp("icmp slt", x[1], y[0]))


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
