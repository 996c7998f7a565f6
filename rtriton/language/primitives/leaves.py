"""Ops without operands: constants, the program's place in the grid, the clock, indices."""
from __future__ import annotations

from rtriton.language.table import READS, WRITES, Const, Effects, op
from rtriton.types import Tile, Type, check_shape, int32, int64


@op("const")
def const(*, value: Const, type: Const) -> Type:
    """A constant number, everywhere in a tile if `type` is one."""
    return type


@op("program_id", effects=Effects.PROGRAM)
def program_id(*, axis: Const) -> Type:
    """Which program of the grid this is, along `axis` 0, 1 or 2."""
    return int32


@op("num_programs", effects=Effects.PROGRAM)
def num_programs(*, axis: Const) -> Type:
    """How many programs the grid has along `axis`."""
    return int32


@op("clock", effects=READS | WRITES)
def clock() -> Type:
    """What a clock that only goes forward shows, as i64: nanoseconds on a GPU and in the interpreter, the processor's
    own ticks on a CPU. It stands where it was written, among loads and stores."""
    return int64


@op("arange")
def arange(*, start: Const, end: Const) -> Type:
    """start, start + 1, ... end - 1 as i32; the length is a power of two."""
    if end <= start:
        raise ValueError(f"arange needs end > start, got {start} and {end}")
    if (end - start) & (end - start - 1):
        error = ValueError("arange's range must be a power of 2")
        error.add_note(f"got {start} to {end}, which is {end - start}")
        raise error
    return Tile(check_shape((end - start,)), int32)
