"""unroll: a loop that asks for it (`tl.range(..., loop_unroll_factor=4)`) does several turns in one.

The turns that are left over, if there may be any, are a loop of their own after it, not pipelined. The order of the
turns stays, so results do too. Whole turns whose step is no number of the index's type are not made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rtriton.ir import Block, Builder, Kernel, Op, Value, clone, rebuild, walk
from rtriton.language import infer
from rtriton.passes import register
from rtriton.types import DType, dtype_of, uint8, uint16, uint32, uint64

UNSIGNED = {8: uint8, 16: uint16, 32: uint32, 64: uint64}


@register
def unroll(kernel: Kernel, target: Any) -> Kernel:
    """Do `unroll` turns in one.

    before:  %r: f32 = for %0, %8, %1, %x {unroll = 2} (%i: i32, %p: f32) {
               %q: f32 = add %p, %y
               yield %q
             }
    after:   %r: f32 = for %0, %8, %2, %x (%i: i32, %p: f32) {
               %q: f32 = add %p, %y
               %j: i32 = add %i, %1
               %s: f32 = add %q, %y
               yield %s
             }
    """
    asking = [op for op in walk(kernel.body) if op.kind == "for" and op.attrs.get("unroll", 0) > 1]
    if not asking:
        return kernel
    consts = {op.result: op.attrs["value"] for op in walk(kernel.body) if op.kind == "const"}

    def rule(op: Op, operands: tuple[Value | None, ...], build: Builder) -> Sequence[Value] | None:
        if op.kind != "for" or op.attrs.get("unroll", 0) < 2:
            return None
        return _unrolled(op, [v for v in operands if v is not None], consts, build)

    return rebuild(kernel, rule, infer)


def _unrolled(op: Op, given: list[Value], consts: dict[Value, Any], build: Builder) -> Sequence[Value]:
    low, high, stride, *init = given
    factor, kind = int(op.attrs["unroll"]), dtype_of(low.type)
    attrs = {k: v for k, v in op.attrs.items() if k != "unroll"}
    rest = {**attrs, "num_stages": 1}
    if not _fits(factor, kind):
        return _loop(op, [low, high, stride, *init], 1, attrs, build)
    if stride not in consts:
        middle, by = _middle_of_any(low, high, stride, factor, kind, build)
        return _loop(op, [middle, high, stride, *_loop(op, [low, middle, by, *init], factor, attrs, build)], 1, rest,
                     build)
    step = int(consts[stride])
    turns = factor
    if low in consts and high in consts and step:
        turns = len(range(int(consts[low]), int(consts[high]), step))
    if not step or turns < factor or not _fits(step * factor, kind):
        return _loop(op, [low, high, stride, *init], 1, attrs, build)
    middle: Value | None = None
    if not (low in consts and high in consts):
        middle = _middle(low, high, step * factor, kind, build)
    elif turns % factor:
        middle = build.const(int(consts[low]) + turns // factor * factor * step, kind)
    by = build.const(step * factor, kind)
    main = _loop(op, [low, high if middle is None else middle, by, *init], factor, attrs, build)
    return main if middle is None else _loop(op, [middle, high, stride, *main], 1, rest, build)


def _fits(x: int, kind: DType) -> bool:
    """Is x a number of this type?"""
    least = -(1 << kind.bits - 1) if kind.kind == "i" else 0
    return least <= x < least + (1 << kind.bits)


def _middle(low: Value, high: Value, by: int, kind: DType, build: Builder) -> Value:
    """Where the turns that fill no whole one begin; `low` in a loop without turns. The way from `low` to `high` may be
    longer than the largest number of their type: it is measured without a sign."""
    wide = UNSIGNED[kind.bits]
    far = _way(low, high, by > 0, wide, build)
    size = build.const(abs(by), wide)
    whole = _as(build.one("mul", build.one("div", far, size), size), kind, build)
    return build.one("add" if by > 0 else "sub", low, whole)


def _way(low: Value, high: Value, up: bool, wide: DType, build: Builder) -> Value:
    """How far the index goes, upwards or downwards: 0 where `high` lies on the other side."""
    ends = (build.one("maximum", low, high), low) if up else (low, build.one("minimum", low, high))
    return build.one("sub", *(_as(v, wide, build) for v in ends))


def _middle_of_any(low: Value, high: Value, step: Value, factor: int, kind: DType, build: Builder,
                   ) -> tuple[Value, Value]:
    """The middle, and the step of the whole turns, where `step` is known only at run time. There are no whole turns
    where their step is no number of the type, or zero."""
    wide, zero, count = UNSIGNED[kind.bits], build.const(0, kind), build.const(factor, kind)
    by = build.one("mul", step, count)
    up = build.one("gt", step, zero)
    size = _as(build.one("where", up, step, build.one("sub", zero, step)), wide, build)
    size = build.one("maximum", size, build.const(1, wide))
    far = build.one("where", up, *(_way(low, high, side, wide, build) for side in (True, False)))
    turns = build.one("div", build.one("div", far, size), _as(count, wide, build))
    fits = build.one("eq", build.one("div", by, count), step)
    turns = _as(build.one("where", fits, turns, build.const(0, wide)), kind, build)
    by = build.one("where", fits, by, step)
    return build.one("add", low, build.one("mul", turns, by)), by


def _as(x: Value, kind: DType, build: Builder) -> Value:
    """The same bits as a number of this type."""
    return x if x.type == kind else build.one("bitcast", x, to=kind)


def _loop(op: Op, operands: Sequence[Value], factor: int, attrs: dict[str, Any], build: Builder) -> Sequence[Value]:
    """A loop whose turn is `factor` turns of `op`."""
    (body,) = op.regions
    index, *carried = (Value(p.type, p.name) for p in body.params)
    stride = operands[2] if factor == 1 else op.operands[2]
    inner = Builder(build.infer)
    inner.span = op.span
    values: Sequence[Value] = carried
    place = index
    for turn in range(factor):
        if turn:
            place = inner.one("add", place, stride)
        values = clone(body, dict(zip(body.params, [place, *values], strict=True)), inner)
    inner.op("yield", *values)
    region = Block((index, *carried), tuple(inner.ops))
    return build.op("for", *operands, regions=[region], names=[v.name for v in op.results], **attrs)
