"""Scans with any combine region, by doubling: after step k every run of 2**(k+1) elements along the axis is scanned.

First each thread scans the runs that it holds in registers. From there on only their totals take part: in a step the
total of the half run before joins the totals behind it and what precedes them, their prefix. It comes from another
register or lane, or, where that is in another warp, through shared memory: the last place of each half run writes, all
read. In the end the prefix of a run joins each of its elements.
"""
from __future__ import annotations

from dataclasses import dataclass, field

from rtriton.backend.ptx.emit import Emitter, lowering
from rtriton.backend.ptx.emit_convert import shuffle
from rtriton.backend.ptx.emit_elementwise import select
from rtriton.backend.ptx.emit_pack import word_type
from rtriton.backend.ptx.emit_reduce import Item, combine, combine_if
from rtriton.backend.ptx.operands import Mem, Reg
from rtriton.ir import Op
from rtriton.layout import Layout
from rtriton.passes.analysis.scratch import ScanStep, aligned, scan_steps, through_shared
from rtriton.types import Scalar, element_of

Truth = Reg | bool  # known when emitting, or a predicate


@lowering("scan")
def _scan(e: Emitter, op: Op) -> None:
    items: list[Item] = list(zip(*(e.regs(v) for v in op.operands), strict=True))
    layout, back = e.layout(op.operands[0]), bool(op.attrs.get("reverse"))
    steps = scan_steps(layout, op.attrs["axis"])
    inner = next((n for n, step in enumerate(steps) if step.dim != "register"), len(steps))
    below = 0
    for step in steps[:inner]:
        items = _in_thread(e, op, items, step.bit, below, back)
        below |= 1 << step.bit
    if inner < len(steps):
        totals = {g: items[g | (0 if back else below)] for g in range(len(items)) if not g & below}
        runs = _Runs(e, op, layout, back, totals)
        for n in range(inner, len(steps)):
            runs.step(steps[n], steps[inner:n])
        items = [runs.joined(r & ~below, item) for r, item in enumerate(items)]
    e.put(op, *([item[i] for item in items] for i in range(len(op.results))))


def _in_thread(e: Emitter, op: Op, items: list[Item], bit: int, below: int, back: bool) -> list[Item]:
    """Each half run of registers joins the one after it."""
    out = list(items)
    for r, item in enumerate(items):
        if bool(r >> bit & 1) != back:
            out[r] = combine(e, op.regions[0], items[(r ^ 1 << bit) & ~below | (0 if back else below)], item)
    return out


