"""Scans with any combine region: up through registers, lanes and warps by totals of runs, and down by what precedes.

The bits of the axis, nearest elements first, make segments of registers or lanes, and from the first bit of a warp on
the rest. Going up, a segment of registers is summed in order; one of lanes by doubling: after step k every run of
2**(k+1) is scanned; the rest in one round of shared memory: every run's total is written, each thread adds up those
before its own. Going down, what precedes a run joins its totals, and a shuffle (for registers a name) hands each sum to
the place after it.

A reversed scan is the same with places counted from the other end.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import prod

from rtriton import layout as L
from rtriton.backend.ptx.emit import Emitter, lowering
from rtriton.backend.ptx.emit_convert import shuffle
from rtriton.backend.ptx.emit_elementwise import select
from rtriton.backend.ptx.emit_shared import Reads, itemsize_of, store_shared
from rtriton.backend.ptx.emit_reduce import Item, combine, combine_if
from rtriton.backend.ptx.operands import Reg
from rtriton.ir import Op
from rtriton.layout import Layout
from rtriton.layout.exchange import meeting
from rtriton.passes.analysis.scratch import ScanStep, aligned, scan_slot, scan_steps, steps_inside
from rtriton.types import Scalar, element_of

Truth = Reg | bool  # known when emitting, or a predicate


@lowering("scan")
def _scan(e: Emitter, op: Op) -> None:
    layout = e.layout(op.operands[0])
    inside, across = steps_inside(scan_steps(layout, op.attrs["axis"]))
    segments = [list(found) for _, found in groupby(inside, key=lambda step: step.dim)]
    items: list[Item] = list(zip(*(e.regs(v) for v in op.operands), strict=True))
    found: dict[int, Item] = {}

    def put(register: int, sums: Sums) -> None:
        found[register] = sums.through

    _Scan(e, op, layout, inside, across).segment(dict(enumerate(items)), segments, put)
    e.put(op, *([found[r][i] for r in range(len(items))] for i in range(len(op.results))))


@dataclass(frozen=True)
class Sums:
    """What precedes a place of the scan, where there is anything, and the sum up to its end."""

    before: Item
    there: Truth
    through: Item


Then = Callable[[int, Sums], None]  # what is done with the sums of a run, known by its first register


@dataclass(frozen=True)
class _Scan:
    e: Emitter
    op: Op
    layout: Layout
    inside: list[ScanStep]
    across: list[ScanStep]

    @property
    def back(self) -> bool:
        return bool(self.op.attrs.get("reverse"))

    @property
    def axis(self) -> int:
        return self.op.attrs["axis"]

    @property
    def types(self) -> list[Scalar]:
        return [element_of(v.type) for v in self.op.operands if v is not None]

    def segment(self, totals: dict[int, Item], segments: list[list[ScanStep]], then: Then) -> None:
        """Find the sums of runs with these totals; the segments are those still to scan. Each run goes on its way down
        before the next is looked at: few sums wait in registers."""
        if segments:
            over = self.over_registers if segments[0][0].dim == "register" else self.over_lanes
            over(totals, segments[0], segments[1:], then)
        elif self.across:
            self.over_warps(totals, then)
        else:
            for first, total in totals.items():
                then(first, Sums(total, False, total))

    # -- combining -----------------------------------------------------------------------------------------------------

    def both(self, left: Item, right: Item) -> Item:
        return combine(self.e, self.op.regions[0], left, right)

    def preceded(self, there: Truth, before: Item, item: Item) -> Item:
        """`item` with what is before it, where that is there."""
        if isinstance(there, bool):
            return self.both(before, item) if there else item
        return combine_if(self.e, self.op.regions[0], self.types, there, (before, item), item)

    def chosen(self, where: Truth, x: Item, y: Item) -> Item:
        if isinstance(where, bool):
            return x if where else y
        return tuple(select(self.e, t, where, a, b) for t, a, b in zip(self.types, x, y, strict=True))

    # -- registers -----------------------------------------------------------------------------------------------------

    def over_registers(
        self, totals: dict[int, Item], steps: list[ScanStep], rest: list[list[ScanStep]], then: Then
    ) -> None:
        places, mask, sums = self.ordered(steps), _mask(steps, "register"), dict(totals)
        runs = [first for first in totals if not first & mask]
        for first in runs:
            for left, right in pairwise(places):
                sums[first | right] = self.both(sums[first | left], sums[first | right])

        def down(first: int, run: Sums) -> None:
            before, there = run.before, run.there
            for place in places[:-1]:
                through = self.preceded(run.there, run.before, sums[first | place])
                then(first | place, Sums(before, there, through))
                before, there = through, True
            then(first | places[-1], Sums(before, there, run.through))

        self.segment({first: sums[first | places[-1]] for first in runs}, rest, down)

    def ordered(self, steps: list[ScanStep]) -> list[int]:
        """The registers of a run in the order of the scan."""
        found = [sum(1 << steps[k].bit for k in L.bits(i)) for i in range(1 << len(steps))]
        return found[::-1] if self.back else found

    # -- lanes ---------------------------------------------------------------------------------------------------------

    def over_lanes(
        self, totals: dict[int, Item], steps: list[ScanStep], rest: list[list[ScanStep]], then: Then
    ) -> None:
        sums, below = dict(totals), 0
        for step in steps:
            own = 1 << step.bit
            for first, total in sums.items():
                left = self.shuffled("idx", total, self.end_lane(below, own)) if below else (
                    self.shuffled("bfly", total, own))  # fmt: skip
                sums[first] = self.preceded(self.later(own), left, total)
            below |= own
        moved = self.not_first(below)

        def down(first: int, run: Sums) -> None:
            through = self.preceded(run.there, run.before, sums[first])
            left = self.from_lane_before(steps, through)
            before = left if run.there is False else self.chosen(moved, left, run.before)
            then(first, Sums(before, _or(self.e, run.there, moved), through))

        ends = {g: self.shuffled("idx", total, self.end_lane(below, 0)) for g, total in sums.items()} if rest else sums
        self.segment(ends, rest, down)

    def shuffled(self, how: str, item: Item, lane: Reg | int) -> Item:
        clamp = 0 if how == "up" else 31
        return tuple(shuffle(self.e, how, reg, lane, type, clamp) for reg, type in zip(item, self.types, strict=True))

    def end_lane(self, below: int, own: int) -> Reg:
        """The lane where the half run before ends: bits below at their end, the step's own at the earlier side."""
        kept = self.e.pure("and.b32", self.e.lane, 31 & ~(below | own))
        fixed = own if self.back else below
        return self.e.pure("or.b32", kept, fixed) if fixed else kept

    def later(self, own: int) -> Reg:
        """Whether this lane is on the later side of a step."""
        test = "setp.eq.u32" if self.back else "setp.ne.u32"
        return self.e.pure(test, self.e.pure("and.b32", self.e.lane, own), 0)

    def not_first(self, mask: int) -> Reg:
        return self.e.pure("setp.ne.u32", self.e.pure("and.b32", self.e.lane, mask), mask if self.back else 0)

    def from_lane_before(self, steps: list[ScanStep], item: Item) -> Item:
        """What the lane before in the run has; anything in the first lane."""
        bits = [step.bit for step in steps]
        if bits == list(range(bits[0], bits[0] + len(bits))):
            return self.shuffled("down" if self.back else "up", item, 1 << bits[0])
        e, kept = self.e, self.e.pure("and.b32", self.e.lane, 31 & ~_mask(steps, "lane"))
        place = e.mapped(e.lane, [1 << bits.index(k) if k in bits else 0 for k in range(len(self.layout["lane"]))])
        assert place is not None
        moved = e.mapped(e.pure("add.s32", place, 1 if self.back else -1), [1 << k for k in bits])
        assert moved is not None
        return self.shuffled("idx", item, e.pure("or.b32", kept, moved))

    # -- warps ---------------------------------------------------------------------------------------------------------

    def over_warps(self, totals: dict[int, Item], then: Then) -> None:
        """Every total goes to its line, as one of its parts; who comes after them adds them up in order."""
        e, number = self.e, self.across[0].axis_bit
        parts = self.layout.shape[self.axis] >> number
        shape = (*self.layout.shape[: self.axis], *self.layout.shape[self.axis + 1 :], parts)
        places = {d: [scan_slot(self.layout.shape, self.axis, number, b) for b in self.layout[d]]
                  for d in ("register", "lane", "warp")}  # fmt: skip
        writer = L.make(shape, places["register"], places["lane"], places["warp"])
        lines = {d: [b if b >= parts else 0 for b in found] for d, found in places.items()}
        own, numbers = [b for b in lines["register"] if b], [1 << n for n in range(L.log2(parts))]
        abreast = any(lines["lane"])  # a vector has parts of several lines, or lanes would meet in a bank
        reader = L.make(shape, [*own, *numbers] if abreast else [*numbers, *own], lines["lane"], lines["warp"])
        kept = [k for k, b in enumerate(places["register"]) if b]
        firsts = [sum(1 << kept[k] for k in L.bits(i)) for i in range(writer.registers)]
        start, reads = int(self.op.attrs["scratch"]), list[Reads]()
        for i, type in enumerate(self.types):
            shared, size = meeting(reader, itemsize_of(type)), itemsize_of(type)
            store_shared(e, [totals[g][i] for g in firsts], type, writer, shared, e.shared, start, self.ends())
            reads.append(Reads(e, type, reader, shared, e.shared, start))
            start += aligned(prod(shape) * size)
        e.barrier()
        above = _mask(self.across, "register")
        lines = [first for first in firsts if not first & above]

        def part(line: int, n: int) -> Item:
            k = lines.index(line)
            return tuple(r.at(k | n << len(own) if abreast else n | k << len(numbers)) for r in reads)

        for together in [lines] if abreast else [[line] for line in lines]:
            self.follow(totals, together, part, parts, then)

    def ends(self) -> Reg | None:
        """Whether this thread has a run's total to write: the last lane, and of copies the owner."""
        lanes, owner = _mask(self.inside, "lane"), self.e.owner(self.layout)
        if not lanes:
            return owner
        last = self.e.pure("setp.eq.u32", self.e.pure("and.b32", self.e.lane, lanes), 0 if self.back else lanes)
        return self.e.both(owner, last)

    def follow(
        self, totals: dict[int, Item], lines: list[int], part: Callable[[int, int], Item], parts: int, then: Then
    ) -> None:
        """The sums before the runs that this thread has of some lines; which runs they are, lane and warp say too."""
        columns = {d: [0] * len(self.layout[d]) for d in ("lane", "warp")}
        upper: dict[int, int] = {}  # bits of a number that registers have
        for k, step in enumerate(self.across):
            if step.dim != "register":
                columns[step.dim][step.bit] = 1 << k
            else:
                upper[1 << k] = 1 << step.bit
        moving, place = sum(sum(bits) for bits in columns.values()), self.e.linear(columns)
        assert place is not None

        def run(n: int) -> int:
            return sum(bit for k, bit in upper.items() if n & k)

        start, *numbers = reversed(range(parts)) if self.back else range(parts)
        last = {run(n): n for n in numbers}
        before: dict[int, Item] = {}
        sums = {line: part(line, start) for line in lines}
        for n in numbers:
            for line, total in sums.items():
                first = line | run(n)
                here = self.e.pure("setp.eq.u32", place, n & moving) if first in before else True
                before[first] = self.chosen(here, total, before.get(first, total))
                if last[run(n)] == n:
                    starts = run(n) == run(start)
                    there = self.e.pure("setp.ne.u32", place, start & moving) if starts else True
                    then(first, Sums(before[first], there, self.preceded(there, before[first], totals[first])))
                if n != numbers[-1]:
                    sums[line] = self.both(total, part(line, n))


def _mask(steps: Iterable[ScanStep], dim: str) -> int:
    return sum(1 << step.bit for step in steps if step.dim == dim)


def _or(e: Emitter, a: Truth, b: Truth) -> Truth:
    if isinstance(a, bool):
        return True if a else b
    return True if b is True else a if b is False else e.pure("or.pred", a, b)
