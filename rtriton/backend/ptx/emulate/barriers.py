"""CTA barriers: who has arrived, who waits, and who goes on when the last one comes.

`bar.sync` may count all threads of the CTA or some; `bar.arrive` counts without waiting. Threads, not warps, are
counted, so a warp that arrives in parts is awaited. A barrier that can never fill shows as a deadlock in the scheduler.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from rtriton.backend.ptx.emulate.global_race import GlobalRaces
from rtriton.backend.ptx.emulate.race import Races
from rtriton.backend.ptx.emulate.state import ALL, Array, Index, Machine

Resumed = list[tuple[int, Index]]
BARRIERS = 16


@dataclass(frozen=True)
class Waiting:
    """Threads at a barrier, with the predicate each brought to a bar.red and where its result goes."""

    pc: int
    barrier: int
    threads: Array
    votes: Array | None = None
    deliver: Any = None


class Barriers:
    """The sixteen barriers of every CTA of a batch."""

    def __init__(self, machine: Machine, races: Races | None, global_races: GlobalRaces | None) -> None:
        self.machine, self.races, self.global_races = machine, races, global_races

    def reset(self) -> None:
        """Nobody has arrived anywhere."""
        self.arrived = np.zeros((self.machine.ctas, BARRIERS), np.int64)
        self.expected = np.zeros((self.machine.ctas, BARRIERS), np.int64)
        self.waiting: list[Waiting] = []

    def come(self, index: Index, barrier: int, count: int | None, wait: bool, votes: Array | None = None,
             deliver: Any = None) -> Resumed:
        """Threads reach a barrier; gives who runs on, with the instruction each continues at."""
        machine, pc = self.machine, self.machine.pc
        need = machine.block_threads if count is None else count
        if not 0 <= barrier < BARRIERS:
            raise machine.fault(f"barrier {barrier} is not one of the {BARRIERS} that there are")
        if need % 32 and count is not None:
            raise machine.fault(f"a barrier's thread count is a multiple of 32, got {need}")
        if index is ALL and need == machine.padded and wait and not self.arrived[:, barrier].any():
            if self.races:
                self.races.full_barrier()
            if self.global_races:
                self.global_races.barrier()
            if deliver:
                assert votes is not None
                deliver(index, votes.reshape(machine.ctas, -1), machine.cta_of)
            return [(pc + 1, index)]
        threads = machine.numbers(index)
        self._count(threads, barrier, need)
        if self.races:
            self.races.arrive(threads, barrier)
        resumed: Resumed = [] if wait else [(pc + 1, index)]
        if wait:
            self.waiting.append(Waiting(pc, barrier, threads, votes, deliver))
        return resumed + self._release(barrier)

    def _count(self, threads: Array, barrier: int, need: int) -> None:
        machine = self.machine
        counts = np.bincount(machine.cta_of[threads], minlength=machine.ctas)
        here, before = counts > 0, self.arrived[:, barrier] > 0
        if (self.expected[here & before, barrier] != need).any():
            raise machine.fault(f"barrier {barrier} is used with {need} threads here, and with another count by those "
                                "that wait")
        self.expected[here, barrier] = need
        self.arrived[:, barrier] += counts
        over = np.flatnonzero(self.arrived[:, barrier] > np.where(here, need, 1 << 40))
        if len(over):
            raise machine.fault(f"{int(self.arrived[over[0], barrier])} threads arrived at barrier {barrier}, which "
                                f"gathers {need}")

    def _release(self, barrier: int) -> Resumed:
        machine = self.machine
        done = (self.arrived[:, barrier] > 0) & (self.arrived[:, barrier] == self.expected[:, barrier])
        if not done.any():
            return []
        here = [waiting for waiting in self.waiting if waiting.barrier == barrier]
        rest = [waiting for waiting in self.waiting if waiting.barrier != barrier]
        free: dict[int, list[Array]] = {}
        for waiting in here:
            go = done[machine.cta_of[waiting.threads]]
            if go.any():
                free.setdefault(waiting.pc, []).append(waiting.threads[go])
            if not go.all():
                votes = None if waiting.votes is None else waiting.votes[~go]
                rest.append(Waiting(waiting.pc, barrier, waiting.threads[~go], votes, waiting.deliver))
        self._deliver(here, done)
        self.waiting, self.arrived[done, barrier] = rest, 0
        threads = [part for parts in free.values() for part in parts]
        if self.races and free:
            self.races.release(np.concatenate(threads), barrier)
        if self.global_races and free:
            self.global_races.barrier(np.unique(machine.cta_of[np.concatenate(threads)]))
        self._lanes_together(free)
        return [(pc + 1, machine.join(*parts)) for pc, parts in free.items()]

    def _lanes_together(self, free: dict[int, list[Array]]) -> None:
        """A barrier is for whole warps: lanes of one must not come to it at different instructions."""
        machine, seen = self.machine, dict[int, int]()
        if len(free) < 2:
            return
        for pc, parts in free.items():
            threads = np.concatenate(parts)
            warps, first = np.unique(threads // 32, return_index=True)
            for warp, at in zip(warps.tolist(), first.tolist(), strict=True):
                if warp in seen:
                    machine.note("divergent barrier: lanes of one warp come to a barrier at different instructions",
                                 threads, np.asarray([at]), machine.other("others of them", seen[warp]))
                    return
                seen[warp] = pc

    def _deliver(self, here: list[Waiting], done: Array) -> None:
        """Give bar.red its result: each CTA's votes in one row, by thread, with absent ones left out."""
        voters = [waiting for waiting in here if waiting.votes is not None]
        if not voters:
            return
        machine = self.machine
        votes = np.zeros(machine.threads, np.bool_)
        cast = np.zeros(machine.threads, np.bool_)
        for waiting in voters:
            votes[waiting.threads], cast[waiting.threads] = waiting.votes, True
        for waiting in voters:
            go = waiting.threads[done[machine.cta_of[waiting.threads]]]
            if len(go):
                rows = np.ma.masked_array(votes.reshape(machine.ctas, -1), ~cast.reshape(machine.ctas, -1))
                waiting.deliver(go, rows, machine.cta_of[go])

    def waiters(self) -> list[str]:
        """Who waits where, for the report of a deadlock."""
        machine = self.machine
        told = list[str]()
        for waiting in self.waiting:
            cta = int(machine.cta_of[waiting.threads[0]])
            here = waiting.threads[machine.cta_of[waiting.threads] == cta]
            warps = np.unique(machine.warp_of[here]).tolist()
            told.append(machine.other(
                f"warps {warps} of program {machine.program_of(int(here[0]))} wait at barrier {waiting.barrier}, where "
                f"{int(self.arrived[cta, waiting.barrier])} of {int(self.expected[cta, waiting.barrier])} threads "
                "arrived,", waiting.pc))
        return told
