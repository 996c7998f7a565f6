"""What shape ops, `dot`, reductions and scans do. The programs are in front: tile axis k is array axis k + 1."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from rtriton.interpret import affine
from rtriton.interpret.affine import Affine, Data, expand
from rtriton.interpret.machine import Machine, meaning
from rtriton.interpret.memory import Fault, first_true
from rtriton.ir import Block, Op, Value, free_values
from rtriton.language import OPS
from rtriton.numerics import Array, round_to
from rtriton.types import dtype_of, element_of, shape_of

# -- shape -----------------------------------------------------------------------------------------------------------


@meaning("splat")
def _splat(machine: Machine, op: Op) -> Sequence[Data]:
    x, shape = machine.data(op.operands[0]), tuple(op.attrs["shape"])
    if isinstance(x, Affine):
        return (affine.splat(x, shape),)
    return (np.broadcast_to(x.reshape(x.shape + (1,) * len(shape)), (x.shape[0], *shape)),)


@meaning("expand_dims")
def _expand_dims(machine: Machine, op: Op) -> Sequence[Data]:
    x, axis = machine.data(op.operands[0]), op.attrs["axis"]
    return (affine.expand_dims(x, axis) if isinstance(x, Affine) else np.expand_dims(x, axis + 1),)


@meaning("broadcast")
def _broadcast(machine: Machine, op: Op) -> Sequence[Data]:
    x, shape = machine.data(op.operands[0]), tuple(op.attrs["shape"])
    return (affine.broadcast(x, shape) if isinstance(x, Affine) else np.broadcast_to(x, (x.shape[0], *shape)),)


@meaning("reshape")
def _reshape(machine: Machine, op: Op) -> Sequence[Data]:
    x, shape = machine.data(op.operands[0]), tuple(op.attrs["shape"])
    if isinstance(x, Affine):
        if x.flat:
            return (affine.splat(x, shape),)
        x = expand(x)
    return (x.reshape((x.shape[0], *shape)),)


@meaning("trans")
def _trans(machine: Machine, op: Op) -> Sequence[Data]:
    x, order = machine.data(op.operands[0]), tuple(op.attrs["order"])
    return (affine.trans(x, order) if isinstance(x, Affine) else x.transpose((0, *(k + 1 for k in order))),)


def _together(x: Array, y: Array) -> tuple[Array, Array]:
    """Both with the same number of programs."""
    count = max(x.shape[0], y.shape[0])
    return np.broadcast_to(x, (count, *x.shape[1:])), np.broadcast_to(y, (count, *y.shape[1:]))


@meaning("join")
def _join(machine: Machine, op: Op) -> Sequence[Data]:
    return (np.stack(_together(machine.array(op.operands[0]), machine.array(op.operands[1])), axis=-1),)


@meaning("split")
def _split(machine: Machine, op: Op) -> Sequence[Data]:
    x = machine.array(op.operands[0])
    return x[..., 0], x[..., 1]


@meaning("cat")
def _cat(machine: Machine, op: Op) -> Sequence[Data]:
    return (np.concatenate(_together(machine.array(op.operands[0]), machine.array(op.operands[1])), axis=1),)


@meaning("gather")
def _gather(machine: Machine, op: Op) -> Sequence[Data]:
    x, index = _together(machine.array(op.operands[0]), machine.array(op.operands[1]))
    axis = op.attrs["axis"] + 1
    outside = (index < 0) | (index >= x.shape[axis])
    if machine.active is not None:
        outside = outside & machine.active.reshape((-1,) + (1,) * (index.ndim - 1))
        index = np.where((index < 0) | (index >= x.shape[axis]), 0, index)
    if outside.any():
        program, place = first_true(outside)
        raise Fault(f"index {int(index[(program, *place)])} into an axis of {x.shape[axis]} elements", program)
    return (np.take_along_axis(x, index.astype(np.int64), axis),)


def _partner(x: Array, axis: int, mask: int) -> Array:
    """Each element's partner: the one whose index along an array axis differs in the bits of `mask`."""
    return np.take(x, [k ^ mask for k in range(x.shape[axis])], axis)


