"""Writes a loop anew whose loads become copies that run several turns ahead (the pass `pipeline` says which)."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rtriton.ir import Block, Builder, Op, Value
from rtriton.language.table import NONE, OPS, infer
from rtriton.passes.analysis.scratch import operand
from rtriton.types import Shared, dtype_of, int32


@dataclass(frozen=True)
class Copy:
    """A load that becomes a copy of `vector` elements at a time, and the buffer it goes to.  Its readers are the
    conversions `converts`, across threads; without any each thread reads its own copies back.  `plain`: what is not
    copied may be zeros."""

    load: Op
    converts: tuple[Op, ...]
    buffer: Shared
    vector: int
    plain: bool


@dataclass(frozen=True)
class Slice:
    """The ops of a loop's body that addresses and masks are made by, and the carried parameters they go through."""

    ops: tuple[Op, ...]
    carried: tuple[int, ...]  # positions among the carried parameters


def slice_of(loop: Op, loads: Sequence[Op]) -> Slice | None:
    """What the addresses and masks of loads need of the body; None if it is not pure."""
    (body,) = loop.regions
    made = {v: o for o in body.ops for v in o.results}
    params = list(body.params[1:])
    wanted = [v for load in loads for v in load.operands[:2] if v is not None]
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


def pipelined(loop: Op, copies: Sequence[Copy], ahead: int, stages: int) -> list[Op]:
    """The loop, its copies `ahead` turns early in buffers of so many stages, and what goes before and after it."""
    needs = slice_of(loop, [c.load for c in copies])
    assert needs is not None
    return _Pipelined(loop, copies, needs, ahead, stages).ops()


class _Pipelined:
    def __init__(self, loop: Op, copies: Sequence[Copy], needs: Slice, ahead: int, stages: int) -> None:
        self.loop, self.copies, self.needs, self.ahead, self.stages = loop, copies, needs, ahead, stages
        self.build = Builder(infer)
        self.build.span = loop.span
        self.kind = dtype_of(operand(loop, 0).type)
        self.high, self.step = operand(loop, 1), operand(loop, 2)
        self.meet = any(c.converts for c in copies)  # whether threads read what others copied

    def ops(self) -> list[Op]:
        loop, build = self.loop, self.build
        (body,) = loop.regions
        buffers = [
            build.append(Op("shared_alloc", (), {"type": t}, (), (Value(t, "buffer"),), loop.span))[0]
            for t in (replace(c.buffer, stages=self.stages) for c in self.copies)
        ]
        state = [operand(loop, 3 + i) for i in self.needs.carried]
        for turn in range(self.ahead):
            index = self.after(build, operand(loop, 0), turn)
            state = self.start(build, body, buffers, index, state, build.const(turn, int32))
        first = [*state, *self.places()]
        build.append(self.body(body, buffers, first))
        build.append(Op("async_wait", (), {"pending": 0}, span=loop.span))
        if self.meet:
            build.append(Op("barrier", span=loop.span))
        return build.ops

    def places(self) -> list[Value]:
        """The stages that the first turn reads and writes: one where they are the same, none where there is but one."""
        if self.stages == 1:
            return []
        turns = [0, self.ahead] if self.meet else [0]
        return [self.build.const(turn, int32) for turn in turns]

    def after(self, build: Builder, index: Value, turns: int) -> Value:
        """The index so many turns later."""
        if turns < 2:
            return build.one("add", index, self.step) if turns else index
        return build.one("add", index, build.one("mul", self.step, build.const(turns, self.kind)))

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
            mask = None if mask is None else now.get(mask, mask)
            attrs = {"cache": copy.load.attrs.get("cache", ""), "vector": copy.vector}
            operands = (buffer, now.get(pointer, pointer), mask, stage, exists)
            build.append(Op("async_copy", operands, attrs, span=copy.load.span))
            build.append(Op("async_commit", span=copy.load.span))
        return [now.get(v, v) for v in (body.yielded[i] for i in self.needs.carried)]

    def body(self, body: Block, buffers: Sequence[Value], first: Sequence[Value]) -> Op:
        """The loop: wait, what threads copied for themselves read back, start the copies of the turn ahead, and the
        old body, which reads what threads copied for each other where it converted."""
        loop, inner = self.loop, Builder(infer)
        inner.span = loop.span
        following = tuple(Value(v.type, v.name) for v in first)
        state = following[: len(self.needs.carried)]
        places = following[len(self.needs.carried) :]
        read, write = (places[0], places[-1]) if places else (inner.const(0, int32),) * 2
        inner.append(Op("async_wait", (), {"pending": (self.ahead - 1) * len(self.copies)}, span=loop.span))
        if self.meet:
            inner.append(Op("barrier", span=loop.span))
        loaded: dict[Op, Value] = {}
        for copy, buffer in zip(self.copies, buffers, strict=True):
            if not copy.converts:
                load = copy.load
                result = load.result if copy.plain else Value(load.result.type)
                loaded[load] = inner.append(Op("shared_load", (buffer, read), {}, (), (result,), load.span))[0]
        index = self.after(inner, body.params[0], self.ahead)
        after = self.start(inner, body, buffers, index, state, write)
        replaced = {c.load: c for c in self.copies}
        conversions = {u: b for c, b in zip(self.copies, buffers, strict=True) for u in c.converts}
        for op in body.ops[:-1]:
            if op in conversions:
                inner.append(Op("shared_load", (conversions[op], read), {}, (), op.results, op.span))
            elif op not in replaced:
                inner.append(op)
            elif op in loaded and not replaced[op].plain:
                _, mask, other = op.operands
                inner.append(Op("where", (mask, loaded[op], other), {}, (), op.results, op.span))
        turned = [self.turn(inner, v) for v in places]
        inner.append(Op("yield", (*body.yielded, *after, *turned)))
        results = loop.results + tuple(Value(v.type) for v in first)
        block = Block((*body.params, *following), tuple(inner.ops))
        return replace(loop, operands=(*loop.operands, *first), regions=(block,), results=results)

    def turn(self, build: Builder, stage: Value) -> Value:
        """The stage after `stage`."""
        following = build.one("add", stage, build.const(1, int32))
        last = build.one("eq", following, build.const(self.stages, int32))
        return build.one("where", last, build.const(0, int32), following)
