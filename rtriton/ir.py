"""Tile IR: a kernel is data. Values are typed, ops are immutable, control flow is regions (`for`, `while`, `if`).

    Kernel(name, body: Block(params, ops), attrs)
    Op(kind, operands, attrs, regions, results, span)      kind: a key of rtriton.language.OPS

Dominance is nesting: an op sees the values above it in its block and in the blocks around it. Identity is equality;
nothing is mutated: passes make new ops through `rebuild`. An absent optional operand is None.

    for     operands (low, high, step, *init)   region (index, *carried) -> yield *carried      results: carried
    while   operands (*init)   regions (*carried) -> yield condition; (*carried) -> yield *carried   results: carried
    if      operands (condition)   regions () -> yield *values, twice                        results: values
    reduce, scan   operands (*tiles)   region (*left scalars, *right scalars) -> yield *scalars
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rtriton.types import Type, show_type


@dataclass(frozen=True)
class Span:
    """Where in a source file something stands; `caller` is the call that this code was inlined through, `function` the
    name of the function that it stands in (text does not hold it). 1-based."""

    file: str
    line: int
    column: int = 1
    end_line: int = 0
    end_column: int = 0
    caller: Span | None = None
    function: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


NO_SPAN = Span("", 0, 0)


@dataclass(eq=False, slots=True)
class Value:
    """The result of an op or the parameter of a block."""

    type: Type
    name: str = ""

    def __repr__(self) -> str:
        return f"%{self.name or '?'}: {show_type(self.type)}"


@dataclass(eq=False, frozen=True)
class Op:
    kind: str
    operands: tuple[Value | None, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    regions: tuple[Block, ...] = ()
    results: tuple[Value, ...] = ()
    span: Span = NO_SPAN

    @property
    def result(self) -> Value:
        """The only result."""
        (value,) = self.results
        return value


@dataclass(eq=False, frozen=True)
class Block:
    params: tuple[Value, ...]
    ops: tuple[Op, ...]

    @property
    def yielded(self) -> tuple[Value, ...]:
        """What the closing `yield` hands out (a kernel's body has none)."""
        if not self.ops or self.ops[-1].kind != "yield":
            return ()
        return tuple(v for v in self.ops[-1].operands if v is not None)


@dataclass(eq=False, frozen=True)
class Kernel:
    """`attrs`: num_warps, num_stages, ...; `divisible`: {param index: divisor} known of integers and pointers."""

    name: str
    body: Block
    attrs: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def params(self) -> tuple[Value, ...]:
        return self.body.params


Infer = Callable[[str, Sequence[Type | None], Mapping[str, Any], Sequence[Block]], tuple[Type, ...]]


class Builder:
    """Appends ops to a list. `infer` is the op table's type rule (rtriton.language.infer)."""

    def __init__(self, infer: Infer) -> None:
        self.infer = infer
        self.ops: list[Op] = []
        self.span: Span = NO_SPAN

    def append(self, op: Op) -> tuple[Value, ...]:
        self.ops.append(op)
        return op.results

    def op(self, kind: str, *operands: Value | None, regions: Sequence[Block] = (), names: Sequence[str] = (),
           **attrs: Any) -> tuple[Value, ...]:
        """Append an op, its result types by the table's rule; its results."""
        types = self.infer(kind, [v.type if v is not None else None for v in operands], attrs, regions)
        results = tuple(Value(t, names[i] if i < len(names) else "") for i, t in enumerate(types))
        return self.append(Op(kind, operands, attrs, tuple(regions), results, self.span))

    def one(self, kind: str, *operands: Value | None, regions: Sequence[Block] = (), **attrs: Any) -> Value:
        """`op` for an op with one result."""
        (result,) = self.op(kind, *operands, regions=regions, **attrs)
        return result

    def const(self, value: int | float | bool, type: Type) -> Value:
        """A constant scalar, or a tile that holds it everywhere."""
        return self.one("const", value=value, type=type)

    def block(self, params: Sequence[Value], body: Callable[[Builder], Sequence[Value]]) -> Block:
        """A region: `body` appends its ops to the builder it is given and returns what the region yields."""
        inner = Builder(self.infer)
        inner.span = self.span
        inner.op("yield", *body(inner))
        return Block(tuple(params), tuple(inner.ops))


def walk(block: Block) -> Iterator[Op]:
    """Every op, an op before those in its regions."""
    for op in block.ops:
        yield op
        for region in op.regions:
            yield from walk(region)


def uses(block: Block) -> dict[Value, list[Op]]:
    """Who reads each value."""
    found: dict[Value, list[Op]] = {}
    for op in walk(block):
        for value in op.operands:
            if value is not None:
                found.setdefault(value, []).append(op)
    return found


def definitions(block: Block) -> dict[Value, Op]:
    """The op that makes each value (block parameters have none)."""
    return {value: op for op in walk(block) for value in op.results}


def free_values(block: Block) -> list[Value]:
    """Values that `block` reads from outside, in order of first use."""
    inside: set[Value] = set(block.params)
    found: dict[Value, None] = {}
    for op in block.ops:
        for value in op.operands:
            if value is not None and value not in inside:
                found[value] = None
        for region in op.regions:
            for value in free_values(region):
                if value not in inside:
                    found[value] = None
        inside.update(op.results)
    return list(found)


Rule = Callable[[Op, tuple["Value | None", ...], Builder], "Sequence[Value] | None"]
Retype = Callable[[Value], Type]


class _Rebuild:
    def __init__(self, rule: Rule, infer: Infer, retype: Retype | None) -> None:
        self.rule, self.infer, self.retype = rule, infer, retype
        self.now: dict[Value, Value] = {}
        self.changed = False

    def params(self, block: Block) -> tuple[Value, ...]:
        return tuple(self.param(v) for v in block.params)

    def param(self, value: Value) -> Value:
        if self.retype is None or (type := self.retype(value)) == value.type:
            return value
        self.changed = True
        self.now[value] = fresh = Value(type, value.name)
        return fresh

    def block(self, block: Block, infer: Infer) -> Block:
        params = self.params(block)
        build = Builder(infer)
        changed_here = params != block.params
        for op in block.ops:
            changed_here |= self.op(op, build)
        return Block(params, tuple(build.ops)) if changed_here else block

    def op(self, op: Op, build: Builder) -> bool:
        operands = tuple(self.now.get(v, v) if v is not None else None for v in op.operands)
        build.span = op.span
        regions = tuple(self.block(r, self.infer) for r in op.regions)
        moved = regions != op.regions or operands != op.operands
        before = op if not moved else Op(op.kind, operands, op.attrs, regions, op.results, op.span)
        count = len(build.ops)
        given = self.rule(before, operands, build)
        if given is None:
            if len(build.ops) != count:
                raise AssertionError(f"a rule for {op.kind} appended ops but returned None")
            build.append(self.retyped(before))
            return moved or build.ops[-1] is not op
        if len(given) != len(op.results):
            raise AssertionError(f"a rule for {op.kind} gave {len(given)} values for {len(op.results)} results")
        self.changed = True
        for old, new in zip(op.results, given, strict=True):
            if new is not old:
                self.now[old] = new
                new.name = new.name or old.name
        return True

    def retyped(self, op: Op) -> Op:
        """A kept op, its results retyped where the rule engine was told to (region ops and plain ops alike)."""
        if self.retype is None:
            return op
        results = tuple(self.param(v) for v in op.results)
        return op if results == op.results else Op(op.kind, op.operands, op.attrs, op.regions, results, op.span)


def rebuild(kernel: Kernel, rule: Rule, infer: Infer, retype: Retype | None = None) -> Kernel:
    """`kernel` with each op passed through `rule(op, operands, build)`, inner regions first.

    The rule sees the op with operands and regions already rewritten. It returns None to keep the op, or one
    replacement value per result (new ops appended to `build`, or values that exist already). Block parameters and
    the results of kept ops get the type that `retype(value)` says. The same kernel comes back if nothing changed.
    """
    work = _Rebuild(rule, infer, retype)
    body = work.block(kernel.body, infer)
    return kernel if body is kernel.body else replace(kernel, body=body)


def clone(block: Block, now: dict[Value, Value], build: Builder) -> tuple[Value, ...]:
    """Copy the ops of `block` (its yield left out) into `build`; `now` maps its parameters and free values.

    Returns what the block yields, mapped."""
    for op in block.ops:
        operands = tuple(now.get(v, v) if v is not None else None for v in op.operands)
        if op.kind == "yield":
            return tuple(v for v in operands if v is not None)
        regions = tuple(_clone_region(r, now, build.infer) for r in op.regions)
        results = tuple(Value(v.type, v.name) for v in op.results)
        now.update(zip(op.results, results, strict=True))
        build.append(Op(op.kind, operands, op.attrs, regions, results, op.span))
    return ()


def _clone_region(block: Block, now: dict[Value, Value], infer: Infer) -> Block:
    params = tuple(Value(v.type, v.name) for v in block.params)
    inner = dict(now)
    inner.update(zip(block.params, params, strict=True))
    build = Builder(infer)
    build.append(Op("yield", clone(block, inner, build)))
    return Block(params, tuple(build.ops))
