"""Fewer and cheaper conversions between layouts.

    before:  %b = convert_layout %a;  %c = convert_layout %b          after:  %c = convert_layout %a
    before:  %w: f32 = cast %n: f16;  %c = convert_layout %w          after:  the f16 is converted, then cast
    before:  %t = trans %x;  %c = convert_layout %t                   after:  %x is converted, closer to its load

    before:  %r = reduce %x, across warps;  %c = convert_layout %r    after:  %c = reduce %x, read in that layout

A conversion to the layout its operand has goes away.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rtriton import layout as L
from rtriton.ir import Builder, Kernel, Op, Value, definitions, rebuild, uses, walk
from rtriton.language.table import infer
from rtriton.layout import Layout
from rtriton.passes import register
from rtriton.passes._natural import wanted
from rtriton.passes.analysis.scratch import layout_of, operand
from rtriton.target import Target
from rtriton.types import Tile, Type, element_of


MOST_ROUNDS = 8  # a conversion moves over one op a round


@register
def layouts(kernel: Kernel, target: Target) -> Kernel:
    """Chain, drop and narrow conversions, until nothing changes."""
    for _ in range(MOST_ROUNDS):
        before, kernel = kernel, _round(kernel)
        if kernel is before:
            break
    return kernel


def _round(kernel: Kernel) -> Kernel:
    made, readers = definitions(kernel.body), uses(kernel.body)
    delivered = {op.results[0]: layout for op in walk(kernel.body) if (layout := delivery(op, readers)) is not None}

    def rule(op: Op, operands: tuple[Value | None, ...], build: Builder) -> list[Value] | None:
        if op.results and op.results[0] in delivered:
            layout = delivered[op.results[0]]
            return list(build.append(replace(op, results=tuple(Value(laid_out(v.type, layout)) for v in op.results))))
        if op.kind != "convert_layout":
            return None
        (source,) = operands
        assert source is not None
        before = made.get(source)
        if before is not None and before.kind == "convert_layout":
            (source,) = before.operands
            assert source is not None
        if source.type == op.result.type:
            return [source]
        if before is not None and before.kind == "cast" and (
            narrower(before, op.result) or meets(made.get(operand(before, 0)))
        ):
            (narrow,) = before.operands
            assert narrow is not None
            moved = converted(build, narrow, laid_out(narrow.type, layout_of(op.result)))
            result = Value(op.result.type)
            return list(build.append(Op("cast", (moved,), before.attrs, (), (result,), op.span)))
        if before is not None and before.kind == "trans":
            assert isinstance(op.result.type, Tile) and op.result.type.layout is not None
            (inner,) = before.operands
            (layout,) = wanted(before, op.result.type.layout)
            assert inner is not None and isinstance(inner.type, Tile)
            moved = converted(build, inner, replace(inner.type, layout=layout))
            return list(build.append(Op("trans", (moved,), before.attrs, (), (Value(op.result.type),), op.span)))
        return None if source is op.operands[0] else [converted(build, source, op.result.type)]

    return rebuild(kernel, rule, infer)


def narrower(cast: Op, converted: Value) -> bool:
    """Whether a cast's operand in the layout of `converted` is fewer bytes of each thread than its result in its own:
    where several warps hold what one held, all of them would cast."""
    source, result = cast.operands[0], cast.result
    assert source is not None
    if not isinstance(source.type, Tile) or element_of(source.type).bits >= element_of(result.type).bits:
        return False
    wide = layout_of(result).registers * element_of(result.type).bits
    return layout_of(converted).registers * element_of(source.type).bits < wide


def meets(op: Op | None) -> bool:
    """Whether warps meet in shared memory in a reduction: threads read of it what they like."""
    if op is None or op.kind != "reduce" or not isinstance(op.results[0].type, Tile):
        return False
    return bool(L.reduction_plan(layout_of(operand(op, 0)), op.attrs["axis"]).warp)


def delivery(op: Op, readers: Mapping[Value, list[Op]]) -> Layout | None:
    """The layout in which a reduction across warps is read, where there is one that all want, and it has another."""
    if not meets(op):
        return None
    all_readers = [r for v in op.results for r in readers.get(v, [])]
    wanted = {layout_of(r.result) if r.kind == "convert_layout" else None for r in all_readers}
    found = wanted.pop() if len(wanted) == 1 else None
    return found if found != layout_of(op.results[0]) else None


def laid_out(type: Type, layout: Layout) -> Tile:
    return Tile(layout.shape, element_of(type), layout)


def converted(build: Builder, value: Value, type: Type) -> Value:
    (result,) = build.append(Op("convert_layout", (value,), {}, (), (Value(type),), build.span))
    return result
