"""Atomics, one element after the other; the clock; and what a program reports: failed assertions and printed values.

The arena's first words are the pool's: where to put an error code, whom to call to print. A code is
kernel number << 20 | message + 1; the kernel's number comes with the launch record.
"""

from __future__ import annotations

from collections.abc import Callable

from rtriton.backend.cpu import numbers
from rtriton.backend.cpu.llvm import V
from rtriton.backend.cpu.lower import Lowering, now
from rtriton.backend.cpu.memory import pointer
from rtriton.backend.cpu.place import Buffer, Place
from rtriton.ir import Op
from rtriton.types import Scalar, element_of, shape_of

_ORDER = {"relaxed": "monotonic", "acquire": "acquire", "release": "release", "acq_rel": "acq_rel"}
ERROR_SHIFT = 20


@now("atomic_rmw", "atomic_cas")
def _atomic(low: Lowering, op: Op) -> None:
    """Elements in row-major order; the old values go to a buffer (0 where the mask is false)."""
    shape = shape_of(low.operand(op, 0).type)
    if not shape:
        old = _masked(low, op, Place(()))
        low.scalars[op.result] = old
        return
    buffer = low.new_buffer(op.result, -1)
    nest = low.open(shape, -1, 0, 1)
    for place in nest.places:
        low.write(buffer, place, _masked(low, op, place))
    low.close(nest)
    low.held[op.result] = buffer


@now("clock")
def _clock(low: Lowering, op: Op) -> None:
    low.b.declare("declare i64 @llvm.readcyclecounter()")
    low.scalars[op.result] = low.b.effect("call i64 @llvm.readcyclecounter()", "i64")


def _masked(low: Lowering, op: Op, place: Place) -> V:
    b = low.b
    rmw = op.kind == "atomic_rmw"
    guard = low.optional(op, 2) if rmw else None
    mask = low.at(guard, place) if guard is not None else None
    element = element_of(op.result.type)
    address = pointer(low, low.operand(op, 0), place)
    values = [low.at(low.operand(op, k), place) for k in range(1, 2 if rmw else 3)]
    if mask is None or mask.const == 1:
        return _one(low, op, element, address, values)
    b.open_branch()
    old = _one(low, op, element, address, values)
    return b.close_branch(mask, (b.end_arm(), None), [(old, b.zero(old.element, 0))])[0]


def _one(low: Lowering, op: Op, element: Scalar, address: V, values: list[V]) -> V:
    b, m = low.b, low.m
    order = _ORDER[op.attrs.get("sem", "acq_rel")]
    raw = numbers.memory(element)
    size = element.itemsize
    if op.kind == "atomic_cas":
        whole = f"i{8 * size}"
        compare, new = (b.bitcast(numbers.encode(m, v, element), whole) for v in values)
        failure = "acquire" if order in ("acquire", "acq_rel") else "monotonic"
        text = f"cmpxchg {address.operand}, {compare.operand}, {new.operand} {order} {failure}"
        b.count += 1
        b.line(f"%pair{b.count} = {text}")
        old = b.effect(f"extractvalue {{ {whole}, i1 }} %pair{b.count}, 0", whole)
        return numbers.decode(m, b.bitcast(old, raw), element)
    how = op.attrs["how"]
    if element.kind == "f" and element.bits < 32:
        return _narrow_float(low, how, element, address, values[0])
    names = {"f": {"add": "fadd", "max": "fmax", "min": "fmin"}, "u": {"max": "umax", "min": "umin"}}
    name = names.get(element.kind, {}).get(how, how)
    value = numbers.encode(m, values[0], element)
    old = b.effect(f"atomicrmw {name} {address.operand}, {value.operand} {order}", raw)
    return numbers.decode(m, old, element)


NARROW: dict[str, Callable[[Lowering, V, V], V]] = {
    "add": lambda low, x, y: low.m.exact("fadd", x, y),
    "max": lambda low, x, y: low.b.call("llvm.maxnum", x.element, x.lanes, x, y),
    "min": lambda low, x, y: low.b.call("llvm.minnum", x.element, x.lanes, x, y),
}


def _narrow_float(low: Lowering, how: str, element: Scalar, address: V, value: V) -> V:
    """16-bit floats: compare and swap until nobody came between."""
    b, m = low.b, low.m
    raw = numbers.memory(element)
    first = b.effect(f"load atomic {raw}, {address.operand} monotonic, align {element.itemsize}", raw)
    (seen,) = b.open_loop(first)
    new = value
    if how in NARROW:
        new = numbers.rounded(m, NARROW[how](low, numbers.decode(m, seen, element), value), element)
    coded = numbers.encode(m, new, element)
    b.count += 1
    b.line(f"%pair{b.count} = cmpxchg {address.operand}, {seen.operand}, {coded.operand} acq_rel acquire")
    pair = f"{{ {raw}, i1 }} %pair{b.count}"
    found, done = b.effect(f"extractvalue {pair}, 0", raw), b.effect(f"extractvalue {pair}, 1", "i1")
    (old,) = b.close_loop(found, again=b.op("xor", done, b.int(1, "i1")))
    return numbers.decode(m, old, element)


@now("assert")
def _assert(low: Lowering, op: Op) -> None:
    """Write the code and end the program at the first failure."""
    b = low.b
    low.messages.append(op)
    condition = low.operand(op, 0)
    mask = low.optional(op, 1)
    nest = low.open(shape_of(condition.type), -1, 0, 1)
    for place in nest.places:
        failed = b.op("xor", low.at(condition, place), b.int(1, "i1"))
        if mask is not None:
            failed = b.op("and", failed, low.at(mask, place))
        _stop_if(low, failed, len(low.messages))
    low.close(nest)


def stop_unless(low: Lowering, op: Op, holds: V) -> None:
    """End the program with the message of an assertion unless `holds`."""
    low.messages.append(op)
    _stop_if(low, low.b.op("xor", holds, low.b.int(1, "i1")), len(low.messages))


def _stop_if(low: Lowering, failed: V, number: int) -> None:
    low.b.open_branch()
    _report(low, number)
    low.b.close_branch(failed, (low.b.end_arm(), None))


def _report(low: Lowering, number: int) -> None:
    b = low.b
    assert low.arena is not None
    code = b.op("or", b.op("shl", low.number, b.int(ERROR_SHIFT)), b.int(number))
    word = b.load(low.arena, "ptr", 0, 8)
    b.store(code, word, 8)
    b.line("ret void")
    b.start_block(b.label("after"))


@now("print")
def _print(low: Lowering, op: Op) -> None:
    """Values go to the arena in row-major order, their addresses to the host's printing function."""
    b = low.b
    assert low.arena is not None
    low.messages.append(op)
    values = [v for v in op.operands if v is not None]
    table = low.reserve(8 * max(1, len(values)))
    for k, value in enumerate(values):
        if shape_of(value.type):
            buffer: Buffer = low.row_major_buffer(value)
            place = buffer.pointer
        else:
            place = low.reserve(8)
            scalar = low.scalars[value]
            b.store(b.cast("zext", scalar, "i8") if scalar.element == "i1" else scalar, place, 8)
        b.store(place, b.gep(table, b.int(k), 8), 8)
    function = b.load(b.gep(low.arena, b.int(1), 8), "ptr", 0, 8)
    programs = ", ".join(p.operand for p in low.program)
    b.line(f"call void {function.text}(i64 {low.number.text}, i64 {len(low.messages)}, {programs}, {table.operand})")
