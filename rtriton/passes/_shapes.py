"""canonicalize's rules for shape ops: those that do nothing go, chains become one, work is done before tiles grow."""

from __future__ import annotations

from collections.abc import Callable

from rtriton.ir import Builder, Op, Value
from rtriton.language import OPS
from rtriton.passes._facts import Facts, Given, Operands
from rtriton.types import Tile, element_of, shape_of

Rule = Callable[[Op, Operands, Builder, Facts], Given]
MOVES = ("expand_dims", "broadcast", "reshape", "trans")


def of_filled(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """A tile that holds one number everywhere keeps holding it: const and splat of the new shape."""
    if op.kind not in (*MOVES, "splat"):
        return None
    shape = shape_of(op.result.type)
    source = facts.by(args[0], "const", "splat")
    if source is None:
        return None
    if source.kind == "const":
        return [build.const(source.attrs["value"], op.result.type)]
    return [build.one("splat", source.operands[0], shape=shape)]


def nothing(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """A shape op that gives the shape there was."""
    if op.kind not in MOVES or args[0] is None or args[0].type != op.result.type:
        return None
    if op.kind == "trans" and tuple(op.attrs["order"]) != tuple(range(len(op.attrs["order"]))):
        return None
    return [args[0]]


def chains(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """reshape of reshape, broadcast of broadcast, trans of trans; split of join."""
    if op.kind == "split" and (joined := facts.by(args[0], "join")) is not None:
        return [v for v in joined.operands if v is not None]
    if op.kind == "reshape" and (inner := facts.by(args[0], "reshape", "expand_dims")) is not None:
        return [build.one("reshape", inner.operands[0], shape=op.attrs["shape"])]
    if op.kind == "broadcast" and (inner := facts.by(args[0], "broadcast")) is not None:
        return [build.one("broadcast", inner.operands[0], shape=op.attrs["shape"])]
    if op.kind == "trans" and (inner := facts.by(args[0], "trans")) is not None:
        order = tuple(inner.attrs["order"][i] for i in op.attrs["order"])
        return [build.one("trans", inner.operands[0], order=order)]
    return None


def before_growing(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """f(broadcast x, broadcast y, splat s) -> broadcast f(x, y, splat s), and the same for expand_dims."""
    if not OPS[op.kind].elementwise or not args:
        return None
    grown = [m for v in args if (m := facts.by(v, "broadcast", "expand_dims")) is not None]
    if not grown or any(m.kind != grown[0].kind or _way(m) != _way(grown[0]) for m in grown):
        return None
    if any(facts.by(v, "broadcast", "expand_dims", "splat", "const") is None for v in args):
        return None
    shape = _source_shape(grown[0])
    small: list[Value] = []
    for value in args:
        found = _smaller(value, shape, build, facts)
        if found is None:
            return None
        small.append(found)
    result = build.one(op.kind, *small, **op.attrs)
    return [build.one(grown[0].kind, result, **grown[0].attrs)]


def _way(move: Op) -> tuple[object, ...]:
    """Moves that go from one shape to another in one way can change places with an elementwise op."""
    return (_source_shape(move), shape_of(move.result.type), move.attrs.get("axis"))


def _source_shape(move: Op) -> tuple[int, ...]:
    assert move.operands[0] is not None
    return shape_of(move.operands[0].type)


def _smaller(value: Value | None, shape: tuple[int, ...], build: Builder, facts: Facts) -> Value | None:
    op = facts.by(value, "broadcast", "expand_dims", "splat", "const")
    if op is None or value is None:
        return None
    if op.kind == "const":
        return build.const(op.attrs["value"], Tile(shape, element_of(value.type)))
    if op.kind == "splat":
        return build.one("splat", op.operands[0], shape=shape)
    return op.operands[0]


def of_size_one(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
    """A range of one number; a reduction or scan along an axis of size 1."""
    if op.kind == "arange" and op.attrs["end"] - op.attrs["start"] == 1:
        return [build.const(op.attrs["start"], op.result.type)]
    if op.kind not in ("reduce", "scan") or args[0] is None or shape_of(args[0].type)[op.attrs["axis"]] != 1:
        return None
    if op.kind == "scan":
        return [v for v in args if v is not None]
    if not shape_of(op.results[0].type):
        return None
    return [build.one("reshape", v, shape=shape_of(op.results[0].type)) for v in args]


RULES: tuple[Rule, ...] = (of_filled, nothing, chains, of_size_one, before_growing)
