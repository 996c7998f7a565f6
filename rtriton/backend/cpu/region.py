"""Regions on single elements, the functions of reduce, scan and map, run on whole vectors.

Each op of the region is applied to all lanes. Branches without effects become selects. What cannot be said in lanes
(a loop, a branch with effects) is run element by element: the vectors go to the arena, a loop at run time calls the
scalar lowering of the region on one lane after the other, and the results are read back as vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

from rtriton.backend.cpu import elementwise
from rtriton.backend.cpu.atomics import stop_unless
from rtriton.backend.cpu.llvm import V
from rtriton.backend.cpu.lower import Lowering, now
from rtriton.backend.cpu.numbers import register
from rtriton.backend.cpu.place import Buffer
from rtriton.ir import Block, Op, Value
from rtriton.language.table import OPS
from rtriton.types import element_of, shape_of

Env = dict[Value, V]


def apply(low: Lowering, region: Block, args: Sequence[V]) -> list[V]:
    """What the region yields for each lane (or for single elements)."""
    lanes = args[0].lanes
    if not lanes:
        return _scalar(low, region, args)
    if not in_lanes(region):
        return _lane_by_lane(low, region, args)
    return _vectors(low, region, dict(zip(region.params, args, strict=True)), lanes)


def in_lanes(region: Block, branch: bool = False) -> bool:
    """Whether every op has a meaning for all lanes at once."""
    for op in region.ops:
        if op.kind == "if":
            if not all(in_lanes(arm, True) for arm in op.regions):
                return False
        elif op.kind == "assert":
            if branch:
                return False
        elif op.kind not in ("const", "yield", "assume") and not OPS[op.kind].elementwise:
            return False
    return True


def _vectors(low: Lowering, region: Block, env: Env, lanes: int) -> list[V]:
    def read(value: Value) -> V:
        return env[value] if value in env else low.b.splat(low.scalars[value], lanes)

    for op in region.ops:
        if op.kind == "const":
            env[op.result] = low.at_constant(op, lanes)
        elif op.kind == "if":
            condition = read(low.operand(op, 0))
            then, otherwise = (_vectors(low, arm, env, lanes) for arm in op.regions)
            env.update(zip(op.results, map(low.b.select, [condition] * len(then), then, otherwise), strict=True))
        elif op.kind == "assert":
            stop_unless(low, op, _all(low, read(low.operand(op, 0))))
        elif OPS[op.kind].elementwise:
            operands = [v for v in op.operands if v is not None]
            types = [element_of(v.type) for v in operands]
            xs = [read(v) for v in operands]
            env[op.result] = elementwise.apply(low.m, op.kind, xs, types, element_of(op.result.type), op.attrs)
    return [read(v) for v in region.yielded]


def _all(low: Lowering, mask: V) -> V:
    return low.b.call("llvm.vector.reduce.and", "i1", 0, mask, suffix=f"v{mask.lanes}i1")


def _scalar(low: Lowering, region: Block, args: Sequence[V]) -> list[V]:
    """The region emitted like any block of scalars."""
    low.scalars.update(zip(region.params, args, strict=True))
    for param in region.params:
        low.level_of[param] = low.b.level
    low.block(region)
    return [low.scalars[v] for v in region.yielded]


def _lane_by_lane(low: Lowering, region: Block, args: Sequence[V]) -> list[V]:
    b, lanes = low.b, args[0].lanes
    inputs = [_line(low, p, lanes) for p in region.params]
    outputs = [_line(low, v, lanes) for v in region.yielded]
    for buffer, value in zip(inputs, args, strict=True):
        b.store(b.cast("zext", value, "i8") if value.element == "i1" else value, buffer.pointer, buffer.itemsize)
    (lane,) = b.open_loop(low.index(0))
    scalars = [low.read_scalar(p, low.address(buffer, [lane]), buffer)
               for p, buffer in zip(region.params, inputs, strict=True)]  # fmt: skip
    for buffer, value in zip(outputs, _scalar(low, region, scalars), strict=True):
        stored = b.cast("zext", value, "i8") if value.element == "i1" else value
        b.store(stored, low.address(buffer, [lane]), buffer.itemsize)
    following = b.op("add", lane, low.index(1))
    b.close_loop(following, again=b.cmp("icmp slt", following, low.index(lanes)))
    loaded = [b.load(buffer.pointer, buffer.element, lanes, buffer.itemsize) for buffer in outputs]
    return [b.cast("trunc", v, "i1") if element_of(value.type).kind == "b" else v
            for v, value in zip(loaded, region.yielded, strict=True)]  # fmt: skip


def _line(low: Lowering, value: Value, lanes: int) -> Buffer:
    element = register(element_of(value.type))
    element = {"i1": "i8", "ptr": "i64"}.get(element, element)
    buffer = Buffer(V("ptr", 0, "null"), (lanes,), (1,), element)
    return Buffer(low.reserve(lanes * buffer.itemsize), buffer.shape, buffer.strides, element)


@now("map")
def _map(low: Lowering, op: Op) -> None:
    """By vectors where the function can be run in lanes, else element by element."""
    (region,) = op.regions
    xs = [v for v in op.operands if v is not None]
    shape, axis = shape_of(xs[0].type), low.axis_for(xs)
    lanes = low.lanes_for(shape, axis) if in_lanes(region) else 0
    buffers = [low.new_buffer(r, axis) for r in op.results]
    nest = low.open(shape, axis if lanes else -1, lanes, 0 if lanes else 1)
    for place in nest.places:
        results = apply(low, region, [low.at(x, place) for x in xs])
        for buffer, value in zip(buffers, results, strict=True):
            low.write(buffer, place, value)
    low.close(nest)
    low.held.update(zip(op.results, buffers, strict=True))
