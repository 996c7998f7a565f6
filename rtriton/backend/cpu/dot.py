"""`dot`: a register-blocked product. Every result element is acc + (its sum over k in order, one fused multiply-add
each).

No blocking below changes that order, so a row's result does not depend on how many rows are computed with it; and the
next product of a loop need not wait for the sums of this one, only for one addition.

A result that fits the registers is computed in one loop over k, operands evaluated in place: each element of b is
used by all rows at once and needs no copy. A larger one is cut into blocks of rows x vectors; its operands go to the
arena first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rtriton.backend.cpu import numbers
from rtriton.backend.cpu.llvm import V
from rtriton.backend.cpu.lower import Lowering, now
from rtriton.backend.cpu.place import Buffer, Pieces, Place
from rtriton.ir import Op, Value
from rtriton.types import Scalar, element_of, shape_of

UNROLLED = 64  # multiply-adds up to which a product is straight code


@now("dot")
def _dot(low: Lowering, op: Op) -> None:
    a, b, acc = (low.operand(op, k) for k in range(3))
    shape = shape_of(acc.type)
    rows, columns = shape[-2:]
    lanes = low.lanes_for(shape, len(shape) - 1)
    vectors = columns // max(1, lanes)
    if len(shape) == 2 and rows * vectors <= low.register_tile:
        _in_registers(low, op, rows, columns, lanes)
        return
    _blocked(low, op, shape, lanes, _operand(low, a), _operand(low, b))


def _operand(low: Lowering, value: Value) -> Buffer:
    return low.row_major_buffer(value)


def _widened(low: Lowering, x: V, source: Scalar, to: Scalar) -> V:
    """An operand's element in the accumulator's type."""
    return x if x.element == numbers.register(to) else numbers.convert(low.m, x, source, to)


def _multiply_add(low: Lowering, x: V, y: V, total: V) -> V:
    b = low.b
    if not x.is_float:
        return b.op("add", total, b.op("mul", x, y))
    if low.target.has_fma:
        return b.call("llvm.fma", x.element, x.lanes, x, y, total)
    return b.fadd(total, b.fmul(x, y))


def _in_registers(low: Lowering, op: Op, rows: int, columns: int, lanes: int) -> None:
    a, b, acc = (low.operand(op, k) for k in range(3))
    depth = shape_of(a.type)[1]
    step = max(1, lanes)
    axis = 1 if lanes else -1
    starts = [(m, n) for m in range(rows) for n in range(0, columns, step)]
    to, types = element_of(acc.type), (element_of(a.type), element_of(b.type))
    a_read = _row_reader(low, a, rows, depth)
    zeros = [low.b.zero(numbers.register(to), lanes)] * len(starts)
    whole = depth * len(starts) <= UNROLLED

    def turn(k: V, values: Sequence[V]) -> list[V]:
        ys = [low.at(b, Place((k, low.index(n)), axis, lanes)) for n in range(0, columns, step)]
        ys = [_widened(low, y, types[1], to) for y in ys]
        new: list[V] = []
        for m in range(rows):
            x = low.b.splat(_widened(low, a_read(m, k), types[0], to), lanes)
            new += [_multiply_add(low, x, y, values[m * len(ys) + n]) for n, y in enumerate(ys)]
        return new

    unroll = depth if whole else 4 if rows <= 2 else 2

    def whole_depth() -> list[V]:
        return _over_depth(low, depth, 1 if low.brief else unroll, zeros, turn)

    totals = low.versioned([a, b], axis, lanes, whole_depth)
    starting = [low.at(acc, Place((low.index(m), low.index(n)), axis, lanes)) for m, n in starts]
    totals = [_narrowed(low, _added(low, s, t), to) for s, t in zip(starting, totals, strict=True)]
    low.held[op.result] = Pieces(axis, lanes, dict(zip(starts, totals, strict=True)))


def _row_reader(low: Lowering, a: Value, rows: int, depth: int) -> Callable[[int, V], V]:
    """Single elements of a; from the arena where an element costs more than loading it."""
    from rtriton.backend.cpu.plan import cheap_by_element

    if cheap_by_element(low, a):
        return lambda m, k: low.at(a, Place((low.index(m), k)))
    # filled here, which may be inside of the loop that a was defined before: what reads it must not go further out
    buffer, level = _operand(low, a), low.b.level

    def read(m: int, k: V) -> V:
        return low.b.load(low.address(buffer, (low.index(m), k)), buffer.element, 0, buffer.itemsize, level)

    return read


def _over_depth(
    low: Lowering, depth: int, unroll: int, totals: list[V], turn: Callable[[V, Sequence[V]], list[V]]
) -> list[V]:
    if depth <= unroll:
        for k in range(depth):
            totals = turn(low.index(k), totals)
        return totals
    index, *totals = low.b.open_loop(low.index(0), *totals)
    for k in range(unroll):
        totals = turn(low.b.op("add", index, low.index(k)), totals)
    following = low.b.op("add", index, low.index(unroll))
    _, *totals = low.b.close_loop(following, *totals, again=low.b.cmp("icmp slt", following, low.index(depth)))
    return totals


def _added(low: Lowering, start: V, total: V) -> V:
    if start.const == 0:
        return total
    return low.b.op("fadd" if total.is_float else "add", start, total)


def _narrowed(low: Lowering, x: V, to: Scalar) -> V:
    """A 16-bit accumulator is summed in f32 and rounded at the end of the tile."""
    return numbers.rounded(low.m, x, to) if to.kind == "f" and to.bits < 32 else x


# -- larger products ---------------------------------------------------------------------------------------------------


def block_sizes(registers: int, rows: int, vectors: int) -> tuple[int, int]:
    """Rows and vectors of a block: accumulators, one row of b and one element of a fit the registers."""
    wide = min(vectors, 4 if registers >= 32 else 2)
    tall = min(rows, {4: 4, 2: 8, 1: 16}[wide] if registers >= 32 else {2: 4, 1: 8}[wide])
    return tall, wide


def _blocked(low: Lowering, op: Op, shape: tuple[int, ...], lanes: int, a: Buffer, b: Buffer) -> None:
    acc = low.operand(op, 2)
    result = low.in_place.get(op.result) or low.new_buffer(op.result, -1)
    if low.held.get(acc) is not result:
        low.in_buffer(acc, len(shape) - 1, result)
    batch = shape[0] if len(shape) == 3 else 1
    rows, columns = shape[-2:]
    tall, wide = block_sizes(low.target.vector_registers, rows, columns // max(1, lanes))
    grid = (batch, rows // tall, columns // (wide * max(1, lanes)))
    nest = low.open(grid, -1, 0, 1)
    (place,) = nest.places
    z, m, n = place.coords
    m = low.b.op("mul", m, low.index(tall))
    n = low.b.op("mul", n, low.index(wide * max(1, lanes)))
    _block(low, op, (z, m, n), (tall, wide), lanes, (a, b, result), len(shape) == 3)
    low.close(nest)
    low.held[op.result] = result


def _block(low: Lowering, op: Op, corner: tuple[V, V, V], size: tuple[int, int], lanes: int,
           buffers: tuple[Buffer, Buffer, Buffer], batched: bool) -> None:  # fmt: skip
    builder, (z, m, n), (tall, wide), (a, b, result) = low.b, corner, size, buffers
    to, types = element_of(op.result.type), [element_of(low.operand(op, k).type) for k in range(2)]
    depth, step = a.shape[-1], max(1, lanes)

    def address(buffer: Buffer, i: V, j: V) -> V:
        return low.address(buffer, (z, i, j) if batched else (i, j))

    places = [address(result, builder.op("add", m, low.index(r)), builder.op("add", n, low.index(c * step)))
              for r in range(tall) for c in range(wide)]  # fmt: skip
    zeros = [builder.zero(result.element, lanes)] * len(places)

    def turn(k: V, values: Sequence[V]) -> list[V]:
        ys = [
            builder.load(address(b, k, builder.op("add", n, low.index(c * step))), b.element, lanes, b.itemsize)
            for c in range(wide)
        ]
        ys = [_widened(low, y, types[1], to) for y in ys]
        new: list[V] = []
        for r in range(tall):
            x = builder.load(address(a, builder.op("add", m, low.index(r)), k), a.element, 0, a.itemsize)
            x = builder.splat(_widened(low, x, types[0], to), lanes)
            new += [_multiply_add(low, x, y, values[r * wide + c]) for c, y in enumerate(ys)]
        return new

    totals = _over_depth(low, depth, 2, zeros, turn)
    for p, total in zip(places, totals, strict=True):
        start = builder.load(p, result.element, lanes, result.itemsize)
        builder.store(_narrowed(low, _added(low, start, total), to), p, result.itemsize)
