"""Reductions leave loops: each thread accumulates what it has, and threads meet once, after the loop.

    before:  %s: f32 = for ... (%i, %a: f32) {          after:  %p: 128xf32 = for ... (%i, %b: 128xf32) {
               %r: f32 = reduce %x                                %y: 128xf32 = reduce %x, in each thread
               %c: f32 = add %a, %r                               %c: 128xf32 = add %b, %y
               yield %c                                           yield %c
             }                                                  }
                                                                %s: f32 = reduce %p

That is where a loop carries `a + reduce(x)`, or `a * s + reduce(x)` with a factor that is the same all along the axis,
as in a softmax that goes over its rows in blocks. The reduction's region is the op that accumulates. Sums of floats are
added up in another order, as reductions are anyway.

What the loop starts from joins in the end; where it is scaled it is the first element's part from the beginning.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod

from rtriton import layout as L
from rtriton.ir import Block, Builder, Kernel, Op, Value, clone, definitions, rebuild, uses
from rtriton.language.table import OPS, infer
from rtriton.layout import Layout
from rtriton.passes import register
from rtriton.passes.analysis.scratch import layout_of, operand
from rtriton.target import Target
from rtriton.types import Scalar, Tile, element_of, int1, int32, shape_of

NEUTRAL = {"add": 0, "mul": 1, "xor": 0}
SAME_TWICE = ("maximum", "minimum", "maximum_nan", "minimum_nan", "and", "or")  # x op x is x
RENAMES = ("expand_dims", "reshape", "convert_layout")  # between the reduction and the sum: done after the loop


@register
def accumulate(kernel: Kernel, target: Target) -> Kernel:
    """Take reductions that are only accumulated out of loops."""
    made = definitions(kernel.body)

    def rule(op: Op, operands: tuple[Value | None, ...], build: Builder) -> list[Value] | None:
        found = {i: it for i in range(len(op.results)) if (it := _accumulated(op, i))} if op.kind == "for" else {}
        return _loop(op, found, made, build) if found else None

    return rebuild(kernel, rule, infer)


@dataclass(frozen=True)
class Accumulated:
    """`total` adds what `reduce` gives, by way of `renames`, to the carried value, which `scale` multiplies (in `total`
    itself, or in `scaling`)."""

    total: Op
    reduce: Op
    renames: tuple[Op, ...]
    scale: Value | None
    scaling: Op | None

    @property
    def kind(self) -> str:
        return self.reduce.regions[0].ops[0].kind

    @property
    def gone(self) -> set[Op]:
        return {self.total, self.reduce, *self.renames, *([self.scaling] if self.scaling else [])}


# -- finding them ------------------------------------------------------------------------------------------------------


def _accumulated(loop: Op, i: int) -> Accumulated | None:
    (body,) = loop.regions
    made, readers = {v: op for op in body.ops for v in op.results}, uses(body)
    result = body.yielded[i]
    total = made.get(result)
    if total is None or len(readers[result]) > 1:
        return None
    added, scale, scaling = _summands(total, body.params[1 + i], made, readers)
    renames: list[Op] = []
    while added is not None and (op := made.get(added)) is not None and len(readers[added]) == 1:
        if op.kind == "reduce":
            found = Accumulated(total, op, tuple(reversed(renames)), scale, scaling)
            return found if _suits(found) else None
        added = op.operands[0] if op.kind in RENAMES else None
        renames.append(op)
    return None


def _summands(
    total: Op, param: Value, made: Mapping[Value, Op], readers: Mapping[Value, list[Op]]
) -> tuple[Value | None, Value | None, Op | None]:
    """What is added to `param`, and what scales it by which op; None where nothing is, or where others read it too."""
    alone = readers.get(param, [])
    if total.kind == "fma" and alone == [total] and param in total.operands[:2]:
        x, y, added = total.operands
        return added, y if x is param else x, None
    if not OPS[total.kind].commutative or len(total.operands) != 2:
        return None, None, None
    for mine, other in (total.operands, total.operands[::-1]):
        if mine is param and alone == [total]:
            return other, None, None
        scaling = made.get(mine) if mine is not None and len(readers[mine]) == 1 else None
        if total.kind == "add" and scaling is not None and scaling.kind == "mul" and alone == [scaling]:
            x, y = scaling.operands
            return other, y if x is param else x, scaling
    return None, None, None


def _suits(found: Accumulated) -> bool:
    """Whether threads meet in the reduction, and whether its region is the op that accumulates."""
    ops, reduce, total = found.reduce.regions[0].ops, found.reduce, found.total
    if len(reduce.operands) != 1 or len(ops) != 2 or set(ops[0].operands) != set(reduce.regions[0].params):
        return False
    same = ops[0].kind == ("add" if total.kind == "fma" else total.kind) and not ops[0].attrs and not total.attrs
    known = found.kind in NEUTRAL or (found.kind in SAME_TWICE and not found.renames)
    if not same or not known:
        return False
    if found.scale is not None and (found.renames or found.scale.type != reduce.result.type):
        return False
    plan = L.reduction_plan(layout_of(operand(reduce, 0)), reduce.attrs["axis"])
    return bool(plan.lane or plan.warp)


# -- the loop without them ---------------------------------------------------------------------------------------------


def _loop(op: Op, found: Mapping[int, Accumulated], made: Mapping[Value, Op], build: Builder) -> list[Value]:
    (body,) = op.regions
    types = {i: _thread_part(Builder(infer), it.reduce).type for i, it in found.items()}
    init = {i: _init(operand(op, 3 + i), it, _tile(types[i]), made, build) for i, it in found.items()}
    params = {i: Value(t, body.params[1 + i].name) for i, t in types.items()}
    gone, totals = {o for it in found.values() for o in it.gone}, {it.total: i for i, it in found.items()}
    inner, now = Builder(infer), dict[Value, Value]()
    for o in body.ops:
        inner.span = o.span
        if o in totals:
            now[o.result] = _accumulate(inner, found[totals[o]], params[totals[o]])
        elif o not in gone:
            inner.append(replace(o, operands=tuple(now.get(v, v) if v else None for v in o.operands)))
    region = Block((body.params[0], *(params.get(i, p) for i, p in enumerate(body.params[1:]))), tuple(inner.ops))
    results = tuple(Value(types[i], v.name) if i in found else v for i, v in enumerate(op.results))
    carried = tuple(init[i] if i in found else v for i, v in enumerate(op.operands[3:]))
    build.append(replace(op, operands=(*op.operands[:3], *carried), regions=(region,), results=results))
    return [
        _finish(build, found[i], v, operand(op, 3 + i), made) if i in found else v for i, v in enumerate(results)
    ]


def _accumulate(build: Builder, it: Accumulated, param: Value) -> Value:
    part, target = _thread_part(build, it.reduce), _tile(param.type)
    if it.scale is None:
        return _op(build, it.total.kind, (param, part), target, **it.total.attrs)
    scale = _along(build, it.scale, it.reduce.attrs["axis"], target)
    if it.total.kind == "fma":
        return _op(build, "fma", (param, scale, part), target, **it.total.attrs)
    return _op(build, "add", (_op(build, "mul", (param, scale), target), part), target, **it.total.attrs)


def _thread_part(build: Builder, reduce: Op) -> Value:
    """What each thread has of a reduction: its operand with the axis folded as far as it lies in registers."""
    value, axis = operand(reduce, 0), int(reduce.attrs["axis"])
    layout, shape = layout_of(value), shape_of(value.type)
    stride, size = prod(shape[axis + 1 :]), shape[axis]
    bits = [(1 << k) * stride in layout["register"] for k in reversed(range(L.log2(size)))]
    if not any(bits):
        return value
    runs = [(inside, 1 << len(list(run))) for inside, run in groupby(bits)]
    split = _reshape(build, value, (*shape[:axis], *(n for _, n in runs), *shape[axis + 1 :]))
    held = [axis + k for k, (inside, _) in enumerate(runs) if inside]
    others = [d for d in range(len(shape) - 1 + len(runs)) if d not in held]
    at = axis + len(runs) - len(held)
    moved = _trans(build, split, (*others[:at], *held, *others[at:]))
    count, left = prod(n for inside, n in runs if inside), prod(n for inside, n in runs if not inside)
    together = _reshape(build, moved, (*shape[:axis], left, count, *shape[axis + 1 :]))
    return _reduced(build, reduce, together, axis + 1)


def _reduced(build: Builder, like: Op, value: Value, axis: int) -> Value:
    layout = L.drop(layout_of(value), axis)
    (region,) = like.regions
    params = tuple(Value(p.type, p.name) for p in region.params)
    inner = Builder(infer)
    inner.op("yield", *clone(region, dict(zip(region.params, params, strict=True)), inner))
    block = Block(params, tuple(inner.ops))
    scalar = element_of(value.type)
    type = Tile(layout.shape, scalar, layout) if layout.shape else scalar
    return build.append(Op("reduce", (value,), {"axis": axis}, (block,), (Value(type),), build.span))[0]


# -- before and after the loop -----------------------------------------------------------------------------------------


def _starts_neutral(init: Value, it: Accumulated, made: Mapping[Value, Op]) -> bool:
    op = made.get(init)
    while op is not None and op.kind == "splat" and op.operands[0] is not None:
        op = made.get(op.operands[0])
    return op is not None and op.kind == "const" and op.attrs["value"] == NEUTRAL.get(it.kind)


def _init(init: Value, it: Accumulated, target: Tile, made: Mapping[Value, Op], build: Builder) -> Value:
    """What threads accumulate from."""
    axis = it.reduce.attrs["axis"]
    if it.kind in SAME_TWICE:
        return _along(build, init, axis, target)
    starts_neutral = _starts_neutral(init, it, made)
    neutral: float = NEUTRAL[it.kind]
    if element_of(target).kind == "f":
        neutral = -0.0 if it.kind == "add" and not starts_neutral else float(neutral)  # 0.0 + -0.0 is 0.0
    nothing = _op(build, "const", (), target, value=neutral, type=target)
    if it.scale is None or starts_neutral:
        return nothing
    line = target.layout
    assert line is not None
    for d in reversed(range(line.rank)):
        line = line if d == axis else L.drop(line, d)
    numbers = Tile(line.shape, int32, line)
    zero = _op(build, "const", (), numbers, value=0, type=numbers)
    first = _op(build, "eq", (_op(build, "arange", (), numbers, start=0, end=line.shape[0]), zero),
                replace(numbers, element=int1))  # fmt: skip
    start = _along(build, init, axis, target)
    return _op(build, "where", (_across(build, first, axis, target), start, nothing), target)


def _finish(build: Builder, it: Accumulated, value: Value, init: Value, made: Mapping[Value, Op]) -> Value:
    """The reduction, once, with what came between it and the sum, and with what the loop started from."""
    total = _reduced(build, it.reduce, value, it.reduce.attrs["axis"])
    for op in it.renames:
        (total,) = build.append(replace(op, operands=(total,), results=(Value(op.result.type),)))
    if it.kind in SAME_TWICE or it.scale is not None or _starts_neutral(init, it, made):
        return total
    return build.append(replace(it.total, operands=(init, total), results=(Value(total.type),)))[0]


# -- ops with layouts --------------------------------------------------------------------------------------------------


def _op(build: Builder, kind: str, operands: Sequence[Value], result: Tile, /, **attrs: object) -> Value:
    return build.append(Op(kind, tuple(operands), attrs, (), (Value(result),), build.span))[0]


def _tile(type: object) -> Tile:
    assert isinstance(type, Tile)
    return type


def _laid_out(value: Value, layout: Layout) -> Tile:
    return Tile(layout.shape, element_of(value.type), layout)


def _reshape(build: Builder, value: Value, shape: tuple[int, ...]) -> Value:
    if shape == shape_of(value.type):
        return value
    return _op(build, "reshape", (value,), _laid_out(value, L.reshape(layout_of(value), shape)), shape=shape)


def _trans(build: Builder, value: Value, order: tuple[int, ...]) -> Value:
    if order == tuple(range(len(order))):
        return value
    return _op(build, "trans", (value,), _laid_out(value, L.transpose(layout_of(value), order)), order=order)


def _along(build: Builder, value: Value, axis: int, target: Tile) -> Value:
    """A value without the axis, the same everywhere along it."""
    scalar: Scalar = element_of(value.type)
    if not isinstance(value.type, Tile):
        return _op(build, "splat", (value,), replace(target, element=scalar), shape=target.shape)
    one = _laid_out(value, L.expand(layout_of(value), axis))
    return _broadcast(build, _op(build, "expand_dims", (value,), one, axis=axis), target)


def _across(build: Builder, value: Value, axis: int, target: Tile) -> Value:
    """A value along the axis alone, the same everywhere else."""
    for d in range(len(target.shape)):
        if d != axis:
            value = _op(build, "expand_dims", (value,), _laid_out(value, L.expand(layout_of(value), d)), axis=d)
    return _broadcast(build, value, target)


def _broadcast(build: Builder, value: Value, target: Tile) -> Value:
    if shape_of(value.type) == target.shape:
        return value
    return _op(build, "broadcast", (value,), replace(target, element=element_of(value.type)), shape=target.shape)
