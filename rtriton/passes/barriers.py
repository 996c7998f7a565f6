"""The fewest barriers that order accesses to shared memory.

    before:  %y = convert_layout %x {scratch = 0}       its last step reads bytes 0 to 4095
             %z = convert_layout %w {scratch = 0}       its first step writes them
    after:   the same with `barrier` between

Going forward it keeps what has been read and written since the last barrier; an access that overlaps (and one of
the two writes) gets a barrier before it.  Ops that work through scratch write, pass a barrier of their own, and
read.  Loops: until the state at their end adds nothing to that at their start.  Buffers that async copies fill are
ordered among themselves by the pass that made them; what lay in their memory before, or will after, is ordered here.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from rtriton.ir import Block, Kernel, Op, Value, uses, walk
from rtriton.passes import instead_of, register
from rtriton.passes.analysis.scratch import scratch_bytes
from rtriton.target import Target
from rtriton.types import Shared, Tile

Range = tuple[int, int, Value | None]  # bytes from, to; the buffer where another pass orders accesses to it


@dataclass(frozen=True)
class State:
    """What may have been read and written since the last barrier."""

    reads: frozenset[Range] = frozenset()
    writes: frozenset[Range] = frozenset()

    def __or__(self, other: State) -> State:
        return State(self.reads | other.reads, self.writes | other.writes)


CLEAR = State()


@dataclass(frozen=True)
class Access:
    """One step of an op: what it reads and writes; `barrier` is one the op passes afterwards on its own."""

    reads: tuple[Range, ...] = ()
    writes: tuple[Range, ...] = ()
    barrier: bool = False


@register
def barriers(kernel: Kernel, target: Target) -> Kernel:
    """Put a `barrier` before each op that would otherwise race in shared memory."""
    work = _Work(kernel)
    _, body = work.block(kernel.body, CLEAR)
    return kernel if not work.inserted else replace(kernel, body=body)


@instead_of("barriers")
def one_each(kernel: Kernel, target: Target) -> Kernel:
    """A `barrier` before every op that touches shared memory."""

    def block(inside: Block) -> Block:
        ops: list[Op] = []
        for op in inside.ops:
            if "scratch" in op.attrs or op.kind in ("shared_store", "shared_load", "async_copy"):
                ops.append(Op("barrier", span=op.span))
            ops.append(replace(op, regions=tuple(map(block, op.regions))) if op.regions else op)
        return Block(inside.params, tuple(ops))

    return replace(kernel, body=block(kernel.body))


class _Work:
    def __init__(self, kernel: Kernel) -> None:
        self.places: dict[Value, tuple[int, Shared]] = {}
        self.readers = uses(kernel.body)
        self.ordered = {op.operands[0] for op in walk(kernel.body) if op.kind == "async_copy"}
        self.inserted = False

    def block(self, block: Block, state: State) -> tuple[State, Block]:
        ops: list[Op] = []
        for op in block.ops:
            state, written = self.op(op, state)
            ops += written
        return state, Block(block.params, tuple(ops))

    def op(self, op: Op, state: State) -> tuple[State, list[Op]]:
        if op.kind == "shared_alloc":
            assert isinstance(op.result.type, Shared)
            self.places[op.result] = (op.attrs["offset"], op.result.type)
        if op.kind in ("for", "while"):
            return self.loop(op, state)
        if op.kind == "if":
            ends, regions = zip(*(self.block(r, state) for r in op.regions), strict=True)
            return ends[0] | ends[1], [replace(op, regions=tuple(regions))]
        before: list[Op] = []
        for access in self.accesses(op):
            if conflicts(state, access):
                before.append(Op("barrier", span=op.span))
                self.inserted = True
                state = CLEAR
            state |= State(frozenset(access.reads), frozenset(access.writes))
            if access.barrier:
                state = CLEAR
        return state, [*before, op]

    def loop(self, op: Op, state: State) -> tuple[State, list[Op]]:
        while True:
            end = state
            regions: list[Block] = []
            for region in op.regions:
                end, written = self.block(region, end)
                regions.append(written)
            if end | state == state:
                return state, [replace(op, regions=tuple(regions))]
            state |= end

    def accesses(self, op: Op) -> Iterator[Access]:
        """The op's steps. The one barrier that may be put before them stands before the first."""
        if op.kind == "barrier":
            yield Access(barrier=True)
        elif op.kind in ("shared_store", "async_copy"):
            yield Access((), (self.range(op),))
        elif op.kind == "shared_load":
            yield Access((self.range(op),))
        elif "scratch" in op.attrs:
            scalar_atomic = op.kind.startswith("atomic") and not isinstance(op.result.type, Tile)
            if scalar_atomic:
                yield Access(barrier=True)
            start = op.attrs["scratch"]
            place = (start, start + scratch_bytes(op, True), None)
            yield Access((), (place,), barrier=True)
            yield Access((place,))
        elif op.kind.startswith("atomic") and not isinstance(op.result.type, Tile):
            yield Access(barrier=True)

    def range(self, op: Op) -> Range:
        buffer = op.operands[0]
        assert buffer is not None
        offset, type = self.places[buffer]
        return offset, offset + type.nbytes, buffer if buffer in self.ordered else None


def conflicts(state: State, access: Access) -> bool:
    """Whether `access` overlaps something pending, one of the two being a write."""
    return _overlap(state.writes, access.reads + access.writes) or _overlap(state.reads, access.writes)


def _overlap(pending: frozenset[Range], wanted: tuple[Range, ...]) -> bool:
    return any(a < d and c < b and (x is None or x != y) for a, b, x in pending for c, d, y in wanted)
