"""Which axis of a tile goes to the lanes: points for what each choice makes of the memory that is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtriton.backend.cpu.place import Buffer
from rtriton.ir import Value
from rtriton.types import element_of, shape_of

if TYPE_CHECKING:
    from rtriton.backend.cpu.lower import Lowering

VECTOR, SAME = 4, 1


def score(low: Lowering, value: Value, axis: int, lanes: int) -> int:
    """The sum over the memory accesses behind a value: a vector is good, a broadcast fair, a gather costs its lanes."""
    with low.facts.taking(low.facts.clamps):
        return _score(low, value, axis, lanes, {})


def _score(low: Lowering, value: Value, axis: int, lanes: int, seen: dict[tuple[Value, int], int]) -> int:
    if axis < 0 or not shape_of(value.type):
        return 0
    if (value, axis) not in seen:
        seen[value, axis] = 0
        seen[value, axis] = _points(low, value, axis, lanes, seen)
        points = seen[value, axis]
        seen[value, axis] = 0  # a shared operand counts once
        return points
    return seen[value, axis]


def _points(low: Lowering, value: Value, axis: int, lanes: int, seen: dict[tuple[Value, int], int]) -> int:
    held = low.held.get(value)
    if isinstance(held, Buffer):
        return VECTOR if held.strides[axis] == 1 else -lanes
    if held is not None:
        return VECTOR if held.axis == axis else -lanes
    if element_of(value.type).kind == "p":
        return _access(low.facts.chunk(value, axis, lanes).stride, lanes)
    op = low.facts.definition.get(value)
    if op is None:
        return 0
    if op.kind == "load":
        return _access(low.facts.chunk(low.operand(op, 0), axis, lanes).stride, lanes)
    if op.kind in ("expand_dims", "broadcast", "trans", "reshape", "splat"):
        source = low.facts.mapped(op, axis, lanes)
        return -lanes if source is None else _score(low, low.operand(op, 0), source, lanes, seen)
    if op.kind == "dot":
        return VECTOR if axis == len(shape_of(value.type)) - 1 else -lanes
    if op.kind == "reduce":
        return _score(low, low.operand(op, 0), axis + (axis >= op.attrs["axis"]), lanes, seen)
    if op.regions or op.kind in ("gather", "join", "split", "cat", "scan", "histogram", "order"):
        return 0
    return sum(_score(low, v, axis, lanes, seen) for v in op.operands if v is not None)


def _access(stride: int | None, lanes: int) -> int:
    return {1: VECTOR, 0: SAME}.get(stride, -lanes) if stride is not None else -lanes
