"""The machine that runs a batch of programs at once: an environment of values, control flow under masks, effects.

Every value carries the programs of the batch along a leading axis (of size 1 where they agree), so one NumPy call does
an op for all. Where programs take different ways, `active` says who takes part: both branches of an `if` run, a loop
runs until nobody is left, memory is touched for active programs only, and carried values are merged. What an op other
than these does is in the tables HANDLERS (tiles.py, effects.py fill it) and, for elementwise ops, `meaning`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from rtriton.errors import InterpreterError, render
from rtriton.interpret import affine, elementwise
from rtriton.interpret.affine import Affine, Data, expand
from rtriton.interpret.hazards import Plan
from rtriton.interpret.memory import Fault, Memory
from rtriton.ir import Block, Op, Value
from rtriton.language import OPS
from rtriton.numerics import Array, value_dtype
from rtriton.types import Pointer, dtype_of, element_of, shape_of

Trace = Callable[[tuple[int, int, int], Op, list[Array]], None]
Handler = Callable[["Machine", Op], Sequence[Data]]
HANDLERS: dict[str, Handler] = {}


def meaning(*kinds: str) -> Callable[[Handler], Handler]:
    """Say what ops do: `function(machine, op)` gives one value per result."""

    def add(function: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(kinds, function))
        return function

    return add


class Machine:
    def __init__(
        self,
        memory: Memory,
        plan: Plan,
        grid: tuple[int, int, int],
        arguments: Mapping[Value, Data],
        trace: Trace | None,
    ) -> None:
        self.memory, self.plan, self.grid, self.arguments, self.trace = memory, plan, grid, arguments, trace
        self.env: dict[Value, Data] = {}
        self.constants: dict[Op, Data] = {}
        self.active: Array | None = None
        self.start, self.count = 0, 1
        self.each = 1  # how many neighbours of the batch are one program: its elements, while a region runs on each

    def run(self, body: Block, start: int, stop: int) -> None:
        """Programs start ... stop - 1 in launch order (x fastest)."""
        self.start, self.count, self.active = start, stop - start, None
        self.env = dict(self.arguments)
        self.block(body)

    def program(self, k: int) -> tuple[int, int, int]:
        """The coordinates of the batch's k-th program."""
        n, (x, y, _) = self.start + k // self.each, self.grid
        return n % x, n // x % y, n // (x * y)

    def block(self, block: Block) -> list[Data]:
        """Run a block's ops; what it yields."""
        for op in block.ops:
            if op.kind == "yield":
                return [self.env[v] for v in op.operands if v is not None]
            self.step(op)
        return []

    def step(self, op: Op) -> None:
        handler = HANDLERS.get(op.kind, _elementwise)
        try:
            results = handler(self, op)
        except Fault as fault:
            raise self.error(op, str(fault), fault.program) from fault
        for value, data in zip(op.results, results, strict=True):
            self.env[value] = _normal(data)
        if self.trace is not None and not op.regions:
            self.trace(self.program(0), op, [expand(self.env[v])[0] for v in op.results])

    def error(self, op: Op, message: str, program: int | None = None) -> InterpreterError:
        where = "" if program is None else f" (program {self.program(min(program, self.count - 1))})"
        return InterpreterError(
            render(f"{op.kind}: {message}{where}" if op.kind != "assert" else message + where, op.span)
        )

    # -- what handlers ask -----------------------------------------------------------------------------------------

    def data(self, value: Value | None) -> Data:
        assert value is not None
        return self.env[value]

    def array(self, value: Value | None) -> Array:
        return expand(self.data(value))

    def mask(self, value: Value | None, rank: int) -> Data | None:
        """An op's mask, narrowed to the active programs."""
        given = self.env[value] if value is not None else None
        if self.active is None:
            return given
        active = self.active.reshape(self.active.shape + (1,) * rank)
        return active if given is None else expand(given) & active

    def root(self, pointer: Value | None) -> int | None:
        return self.plan.root(pointer) if pointer is not None else None

    # -- divergence ------------------------------------------------------------------------------------------------

    def among_active(self, condition: Array) -> Array:
        return condition if self.active is None else condition & self.active

    def under(self, active: Array, block: Block) -> list[Data]:
        """Run a block for some of the programs."""
        with self.only(active):
            return self.block(block)

    @contextmanager
    def only(self, active: Array) -> Generator[None]:
        """What is done inside is done for some of the programs."""
        outside, self.active = self.active, None if self.active is None and active.all() else active
        try:
            yield
        finally:
            self.active = outside


