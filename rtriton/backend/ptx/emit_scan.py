"""Scans with any combine region: up through registers, lanes and warps by totals of runs, and down by what precedes.

The bits of the axis, nearest elements first, make segments of registers or lanes, and from the first bit of a warp on
the rest. Going up, a segment of registers is summed in order; one of lanes by doubling: after step k every run of
2**(k+1) is scanned; the rest in one round of shared memory: every run's total is written, each thread adds up those
before its own. Going down, what precedes a run joins its totals, and a shuffle (for registers a name) hands each sum to
the place after it.

A reversed scan is the same with places counted from the other end.
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import prod

from rtriton import layout as L
from rtriton.backend.ptx.emit import Emitter, lowering
from rtriton.backend.ptx.emit_convert import shuffle
from rtriton.backend.ptx.emit_elementwise import select
from rtriton.backend.ptx.emit_pack import LARGEST, unpack_words, word_type
from rtriton.backend.ptx.emit_shared import itemsize_of
from rtriton.backend.ptx.emit_reduce import Item, combine, combine_if
from rtriton.backend.ptx.operands import Mem, Reg
from rtriton.ir import Op
from rtriton.layout import Layout
from rtriton.passes.analysis.scratch import ScanStep, aligned, scan_slot, scan_steps, steps_inside
from rtriton.types import Scalar, element_of

Truth = Reg | bool  # known when emitting, or a predicate


@lowering("scan")
def _scan(e: Emitter, op: Op) -> None:
    layout = e.layout(op.operands[0])
    inside, across = steps_inside(scan_steps(layout, op.attrs["axis"]))
    segments = [list(found) for _, found in groupby(inside, key=lambda step: step.dim)]
    items: list[Item] = list(zip(*(e.regs(v) for v in op.operands), strict=True))
    found = _Scan(e, op, layout, inside, across).segment(dict(enumerate(items)), segments)
    e.put(op, *([found[r].through[i] for r in range(len(items))] for i in range(len(op.results))))


@dataclass(frozen=True)
class Sums:
    """What precedes a place of the scan, where there is anything, and the sum up to its end."""

    before: Item
    there: Truth
    through: Item


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
    def types(self) -> list[Scalar]:
        return [element_of(v.type) for v in self.op.operands if v is not None]

    def segment(self, totals: dict[int, Item], segments: list[list[ScanStep]]) -> dict[int, Sums]:
        """The sums of runs with these totals, known by their first registers; the segments are those still to scan."""
        if not segments:
            return self.over_warps(totals) if self.across else {g: Sums(t, False, t) for g, t in totals.items()}
        over = self.over_registers if segments[0][0].dim == "register" else self.over_lanes
        return over(totals, segments[0], segments[1:])

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
        self, totals: dict[int, Item], steps: list[ScanStep], rest: list[list[ScanStep]]
    ) -> dict[int, Sums]:
        places, mask, sums = self.ordered(steps), _mask(steps, "register"), dict(totals)
        runs = [first for first in totals if not first & mask]
        for first in runs:
            for left, right in pairwise(places):
                sums[first | right] = self.both(sums[first | left], sums[first | right])
        above = self.segment({first: sums[first | places[-1]] for first in runs}, rest)
        found: dict[int, Sums] = {}
        for first, run in above.items():
            before, there = run.before, run.there
            for place in places[:-1]:
                through = self.preceded(run.there, run.before, sums[first | place])
                found[first | place] = Sums(before, there, through)
                before, there = through, True
            found[first | places[-1]] = Sums(before, there, run.through)
        return found

    def ordered(self, steps: list[ScanStep]) -> list[int]:
        """The registers of a run in the order of the scan."""
        found = [sum(1 << steps[k].bit for k in L.bits(i)) for i in range(1 << len(steps))]
        return found[::-1] if self.back else found

    # -- lanes ---------------------------------------------------------------------------------------------------------

    def over_lanes(
        self, totals: dict[int, Item], steps: list[ScanStep], rest: list[list[ScanStep]]
    ) -> dict[int, Sums]:
        sums, below = dict(totals), 0
        for step in steps:
            own = 1 << step.bit
            for first, total in sums.items():
                left = self.shuffled("idx", total, self.end_lane(below, own)) if below else (
                    self.shuffled("bfly", total, own))  # fmt: skip
                sums[first] = self.preceded(self.later(own), left, total)
            below |= own
        ends = {g: self.shuffled("idx", total, self.end_lane(below, 0)) for g, total in sums.items()} if rest else sums
        above, moved = self.segment(ends, rest), self.not_first(below)
        found: dict[int, Sums] = {}
        for first, run in above.items():
            through = self.preceded(run.there, run.before, sums[first])
            left = self.from_lane_before(steps, through)
            before = left if run.there is False else self.chosen(moved, left, run.before)
            found[first] = Sums(before, _or(self.e, run.there, moved), through)
        return found

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

    def over_warps(self, totals: dict[int, Item]) -> dict[int, Sums]:
        """Every total goes to its line and its number in the line; who comes after them adds them up in order."""
        number, writes = self.across[0].axis_bit, self.ends()
        for i in range(len(self.types)):
            self.write(i, number, totals, writes)
        self.e.barrier()
        above, found = _mask(self.across, "register"), dict[int, Sums]()
        for line in [first for first in totals if not first & above]:
            mine = {first: total for first, total in totals.items() if first & ~above == line}
            found.update(self.follow(mine, self.read(number, line)))
        return found

    def slot(self, number: int, basis: int) -> int:
        return scan_slot(self.layout.shape, self.op.attrs["axis"], number, basis)

    def area(self, operand: int, number: int) -> tuple[int, int]:
        """Where an operand's totals begin in scratch, and the bytes of one."""
        sizes = [itemsize_of(t) for t in self.types]
        runs = prod(self.layout.shape) >> number
        return self.op.attrs["scratch"] + sum(aligned(runs * size) for size in sizes[:operand]), sizes[operand]

    def base(self, number: int, size: int, kept: int) -> Reg:
        """The address of this thread's own place, by the bits of a slot in `kept`."""
        columns = {d: [(self.slot(number, b) & kept) * size for b in self.layout[d]] for d in ("lane", "warp")}
        varies = self.e.linear(columns)
        return self.e.shared if varies is None else self.e.pure("add.u32", self.e.shared, varies)

    def write(self, operand: int, number: int, totals: dict[int, Item], writes: Reg | None) -> None:
        e, type, (start, size) = self.e, self.types[operand], self.area(operand, number)
        base, (word, _) = self.base(number, size, -1), word_type(type, 1)
        for first, total in totals.items():
            place = Mem(base, start + self.slot(number, self.layout.flat(register=first)) * size)
            e.m.do(f"st.shared.{word}", place, e.to_memory(total[operand], type), pred=writes)

    def ends(self) -> Reg | None:
        """Whether this thread has a run's total to write: the last lane, and of copies the owner."""
        lanes, owner = _mask(self.inside, "lane"), self.e.owner(self.layout)
        if not lanes:
            return owner
        last = self.e.pure("setp.eq.u32", self.e.pure("and.b32", self.e.lane, lanes), 0 if self.back else lanes)
        return self.e.both(owner, last)

    def read(self, number: int, line: int) -> list[Item]:
        """All totals of a line, by their numbers."""
        axis: int = self.op.attrs["axis"]
        count = self.layout.shape[axis] >> number
        found: list[list[Reg]] = []
        for i, type in enumerate(self.types):
            start, size = self.area(i, number)
            base = self.base(number, size, -count)
            start += self.slot(number, self.layout.flat(register=line)) * size
            together = min(count, LARGEST // size)
            word, words = word_type(type, together)
            vector = f".v{words}" if words > 1 else ""
            loads = [self.e.m.many(f"ld.shared{vector}.{word}", Mem(base, start + k * size))
                     for k in range(0, count, together)]  # fmt: skip
            found.append([reg for load in loads for reg in unpack_words(self.e, type, load, together)])
        return list(zip(*found, strict=True))

    def follow(self, mine: dict[int, Item], totals: list[Item]) -> dict[int, Sums]:
        """The sums before the runs of a line that this thread has; which they are, lane and warp say too."""
        columns = {d: [0] * len(self.layout[d]) for d in ("lane", "warp")}
        for k, step in enumerate(self.across):
            if step.dim != "register":
                columns[step.dim][step.bit] = 1 << k
        moving, place = sum(sum(bits) for bits in columns.values()), self.e.linear(columns)
        assert place is not None
        runs = {sum(1 << k for k, step in enumerate(self.across) if step.dim == "register" and g >> step.bit & 1): g
                for g in mine}  # fmt: skip
        start, *numbers = reversed(range(len(totals))) if self.back else range(len(totals))
        before: dict[int, Item] = {}
        total = totals[start]
        for n in numbers:
            first = runs[n & ~moving]
            here = self.e.pure("setp.eq.u32", place, n & moving) if first in before else True
            before[first] = self.chosen(here, total, before.get(first, total))
            if n != numbers[-1]:
                total = self.both(total, totals[n])
        found: dict[int, Sums] = {}
        for first, item in before.items():
            is_start = first == runs[start & ~moving]
            there = self.e.pure("setp.ne.u32", place, start & moving) if is_start else True
            found[first] = Sums(item, there, self.preceded(there, item, mine[first]))
        return found


def _mask(steps: Iterable[ScanStep], dim: str) -> int:
    return sum(1 << step.bit for step in steps if step.dim == dim)


def _or(e: Emitter, a: Truth, b: Truth) -> Truth:
    if isinstance(a, bool):
        return True if a else b
    return True if b is True else a if b is False else e.pure("or.pred", a, b)
