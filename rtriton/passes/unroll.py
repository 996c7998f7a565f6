"""unroll: a loop that asks for it (`tl.range(..., loop_unroll_factor=4)`) does several turns in one.

The turns that are left over, if there may be any, are a loop of their own after it, not pipelined. The order of the
turns stays, so results do too. The step must be known when compiling; without that the loop stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rtriton.ir import Block, Builder, Kernel, Op, Value, clone, rebuild, walk
from rtriton.language import infer
from rtriton.passes import register
from rtriton.types import DType, dtype_of


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
        given = [v for v in operands if v is not None]
        step = consts.get(given[2])
        return _unrolled(op, given, int(step), consts, build) if step else None

    return rebuild(kernel, rule, infer)


def _unrolled(op: Op, given: list[Value], step: int, consts: dict[Value, Any], build: Builder) -> Sequence[Value]:
    low, high, stride, *init = given
    factor, kind = int(op.attrs["unroll"]), dtype_of(low.type)
    attrs = {k: v for k, v in op.attrs.items() if k != "unroll"}
    if low in consts and high in consts:
        turns = len(range(int(consts[low]), int(consts[high]), step))
        middle: Value | None = build.const(int(consts[low]) + turns // factor * factor * step, kind)
        if turns < factor:
            return _loop(op, [low, high, stride, *init], 1, attrs, build)
        if turns % factor == 0:
            middle = None
    else:
        middle = _middle(low, high, step * factor, kind, build)
    by = build.const(step * factor, kind)
    main = _loop(op, [low, high if middle is None else middle, by, *init], factor, attrs, build)
    if middle is None:
        return main
    return _loop(op, [middle, high, stride, *main], 1, {**attrs, "num_stages": 1}, build)


def _middle(low: Value, high: Value, by: int, kind: DType, build: Builder) -> Value:
    """Where the turns that fill no whole one begin; `low` in a loop without turns."""
    far = build.one("sub", build.one("maximum" if by > 0 else "minimum", low, high), low)
    size = build.const(by, kind)
    return build.one("add", low, build.one("mul", build.one("div", far, size), size))


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