@dataclass
class _Runs:
    """The totals of the runs that threads hold, by their first register, and what precedes each run so far."""

    e: Emitter
    op: Op
    layout: Layout
    back: bool
    totals: dict[int, Item]
    prefixes: dict[int, Item] = field(default_factory=dict[int, Item])
    preceded: dict[int, Truth] = field(default_factory=dict[int, Truth])

    @property
    def types(self) -> list[Scalar]:
        return [element_of(v.type) for v in self.op.operands if v is not None]

    def step(self, step: ScanStep, before: list[ScanStep]) -> None:
        """The half run before, whose end is found by the bits of the steps before, joins those with the step's bit."""
        fetched = self.fetch(step, before)
        for g, total in list(self.totals.items()):
            takes = self.takes(step, g)
            if takes is False:
                continue
            mine = fetched[self.source(step, before, g)]
            self.totals[g] = self.combined(takes, mine, total, total)
            self.prefixes[g] = self.prefix(g, takes, mine)
            self.preceded[g] = self.either(self.preceded.get(g, False), takes)

    def takes(self, step: ScanStep, group: int) -> Truth:
        if step.dim == "register":
            return bool(group >> step.bit & 1) != self.back
        source = self.e.lane if step.dim == "lane" else self.e.warp
        test = "setp.eq.u32" if self.back else "setp.ne.u32"
        return self.e.pure(test, self.e.pure("and.b32", source, 1 << step.bit), 0)

    def prefix(self, group: int, takes: Truth, mine: Item) -> Item:
        preceded = self.preceded.get(group, False)
        if preceded is False:
            return mine
        old = self.prefixes[group]
        new = self.combined(self.both(preceded, takes), mine, old, mine)
        return new if takes is True else self.chosen(takes, new, old)

    def joined(self, group: int, item: Item) -> Item:
        """An element with all that precedes its run."""
        preceded = self.preceded.get(group, False)
        return item if preceded is False else self.combined(preceded, self.prefixes[group], item, item)

    def combined(self, where: Truth, left: Item, right: Item, otherwise: Item) -> Item:
        region = self.op.regions[0]
        if isinstance(where, bool):
            return combine(self.e, region, left, right) if where else otherwise
        return combine_if(self.e, region, self.types, where, (left, right), otherwise)

    def chosen(self, where: Truth, new: Item, old: Item) -> Item:
        if isinstance(where, bool):
            return new if where else old
        return tuple(select(self.e, t, where, a, b) for t, a, b in zip(self.types, new, old, strict=True))

    def either(self, a: Truth, b: Truth) -> Truth:
        if isinstance(a, bool):
            return True if a else b
        return True if b is True else a if b is False else self.e.pure("or.pred", a, b)

    def both(self, a: Truth, b: Truth) -> Truth:
        if isinstance(a, bool):
            return b if a else False
        return self.e.pure("and.pred", a, b) if not isinstance(b, bool) else a if b else False

    # -- where the half run before ends ------------------------------------------------------------------------------

    def source(self, step: ScanStep, before: list[ScanStep], group: int) -> int:
        """The group whose total ends the half run before."""
        own = 1 << step.bit if step.dim == "register" else 0
        below = _mask(before, "register")
        return (group ^ own) & ~below | (0 if self.back else below)

    def fetch(self, step: ScanStep, before: list[ScanStep]) -> dict[int, Item]:
        wanted = {self.source(step, before, g) for g in self.totals if self.takes(step, g) is not False}
        if through_shared(step, before):
            return self.through_shared(step, before, sorted(wanted))
        lane = self.end_lane(step, before)
        if lane is None:
            return {g: self.totals[g] for g in wanted}
        return {g: tuple(shuffle(self.e, "idx", r, lane, t) for r, t in zip(self.totals[g], self.types, strict=True))
                for g in sorted(wanted)}  # fmt: skip

    def end_lane(self, step: ScanStep, before: list[ScanStep]) -> Reg | None:
        """The lane with the end of the half run before: bits below at their end, the step's at the source's side."""
        below, own = _mask(before, "lane"), 1 << step.bit if step.dim == "lane" else 0
        if not below and not own:
            return None
        kept = self.e.pure("and.b32", self.e.lane, 31 & ~(below | own))
        fixed = own if self.back else below
        return self.e.pure("or.b32", kept, fixed) if fixed else kept

    def through_shared(self, step: ScanStep, before: list[ScanStep], groups: list[int]) -> dict[int, Item]:
        """The total of run n, counted over the whole tile, lies at n; both sides know it from their own place."""
        e, parts = self.e, list[tuple[int, int, Scalar]]()
        offset, first = int(self.op.attrs["scratch"]), _mask(before, "warp") == 0 and step.dim == "warp"
        for t in self.types:
            size = max(8, t.bits) // 8
            parts.append((offset, size, t))
            offset += aligned((step.elements >> step.axis_bit + 1) * size)
        if not first:
            e.barrier()  # the reads of the step before
        ends = self.ends(step, before)
        out: dict[int, list[Reg]] = {g: [] for g in groups}
        for writing in (True, False):
            for i, (start, size, t) in enumerate(parts):
                varies = e.linear({d: [step.run_of(b) * size for b in self.layout[d]] for d in ("lane", "warp")})
                base = e.shared if varies is None else e.pure("add.u32", e.shared, varies)
                for g in groups:
                    place = Mem(base, start + step.run_of(self.layout.flat(register=g)) * size)
                    word = word_type(t, 1)[0]
                    if writing:
                        e.m.do(f"st.shared.{word}", place, e.to_memory(self.totals[g][i], t), pred=ends)
                    else:
                        out[g].append(e.from_memory(e.m(f"ld.shared.{word}", place), t))
            if writing:
                e.barrier()
        return {g: tuple(regs) for g, regs in out.items()}

    def ends(self, step: ScanStep, before: list[ScanStep]) -> Reg | None:
        """Whether this thread holds the end of a half run that others wait for; of copies the owner does."""
        e, found = self.e, self.e.owner(self.layout)
        for dim, source in (("lane", e.lane), ("warp", e.warp)):
            below, own = _mask(before, dim), 1 << step.bit if step.dim == dim else 0
            if below or own:
                value = own if self.back else below
                found = e.both(found, e.pure("setp.eq.u32", e.pure("and.b32", source, below | own), value))
        return found


def _mask(steps: list[ScanStep], dim: str) -> int:
    return sum(1 << step.bit for step in steps if step.dim == dim)


