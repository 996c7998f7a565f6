"""Shape ops: most only say where an element comes from; those that interleave or look up go through the arena."""

from __future__ import annotations

from math import prod

from rtriton.backend.cpu import numbers
from rtriton.backend.cpu.llvm import V
from rtriton.backend.cpu.lower import Lowering, lazy, now
from rtriton.backend.cpu.place import Buffer, Place, row_major
from rtriton.ir import Op, Value
from rtriton.numerics import round_to
from rtriton.types import DType, element_of, shape_of


@lazy("const")
def _const(low: Lowering, op: Op, value: Value, place: Place) -> V:
    element = element_of(value.type)
    number = op.attrs["value"]
    if element.kind == "f":
        import numpy as np

        assert isinstance(element, DType)
        if element.bits < 32:
            number = float(round_to(np.asarray(number, np.float64), element))
        return low.b.float(float(number), numbers.register(element), place.lanes)
    if element.kind == "p":
        return V("ptr", 0, "null") if not shape_of(value.type) else low.b.int(0, "i64", place.lanes)
    number = bool(number) if element.kind == "b" else int(number)
    return low.b.int(number, numbers.register(element), place.lanes)


@lazy("program_id")
def _program_id(low: Lowering, op: Op, value: Value, place: Place) -> V:
    return low.program[int(op.attrs["axis"])]


@lazy("num_programs")
def _num_programs(low: Lowering, op: Op, value: Value, place: Place) -> V:
    return low.grid[int(op.attrs["axis"])]


@lazy("arange")
def _arange(low: Lowering, op: Op, value: Value, place: Place) -> V:
    first = low.b.op("add", low.b.cast("trunc", place.coords[0], "i32"), low.b.int(op.attrs["start"], "i32"))
    if not place.lanes:
        return first
    return low.b.op("add", low.b.splat(first, place.lanes), low.b.iota("i32", place.lanes))


def source_place(low: Lowering, op: Op, place: Place) -> Place | None:
    """Where in its operand a shape op's elements come from; None if the lanes would not stay neighbours."""
    assert op.operands[0] is not None
    source, shape = shape_of(op.operands[0].type), shape_of(op.results[0].type)
    if op.kind == "splat":
        return Place(())
    axis, lanes = place.axis, place.lanes
    if lanes:
        mapped = low.facts.mapped(op, axis, lanes)
        if mapped is None:
            return None
        axis, lanes = (mapped, lanes) if mapped >= 0 else (-1, 0)
    if op.kind == "expand_dims":
        at = op.attrs["axis"]
        return Place(place.coords[:at] + place.coords[at + 1 :], axis, lanes)
    if op.kind == "broadcast":
        coords = tuple(low.index(0) if n == 1 else c for n, c in zip(source, place.coords, strict=True))
        return Place(coords, axis, lanes)
    if op.kind == "trans":
        coords = list(place.coords)
        for result_axis, source_axis in enumerate(op.attrs["order"]):
            coords[source_axis] = place.coords[result_axis]
        return Place(tuple(coords), axis, lanes)
    return Place(_reshaped(low, source, shape, place.coords), axis, lanes)


