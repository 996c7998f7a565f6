"""Loads that feed tensor core products are copied to shared memory several turns of their loop ahead, by cp.async.

    before:  for %i ... (%p):                         after:  copies of turns 0 and 1 start before the loop
               %x = load %p                                   for %i ... (%p, %ahead, %r, %w):
               %a = convert_layout %x                           async_wait;  barrier
               ... mma %a ...                                   async_copy %buffer, %ahead  (turn i + 2, stage w)
               %q = addptr %p, 64                               %a = shared_load %buffer (stage r)
                                                                ... mma %a ...

With `num_stages` buffers the copies of num_stages - 1 turns are under way, each load's a group of its own.  What the
addresses and masks are made of is made again for the turn ahead, so it must be pure and cheap; a mask also says
whether that turn exists.  The one barrier of a turn makes arrived copies visible and lets the next copy overwrite what
the last turn read.  Only loops without loops inside, with a positive constant step.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd

from rtriton import layout as L
from rtriton.ir import Block, Builder, Kernel, Op, Value, definitions, uses, walk
from rtriton.language.table import NONE, OPS, infer
from rtriton.layout.matrix import memory_order, operand_shared
from rtriton.passes import register
from rtriton.passes.analysis.axis_info import Table, axis_info
from rtriton.passes.analysis.scratch import layout_of, operand, scratch_bytes
from rtriton.target import Target
from rtriton.types import Shared, Tile, dtype_of, element_of, int1, int32, shape_of

COPY_BYTES = (4, 8, 16)  # what one cp.async may move


@register
def pipeline(kernel: Kernel, target: Target) -> Kernel:
    """Multi-buffer the loads of every loop that allows it."""
    work = _Work(kernel, target)
    body = work.block(kernel.body)
    return replace(kernel, body=body) if work.changed else kernel


@dataclass(frozen=True)
class Copy:
    """A load that becomes a copy, its conversions, and the buffer it goes to."""

    load: Op
    converts: tuple[Op, ...]
    buffer: Shared
    vector: int


class _Work:
    def __init__(self, kernel: Kernel, target: Target) -> None:
        self.kernel, self.target = kernel, target
        self.made = definitions(kernel.body)
        self.used = uses(kernel.body)
        self.info: Table = axis_info(kernel)
        self.changed = False
        self.reserve = max((scratch_bytes(op) for op in walk(kernel.body)), default=0)

    def block(self, block: Block) -> Block:
        ops: list[Op] = []
        for op in block.ops:
            if op.kind == "for" and not any(inner.regions for inner in walk(op.regions[0]) if inner.kind in LOOPS):
                ops += self.loop(op)
            elif op.kind in LOOPS:
                ops.append(replace(op, regions=tuple(self.block(r) for r in op.regions)))
            else:
                ops.append(op)
        return Block(block.params, tuple(ops))

    def loop(self, op: Op) -> list[Op]:
        """The loop and what goes before and after it; the loop alone where nothing can be copied ahead."""
        stages = int(op.attrs.get("num_stages") or self.kernel.attrs.get("num_stages") or 3)
        step = self.info[operand(op, 2)].value
        if stages < 2 or step is None or step <= 0:
            return [op]
        copies = [c for load in op.regions[0].ops if load.kind == "load" and (c := self.copy(load, op)) is not None]
        slice_ = _slice(op, copies)
        if not copies or slice_ is None:
            return [op]
        each = sum(c.buffer.nbytes for c in copies)
        stages = min(stages, (self.target.shared_bytes - self.reserve) // each)
        if stages < 2:
            return [op]
        self.changed = True
        return _Pipelined(op, copies, slice_, stages, step).ops()

    def copy(self, load: Op, loop: Op) -> Copy | None:
        """The copy that a load may become: used only through conversions into fragments, zero where masked, wide
        enough."""
        pointer, mask, other = (*load.operands, None, None)[:3]
        users = self.used.get(load.results[0], [])
        if load.attrs.get("volatile") or not isinstance(load.result.type, Tile) or pointer is None:
            return None
        inside = set(loop.regions[0].ops)
        if not users or any(u.kind != "convert_layout" or u not in inside for u in users):
            return None
        if not any(self.feeds_mma(u.result) for u in users):
            return None
        if other is not None and not self.is_zero(other):
            return None
        tile, size = layout_of(load.result), dtype_of(load.result.type).itemsize
        order = memory_order(tile)
        shared = operand_shared(tile.shape, size, order)
        width = self.width(pointer, mask, order[0], size)
        width = min(width, L.contiguous(tile, order[0]), 1 << len(L.shared_vector(tile, shared, size)))
        if width * size not in COPY_BYTES:
            return None
        return Copy(load, tuple(users), Shared(tile.shape, dtype_of(load.result.type), shared), width)

    def feeds_mma(self, value: Value, depth: int = 4) -> bool:
        """Whether a product reads the value, perhaps through casts and renamings."""
        return depth > 0 and any(
            u.kind == "mma" or (u.kind in ("trans", "cast", "mul") and self.feeds_mma(u.result, depth - 1))
            for u in self.used.get(value, [])
        )

    def is_zero(self, value: Value) -> bool:
        made = self.made.get(value)
        while made is not None and made.kind in ("splat", "cast", "broadcast", "expand_dims"):
            made = self.made.get(operand(made, 0))
        return made is not None and made.kind == "const" and made.attrs["value"] == 0

    def width(self, pointer: Value, mask: Value | None, axis: int, size: int) -> int:
        """Elements of one copy: consecutive, aligned, under one mask."""
        info = self.info[pointer]
        width = min(gcd(info.contiguity[axis], max(1, info.divisibility[axis] // size)), 16 // size)
        return width if mask is None else gcd(width, self.info[mask].constancy[axis])


LOOPS = ("for", "while", "if")


@dataclass(frozen=True)
class Slice:
    """The ops of a loop's body that addresses and masks are made by, and the carried parameters they go through."""

    ops: tuple[Op, ...]
    carried: tuple[int, ...]  # positions among the carried parameters


