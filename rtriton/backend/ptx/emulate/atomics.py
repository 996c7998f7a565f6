"""Atomic read-modify-write on global and shared memory. Threads that meet at one address go in thread order."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rtriton.backend.ptx.emulate.decode import DTYPES, Decoder, Getter, Putter, family
from rtriton.backend.ptx.emulate.formats import decode, encode, exact_sum
from rtriton.backend.ptx.emulate.program import Group, Instruction
from rtriton.backend.ptx.emulate.shared import SHARED_WINDOW
from rtriton.backend.ptx.emulate.state import Array, Index, Machine, Step, where

Update = Callable[..., Any]

Binary = Callable[[Any, Any], Any]


def _compare_and_swap(old: Any, wanted: Any, new: Any) -> Any:
    return where(old == wanted, new, old)


JOINS: dict[str, Binary] = {
    "add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and, "or": np.bitwise_or,
    "xor": np.bitwise_xor, "exch": lambda old, new: new,
    "inc": lambda old, limit: where(old >= limit, np.uint32(0), old + np.uint32(1)),
    "dec": lambda old, limit: where((old == 0) | (old > limit), limit, old - np.uint32(1)),
}
UPDATES: dict[str, Update] = {**JOINS, "cas": _compare_and_swap}


@family("atom", "red")
def atomic(d: Decoder, inst: Instruction) -> Step:
    """atom gives the old value, red does not; a vector form is one atomic per element."""
    type, gives = inst.parts[-1], inst.parts[0] == "atom"
    operands = inst.operands[1:] if gives else inst.operands
    vector = isinstance(operands[1], Group)
    puts = (d.puts(inst.operands[0], type) if vector else [d.put(inst.operands[0], type)]) if gives else []
    columns = list(zip(*(d.gets(operand, type) for operand in operands[1:]), strict=True))
    update = _update(inst, type)
    address, machine = d.address(operands[0]), d.machine
    size, place = DTYPES[type].itemsize, _place(d, inst)

    def run(index: Index) -> None:
        machine.polled = True
        base = machine.each(index, address(index))
        for i, gets in enumerate(columns):
            _one(machine, index, base + np.uint64(i * size), gets, puts[i] if gives else None)

    def _one(machine: Machine, index: Index, where: Array, gets: tuple[Getter, ...], put: Putter | None) -> None:
        values = [np.asarray(machine.each(index, get(index))) for get in gets]
        old = np.zeros(len(where), DTYPES[type])
        for view, elements, chosen in place(machine, index, where, size):
            of = slice(None) if chosen is None else chosen
            old[of] = modify(view.view(DTYPES[type]), elements, update, [value[of] for value in values])
        if put:
            put(index, old)

    return run


def modify(view: Array, elements: Array, update: Update, values: list[Array]) -> Array:
    """Apply updates in thread order; the value each found. Threads at distinct elements go at once, in rounds."""
    order = np.argsort(elements, kind="stable")
    ordered = elements[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    if len(starts) == len(elements):
        old = view[elements]
        view[elements] = update(old, *values)
        return old
    sizes = np.diff(np.append(starts, len(ordered)))
    old = np.empty(len(elements), view.dtype)
    for round in range(int(sizes.max())):
        starts, sizes = starts[sizes > round], sizes[sizes > round]
        threads = order[starts + round]
        at = elements[threads]
        old[threads] = view[at]
        view[at] = update(view[at], *(value[threads] for value in values))
    return old


def _update(inst: Instruction, type: str) -> Update:
    name = next(part for part in inst.parts[1:] if part in UPDATES)
    if type in ("f16", "f16x2", "bf16", "bf16x2"):

        def short(old: Any, value: Any) -> Any:
            return _short_sum(old, value, type)

        return short
    return UPDATES[name]


def _short_sum(old: Any, value: Any, type: str) -> Any:
    """Sums of f16 or bf16, alone or in pairs."""
    part = type.removesuffix("x2")
    dtype = np.float16 if part == "f16" else np.uint16
    left, right = (np.asarray(decode(np.ascontiguousarray(raw).view(dtype), part), np.float64) for raw in (old, value))
    return np.asarray(encode(exact_sum(left, right), part)).view(old.dtype)


def _place(d: Decoder, inst: Instruction) -> Any:
    """Where the typed view and the elements of addresses come from, by state space."""
    spaces = {part.split("::")[0] for part in inst.parts}
    if "global" in spaces:
        return d.memory.place
    if "shared" in spaces:
        return d.shared.atomic_place

    def generic(machine: Machine, index: Index, address: Array, size: int) -> Any:
        inside = address >= np.uint64(SHARED_WINDOW)
        if inside.all():
            return d.shared.atomic_place(machine, index, address - np.uint64(SHARED_WINDOW), size)
        if inside.any():
            raise machine.fault("one generic atomic on both global and shared memory is not emulated", index,
                                np.flatnonzero(inside))
        return d.memory.place(machine, index, address, size)

    return generic
