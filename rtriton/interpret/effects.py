"""What loads, stores, atomics, asserts and prints do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rtriton import numerics, printing
from rtriton.errors import DeviceAssertError
from rtriton.interpret.affine import Affine, Data, expand
from rtriton.interpret.machine import Machine, meaning
from rtriton.interpret.memory import Fault, first_true
from rtriton.ir import Op, Value
from rtriton.numerics import Array, decode, encode
from rtriton.types import Pointer, element_of, shape_of


def _pointer(value: Value | None) -> Pointer:
    assert value is not None
    element = element_of(value.type)
    assert isinstance(element, Pointer)
    return element


def _operand(op: Op, index: int) -> Value | None:
    return op.operands[index] if index < len(op.operands) else None


@meaning("load")
def _load(machine: Machine, op: Op) -> Sequence[Data]:
    return (loaded(machine, op.operands[0], _operand(op, 1), _operand(op, 2)),)


def loaded(machine: Machine, address: Value | None, mask: Value | None, other: Value | None) -> Array:
    """What memory holds where the mask is true, else `other` or 0."""
    pointer = _pointer(address)
    assert address is not None
    wanted = machine.mask(mask, len(shape_of(address.type)))
    fill = None if other is None else encode(machine.array(other), pointer.element)
    found = machine.memory.load(machine.data(address), wanted, fill, pointer, machine.root(address))
    return decode(found, pointer.element)


@meaning("store")
def _store(machine: Machine, op: Op) -> Sequence[Data]:
    address, value = op.operands[:2]
    pointer = _pointer(address)
    assert value is not None
    if pointer.const:
        raise Fault("writes through a pointer to constants")
    mask = machine.mask(_operand(op, 2), len(shape_of(value.type)))
    machine.memory.store(
        machine.data(address), encode(machine.array(value), pointer.element), mask, pointer, machine.root(address)
    )
    return ()


# -- atomics ---------------------------------------------------------------------------------------------------------

UPDATES: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "max": numerics.maximum,
    "min": numerics.minimum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "xchg": lambda old, new: new,
}


@meaning("atomic_rmw")
def _atomic_rmw(machine: Machine, op: Op) -> Sequence[Data]:
    value = op.operands[1]
    element = _pointer(op.operands[0]).element
    update = UPDATES[op.attrs["how"]]

    def change(old: Array, sent: Array) -> Array:
        new = update(decode(old, element), decode(sent, element))
        return encode(numerics.round_to(new, element) if element.kind == "f" else new, element)

    return (_atomic(machine, op, encode(machine.array(value), element), _operand(op, 2), change),)


@meaning("atomic_cas")
def _atomic_cas(machine: Machine, op: Op) -> Sequence[Data]:
    element = _pointer(op.operands[0]).element
    compare, value = (encode(machine.array(v), element) for v in op.operands[1:3])
    pair = np.stack(np.broadcast_arrays(compare, value), axis=-1)
    sent = np.ascontiguousarray(pair).view([("compare", pair.dtype), ("value", pair.dtype)])[..., 0]

    def change(old: Array, sent: Array) -> Array:
        return np.where(old == sent["compare"], sent["value"], old)

    return (_atomic(machine, op, sent, None, change),)


def _atomic(
    machine: Machine, op: Op, sent: Array, mask: Value | None, change: Callable[[Array, Array], Array]
) -> Array:
    """The old values; elements that meet at one place go in order of programs and elements."""
    address = op.operands[0]
    pointer = _pointer(address)
    shape = (machine.count, *shape_of(op.result.type))
    storage = np.dtype(pointer.element.storage)
    wanted = machine.mask(mask, len(shape) - 1)
    places = machine.memory.places(
        np.broadcast_to(machine.array(address), shape),
        np.broadcast_to(sent, shape),
        None if wanted is None else expand(wanted),
        storage,
        _region(machine, address),
        "updates",
    )
    old = np.zeros(shape, storage)
    for owner, index, values, here in places:
        flat = owner.flat(storage.name)
        old[here] = _in_order(flat, index, values, change)
        machine.memory.writes += not np.array_equal(flat[index], old[here])
    return decode(old, pointer.element)


def _region(machine: Machine, address: Value | None) -> Any:
    root = machine.root(address)
    return machine.memory.regions[root] if root is not None else None


def _in_order(flat: Array, index: Array, values: Array, change: Callable[[Array, Array], Array]) -> Array:
    """Rounds in which each place occurs once: the first of each place, then the second ..."""
    old = np.zeros(index.shape, flat.dtype)
    left = np.arange(index.size)
    while left.size:
        _, first = np.unique(index[left], return_index=True)
        chosen = left[first] if first.size < left.size else left
        old[chosen] = flat[index[chosen]]
        flat[index[chosen]] = change(old[chosen], values[chosen])
        left = np.delete(left, first) if first.size < left.size else left[:0]
    return old


@meaning("clock")
def _clock(machine: Machine, op: Op) -> Sequence[Data]:
    return (np.array([time.perf_counter_ns()], np.int64),)


@meaning("barrier")
def _barrier(machine: Machine, op: Op) -> Sequence[Data]:
    return ()


# -- debugging -------------------------------------------------------------------------------------------------------


def _first_failure(machine: Machine, op: Op, mask: Value | None) -> tuple[int, str] | None:
    """The first program for which the operand is false, and where in its tile."""
    condition = machine.data(op.operands[0])
    if isinstance(condition, Affine) and condition.uniform and condition.value:
        return None
    false = ~expand(condition)
    wanted = machine.mask(mask, false.ndim - 1)
    if wanted is not None:
        false = false & expand(wanted)
    if not false.any():
        return None
    program, place = first_true(false)
    return program, f"tile element {place}" if place else ""


@meaning("assert")
def _assert(machine: Machine, op: Op) -> Sequence[Data]:
    failure = _first_failure(machine, op, _operand(op, 1))
    if failure is not None:
        program, place = failure
        where = f"program {machine.program(min(program, machine.count - 1))}{', ' if place else ''}{place}"
        raise DeviceAssertError(op.attrs["message"], where, op.span)
    return ()


@meaning("assume")
def _assume(machine: Machine, op: Op) -> Sequence[Data]:
    failure = _first_failure(machine, op, None)
    if failure is not None:
        program, place = failure
        raise Fault("what the kernel assumes does not hold" + (f" at {place}" if place else ""), program)
    return ()


@meaning("print")
def _print(machine: Machine, op: Op) -> Sequence[Data]:
    values = [(element_of(v.type), machine.array(v)) for v in op.operands if v is not None]
    for k in range(machine.count):
        if machine.active is not None and not machine.active[min(k, machine.active.size - 1)]:
            continue
        mine = [(element, v[min(k, v.shape[0] - 1)]) for element, v in values]
        for line in printing.lines(op.attrs["prefix"], op.attrs.get("hex", False), machine.program(k), mine):
            print(line)
    return ()
