"""Instructions that steer threads: branches, returns, barriers. Each says which threads continue where.

A control is a function `index -> [(pc, index), ...]`; a guard on it sends the other threads to the next instruction.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from rtriton.backend.ptx.emulate.barriers import Resumed
from rtriton.backend.ptx.emulate.decode import Decoder
from rtriton.backend.ptx.emulate.program import Instruction, Name
from rtriton.backend.ptx.emulate.state import Array, Index

Control = Callable[[Index], Resumed]
CONTROLS = {"bra", "ret", "exit", "trap", "brkpt", "bar", "barrier"}


def is_control(inst: Instruction) -> bool:
    """Whether an instruction may end a straight run; bar.warp.sync is only a meeting of lanes."""
    return inst.parts[0] in CONTROLS and inst.parts[1:2] != ("warp",)


def control(d: Decoder, inst: Instruction, pc: int) -> Control:
    """The control of an instruction, its guard included."""
    found = _control(d, inst, pc)
    if not inst.guard:
        return found
    holds, machine, negated = d.get(Name(inst.guard), "pred"), d.machine, inst.negated

    def run(index: Index) -> Resumed:
        mask = ~holds(index) if negated else holds(index)
        if mask.all():
            return found(index)
        rest = machine.pick(index, ~mask)
        assert rest is not None
        taken = machine.pick(index, mask)
        return [(pc + 1, rest)] if taken is None else [*found(taken), (pc + 1, rest)]

    return run


def _control(d: Decoder, inst: Instruction, pc: int) -> Control:
    match inst.parts[0]:
        case "bra":
            return _branch(d, inst)
        case "ret" | "exit":
            return _end(d)
        case "bar" | "barrier":
            return _barrier(d, inst)
        case _:
            machine = d.machine

            def trap(index: Index) -> Resumed:
                raise machine.fault(f"{inst.opcode} is reached", index, np.zeros(1, np.intp))

            return trap


def _branch(d: Decoder, inst: Instruction) -> Control:
    target = inst.operands[0]
    if not isinstance(target, Name) or target.text not in d.entry.labels:
        raise d.fail(inst, f"no label {inst.operands[0]} in this entry")
    to = d.entry.labels[target.text]
    return lambda index: [(to, index)]


def _end(d: Decoder) -> Control:
    machine = d.machine

    def run(index: Index) -> Resumed:
        machine.live[index] = False
        for number, written in enumerate(machine.init):  # a place that no thread will read counts as written
            if isinstance(written, np.ndarray):
                written[index] = True
                machine.init[number] = True if written.all() else written
        return []

    return run


def _barrier(d: Decoder, inst: Instruction) -> Control:
    barriers, operands = d.barriers, inst.operands
    if "red" in inst.parts:
        return _reduction(d, inst)
    number = d.get(operands[0], "u32")
    count = d.get(operands[1], "u32") if len(operands) > 1 else None
    wait = "sync" in inst.parts

    def run(index: Index) -> Resumed:
        which = _same(d, number(index), index)
        threads = None if count is None else _same(d, count(index), index)
        return barriers.come(index, which, threads, wait)

    return run


def _reduction(d: Decoder, inst: Instruction) -> Control:
    """bar.red: a barrier that counts, or joins, one predicate per thread."""
    result, number, vote = inst.operands[0], d.get(inst.operands[1], "u32"), d.get(inst.operands[-1], "pred")
    kind = inst.parts[2]
    put = d.put(result, "u32" if kind == "popc" else "pred")
    reduce: dict[str, Callable[[Any], Any]] = {"popc": lambda rows: rows.sum(1).astype(np.uint32),
                                               "and": lambda rows: rows.all(1), "or": lambda rows: rows.any(1)}

    def deliver(index: Index, rows: Any, cta: Array) -> None:
        put(index, np.asarray(reduce[kind](rows))[cta])

    def run(index: Index) -> Resumed:
        votes = np.array(d.machine.each(index, vote(index)))
        return d.barriers.come(index, _same(d, number(index), index), None, True, votes, deliver)

    return run


def _same(d: Decoder, value: Any, index: Index) -> int:
    """A barrier's number or count, which must be the same in all threads that come together."""
    values = np.unique(value)
    if len(values) != 1:
        raise d.machine.fault("threads that arrive together name different barriers or counts", index,
                              np.zeros(1, np.intp))
    return int(values[0])
