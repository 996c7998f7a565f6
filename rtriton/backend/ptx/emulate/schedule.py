"""Which threads run next. Threads at the same instruction run together, whatever CTA or warp they are of.

The group that stands earliest in the text goes first, so that groups meet again after a divergence; one that keeps
branching backwards is put behind the others, so that a lock's holder gets its turn while the rest spin. Instructions
that need several lanes of a warp (shuffles, mma) wait until the lanes that they name have come.
"""

from dataclasses import dataclass

import numpy as np

from rtriton.backend.ptx.emulate.barriers import Barriers, Resumed
from rtriton.backend.ptx.emulate.control import Control
from rtriton.backend.ptx.emulate.decode import Getter
from rtriton.backend.ptx.emulate.state import ALL, LANES, Index, Machine, Step
from rtriton.errors import EmulatorError

PATIENCE = 4096  # backward branches before others get a turn
POLL = 512  # what one counts for if the loop looked at memory that others change


@dataclass
class Code:
    """A decoded entry: per instruction a step or a control, and for collectives who must meet."""

    steps: list[Step | None]
    controls: list[Control | None]
    members: list[Getter | None]
    leaders: list[bool]


@dataclass
class Group:
    """Threads at one instruction; `penalty` counts how often they have been put behind others."""

    index: Index
    penalty: int = 0
    branched: int = 0


class Scheduler:
    """Runs one batch of CTAs to its end."""

    def __init__(self, machine: Machine, code: Code, barriers: Barriers, max_steps: int) -> None:
        self.machine, self.code, self.barriers, self.max_steps = machine, code, barriers, max_steps
        self.pending: dict[int, Group] = {}
        self.stalled: dict[int, Group] = {}

    def run(self, start: Index) -> None:
        """Execute from the first instruction until every thread has ended."""
        self.pending, self.stalled = {0: Group(start)}, {}
        self.limit = self.machine.steps + self.max_steps
        while self.pending:
            pc = min(self.pending, key=lambda pc: (self.pending[pc].penalty, pc))
            self._go(pc, self.pending.pop(pc))
        if self.stalled or self.barriers.waiting:
            raise self._deadlock()

    def _go(self, pc: int, group: Group) -> None:
        """Run a group until it ends, blocks, or others must be looked at."""
        code = self.code
        while True:
            pc, stopped = self._straight(pc, group)
            if stopped:
                return
            control = code.controls[pc]
            if control is None:  # fell into a branch target: others may stand there
                resumed: Resumed = [(pc, group.index)]
            else:
                self.machine.pc = pc
                self.machine.steps += 1
                resumed = control(group.index)
            if len(resumed) == 1 and not self.pending and resumed[0][0] > pc:
                pc, group.index = resumed[0]
                continue
            for target, index in resumed:
                self._add(target, self._after(group, index, backward=control is not None and target <= pc))
            return

    def _straight(self, pc: int, group: Group) -> tuple[int, bool]:
        """Execute up to the next control or branch target; True if no thread got there."""
        machine, code, first = self.machine, self.code, pc
        while (step := code.steps[pc]) is not None:
            members = code.members[pc]
            machine.pc = pc
            if members is not None and group.index is not ALL:
                met = self._meet(pc, group, members)
                if met is None:
                    return pc, True
                group.index = met
            step(group.index)
            pc += 1
            if code.leaders[pc] and self.pending:
                break
        machine.steps += pc - first
        if machine.steps > self.limit:
            raise machine.fault(f"still running after {self.max_steps} instructions: an endless loop, or a lock that "
                                "nobody releases")
        return pc, False

    def _after(self, group: Group, index: Index, backward: bool) -> Group:
        if not backward:
            return Group(index, group.penalty, group.branched)
        branched = group.branched + (POLL if self.machine.polled else 1)
        self.machine.polled = False
        return Group(index, group.penalty + branched // PATIENCE, branched % PATIENCE)

    def _add(self, pc: int, group: Group) -> None:
        other = self.pending.get(pc)
        if other:
            group = Group(self.machine.join(other.index, group.index), max(other.penalty, group.penalty),
                          max(other.branched, group.branched))
        self.pending[pc] = group

    def _meet(self, pc: int, group: Group, members: Getter) -> Index | None:
        """The threads of a group whose partners are all here; the others wait. None if nobody can go on."""
        machine = self.machine
        if pc in self.stalled:
            group.index = machine.join(group.index, self.stalled.pop(pc).index)
        numbers = machine.numbers(group.index)
        here = np.zeros(machine.threads, np.bool_)
        here[numbers] = True
        missing = lane_bits(machine.live & ~here)[numbers // LANES]
        complete = (np.asarray(members(group.index), np.uint32) & missing) == 0
        chosen = machine.pick(group.index, complete)
        rest = machine.pick(group.index, ~complete)
        if rest is not None:
            self.stalled[pc] = Group(rest, group.penalty)
        return chosen

    def _deadlock(self) -> EmulatorError:
        machine = self.machine
        told = self.barriers.waiters()
        for pc, group in self.stalled.items():
            numbers = machine.numbers(group.index)
            told.append(machine.other(f"{machine.whose(int(numbers[0]), len(numbers))} wait for other lanes of their "
                                      "warp", pc))
        machine.pc = min([*self.stalled, *(waiting.pc for waiting in self.barriers.waiting)])
        return machine.fault("deadlock: no warp can move", None, None, *told)


def lane_bits(mask: np.ndarray) -> np.ndarray:
    """One 32-bit word per warp from one bool per thread."""
    return np.packbits(mask.reshape(-1, LANES), axis=1, bitorder="little").view(np.uint32).reshape(-1)
