"""vectorize: addresses that move by one number per turn stay a base and neighbouring lanes.

A loop that carries a tile of pointers (or of integers) and adds the same scalar to every element in each turn hides
that its elements are neighbours. The tile before the loop is kept as it was, and the loop carries only the sum of the
scalars: one register instead of many, and loads remain vector loads instead of gathers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rtriton.ir import Block, Builder, Kernel, Op, Value, clone
from rtriton.language import infer
from rtriton.passes import register
from rtriton.passes._facts import Facts, Given, Operands, rewrite
from rtriton.types import Scalar, Tile, element_of, int64, shape_of

SPREAD = ("splat", "broadcast", "expand_dims", "reshape", "trans")


@dataclass(frozen=True)
class _Step:
    """A carried tile whose elements all move by `amounts` in a turn (scalars of the body, or constants)."""

    position: int
    amounts: tuple[tuple[str, Value | int], ...]
    type: Scalar  # of the running sum


@register
def vectorize(kernel: Kernel, target: Any) -> Kernel:
    """Carry how far a tile has moved instead of the tile.

    before:  %r: 16x*f32 = for %a, %b, %c, %p (%i: i32, %q: 16x*f32) {
               %x: 16xf32 = load %q
               %n: 16x*f32 = addptr %q, %step        // splat of %s
               yield %n
             }
    after:   %o: i64 = for %a, %b, %c, %zero (%i: i32, %k: i64) {
               %q: 16x*f32 = addptr %p, splat %k
               %x: 16xf32 = load %q
               yield add %k, %s
             }
             %r: 16x*f32 = addptr %p, splat %o
    """

    def rule(op: Op, operands: Operands, build: Builder, facts: Facts) -> Given:
        if op.kind not in ("for", "while"):
            return None
        steps = _steps(op, facts)
        return _rewritten(op, operands, build, steps) if steps else None

    return rewrite(kernel, rule)


def _steps(op: Op, facts: Facts) -> list[_Step]:
    body = op.regions[-1]
    first = 1 if op.kind == "for" else 0
    made = {value: o for o in body.ops for value in o.results}
    found: list[_Step] = []
    for k, final in enumerate(body.yielded):
        step = _step(k, body.params[first + k], final, made, facts)
        if step is not None:
            found.append(step)
    return found


def _step(position: int, param: Value, final: Value, made: dict[Value, Op], facts: Facts) -> _Step | None:
    """The scalars added on the way from the parameter to the yielded value."""
    element = element_of(param.type)
    if not isinstance(param.type, Tile) or element.kind not in "piu" or final is param:
        return None
    amounts: list[tuple[str, Value | int]] = []
    value = final
    while value is not param:
        op = made.get(value)
        if op is None or op.kind not in ("addptr", "add", "sub"):
            return None
        x, y = op.operands
        if op.kind == "add" and _uniform(x, made, facts) is not None:
            x, y = y, x
        amount = _uniform(y, made, facts)
        if amount is None or x is None:
            return None
        amounts.append(("sub" if op.kind == "sub" else "add", amount))
        value = x
    return _Step(position, tuple(amounts), int64 if element.kind == "p" else element)


def _uniform(value: Value | None, made: dict[Value, Op], facts: Facts) -> Value | int | None:
    """The scalar (or number) that a tile of integers holds everywhere."""
    while value is not None:
        if not shape_of(value.type):
            return value
        op = made.get(value) or facts.made.get(value)
        if op is None:
            return None
        if op.kind == "const":
            return int(op.attrs["value"])
        if op.kind not in SPREAD:
            return None
        value = op.operands[0]
    return None


def _rewritten(op: Op, operands: Operands, build: Builder, steps: Sequence[_Step]) -> list[Value]:
    first = 3 if op.kind == "for" else 0
    moved = {s.position: s for s in steps}
    bases = {k: _needed(operands[first + k]) for k in moved}
    inits = [build.const(0, moved[k].type) if k in moved else v for k, v in enumerate(operands[first:])]
    regions = [_region(region, op, bases, moved, last=region is op.regions[-1]) for region in op.regions]
    results = build.op(
        op.kind, *operands[:first], *inits, regions=regions, names=[v.name for v in op.results], **op.attrs
    )
    return [_displaced(build, bases[k], r) if k in moved else r for k, r in enumerate(results)]


def _needed(value: Value | None) -> Value:
    assert value is not None
    return value


def _displaced(build: Builder, base: Value, by: Value) -> Value:
    spread = build.one("splat", by, shape=shape_of(base.type))
    return build.one("addptr" if element_of(base.type).kind == "p" else "add", base, spread)


def _region(region: Block, op: Op, bases: dict[int, Value], moved: dict[int, _Step], last: bool) -> Block:
    skip = 1 if op.kind == "for" else 0
    build = Builder(infer)
    build.span = op.span
    params: list[Value] = list(region.params[:skip])
    now: dict[Value, Value] = {}
    for k, param in enumerate(region.params[skip:]):
        if k not in moved:
            params.append(param)
            continue
        carried = Value(moved[k].type, param.name)
        params.append(carried)
        now[param] = _displaced(build, bases[k], carried)
    yielded = list(clone(region, now, build))
    if last:
        for k, step in moved.items():
            yielded[k] = _advanced(build, params[skip + k], step, now)
    build.op("yield", *yielded)
    return Block(tuple(params), tuple(build.ops))


def _advanced(build: Builder, total: Value, step: _Step, now: dict[Value, Value]) -> Value:
    for kind, amount in step.amounts:
        by = build.const(amount, step.type) if isinstance(amount, int) else now.get(amount, amount)
        if by.type != step.type:
            by = build.one("cast", by, to=step.type)
        total = build.one(kind, total, by)
    return total