def _reshaped(low: Lowering, source: tuple[int, ...], shape: tuple[int, ...], coords: tuple[V, ...]) -> tuple[V, ...]:
    """Indices in the source: as they are if axes only moved past axes of size 1, else by the linear index."""
    if [n for n in source if n > 1] == [n for n in shape if n > 1]:
        real = iter([c for c, n in zip(coords, shape, strict=True) if n > 1])
        return tuple(next(real) if n > 1 else low.index(0) for n in source)
    b = low.b
    strides = row_major(shape)
    linear = low.sum([b.op("mul", c, low.index(s)) for c, s, n in zip(coords, strides, shape, strict=True) if n > 1])
    result: list[V] = []
    for k, n in enumerate(source):
        step = prod(source[k + 1 :])
        shifted = b.op("lshr", linear, low.index(step.bit_length() - 1)) if step > 1 else linear
        if linear.const is not None:
            shifted = low.index(int(linear.const) // step)
        result.append(b.op("and", shifted, low.index(n - 1)))
    return tuple(result)


@lazy("splat", "expand_dims", "broadcast", "trans", "reshape")
def _moved(low: Lowering, op: Op, value: Value, place: Place) -> V:
    source = low.operand(op, 0)
    at = source_place(low, op, place)
    if at is None:
        return low.by_elements(value, place)
    found = low.at(source, at)
    if found.element == "ptr" and shape_of(value.type):
        found = low.b.cast("ptrtoint", found, "i64")
    return found if found.lanes == place.lanes else low.b.splat(found, place.lanes)


def keeps_lanes(op: Op, lanes: int) -> bool:
    """Whether a reshape moves whole vectors: sizes of 1 come and go, or both last axes hold whole vectors."""
    assert op.operands[0] is not None
    source, shape = shape_of(op.operands[0].type), shape_of(op.results[0].type)
    if [n for n in source if n > 1] == [n for n in shape if n > 1]:
        return True
    return bool(source and shape) and source[-1] % lanes == 0 and shape[-1] % lanes == 0


@now("reshape")
def _reshape(low: Lowering, op: Op) -> None:
    """A view of the operand in row-major order, where lanes would not stay lanes."""
    if keeps_lanes(op, low.target.lanes):
        if op.result in low.materialise:
            low.hold(op.result)
        return
    buffer = low.row_major_buffer(low.operand(op, 0))
    shape = shape_of(op.result.type)
    low.held[op.result] = Buffer(buffer.pointer, shape, row_major(shape), buffer.element)


@now("join")
def _join(low: Lowering, op: Op) -> None:
    """Two vectors are interleaved by shuffles and stored as neighbours."""
    x, y = low.operand(op, 0), low.operand(op, 1)
    shape = shape_of(x.type)
    buffer = low.new_buffer(op.result, -1)
    flat = Buffer(buffer.pointer, (*shape[:-1], 2 * shape[-1]), row_major((*shape[:-1], 2 * shape[-1])), buffer.element)
    axis = len(shape) - 1
    lanes = low.lanes_for(shape, axis)
    nest = low.open(shape, axis if lanes else -1, lanes)
    for place in nest.places:
        coords = (*place.coords[:-1], low.b.op("mul", place.coords[-1], low.index(2)))
        a, c = low.at(x, place), low.at(y, place)
        if not lanes:
            for k, one in enumerate((a, c)):
                low.write(flat, low.shifted(Place(coords), axis, k), one)
            continue
        for half in range(2):
            picks = [lane // 2 + half * lanes // 2 + (lane % 2) * lanes for lane in range(lanes)]
            low.write(flat, low.shifted(Place(coords, axis, lanes), axis, half * lanes), low.b.shuffle(a, c, picks))
    low.close(nest)
    low.held[op.result] = buffer


@now("split")
def _split(low: Lowering, op: Op) -> None:
    """Two views of the operand with a stride of two."""
    buffer = low.row_major_buffer(low.operand(op, 0))
    for k, result in enumerate(op.results):
        pointer = low.b.gep(buffer.pointer, low.index(k), buffer.itemsize)
        if shape_of(result.type):
            low.held[result] = Buffer(pointer, buffer.shape[:-1], buffer.strides[:-1], buffer.element)
        else:
            low.scalars[result] = low.read_scalar(result, pointer, buffer)


@now("cat")
def _cat(low: Lowering, op: Op) -> None:
    x, y = low.operand(op, 0), low.operand(op, 1)
    (size,) = shape_of(x.type)
    buffer = low.new_buffer(op.result, -1)
    for k, half in enumerate((x, y)):
        pointer = low.b.gep(buffer.pointer, low.index(k * size), buffer.itemsize)
        low.in_buffer(half, 0, Buffer(pointer, (size,), (1,), buffer.element))
    low.held[op.result] = buffer


@now("gather")
def _gather(low: Lowering, op: Op) -> None:
    """The tile goes to the arena, elements are looked up there when asked for."""
    low.tables[op.result] = low.row_major_buffer(low.operand(op, 0))
    if op.result in low.materialise:
        low.hold(op.result)


@lazy("gather")
def _gathered(low: Lowering, op: Op, value: Value, place: Place) -> V:
    b, buffer = low.b, low.tables[value]
    axis: int = op.attrs["axis"]
    index = low.operand(op, 1)
    picked = low.at(index, place)
    picked = b.cast("sext" if element_of(index.type).kind == "i" else "zext", picked, "i64")
    coords = list(place.coords)
    coords[axis] = low.index(0)
    base = low.address(buffer, coords)
    offset = b.op("mul", picked, b.int(buffer.strides[axis], "i64", place.lanes))
    level = max(low.level_of[value], b.floor)
    if not place.lanes:
        loaded = b.load(b.gep(base, offset, buffer.itemsize), buffer.element, 0, buffer.itemsize, level)
    else:
        if place.axis != axis:
            offset = b.op("add", offset, b.iota("i64", place.lanes, 0, buffer.strides[place.axis]))
        everywhere, nothing = b.int(1, "i1", place.lanes), b.zero(buffer.element, place.lanes)
        loaded = b.masked_gather(b.gep(base, offset, buffer.itemsize), everywhere, nothing, buffer.itemsize, level)
    return b.cast("trunc", loaded, "i1") if element_of(value.type).kind == "b" else loaded