def _slice(loop: Op, copies: Sequence[Copy]) -> Slice | None:
    """What the copies' operands need of the body; None if it is not pure."""
    (body,) = loop.regions
    made = {v: o for o in body.ops for v in o.results}
    params = list(body.params[1:])
    wanted = [v for c in copies for v in c.load.operands[:2] if v is not None]
    ops: set[Op] = set()
    carried: set[int] = set()
    while wanted:
        value = wanted.pop()
        if value in params and params.index(value) not in carried:
            carried.add(params.index(value))
            wanted.append(body.yielded[params.index(value)])
        if value in made and made[value] not in ops:
            op = made[value]
            if op.regions or OPS[op.kind].effects != NONE or op.kind in ("mma", "dot", "convert_layout"):
                return None
            ops.add(op)
            wanted += [v for v in op.operands if v is not None]
    return Slice(tuple(o for o in body.ops if o in ops), tuple(sorted(carried)))


class _Pipelined:
    """Writes the loop anew."""

    def __init__(self, loop: Op, copies: Sequence[Copy], needs: Slice, stages: int, step: int) -> None:
        self.loop, self.copies, self.needs, self.stages, self.step = loop, copies, needs, stages, step
        self.build = Builder(infer)
        self.build.span = loop.span
        self.kind = dtype_of(operand(loop, 0).type)
        self.high = operand(loop, 1)

    def ops(self) -> list[Op]:
        loop, build = self.loop, self.build
        (body,) = loop.regions
        buffers = [
            build.append(Op("shared_alloc", (), {"type": t}, (), (Value(t, "buffer"),), loop.span))[0]
            for t in (replace(c.buffer, stages=self.stages) for c in self.copies)
        ]
        state = [operand(loop, 3 + i) for i in self.needs.carried]
        for turn in range(self.stages - 1):
            index = build.one("add", operand(loop, 0), self.number(build, turn * self.step))
            state = self.start(build, body, buffers, index, state, build.const(turn, int32))
        first = [*state, build.const(0, int32), build.const(self.stages - 1, int32)]
        build.append(self.body(body, buffers, first))
        build.append(Op("async_wait", (), {"pending": 0}, span=loop.span))
        build.append(Op("barrier", span=loop.span))
        return build.ops

    def number(self, build: Builder, value: int) -> Value:
        return build.const(value, self.kind)

    def start(
        self, build: Builder, body: Block, buffers: Sequence[Value], index: Value, state: Sequence[Value], stage: Value
    ) -> list[Value]:
        """Start the copies of the turn at `index`, if there is one; the addresses of the turn after."""
        now: dict[Value, Value] = {body.params[0]: index}
        now.update(zip([body.params[1 + i] for i in self.needs.carried], state, strict=True))
        for op in self.needs.ops:
            operands = tuple(now.get(v, v) if v is not None else None for v in op.operands)
            results = tuple(Value(v.type, v.name) for v in op.results)
            now.update(zip(op.results, results, strict=True))
            build.append(replace(op, operands=operands, results=results))
        exists = build.one("lt", index, self.high)
        for copy, buffer in zip(self.copies, buffers, strict=True):
            pointer, mask = (*copy.load.operands, None)[:2]
            assert pointer is not None
            here = _splat(build, exists, pointer)
            if mask is not None:
                here = build.one("and", here, now.get(mask, mask))
            attrs = {"cache": copy.load.attrs.get("cache", ""), "vector": copy.vector}
            build.append(Op("async_copy", (buffer, now.get(pointer, pointer), here, stage), attrs, span=copy.load.span))
            build.append(Op("async_commit", span=copy.load.span))
        return [now.get(v, v) for v in (body.yielded[i] for i in self.needs.carried)]

    def body(self, body: Block, buffers: Sequence[Value], first: Sequence[Value]) -> Op:
        """The loop: wait, start the copy of the turn ahead, and the old body reading shared memory."""
        loop, inner = self.loop, Builder(infer)
        inner.span = loop.span
        ahead = tuple(Value(v.type, v.name) for v in first)
        *state, read, write = ahead
        inner.append(Op("async_wait", (), {"pending": (self.stages - 2) * len(self.copies)}, span=loop.span))
        inner.append(Op("barrier", span=loop.span))
        index = inner.one("add", body.params[0], self.number(inner, (self.stages - 1) * self.step))
        after = self.start(inner, body, buffers, index, state, write)
        replaced = {c.load: None for c in self.copies}
        loads = {u: (b, u.result) for c, b in zip(self.copies, buffers, strict=True) for u in c.converts}
        for op in body.ops[:-1]:
            if op in loads:
                buffer, result = loads[op]
                inner.append(Op("shared_load", (buffer, read), {}, (), (result,), op.span))
            elif op not in replaced:
                inner.append(op)
        turned = [self.turn(inner, v) for v in (read, write)]
        inner.append(Op("yield", (*body.yielded, *after, *turned)))
        results = loop.results + tuple(Value(v.type) for v in first)
        block = Block((*body.params, *ahead), tuple(inner.ops))
        return replace(loop, operands=(*loop.operands, *first), regions=(block,), results=results)

    def turn(self, build: Builder, stage: Value) -> Value:
        """The stage after `stage`."""
        following = build.one("add", stage, build.const(1, int32))
        last = build.one("eq", following, build.const(self.stages, int32))
        return build.one("where", last, build.const(0, int32), following)


def _splat(build: Builder, scalar: Value, like: Value) -> Value:
    assert isinstance(like.type, Tile) and element_of(scalar.type) == int1
    result = Value(Tile(like.type.shape, int1, like.type.layout))
    return build.append(Op("splat", (scalar,), {"shape": shape_of(like.type)}, (), (result,), build.span))[0]