def merge(mask: Array, new: Sequence[Data], old: Sequence[Data]) -> list[Data]:
    return [_merge(mask, a, b) for a, b in zip(new, old, strict=True)]


def _merge(mask: Array, a: Data, b: Data) -> Data:
    if a is b:
        return a
    x, y = expand(a), expand(b)
    rank = max(x.ndim, y.ndim)
    return np.where(mask.reshape(mask.shape + (1,) * (rank - mask.ndim)), x, y)


def _normal(data: Data) -> Data:
    """Integer scalars as formulas, so that addresses computed from them stay formulas."""
    if isinstance(data, np.ndarray) and data.ndim == 1 and data.dtype.kind in "iub":
        return affine.per_program(data) or data
    return data


# -- elementwise ops -------------------------------------------------------------------------------------------------


def _elementwise(machine: Machine, op: Op) -> Sequence[Data]:
    row = OPS.get(op.kind)
    if row is None or not row.elementwise:
        raise machine.error(op, "the interpreter has no meaning for this op")
    args = [machine.data(v) for v in op.operands]
    known = _formula(op, args)
    if known is not None:
        return (known,)
    arrays = [expand(a) for a in args]
    if op.kind == "addptr":
        return (arrays[0] + arrays[1].astype(np.int64) * _pointee_size(op),)
    sources = [element_of(v.type) for v in op.operands if v is not None]
    return (elementwise.apply(op.kind, arrays, sources, element_of(op.result.type), op.attrs),)


def _pointee_size(op: Op) -> int:
    pointer = element_of(op.result.type)
    assert isinstance(pointer, Pointer)
    return pointer.element.itemsize


def _formula(op: Op, args: list[Data]) -> Data | None:
    """The result without touching tiles, where index arithmetic allows it."""
    kind, first = op.kind, args[0]
    if kind == "where":
        if isinstance(first, Affine) and first.uniform:
            return args[1] if first.value else args[2]
        return None
    if (
        kind in ("and", "or")
        and (known := affine.logical(kind, *args) if element_of(op.result.type).kind == "b" else None) is not None
    ):
        return known
    known_args = [a for a in args if isinstance(a, Affine)]
    if len(known_args) != len(args):
        return None
    x = known_args[0]
    if kind == "addptr":
        return affine.shifted(x, known_args[1], _pointee_size(op))
    if kind in ("cast", "bitcast"):
        to = element_of(op.result.type)
        formula = affine.retyped(x, value_dtype(to)) if to.kind in "iup" else None
    else:
        formula = affine.binary(kind, x, known_args[1]) if len(args) == 2 else None
    if formula is not None or not all(a.flat for a in known_args):
        return formula
    return _flat(op, known_args)


def _flat(op: Op, args: list[Affine]) -> Data:
    """Equal all over each program's tile: computed once per program."""
    sources = [element_of(v.type) for v in op.operands if v is not None]
    result = elementwise.apply(
        op.kind, [a.base.astype(a.dtype) for a in args], sources, element_of(op.result.type), op.attrs
    )
    shape = args[0].shape
    normal = _normal(result)
    if isinstance(normal, Affine):
        return affine.splat(normal, shape)
    return np.broadcast_to(result.reshape(result.shape + (1,) * len(shape)), (*result.shape, *shape))


# -- control flow ----------------------------------------------------------------------------------------------------


@meaning("if")
def _if(machine: Machine, op: Op) -> Sequence[Data]:
    condition = machine.array(op.operands[0])
    then, otherwise = machine.among_active(condition), machine.among_active(~condition)
    if not otherwise.any():
        return machine.block(op.regions[0])
    if not then.any():
        return machine.block(op.regions[1])
    return merge(condition, machine.under(then, op.regions[0]), machine.under(otherwise, op.regions[1]))


