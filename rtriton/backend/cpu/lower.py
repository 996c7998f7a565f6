"""The heart of the CPU backend: tile values as functions of a place, code made where a consumer asks.

A tile is not computed when its op is met. Ops with effects, reductions, dots and loops are *consumers*: each opens
loops over the places of its operands and asks `at(value, place)` for one native vector (or one element); the
elementwise and shape ops between are evaluated inside that loop and nowhere else. So chains fuse, no tile is stored
that need not be, and index arithmetic that does not change along the lanes is done once, on scalars. Values that
several consumers need and that cost much are materialised where they are defined (plan.py says which), in registers
if small, else in the arena.

The Builder hoists every pure instruction out of the loops it does not depend on, and shares equal ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING

from rtriton.backend.cpu import elementwise, numbers
from rtriton.backend.cpu.frame import Frame
from rtriton.backend.cpu.facts import HINTS, Facts, pointee_size
from rtriton.backend.cpu.llvm import Builder, V
from rtriton.backend.cpu.place import Buffer, Pieces, Place, row_major
from rtriton.backend.cpu.target import CpuTarget
from rtriton.errors import KernelError
from rtriton.ir import Block, Kernel, Op, Value
from rtriton.language.table import OPS
from rtriton.types import element_of, float32, shape_of

if TYPE_CHECKING:
    from rtriton.backend.cpu.order import Step
    from rtriton.backend.cpu.plan import Plan

LazyRule = Callable[["Lowering", Op, Value, Place], V]
NowRule = Callable[["Lowering", Op], None]
LAZY: dict[str, LazyRule] = {}  # how to give the result at a place
NOW: dict[str, NowRule] = {}  # consumers: what to do when the op is met


def lazy(*kinds: str) -> Callable[[LazyRule], LazyRule]:
    def add(rule: LazyRule) -> LazyRule:
        LAZY.update(dict.fromkeys(kinds, rule))
        return rule

    return add


def now(*kinds: str) -> Callable[[NowRule], NowRule]:
    def add(rule: NowRule) -> NowRule:
        NOW.update(dict.fromkeys(kinds, rule))
        return rule

    return add


class Lowering(Frame):
    """Emits one kernel, with the facts and the plan made for it."""

    def __init__(self, kernel: Kernel, target: CpuTarget, builder: Builder, facts: Facts, plan: Plan) -> None:
        super().__init__(target, builder)
        self.kernel, self.facts, self.plan = kernel, facts, plan
        self.materialise = plan.held
        self.scalars: dict[Value, V] = {}
        self.held: dict[Value, Buffer | Pieces] = {}
        self.level_of: dict[Value, int] = dict.fromkeys(kernel.params, 0)
        self.number: V = V("i64", 0, "0")  # of the kernel, for its reports
        self.grid: tuple[V, ...] = ()
        self.program: tuple[V, ...] = ()
        self.messages: list[Op] = []
        self.tables: dict[Value, Buffer] = {}  # what a gather looks its elements up in
        self.networks: dict[Value, tuple[Buffer, list[Step]]] = {}  # begun and not yet emitted, by their last value
        self.needs_zeros = False
        self.waiting: dict[Value, None] = {}  # to be held, not yet computed
        self.sweep: dict[Value, Buffer] = {}  # written in passing by the consumer being emitted
        self.assumed: set[Value] = set()  # masks known to be true everywhere, in the code being emitted
        self.in_place: dict[Value, Buffer] = {}  # results that take over the buffer of a dead operand

    # -- blocks ------------------------------------------------------------------------------------------------------

    def block(self, block: Block) -> None:
        """Emit a block's ops but its yield."""
        for op in block.ops:
            if op.kind != "yield":
                self.op(op)
        for value in list(self.waiting):
            self.hold_now(value)

    def hold_now(self, value: Value) -> None:
        from rtriton.backend.cpu.sweep import settle

        settle(self, value)

    def op(self, op: Op) -> None:
        for result in op.results:
            self.level_of[result] = self.b.level
        from rtriton.backend.cpu.sweep import finish, prepare

        rule = NOW.get(op.kind)
        try:
            if rule is not None:
                prepare(self, op)
                rule(self, op)
                finish(self)
                return
            (result,) = op.results if len(op.results) == 1 else (op.results[0],)
            if not shape_of(result.type):
                self.scalars[result] = self.element(op, result, Place(()))
            else:
                for value in op.results:
                    if value in self.materialise:
                        self.keep(value)
        except NotImplementedError as error:
            raise KernelError(str(error), op.span) from error

    # -- values at places --------------------------------------------------------------------------------------------

    def at(self, value: Value, place: Place) -> V:
        """The elements of `value` at a place: a vector of place.lanes elements, or one element."""
        if not shape_of(value.type):
            return self.scalars[value]
        key = (id(value), place.key)
        for region in self.b.regions:
            if (found := region.memo.get(key)) is not None:
                return found
        result = self._at(value, place)
        if result.element == "ptr":  # in tiles an address is an integer
            result = self.b.cast("ptrtoint", result, "i64")
        if value in self.sweep:
            self.write(self.sweep[value], place, result)
        self.b.regions[max(result.level, self.b.floor)].memo[key] = result
        return result

    def _at(self, value: Value, place: Place) -> V:
        if value in self.facts.same:
            return self.at(self.facts.same[value], place)
        held = self.held.get(value)
        if held is not None:
            return self.read(value, held, place)
        op = self.facts.definition[value]
        if place.lanes:
            stride = self.facts.chunk(value, place.axis, place.lanes).stride
            if stride is not None and element_of(value.type).kind in "biup" and (stride == 0 or op.kind != "load"):
                return self.ramp(value, place, stride)
            if stride == 0:
                return self.b.splat(self.at(value, place.first), place.lanes)
        return self.element(op, value, place)

    def ramp(self, value: Value, place: Place, stride: int) -> V:
        """Equally spaced integers: the first one, and multiples of the stride."""
        first = self.b.splat(self.at(value, place.first), place.lanes)
        if stride == 0:
            return first
        if element_of(value.type).kind == "p":
            stride *= pointee_size(value)
        return self.b.op("add", first, self.b.iota(first.element, place.lanes, 0, stride))

    def element(self, op: Op, value: Value, place: Place) -> V:
        rule = LAZY.get(op.kind)
        if rule is not None:
            return rule(self, op, value, place)
        if op.kind in HINTS:
            return self.at(self.operand(op, 0), place)
        row = OPS.get(op.kind)
        if row is None or not row.elementwise:
            raise NotImplementedError(f"the CPU backend cannot emit the op {op.kind!r}")
        operands = [v for v in op.operands if v is not None]
        divides = op.kind == "div" and element_of(value.type) == float32 and place.lanes > 0
        if divides and self.facts.uniform(operands[1], place.axis, place.lanes):
            return elementwise.by_one_divisor(self.m, self.at(operands[0], place), self.at(operands[1], place.first))
        if op.kind == "cast" and (looked_up := self.nibble(op, place)) is not None:
            return looked_up
        xs = [self.at(v, place) for v in operands]
        types = [element_of(v.type) for v in operands]
        return elementwise.apply(self.m, op.kind, xs, types, element_of(value.type), op.attrs)

    def nibble(self, op: Op, place: Place) -> V | None:
        """float(x & 15) for 16 lanes: a table lookup, which looks at four bits of its index anyway."""
        inner = self.facts.definition.get(self.operand(op, 0))
        if self.target.vector_bits != 512 or place.lanes != 16 or inner is None or inner.kind != "and":
            return None
        integer = element_of(self.operand(op, 0).type)
        if element_of(op.result.type) != float32 or integer.bits != 32 or integer.kind not in "iu":
            return None
        if inner.result in self.held or self.facts.constant(self.operand(inner, 1)) != 15:
            return None
        table = self.b.iota("float", 16)
        index = self.at(self.operand(inner, 0), place)
        return self.b.call("llvm.x86.avx512.permvar.sf", "float", 16, table, index, suffix="512")

    def at_constant(self, op: Op, lanes: int) -> V:
        """A constant of a combine region, in every lane."""
        return self.b.splat(LAZY["const"](self, op, op.result, Place(())), lanes)

    def optional(self, op: Op, k: int) -> Value | None:
        return op.operands[k] if k < len(op.operands) else None

    def operand(self, op: Op, k: int) -> Value:
        value = op.operands[k]
        if value is None:
            raise AssertionError(f"{op.kind} without its operand {k}")
        return value

    # -- holding values ----------------------------------------------------------------------------------------------

    def keep(self, value: Value) -> None:
        """Hold a value: now if it is small, else when it is first needed (sweep.py)."""
        axis = self.axis_for([value])
        if self.chunks(shape_of(value.type), axis) <= self.register_tile // 2 or value in self.plan.urgent:
            self.hold(value)
        else:
            self.waiting[value] = None

    def hold(self, value: Value) -> None:
        """Compute a lazy value now, into registers if it is small, else into the arena."""
        shape = shape_of(value.type)
        axis = self.axis_for([value])
        if self.chunks(shape, axis) <= self.register_tile // 2:
            self.held[value] = self.in_pieces(value, axis)
        else:
            self.held[value] = self.in_buffer(value, axis)

    def row_major_buffer(self, value: Value) -> Buffer:
        """The value in the arena in row-major order, wherever else it is held."""
        held = self.held.get(value)
        rows = row_major(shape_of(value.type))
        if isinstance(held, Buffer) and held.strides == rows:
            return held
        if isinstance(held, Pieces) and held.axis in (-1, len(held_shape := shape_of(value.type)) - 1):
            assert held_shape
            return self.spill(value, held)
        buffer = self.new_buffer(value, -1)
        self.in_buffer(value, self.axis_for([value]), buffer)
        return buffer

    def by_elements(self, value: Value, place: Place) -> V:
        """A vector put together from single elements: the way out where lanes do not map to lanes."""
        total = self.b.poison(numbers.register(element_of(value.type)), place.lanes)
        for lane in range(place.lanes):
            total = self.b.insert(total, self.at(value, self.shifted(place, place.axis, lane).first), lane)
        return total

    def static_places(self, shape: Sequence[int], axis: int, lanes: int) -> list[Place]:
        return self.open(shape, axis, lanes, 1 << 20).places

    def in_pieces(self, value: Value, axis: int) -> Pieces:
        shape = shape_of(value.type)
        lanes = self.lanes_for(shape, axis)
        axis = axis if lanes else -1
        places = self.static_places(shape, axis, lanes)
        values = self.versioned([value], axis, lanes, lambda: [self.at(value, p) for p in places])
        return Pieces(axis, lanes, {p.known or (): v for p, v in zip(places, values, strict=True)})

    def versioned(self, values: Sequence[Value | None], axis: int, lanes: int, emit: Callable[[], list[V]]) -> list[V]:
        from rtriton.backend.cpu.bounds import versioned

        return versioned(self, values, axis, lanes, emit)

    def in_buffer(self, value: Value, axis: int, into: Buffer | None = None) -> Buffer:
        shape = shape_of(value.type)
        buffer = self.new_buffer(value, axis) if into is None else into
        lanes = self.lanes_for(shape, axis)

        def fill() -> list[V]:
            nest = self.open(shape, axis if lanes else -1, lanes)
            for place in nest.places:
                self.write(buffer, place, self.at(value, place))
            return self.close(nest)

        self.versioned([value], axis, lanes, fill)
        return buffer

    def new_buffer(self, value: Value, axis: int) -> Buffer:
        shape = shape_of(value.type)
        element = numbers.register(element_of(value.type))
        element = "i8" if element == "i1" else element
        buffer = Buffer(V("ptr", 0, "null"), shape, row_major(shape, axis), element)
        return Buffer(self.reserve(prod(shape) * buffer.itemsize), buffer.shape, buffer.strides, element)

    # -- reading and writing held tiles --------------------------------------------------------------------------------

    def read(self, value: Value, held: Buffer | Pieces, place: Place) -> V:
        if isinstance(held, Pieces):
            found = self._from_pieces(held, place)
            if found is not None:
                return found
            held = self.spill(value, held)
        result = self._from_buffer(held, place, max(self.level_of[value], self.b.floor))
        return self.b.cast("trunc", result, "i1") if element_of(value.type).kind == "b" else result

    def _from_pieces(self, pieces: Pieces, place: Place) -> V | None:
        known = place.known
        if known is None:
            return None
        if place.lanes == pieces.lanes and (place.axis == pieces.axis or not place.lanes):
            return pieces.values[known]
        if not place.lanes:
            lane = known[pieces.axis] % pieces.lanes
            start = known[: pieces.axis] + (known[pieces.axis] - lane,) + known[pieces.axis + 1 :]
            return self.b.extract(pieces.values[start], lane)
        if not pieces.lanes:
            return self._gathered(pieces, known, place)
        return None

    def _gathered(self, pieces: Pieces, known: tuple[int, ...], place: Place) -> V:
        """A vector of single elements."""
        total: V | None = None
        for lane in range(place.lanes):
            at = known[: place.axis] + (known[place.axis] + lane,) + known[place.axis + 1 :]
            one = pieces.values[at]
            total = self.b.insert(total if total is not None else self.b.poison(one.element, place.lanes), one, lane)
        assert total is not None
        return total

    def read_scalar(self, value: Value, pointer: V, buffer: Buffer) -> V:
        loaded = self.b.load(pointer, buffer.element, 0, buffer.itemsize)
        if element_of(value.type).kind == "p":
            return self.b.cast("inttoptr", loaded, "ptr")
        return self.b.cast("trunc", loaded, "i1") if element_of(value.type).kind == "b" else loaded

    def spill(self, value: Value, pieces: Pieces) -> Buffer:
        """The same elements in the arena as well, for readers at places not known when compiling."""
        level = max([self.b.floor, self.level_of[value], *(v.level for v in pieces.values.values())])
        key = (id(value), "spilled")
        for region in self.b.regions:
            if (found := region.spilled.get(key)) is not None:
                return found
        buffer = self.new_buffer(value, pieces.axis)
        for known, piece in pieces.values.items():
            stored = self.b.cast("zext", piece, "i8") if piece.element == "i1" else piece
            pointer = self.address(buffer, [self.index(n) for n in known])
            self.b.line(
                f"store {stored.operand}, {pointer.operand}, align {buffer.itemsize}", max(level, pointer.level)
            )
        self.b.regions[level].spilled[key] = buffer
        return buffer

    def _from_buffer(self, buffer: Buffer, place: Place, level: int) -> V:
        level = max([level, *(c.level for c in place.coords)])
        if not place.lanes or buffer.strides[place.axis] == 1:
            pointer = self.address(buffer, place.coords)
            return self.b.load(pointer, buffer.element, place.lanes, buffer.itemsize, level)
        if buffer.strides[place.axis] == 2:  # two vectors and a shuffle; the arena is padded for the last element
            wide = self.b.load(
                self.address(buffer, place.coords), buffer.element, 2 * place.lanes, buffer.itemsize, level
            )
            return self.b.shuffle(wide, wide, range(0, 2 * place.lanes, 2))
        pointers = self.lane_addresses(buffer, place)
        everywhere = self.b.int(1, "i1", place.lanes)
        return self.b.masked_gather(
            pointers, everywhere, self.b.zero(buffer.element, place.lanes), buffer.itemsize, level
        )

    # -- choosing the lanes --------------------------------------------------------------------------------------------

    def axis_for(self, values: Sequence[Value | None]) -> int:
        """Which axis of equally shaped tiles goes to the lanes: where memory is touched in vectors; else the last."""
        from rtriton.backend.cpu.lanes import score

        present = [v for v in values if v is not None and shape_of(v.type)]
        shape = shape_of(present[0].type)
        best, chosen = None, -1
        for axis in range(len(shape)):
            lanes = self.lanes_for(shape, axis)
            if not lanes:
                continue
            points = (
                sum(score(self, v, axis, lanes) for v in present) * lanes // self.target.lanes + 2 * lanes.bit_length()
            )
            if best is None or points >= best:
                best, chosen = points, axis
        return chosen
