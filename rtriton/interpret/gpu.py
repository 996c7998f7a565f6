"""What the ops born in GPU passes do (rtriton/language/gpu.py): a layout says who holds an element, never what it is.

A shared buffer is an array with the programs in front, then its stages; asynchronous copies are done at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtriton.interpret.affine import Data, expand
from rtriton.interpret.effects import loaded
from rtriton.interpret.machine import Machine, meaning
from rtriton.interpret.memory import Fault
from rtriton.interpret.tiles import dot
from rtriton.ir import Op, Value
from rtriton.numerics import Array, value_dtype
from rtriton.types import Shared, element_of

meaning("mma")(dot)  # `warps` and `atom` say how, not what


@meaning("convert_layout")
def _convert_layout(machine: Machine, op: Op) -> Sequence[Data]:
    return (machine.data(op.operands[0]),)


@meaning("shared_alloc")
def _shared_alloc(machine: Machine, op: Op) -> Sequence[Data]:
    type = op.attrs["type"]
    assert isinstance(type, Shared)
    return (np.zeros((machine.count, type.stages, *type.shape), value_dtype(element_of(type))),)


@meaning("shared_store")
def _shared_store(machine: Machine, op: Op) -> Sequence[Data]:
    _write(machine, op.operands[0], machine.array(op.operands[1]), _stage(machine, op, 2))
    return ()


@meaning("shared_load")
def _shared_load(machine: Machine, op: Op) -> Sequence[Data]:
    buffer = machine.array(op.operands[0])
    return (buffer[np.arange(buffer.shape[0]), _stage(machine, op, 1)],)


@meaning("async_copy")
def _async_copy(machine: Machine, op: Op) -> Sequence[Data]:
    buffer, pointer, mask, _, turn = (*op.operands, None, None, None)[:5]
    exists = np.ones(machine.count, bool) if turn is None else np.broadcast_to(machine.array(turn), (machine.count,))
    active = machine.among_active(exists)
    if active.any():
        with machine.only(active):
            _write(machine, buffer, loaded(machine, pointer, mask, None), _stage(machine, op, 3))
    return ()


@meaning("async_commit", "async_wait")
def _order(machine: Machine, op: Op) -> Sequence[Data]:
    return ()


def _stage(machine: Machine, op: Op, at: int) -> Array:
    """The stage of each program's buffer."""
    value = op.operands[at] if len(op.operands) > at else None
    buffer = op.operands[0]
    assert buffer is not None and isinstance(buffer.type, Shared)
    stage = np.zeros(1, np.int64) if value is None else expand(machine.data(value)).astype(np.int64)
    if (machine.among_active(stage < 0) | machine.among_active(stage >= buffer.type.stages)).any():
        raise Fault(f"stage {int(stage.max())} of a buffer with {buffer.type.stages}")
    return stage


def _write(machine: Machine, buffer: Value | None, tile: Array, stage: Array) -> None:
    array = machine.array(buffer)
    programs = np.arange(machine.count)
    stages, tiles = np.broadcast_to(stage, (machine.count,)), np.broadcast_to(tile, (machine.count, *tile.shape[1:]))
    if machine.active is not None:
        programs = programs[machine.active] if machine.active.size == machine.count else programs
    array[programs, stages[programs]] = tiles[programs]
