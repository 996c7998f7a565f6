"""canonicalize's rules for control flow and memory: what is decided already, what loops carry in vain."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rtriton.ir import Block, Builder, Op, Value, clone
from rtriton.passes._facts import Facts, Given, Operands
from rtriton.types import Type

Rule = Callable[[Op, Operands, Builder, Facts], Given]


def known_if(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """An `if` of a constant is the branch that it takes; branches that yield one outer value give that value."""
    if op.kind != "if":
        return None
    known = facts.const(args[0])
    if known is not None:
        return clone(op.regions[0 if known else 1], {}, build)
    then, otherwise = (r.yielded for r in op.regions)
    return _drop(op, [a if a is b else None for a, b in zip(then, otherwise, strict=True)], build, _without_results)


def _without_results(op: Op, args: Operands, keep: Sequence[int], found: dict[int, Value]) -> Op:
    regions = tuple(_yielding(r, [r.yielded[i] for i in keep]) for r in op.regions)
    results = tuple(Value(op.results[i].type, op.results[i].name) for i in keep)
    return Op(op.kind, args, op.attrs, regions, results, op.span)


def _yielding(block: Block, values: Sequence[Value]) -> Block:
    """The block with another yield."""
    return Block(block.params, (*block.ops[:-1], Op("yield", tuple(values), span=block.ops[-1].span)))


def _drop(op: Op, known: Sequence[Value | None], build: Builder, without: Callable[..., Op]) -> Given:
    """Replace the results that are known; `without` makes the op with the others only."""
    if not any(known):
        return None
    keep = [i for i, v in enumerate(known) if v is None]
    found = {i: v for i, v in enumerate(known) if v is not None}
    made = without(op, op.operands, keep, found)
    left = iter(build.append(made))
    return [found[i] if i in found else next(left) for i in range(len(op.results))]


def short_loop(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """A loop that is known to run never, or once."""
    if op.kind != "for":
        return None
    low, high, step = (facts.const(v) for v in args[:3])
    init = [v for v in args[3:] if v is not None]
    if low is None or high is None or not step:
        return None
    trips = len(range(int(low), int(high), int(step)))
    if trips == 0:
        return init
    if trips > 1 or args[0] is None:
        return None
    return clone(op.regions[0], dict(zip(op.regions[0].params, [args[0], *init], strict=True)), build)


def unchanged(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """A carried value that every turn hands on as it got it is its initial value."""
    if op.kind not in ("for", "while"):
        return None
    lead = 3 if op.kind == "for" else 0
    body = op.regions[-1]
    params = body.params[1:] if op.kind == "for" else body.params
    init = args[lead:]
    known = [init[i] if y is params[i] or y is init[i] else None for i, y in enumerate(body.yielded)]
    return _drop(op, known, build, _without_carried)


def _without_carried(op: Op, args: Operands, keep: Sequence[int], found: dict[int, Value]) -> Op:
    lead = 3 if op.kind == "for" else 0
    regions: list[Block] = []
    for region in op.regions:
        skip = 1 if op.kind == "for" else 0
        kept = [region.params[i + skip] for i in keep]
        now = {region.params[i + skip]: value for i, value in found.items()}
        fresh = [Value(v.type, v.name) for v in (*region.params[:skip], *kept)]
        now.update(zip((*region.params[:skip], *kept), fresh, strict=True))
        inner = Builder(_no_inference)
        yielded = clone(region, now, inner)
        is_test = op.kind == "while" and region is op.regions[0]
        values = yielded if is_test else tuple(yielded[i] for i in keep)
        inner.append(Op("yield", values, span=region.ops[-1].span))
        regions.append(Block(tuple(fresh), tuple(inner.ops)))
    operands = (*args[:lead], *(args[lead + i] for i in keep))
    results = tuple(Value(op.results[i].type, op.results[i].name) for i in keep)
    return Op(op.kind, operands, op.attrs, tuple(regions), results, op.span)


def _no_inference(*_: object) -> tuple[Type, ...]:
    raise AssertionError("copied ops keep their types")


def known_mask(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """Masks that are true everywhere go; memory ops whose mask is false everywhere do nothing."""
    place = {"load": 1, "store": 2, "atomic_rmw": 2}.get(op.kind)
    if place is None or len(args) <= place or (known := facts.const(args[place])) is None:
        return None
    if op.kind == "load":
        if known:
            return [build.one("load", args[0], **op.attrs)]
        other = args[2] if len(args) > 2 else None
        return [other if other is not None else build.const(0, op.result.type)]
    if known:
        return build.op(op.kind, *args[:place], **op.attrs)
    return [] if op.kind == "store" else [build.const(0, op.result.type)]


def known_truth(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """assert and assume of what is known to be true."""
    return [] if op.kind in ("assert", "assume") and facts.const(args[0]) else None


RULES: tuple[Rule, ...] = (known_if, short_loop, unchanged, known_mask, known_truth)