@meaning("exchange")
def _exchange(machine: Machine, op: Op) -> Sequence[Data]:
    return (_partner(machine.array(op.operands[0]), op.attrs["axis"] + 1, op.attrs["mask"]),)


@meaning("order")
def _order(machine: Machine, op: Op) -> Sequence[Data]:
    x, axis, distance = machine.array(op.operands[0]), op.attrs["axis"] + 1, op.attrs["distance"]
    other, block, down = _partner(x, axis, distance), int(op.attrs["block"]), bool(op.attrs.get("descending", False))
    largest = [bool(i & distance) ^ bool(i & block) ^ down for i in range(x.shape[axis])]
    keeps: Array = np.expand_dims(np.array(largest), tuple(range(1, x.ndim - axis)))
    return (np.where(keeps, np.maximum(x, other), np.minimum(x, other)),)


@meaning("multiple_of", "max_contiguous", "max_constancy")
def _hint(machine: Machine, op: Op) -> Sequence[Data]:
    return (machine.data(op.operands[0]),)


# -- linear algebra --------------------------------------------------------------------------------------------------


@meaning("dot")
def dot(machine: Machine, op: Op) -> Sequence[Data]:
    """Computed in float64 (exact for int8) and rounded once, whatever `precision` says: what the others approximate."""
    a, b, acc = (machine.array(v) for v in op.operands)
    element = dtype_of(op.result.type)
    if element.kind == "f":
        product = np.matmul(a.astype(np.float64), b.astype(np.float64))
        return (round_to(product + acc, element),)
    wide = [x.astype(np.float64) if x.dtype.itemsize == 1 else x.astype(acc.dtype) for x in (a, b)]
    return (acc + np.matmul(wide[0], wide[1]).astype(np.int64).astype(acc.dtype),)


# -- reductions and scans --------------------------------------------------------------------------------------------

# Ops that NumPy reduces itself; f16, bf16 and fp8 go the general way, which rounds each step.
UFUNCS = {
    "add": np.add,
    "mul": np.multiply,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "minimum_nan": np.minimum,
    "maximum_nan": np.maximum,
}


def _ufunc(region: Block, op: Op) -> np.ufunc | None:
    """NumPy's own reduction for a region that is one known op of its two parameters."""
    if len(region.params) != 2 or len(region.ops) != 2 or len(op.results) != 1:
        return None
    inner, end = region.ops
    element = element_of(op.results[0].type)
    if set(inner.operands) != set(region.params) or end.operands != inner.results or element.kind == "p":
        return None
    if element.kind == "f" and element.bits < 32:
        return None
    if element.kind == "b" and inner.kind not in ("and", "or", "xor"):
        return None
    if inner.kind in ("minimum", "maximum"):
        by_kind: dict[str, tuple[np.ufunc, np.ufunc]] = {
            "minimum": (np.fmin, np.minimum),
            "maximum": (np.fmax, np.maximum),
        }
        number, integer = by_kind[inner.kind]
        return number if element.kind == "f" else integer
    return UFUNCS.get(inner.kind)


def _combine(machine: Machine, region: Block, left: Sequence[Array], right: Sequence[Array]) -> list[Array]:
    """The combine function on whole arrays; what it reads from outside has one value per program."""
    if any(not OPS[inner.kind].elementwise for inner in region.ops if inner.kind not in ("const", "yield")):
        return _each(machine, region, [*left, *right])
    rank = left[0].ndim
    outside: dict[Value, Data] = {}
    for value in free_values(region):
        outside[value] = machine.env[value]
        captured = machine.array(value)
        machine.env[value] = captured.reshape(captured.shape + (1,) * (rank - captured.ndim))
    machine.env.update(zip(region.params, (*left, *right), strict=True))
    active, machine.active = machine.active, None
    results = [expand(d) for d in machine.block(region)]
    machine.active = active
    machine.env.update(outside)
    shape = np.broadcast_shapes(*(x.shape for x in (*left, *right)))
    return [np.broadcast_to(r, shape) for r in results]


