"""What passes ask of IR while they rewrite it: what made a value, which constant it is, what an op does to memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rtriton.ir import Block, Builder, Kernel, Op, Value, rebuild, walk
from rtriton.language import OPS, infer
from rtriton.language.table import BARRIER, CONTROL, READS, WRITES, Effects
from rtriton.types import Tile, Type, element_of

Given = Sequence[Value] | None
Operands = tuple[Value | None, ...]


class Facts:
    """Definitions of the values made so far, and how often memory has been written, while a kernel is rebuilt."""

    def __init__(self, kernel: Kernel) -> None:
        self.made: dict[Value, Op] = {}
        self.writes = 0
        self.where: dict[Op, tuple[Builder, int]] = {}  # of loads: their block, and writes before them

    def note(self, op: Op, build: Builder) -> None:
        for value in op.results:
            self.made[value] = op
        if op.kind == "load":
            self.where[op] = (build, self.writes)
        if effects_of(op) & (WRITES | BARRIER):
            self.writes += 1

    def by(self, value: Value | None, *kinds: str) -> Op | None:
        """The op that made `value`, if it is one of `kinds`."""
        op = self.made.get(value) if value is not None else None
        return op if op is not None and op.kind in kinds else None

    def const(self, value: Value | None) -> int | float | bool | None:
        """The number that a value is (everywhere, if it is a tile)."""
        op = self.by(value, "const", "splat")
        if op is None:
            return None
        return op.attrs["value"] if op.kind == "const" else self.const(op.operands[0])

    def scalar(self, value: Value | None, build: Builder) -> Value | None:
        """The scalar that fills a tile, made anew for a constant; None if it is not filled with one."""
        op = self.by(value, "const", "splat")
        if op is None or not isinstance(op.results[0].type, Tile):
            return None
        return op.operands[0] if op.kind == "splat" else build.const(op.attrs["value"], element_of(op.result.type))


FactRule = Callable[[Op, Operands, Builder, Facts], Given]


def rewrite(kernel: Kernel, rule: FactRule) -> Kernel:
    """`rebuild` with a rule that can ask for facts about the values above it."""
    facts = Facts(kernel)

    def noting(op: Op, operands: Operands, build: Builder) -> Given:
        before = len(build.ops)
        given = rule(op, operands, build, facts)
        for made in build.ops[before:]:
            facts.note(made, build)
        if given is None:
            facts.note(op, build)
        return given

    return rebuild(kernel, noting, infer)


def reads_anew(op: Op) -> bool:
    """Whether a load is done each time and where it stands, since others may write meanwhile."""
    return op.kind == "load" and (bool(op.attrs.get("volatile")) or op.attrs.get("cache") == ".cv")


def effects_of(op: Op) -> Effects:
    """What an op and the ops in its regions do."""
    found = OPS[op.kind].effects
    if reads_anew(op):
        found |= WRITES
    for region in op.regions:
        for inner in region.ops:
            if inner.kind != "yield":
                found |= effects_of(inner)
    return found


def is_pure(op: Op) -> bool:
    return not effects_of(op) & (READS | WRITES | BARRIER | CONTROL)


def writes_memory(block: Block) -> bool:
    return any(effects_of(op) & (WRITES | BARRIER) for op in block.ops)


def use_counts(kernel: Kernel) -> dict[Value, int]:
    """How many operands read each value."""
    counts: dict[Value, int] = {}
    for op in walk(kernel.body):
        for value in op.operands:
            if value is not None:
                counts[value] = counts.get(value, 0) + 1
    return counts


def is_integer(type: Type) -> bool:
    return element_of(type).kind in "biu"


def attrs_key(attrs: Any) -> tuple[Any, ...]:
    """Attributes as something to compare and hash; 0 and 0.0, 1 and True stay apart, and so do 0.0 and -0.0."""
    return tuple(sorted(((k, type(v).__name__, repr(v)) for k, v in attrs.items()), key=str))
