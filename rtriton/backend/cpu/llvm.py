"""Writes LLVM IR text: values, instructions, and regions that hoist and share by themselves.

Emission is nested: a function body, in it loops and branches, each a `Region`. A pure instruction goes to the outermost
open region in which all its operands exist (never out of a branch), and is made once per region: loop-invariant code
and common subexpressions are never written in the first place, so the optimiser's pass list can stay short.

    b = Builder()
    with b.function("f", ("ptr", "i64")) as (p, n):
        i, _ = b.open_loop(b.int(0), ())
        b.exit_unless(b.cmp("icmp slt", i, n))
        b.store(b.float(1.0), b.gep(p, i, 4))
        b.close_loop(b.op("add", i, b.int(1)), ())
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rtriton.backend.cpu.values import (
    BITS,
    V,
    compare,
    constant,
    fold,
    literal,
    signed,
    suffix_of,
    unsigned,
    vector_type,
)


@dataclass(slots=True)
class Region:
    """Lines of one nesting level; `closed_above`: nothing may be hoisted out of it (the arm of a branch)."""

    label: str
    closed_above: bool
    lines: list[str] = field(default_factory=list[str])
    made: dict[str, V] = field(default_factory=dict[str, V])
    memo: dict[tuple[int, str], V] = field(default_factory=dict[tuple[int, str], V])
    spilled: dict[tuple[int, str], Any] = field(default_factory=dict[tuple[int, str], Any])
    header: str = ""
    phis: list[tuple[V, V, str]] = field(default_factory=list[tuple[V, V, str]])
    exit: str = ""


class Builder:
    """One LLVM module with one function under construction. Without `contracts` no product is fused with a sum."""

    def __init__(self, contracts: bool = True) -> None:
        self.contracts = contracts
        self.declared: dict[str, None] = {}
        self.globals: list[str] = []
        self.done: list[str] = []
        self.regions: list[Region] = []
        self.count = 0
        self.floor = 0

    # -- the frame ---------------------------------------------------------------------------------------------------

    @property
    def level(self) -> int:
        return len(self.regions) - 1

    @contextmanager
    def function(self, name: str, params: Sequence[str], attributes: str = "nounwind") -> Generator[tuple[V, ...]]:
        values = tuple(V(t, 0, f"%a{k}") for k, t in enumerate(params))
        self.regions = [Region("entry", True)]
        self.floor = 0
        yield values
        (body,) = self.regions
        head = f"define void @{name}({', '.join(v.operand for v in values)}) {attributes} {{"
        self.done += [head, "entry:", *body.lines, "  ret void", "}"]
        self.regions = []

    def module(self) -> str:
        return "\n".join([*self.globals, *self.declared, *self.done, ""])

    def fresh(self, element: str, lanes: int, level: int) -> V:
        self.count += 1
        return V(element, lanes, f"%v{self.count}", level)

    def label(self, hint: str) -> str:
        self.count += 1
        return f"{hint}{self.count}"

    def line(self, text: str, level: int | None = None) -> None:
        self.regions[self.level if level is None else level].lines.append("  " + text)

    def start_block(self, label: str) -> None:
        self.regions[-1].lines.append(f"{label}:")
        self.regions[-1].label = label

    # -- constants ---------------------------------------------------------------------------------------------------

    def const(self, value: int | float, element: str, lanes: int = 0) -> V:
        return constant(value, element, lanes)

    def int(self, value: int, element: str = "i64", lanes: int = 0) -> V:
        return constant(value, element, lanes)

    def float(self, value: float, element: str = "float", lanes: int = 0) -> V:
        return constant(float(value), element, lanes)

    def poison(self, element: str, lanes: int) -> V:
        return V(element, lanes, "poison")

    def zero(self, element: str, lanes: int) -> V:
        return (
            V("ptr", lanes, "null" if not lanes else "zeroinitializer")
            if element == "ptr"
            else constant(0, element, lanes)
        )

    def iota(self, element: str, lanes: int, start: int = 0, step: int = 1) -> V:
        parts = ", ".join(f"{element} {literal(start + step * k, element)}" for k in range(lanes))
        return V(element, lanes, f"<{parts}>")

    # -- pure instructions -------------------------------------------------------------------------------------------

    def pure(self, text: str, element: str, lanes: int, operands: Sequence[V], at_least: int = 0) -> V:
        """The value of an instruction without effects: found if it was made, else put as far out as it can stand."""
        level = max(self.floor, at_least, *(v.level for v in operands)) if operands else max(self.floor, at_least)
        for region in self.regions[level:]:
            if (found := region.made.get(text)) is not None:
                return found
        value = self.fresh(element, lanes, level)
        region = self.regions[level]
        region.lines.append(f"  {value.text} = {text}")
        region.made[text] = value
        return value

    def op(self, opcode: str, x: V, y: V) -> V:
        """A two-operand instruction on equal types; integer ones with known operands are folded."""
        if not self.contracts:
            opcode = opcode.removesuffix(" contract")
        if x.const is not None or y.const is not None:
            folded = fold(opcode, x, y)
            if folded is not None:
                return folded
        return self.pure(f"{opcode} {x.type} {x.text}, {y.text}", x.element, x.lanes, (x, y))

    def fadd(self, x: V, y: V) -> V:
        return self.op("fadd contract", x, y)

    def fsub(self, x: V, y: V) -> V:
        return self.op("fsub contract", x, y)

    def fmul(self, x: V, y: V) -> V:
        return self.op("fmul contract", x, y)

    def fneg(self, x: V) -> V:
        return self.pure(f"fneg {x.operand}", x.element, x.lanes, (x,))

    def cmp(self, opcode: str, x: V, y: V) -> V:
        if isinstance(x.const, int) and isinstance(y.const, int) and opcode.startswith("icmp"):
            return constant(int(compare(opcode[5:], x, y)), "i1", x.lanes)
        return self.pure(f"{opcode} {x.type} {x.text}, {y.text}", "i1", x.lanes, (x, y))

    def select(self, condition: V, x: V, y: V) -> V:
        if condition.const is not None:
            return x if condition.const else y
        if x.text == y.text:
            return x
        return self.pure(f"select {condition.operand}, {x.operand}, {y.operand}", x.element, x.lanes, (condition, x, y))

    def cast(self, opcode: str, x: V, element: str) -> V:
        if x.element == element:
            return x
        if isinstance(x.const, int) and opcode in ("sext", "zext", "trunc"):
            value = unsigned(x.const, x.bits) if opcode == "zext" else signed(x.const, min(x.bits, BITS[element]))
            return constant(value, element, x.lanes)
        return self.pure(f"{opcode} {x.operand} to {vector_type(element, x.lanes)}", element, x.lanes, (x,))

    def bitcast(self, x: V, element: str) -> V:
        return self.cast("bitcast", x, element)

    def call(self, name: str, element: str, lanes: int, *operands: V, extra: str = "", suffix: str | None = None) -> V:
        """A pure intrinsic, overloaded on its result's type; `extra` is appended to the arguments."""
        full = f"@{name}.{suffix_of(element, lanes) if suffix is None else suffix}"
        kinds = [v.type for v in operands] + ([extra.split()[0]] if extra else [])
        self.declare(f"declare {vector_type(element, lanes)} {full}({', '.join(kinds)})")
        arguments = ", ".join([v.operand for v in operands] + ([extra] if extra else []))
        return self.pure(f"call {vector_type(element, lanes)} {full}({arguments})", element, lanes, operands)

    def declare(self, text: str) -> None:
        self.declared[text] = None

    def splat(self, x: V, lanes: int) -> V:
        """The scalar in every lane (itself for lanes 0)."""
        if x.lanes == lanes:
            return x
        if x.const is not None:
            return constant(x.const, x.element, lanes)
        first = self.pure(
            f"insertelement {vector_type(x.element, lanes)} poison, {x.operand}, i32 0", x.element, lanes, (x,)
        )
        return self.shuffle(first, first, [0] * lanes)

    def extract(self, x: V, index: V | int) -> V:
        if x.const is not None:
            return constant(x.const, x.element, 0)
        place = index if isinstance(index, V) else constant(index, "i32", 0)
        return self.pure(f"extractelement {x.operand}, {place.operand}", x.element, 0, (x, place))

    def insert(self, x: V, value: V, index: int) -> V:
        return self.pure(f"insertelement {x.operand}, {value.operand}, i32 {index}", x.element, x.lanes, (x, value))

    def shuffle(self, x: V, y: V, picks: Sequence[int]) -> V:
        if x.const is not None and x.text == y.text:
            return constant(x.const, x.element, len(picks))
        mask = "<" + ", ".join(f"i32 {k}" for k in picks) + ">" if any(picks) else "zeroinitializer"
        text = f"shufflevector {x.operand}, {y.operand}, <{len(picks)} x i32> {mask}"
        return self.pure(text, x.element, len(picks), (x, y))

    def gep(self, pointer: V, index: V, itemsize: int) -> V:
        """`pointer` moved by `index` items (a vector index gives a vector of pointers)."""
        if index.const == 0 and not index.lanes:
            return pointer
        stride = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}[itemsize]
        text = f"getelementptr {stride}, {pointer.operand}, {index.operand}"
        return self.pure(text, "ptr", max(index.lanes, pointer.lanes), (pointer, index))

    # -- memory ------------------------------------------------------------------------------------------------------

    def load(self, pointer: V, element: str, lanes: int, align: int, level: int | None = None, note: str = "") -> V:
        """A plain load in region `level` (the innermost unless told; never outside its pointer's)."""
        where = max(pointer.level, self.floor, self.level if level is None else level)
        value = self.fresh(element, lanes, where)
        self.line(f"{value.text} = load {value.type}, {pointer.operand}, align {align}{note}", where)
        return value

    def store(self, value: V, pointer: V, align: int) -> None:
        self.line(f"store {value.operand}, {pointer.operand}, align {align}")

    def masked_load(self, pointer: V, mask: V, other: V, align: int, level: int) -> V:
        where = max(pointer.level, mask.level, other.level, self.floor, level)
        name = f"@llvm.masked.load.{suffix_of(other.element, other.lanes)}.p0"
        self.declare(f"declare {other.type} {name}(ptr, {mask.type}, {other.type})")
        value = self.fresh(other.element, other.lanes, where)
        call = f"call {other.type} {name}(ptr align {align} {pointer.text}, {mask.operand}, {other.operand})"
        self.line(f"{value.text} = {call}", where)
        return value

    def guarded_load(self, pointer: V, mask: V, other: V, align: int, level: int) -> V:
        """A masked load for targets without one: the whole vector if every lane is wanted, else lane by lane."""
        where = max(pointer.level, mask.level, other.level, self.floor, level)
        name = f"@llvm.masked.load.{suffix_of(other.element, other.lanes)}.p0"
        self.declare(f"declare {other.type} {name}(ptr, {mask.type}, {other.type})")
        whole = self.call("llvm.vector.reduce.and", "i1", 0, mask, suffix=f"v{mask.lanes}i1")
        plain, partial, end = self.label("whole"), self.label("partial"), self.label("loaded")
        first, second, value = (self.fresh(other.element, other.lanes, where) for _ in range(3))
        call = f"call {other.type} {name}(ptr align {align} {pointer.text}, {mask.operand}, {other.operand})"
        region = self.regions[where]
        region.lines += [
            f"  br i1 {whole.text}, label %{plain}, label %{partial}",
            f"{plain}:",
            f"  {first.text} = load {other.type}, {pointer.operand}, align {align}",
            f"  br label %{end}",
            f"{partial}:",
            f"  {second.text} = {call}",
            f"  br label %{end}",
            f"{end}:",
            f"  {value.text} = phi {other.type} [ {first.text}, %{plain} ], [ {second.text}, %{partial} ]",
        ]
        region.label = end
        return value

    def masked_store(self, value: V, pointer: V, mask: V, align: int) -> None:
        name = f"@llvm.masked.store.{suffix_of(value.element, value.lanes)}.p0"
        self.declare(f"declare void {name}({value.type}, ptr, {mask.type})")
        self.line(f"call void {name}({value.operand}, ptr align {align} {pointer.text}, {mask.operand})")

    def masked_gather(self, pointers: V, mask: V, other: V, align: int, level: int) -> V:
        where = max(pointers.level, mask.level, other.level, self.floor, level)
        name = f"@llvm.masked.gather.{suffix_of(other.element, other.lanes)}.v{other.lanes}p0"
        self.declare(f"declare {other.type} {name}({pointers.type}, {mask.type}, {other.type})")
        value = self.fresh(other.element, other.lanes, where)
        call = (
            f"call {other.type} {name}({pointers.type} align {align} {pointers.text}, {mask.operand}, {other.operand})"
        )
        self.line(f"{value.text} = {call}", where)
        return value

    def masked_scatter(self, value: V, pointers: V, mask: V, align: int) -> None:
        name = f"@llvm.masked.scatter.{suffix_of(value.element, value.lanes)}.v{value.lanes}p0"
        self.declare(f"declare void {name}({value.type}, {pointers.type}, {mask.type})")
        self.line(f"call void {name}({value.operand}, {pointers.type} align {align} {pointers.text}, {mask.operand})")

    def effect(self, text: str, element: str) -> V:
        """A scalar instruction with effects (an atomic), here and now."""
        value = self.fresh(element, 0, self.level)
        self.line(f"{value.text} = {text}")
        return value

    # -- control flow ------------------------------------------------------------------------------------------------

    def open_loop(self, *inits: V) -> list[V]:
        """Enter a loop; the values carried, equal to `inits` in the first turn."""
        header = self.label("loop")
        region = Region(header, False, header=header, exit=self.label("exit"))
        self.regions.append(region)
        for init in inits:
            region.phis.append((self.fresh(init.element, init.lanes, self.level), init, ""))
        return [phi for phi, _, _ in region.phis]

    def exit_unless(self, condition: V) -> None:
        """Leave the loop here if the condition is false; what is carried now is the loop's result."""
        region = self.regions[-1]
        body = self.label("body")
        region.lines.append(f"  br i1 {condition.text}, label %{body}, label %{region.exit}")
        self.start_block(body)

    def close_loop(self, *nexts: V, again: V | None = None) -> list[V]:
        """End the body. With `again` the test is here and `nexts` are the results, else `exit_unless` made the test."""
        region = self.regions.pop()
        outer = self.regions[-1]
        entry = outer.label
        outer.lines.append(f"  br label %{region.header}")
        outer.lines.append(f"{region.header}:")
        for (phi, init, _), following in zip(region.phis, nexts, strict=True):
            text = f"  {phi.text} = phi {phi.type} [ {init.text}, %{entry} ], [ {following.text}, %{region.label} ]"
            outer.lines.append(text)
        outer.lines += region.lines
        if again is None:
            outer.lines.append(f"  br label %{region.header}")
        else:
            outer.lines.append(f"  br i1 {again.text}, label %{region.header}, label %{region.exit}")
        self.start_block(region.exit)
        level = self.level
        results = list(nexts) if again is not None else [phi for phi, _, _ in region.phis]
        return [v if v.level <= level else V(v.element, v.lanes, v.text, level) for v in results]

    def open_branch(self) -> None:
        """Begin one arm of a branch; the arms and the test are put together by `close_branch`."""
        label = self.label("arm")
        self.regions.append(Region(label, True, header=label))
        self.floor = self.level

    def end_arm(self) -> Region:
        region = self.regions.pop()
        self.floor = max(k for k, r in enumerate(self.regions) if r.closed_above)
        return region

    def close_branch(
        self, condition: V, arms: tuple[Region, Region | None], values: Sequence[tuple[V, V]] = ()
    ) -> list[V]:
        """if condition: arms[0] else: arms[1]; phis of the values of both."""
        outer = self.regions[-1]
        before, end = outer.label, self.label("endif")
        then, otherwise = arms
        target = otherwise.header if otherwise is not None else end
        outer.lines.append(f"  br i1 {condition.text}, label %{then.header}, label %{target}")
        for arm in (then, otherwise):
            if arm is not None:
                outer.lines += [f"{arm.header}:", *arm.lines, f"  br label %{end}"]
        self.start_block(end)
        results: list[V] = []
        for x, y in values:
            value = self.fresh(x.element, x.lanes, self.level)
            last = otherwise.label if otherwise is not None else before
            self.line(f"{value.text} = phi {x.type} [ {x.text}, %{then.label} ], [ {y.text}, %{last} ]")
            results.append(value)
        return results


__all__ = ["BITS", "Builder", "Region", "V", "vector_type"]
