"""`for`, `while` and `if`. Carried scalars and small tiles are phis; larger tiles have a buffer that each turn
updates.

At the end of a turn every new value is computed from the old ones: small tiles first, then large ones that read old
values of others (into a second buffer), then those that can be updated place by place, then the second buffers are
copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rtriton.backend.cpu.llvm import Region, V
from rtriton.backend.cpu.lower import Lowering, now
from rtriton.backend.cpu.place import Buffer, Pieces, Place, row_major
from rtriton.ir import Block, Op, Value
from rtriton.language.table import OPS
from rtriton.types import element_of, shape_of


@dataclass(frozen=True, slots=True)
class _Carried:
    """How one carried value travels: `places` empty for a scalar, None for a tile in a buffer."""

    places: tuple[Place, ...] | None
    axis: int = -1
    lanes: int = 0
    buffer: Buffer | None = None


def _arrange(low: Lowering, inits: Sequence[Value], finals: Sequence[Sequence[Value]]) -> list[_Carried]:
    """The form of each carried value: registers as long as they last, smallest tiles first."""
    forms: list[_Carried | None] = [None] * len(inits)
    budget = low.register_tile
    tiles: list[tuple[int, int, int]] = []
    for k, init in enumerate(inits):
        if not shape_of(init.type):
            forms[k] = _Carried(())
            continue
        axis = low.axis_for([init, *(f[k] for f in finals)])
        tiles.append((low.chunks(shape_of(init.type), axis), k, axis))
    for count, k, axis in sorted(tiles):
        shape = shape_of(inits[k].type)
        lanes = low.lanes_for(shape, axis)
        if count <= budget:
            budget -= count
            axis = axis if lanes else -1
            forms[k] = _Carried(tuple(low.static_places(shape, axis, lanes)), axis, lanes)
        else:
            forms[k] = _Carried(None, axis, lanes, low.new_buffer(inits[k], axis))
    return [f for f in forms if f is not None]


def _flat(low: Lowering, value: Value, form: _Carried) -> list[V]:
    """What travels in registers."""
    if form.places is None:
        return []
    if not form.places:
        return [low.scalars[value]]
    return [low.at(value, p) for p in form.places]


def _bind(low: Lowering, params: Sequence[Value], forms: Sequence[_Carried], registers: Sequence[V]) -> None:
    """Give values (parameters or results) what travels in registers and buffers."""
    left = list(registers)
    for param, form in zip(params, forms, strict=True):
        low.level_of[param] = low.b.level
        if form.places is None:
            assert form.buffer is not None
            low.held[param] = form.buffer
        elif not form.places:
            low.scalars[param] = left.pop(0)
        else:
            values: dict[tuple[int, ...], V] = {}
            for place in form.places:
                assert place.known is not None
                values[place.known] = left.pop(0)
            low.held[param] = Pieces(form.axis, form.lanes, values)


def _given(low: Lowering, values: Sequence[Value], forms: Sequence[_Carried]) -> list[V]:
    """Values on their way into a loop or out of an arm: those in registers are given back, buffers are filled."""
    registers: list[V] = []
    for value, form in zip(values, forms, strict=True):
        if form.buffer is not None:
            low.in_buffer(value, form.axis, form.buffer)
        registers += _flat(low, value, form)
    return registers


def _turn(low: Lowering, params: Sequence[Value], finals: Sequence[Value], forms: Sequence[_Carried]) -> list[V]:
    """The values after a turn: those in registers are given back, buffers are updated."""
    registers: list[V] = []
    for final, form in zip(finals, forms, strict=True):
        registers += _flat(low, final, form)
    copies: list[tuple[Value, Buffer, _Carried]] = []
    direct: list[tuple[Value, _Carried]] = []
    carried = {p for p, f in zip(params, forms, strict=True) if f.buffer is not None}
    for param, final, form in zip(params, finals, forms, strict=True):
        if form.buffer is None or final is param or low.held.get(final) is form.buffer:
            continue
        if _place_by_place(low, final, param, carried):
            direct.append((final, form))
        else:
            held = low.held.get(final)
            lasts = isinstance(held, Buffer) and all(held is not f.buffer for f in forms)  # not overwritten below
            copies.append(
                (final, held if lasts and isinstance(held, Buffer) else low.in_buffer(final, form.axis), form)
            )
    for final, form in direct:
        low.in_buffer(final, form.axis, form.buffer)
    for final, source, form in copies:
        _copy(low, final, source, form)
    return registers


def _copy(low: Lowering, value: Value, source: Buffer, form: _Carried) -> None:
    assert form.buffer is not None
    low.held[value] = source
    low.in_buffer(value, form.axis, form.buffer)


def _place_by_place(low: Lowering, value: Value, own: Value, carried: set[Value]) -> bool:
    """Whether the new value at a place needs of the carried buffers only `own`, at that place."""
    if value is own:
        return True
    if value in carried:
        return False
    op = low.facts.definition.get(value)
    if op is None or value in low.held or not shape_of(value.type):
        return True
    row = OPS.get(op.kind)
    operands = [v for v in op.operands if v is not None]
    if row is not None and row.elementwise:
        return all(_place_by_place(low, v, own, carried) for v in operands)
    return all(_place_by_place(low, v, value, carried | {own}) for v in operands)


def _reuse(low: Lowering, body: Block, params: Sequence[Value], forms: Sequence[_Carried]) -> None:
    """A product may grow in the buffer of its accumulator, where nothing else reads that."""
    for param, final, form in zip(params, body.yielded, forms, strict=True):
        op = low.facts.definition.get(final)
        if form.buffer is None or op is None or op.kind != "dot" or op not in body.ops:
            continue
        rows = row_major(shape_of(final.type))
        if form.buffer.strides == rows and low.plan.only_consumer(param, op) and _only_in(low, op, param):
            low.in_place[final] = form.buffer


def _only_in(low: Lowering, dot: Op, param: Value) -> bool:
    """Whether the accumulator reads the parameter place by place."""
    return _place_by_place(low, low.operand(dot, 2), param, {param})


# -- ops ---------------------------------------------------------------------------------------------------------------


@now("for")
def _for(low: Lowering, op: Op) -> None:
    b, body = low.b, op.regions[0]
    first, last, step = (low.scalars[low.operand(op, k)] for k in range(3))
    inits = [v for v in op.operands[3:] if v is not None]
    forms = _arrange(low, inits, [body.yielded])
    entering = _given(low, inits, forms)
    index, *registers = b.open_loop(first, *entering)
    b.exit_unless(_in_range(low, op, index, last, step))
    low.scalars[body.params[0]] = index
    low.level_of[body.params[0]] = b.level
    params = body.params[1:]
    _bind(low, params, forms, registers)
    _reuse(low, body, params, forms)
    low.block(body)
    leaving = _turn(low, params, body.yielded, forms)
    _, *results = b.close_loop(b.op("add", index, step), *leaving)
    _bind(low, op.results, forms, results)


def _in_range(low: Lowering, op: Op, index: V, last: V, step: V) -> V:
    b = low.b
    signed = element_of(low.operand(op, 0).type).kind == "i"
    up = b.cmp("icmp slt" if signed else "icmp ult", index, last)
    if not signed or (isinstance(step.const, int) and step.const > 0):
        return up
    down = b.cmp("icmp sgt", index, last)
    if isinstance(step.const, int):
        return down
    return b.select(b.cmp("icmp sgt", step, b.int(0, step.element)), up, down)


@now("while")
def _while(low: Lowering, op: Op) -> None:
    b, (test, body) = low.b, op.regions
    inits = [v for v in op.operands if v is not None]
    forms = _arrange(low, inits, [body.yielded])
    registers = b.open_loop(*_given(low, inits, forms))
    _bind(low, test.params, forms, registers)
    low.block(test)
    b.exit_unless(low.scalars[test.yielded[0]])
    _bind(low, body.params, forms, registers)
    low.block(body)
    leaving = _turn(low, body.params, body.yielded, forms)
    results = b.close_loop(*leaving)
    _bind(low, op.results, forms, results)


@now("if")
def _if(low: Lowering, op: Op) -> None:
    b, (then, otherwise) = low.b, op.regions
    condition = low.scalars[low.operand(op, 0)]
    forms = _arrange(low, then.yielded, [then.yielded, otherwise.yielded])
    arms: list[Region] = []
    values: list[list[V]] = []
    for block in (then, otherwise):
        b.open_branch()
        low.block(block)
        values.append(_given(low, block.yielded, forms))
        arms.append(b.end_arm())
    plain = not otherwise.yielded and all(o.kind == "yield" for o in otherwise.ops)
    pairs = list(zip(values[0], values[1], strict=True))
    results = b.close_branch(condition, (arms[0], None if plain else arms[1]), pairs)
    _bind(low, op.results, forms, results)


@now("barrier", "assume", "yield")
def _nothing(low: Lowering, op: Op) -> None:
    """A program is one thread here; what is assumed is taken as read."""