@meaning("for")
def _for(machine: Machine, op: Op) -> Sequence[Data]:
    low, high, step = (machine.array(v).astype(np.int64) for v in op.operands[:3])
    carried = [machine.data(v) for v in op.operands[3:]]
    body = op.regions[0]
    if (step == 0).any():
        raise machine.error(op, "a step of 0")
    if low.size == high.size == step.size == 1:
        for index in range(int(low[0]), int(high[0]), int(step[0])):
            carried = _turn(machine, body, np.array([index], np.int64), carried)
        return carried
    index = low
    while True:
        live = machine.among_active(np.where(step > 0, index < high, index > high))
        if not live.any():
            return carried
        outside, machine.active = machine.active, None if live.size == machine.count and live.all() else live
        new = _turn(machine, body, index, carried)
        machine.active = outside
        carried = new if live.all() else merge(live, new, carried)
        index = index + step


def _turn(machine: Machine, body: Block, index: Array, carried: Sequence[Data]) -> list[Data]:
    """One turn of a loop; the carried values after it."""
    counter = index.astype(value_dtype(dtype_of(body.params[0].type)))
    machine.env[body.params[0]] = _normal(counter)
    for value, data in zip(body.params[1:], carried, strict=True):
        machine.env[value] = data
    return [_normal(d) for d in machine.block(body)]


LOOK_EACH = 256  # turns of a while loop after which it is asked whether anything still changes


def _equal(a: Sequence[Data], b: Sequence[Data]) -> bool:
    return all(x is y or np.array_equal(expand(x), expand(y)) for x, y in zip(a, b, strict=True))


@meaning("while")
def _while(machine: Machine, op: Op) -> Sequence[Data]:
    test, body = op.regions
    carried = [machine.data(v) for v in op.operands]
    outside, turns, writes = machine.active, 0, 0
    try:
        while True:
            machine.env.update(zip(test.params, carried, strict=True))
            live = machine.among_active(expand(machine.block(test)[0]))
            if not live.any():
                return carried
            machine.active = None if machine.active is None and live.all() else live
            machine.env.update(zip(body.params, carried, strict=True))
            new = machine.block(body)
            turns, before = turns + 1, carried
            carried = [_normal(d) for d in (new if live.all() else merge(live, new, carried))]
            if turns % LOOK_EACH == 0:
                if writes == machine.memory.writes and _equal(before, carried):
                    raise machine.error(
                        op, f"never ends: nothing changed in {LOOK_EACH} turns (does it wait for a later program?)"
                    )
                writes = machine.memory.writes
    finally:
        machine.active = outside


# -- the program's place, constants ----------------------------------------------------------------------------------


@meaning("const")
def _const(machine: Machine, op: Op) -> Sequence[Data]:
    if op not in machine.constants:
        machine.constants[op] = constant(op.attrs["value"], op.attrs["type"])
    return (machine.constants[op],)


def constant(value: Any, type: Any) -> Data:
    """The data of a `const` op; integers wrap to their type, floats round to theirs."""
    element, shape = element_of(type), shape_of(type)
    dtype = value_dtype(element)
    if element.kind == "f":
        number = elementwise.round_to(np.array([value], np.float64), element)
    else:
        number = (
            np.array([int(value) & (1 << 64) - 1], np.uint64).astype(dtype)
            if element.kind != "b"
            else np.array([bool(value)])
        )
        if (formula := affine.constant(int(number[0]), dtype, shape)) is not None:
            return formula
    return np.broadcast_to(number.reshape((1,) * (1 + len(shape))), (1, *shape))


@meaning("program_id")
def _program_id(machine: Machine, op: Op) -> Sequence[Data]:
    n: Array = machine.start + np.arange(machine.count, dtype=np.int64) // machine.each
    x, y, _ = machine.grid
    every: tuple[Array, ...] = (n % x, n // x % y, n // (x * y))
    place: Array = every[int(op.attrs["axis"])]
    return ((place[:1] if (place == place[0]).all() else place).astype(np.int32),)


@meaning("num_programs")
def _num_programs(machine: Machine, op: Op) -> Sequence[Data]:
    return (np.array([machine.grid[op.attrs["axis"]]], np.int32),)


@meaning("arange")
def _arange(machine: Machine, op: Op) -> Sequence[Data]:
    start, end = op.attrs["start"], op.attrs["end"]
    return (Affine(np.array([start], np.int64), (1,), (end - start,), np.dtype(np.int32), start, end - 1),)