def _each(machine: Machine, region: Block, arrays: Sequence[Array]) -> list[Array]:
    """A region with control flow or effects: every element is run as if it were a program of its own."""
    shape = np.broadcast_shapes(*(a.shape for a in arrays), (machine.count, *arrays[0].shape[1:]))
    outside = machine.count, machine.each, machine.active, dict(machine.env)
    per_program = prod(shape[1:])
    for value in free_values(region):
        held = machine.array(value)
        machine.env[value] = np.repeat(np.broadcast_to(held, (machine.count,)), per_program)
    if machine.active is not None:
        machine.active = np.repeat(machine.active, per_program)
    machine.count, machine.each = machine.count * per_program, machine.each * per_program
    for param, array in zip(region.params, arrays, strict=True):
        machine.env[param] = np.broadcast_to(array, shape).reshape(-1)
    try:
        results = [expand(d) for d in machine.block(region)]
    finally:
        total = machine.count
        machine.count, machine.each, machine.active, machine.env = outside
    return [np.broadcast_to(r, (total,)).reshape(shape) for r in results]


@meaning("map")
def _map(machine: Machine, op: Op) -> Sequence[Data]:
    return _each(machine, op.regions[0], [machine.array(v) for v in op.operands])


@meaning("reduce")
def _reduce(machine: Machine, op: Op) -> Sequence[Data]:
    arrays = [machine.array(v) for v in op.operands]
    axis, region = op.attrs["axis"] + 1, op.regions[0]
    fast = _ufunc(region, op)
    if fast is not None:
        return (fast.reduce(arrays[0], axis=axis, dtype=arrays[0].dtype),)
    arrays = [np.moveaxis(a, axis, -1) for a in arrays]
    while arrays[0].shape[-1] > 1:  # neighbours first: right for combine functions that do not commute too
        arrays = _combine(machine, region, [a[..., 0::2] for a in arrays], [a[..., 1::2] for a in arrays])
    return [a[..., 0] for a in arrays]


@meaning("scan")
def _scan(machine: Machine, op: Op) -> Sequence[Data]:
    arrays = [machine.array(v) for v in op.operands]
    axis, region, reverse = op.attrs["axis"] + 1, op.regions[0], op.attrs.get("reverse", False)
    arrays = [np.moveaxis(a, axis, -1)[..., :: -1 if reverse else 1] for a in arrays]
    fast = _ufunc(region, op)
    if fast is not None:
        arrays = [fast.accumulate(arrays[0], axis=-1, dtype=arrays[0].dtype)]
    else:
        arrays = _doubling(machine, region, arrays)
    return [np.moveaxis(a[..., :: -1 if reverse else 1], -1, axis) for a in arrays]


def _doubling(machine: Machine, region: Block, arrays: list[Array]) -> list[Array]:
    """Each element combined with the one 1, 2, 4 ... before it."""
    arrays = [np.array(np.broadcast_to(a, np.broadcast_shapes(*(b.shape for b in arrays)))) for a in arrays]
    distance, size = 1, arrays[0].shape[-1]
    while distance < size:
        later = _combine(machine, region, [a[..., :-distance] for a in arrays], [a[..., distance:] for a in arrays])
        arrays = [np.concatenate((a[..., :distance], b), axis=-1) for a, b in zip(arrays, later, strict=True)]
        distance *= 2
    return arrays


@meaning("histogram")
def _histogram(machine: Machine, op: Op) -> Sequence[Data]:
    x, bins = machine.array(op.operands[0]), op.attrs["bins"]
    wanted = (x >= 0) & (x < bins)
    if op.operands[1:] and op.operands[1] is not None:
        wanted = wanted & machine.array(op.operands[1])
    x = np.broadcast_to(x, wanted.shape)
    count = wanted.shape[0]
    rows: Array = np.arange(count, dtype=np.int64)[:, None]
    found = np.bincount((x.astype(np.int64) + rows * bins)[wanted], minlength=count * bins)
    return (found.reshape(count, *shape_of(op.result.type)).astype(np.int32),)
