"""Shared-memory races by happens-before: two warps on the same bytes, one of them writing, and no barrier between.

What is watched are granules, as wide as the narrowest shared access of the kernel. Where every barrier is one of the
whole CTA, time is a count of barriers (`EpochRaces`); with named barriers of some warps, producers that only arrive and
the like, each warp keeps what it knows of the others' clocks (`ClockRaces`). Order inside a warp is not checked.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rtriton.backend.ptx.emulate.state import Array, Index, Machine

READ, WRITE, ATOMIC = 0, 1, 2
DID = ("read", "written", "updated atomically")
WARP_BITS = 6
MANY = (1 << WARP_BITS) - 1  # stands for "several warps"; a CTA has at most 32
SAME_EPOCH = np.uint32(MANY)


@dataclass(frozen=True)
class Conflict:
    """An access that does not go with the one at `position` among those looked at: who did it, and where."""

    position: int
    who: str
    pc: int


class Races(Protocol):
    """A checker: told of every access and every barrier."""

    def reset(self, granules: int) -> None: ...
    def access(self, index: Index, granules: Array, repeat: int, kind: int) -> Conflict | None: ...
    def full_barrier(self) -> None: ...
    def arrive(self, threads: Array, barrier: int) -> None: ...
    def release(self, threads: Array, barrier: int) -> None: ...


class EpochRaces:
    """For kernels whose barriers all gather the whole CTA: an access is a key of (barriers passed, warp)."""

    def __init__(self, machine: Machine, atomics: bool) -> None:
        self.machine, self.atomics = machine, atomics

    def reset(self, granules: int) -> None:
        """Forget everything: a new batch of CTAs with `granules` granules in all."""
        self.epoch = np.ones(self.machine.ctas, np.int32)
        # keys[READ], keys[WRITE], keys[ATOMIC]: the last access of each kind; pcs where it was
        self.keys = [np.zeros(granules, np.int32) for _ in range(3 if self.atomics else 2)]
        self.pcs = [np.zeros(granules, np.int32) for _ in self.keys]
        self._rekey()

    def _rekey(self) -> None:
        self.thread_keys = (self.epoch[self.machine.cta_of] << WARP_BITS | self.machine.warp_of).astype(np.int32)

    def access(self, index: Index, granules: Array, repeat: int, kind: int) -> Conflict | None:
        """Note an access; one that it conflicts with, or None."""
        keys = self.thread_keys[index]
        if repeat > 1:
            keys = np.repeat(keys, repeat)
        conflict = self._earlier(granules, keys, kind)
        if kind == WRITE:
            self.keys[WRITE][granules] = keys
            bad = self.keys[WRITE][granules] != keys
            self.pcs[WRITE][granules] = self.machine.pc
            return conflict or (self._tell(granules, bad, WRITE) if bad.any() else None)
        self._share(kind, granules, keys)
        return conflict

    def _earlier(self, granules: Array, keys: Array, kind: int) -> Conflict | None:
        for other in range(len(self.keys)):
            if other == kind and kind != WRITE:
                continue
            bad = _other_warp(self.keys[other][granules], keys)
            if bad.any():
                return self._tell(granules, bad, other)
        return None

    def _share(self, kind: int, granules: Array, keys: Array) -> None:
        """Reads of several warps do not conflict with each other, but a later write must see that there are several."""
        last = self.keys[kind]
        noted = np.where(_other_warp(last[granules], keys), keys | MANY, keys)
        last[granules] = noted
        mixed = last[granules] != noted
        if mixed.any():
            last[granules[mixed]] = keys[mixed] | MANY
        self.pcs[kind][granules] = self.machine.pc

    def _tell(self, granules: Array, bad: Array, other: int) -> Conflict:
        at = int(np.flatnonzero(bad)[0])
        key, pc = int(self.keys[other][granules[at]]), int(self.pcs[other][granules[at]])
        warp = key & MANY
        return Conflict(at, f"{DID[other]} by {'several warps' if warp == MANY else f'warp {warp}'}", pc)

    def full_barrier(self) -> None:
        """Every CTA passed a barrier."""
        self.epoch += 1
        self._rekey()

    def arrive(self, threads: Array, barrier: int) -> None:
        """Arrival alone orders nothing here: no barrier of these kernels lets a warp go on before the others come."""

    def release(self, threads: Array, barrier: int) -> None:
        """Some CTAs passed a barrier, all threads of each."""
        self.epoch[np.unique(self.machine.cta_of[threads])] += 1
        self._rekey()


class ClockRaces:
    """For kernels with barriers of some warps: `known[cta, w, v]` is the last of v's times that is before w's now."""

    def __init__(self, machine: Machine, atomics: bool) -> None:
        self.machine, self.atomics = machine, atomics

    def reset(self, granules: int) -> None:
        """Forget everything."""
        machine, warps = self.machine, self.machine.warps
        self.known = np.zeros((machine.ctas, warps, warps), np.int32)
        self.known[:, np.arange(warps), np.arange(warps)] = 1
        self.gathered: dict[int, Array] = {}  # per barrier, what those that arrived know, [ctas, warps]
        kinds = 3 if self.atomics else 2
        self.times = np.zeros((kinds, warps, granules), np.int32)
        self.pcs = np.zeros((kinds, granules), np.int32)

    def access(self, index: Index, granules: Array, repeat: int, kind: int) -> Conflict | None:
        """Note an access; a conflict as in EpochRaces."""
        machine = self.machine
        cta, warp = machine.cta_of[index], machine.warp_of[index]
        if repeat > 1:
            cta, warp = np.repeat(cta, repeat), np.repeat(warp, repeat)
        known = self.known[cta, warp]
        now = known[np.arange(len(warp)), warp]
        self.times[kind, warp, granules] = now
        conflict = self._earlier(granules, warp, known, kind)
        self.pcs[kind, granules] = machine.pc
        return conflict

    def _earlier(self, granules: Array, warp: Array, known: Array, kind: int) -> Conflict | None:
        for other in range(len(self.times)):
            if other == kind and kind != WRITE:
                continue
            for third in range(self.machine.warps):
                bad = (self.times[other, third][granules] > known[:, third]) & (warp != third)
                if bad.any():
                    at = int(np.flatnonzero(bad)[0])
                    pc = self.machine.pc if other == kind else int(self.pcs[other, granules[at]])
                    return Conflict(at, f"{DID[other]} by warp {third}", pc)
        return None

    def full_barrier(self) -> None:
        """Every CTA passed a barrier with all its threads."""
        everything = np.flatnonzero(self.machine.live)
        self.arrive(everything, -1)
        self.release(everything, -1)

    def arrive(self, threads: Array, barrier: int) -> None:
        """The barrier learns what these warps know; what they do next is later."""
        machine = self.machine
        cta, warp = _warps(machine, threads)
        gathered = self.gathered.setdefault(barrier, np.zeros((machine.ctas, machine.warps), np.int32))
        np.maximum.at(gathered, cta, self.known[cta, warp])
        self.known[cta, warp, warp] += 1

    def publish(self, thread: int, clock: Array) -> None:
        """An mbarrier's clock learns what a thread's warp knows; what that does next is later."""
        cta, warp = thread // 32 // self.machine.warps, thread // 32 % self.machine.warps
        np.maximum(clock, self.known[cta, warp], out=clock)
        self.known[cta, warp, warp] += 1

    def learn(self, thread: int, clock: Array) -> None:
        """A thread's warp learns what an mbarrier's clock says."""
        known = self.known[thread // 32 // self.machine.warps, thread // 32 % self.machine.warps]
        np.maximum(known, clock, out=known)

    def release(self, threads: Array, barrier: int) -> None:
        """These warps learn what the barrier gathered, which begins anew in their CTAs."""
        cta, warp = _warps(self.machine, threads)
        gathered = self.gathered[barrier]
        self.known[cta, warp] = np.maximum(self.known[cta, warp], gathered[cta])
        gathered[np.unique(cta)] = 0


def _warps(machine: Machine, threads: Array) -> tuple[Array, Array]:
    numbers = np.unique(threads // 32)
    return numbers // machine.warps, numbers % machine.warps


def _other_warp(last: Array, keys: Array) -> Array:
    """Same epoch, other warp: the keys differ, and only in the bits of the warp."""
    difference: Any = (last ^ keys) - np.int32(1)
    return difference.view(np.uint32) < SAME_EPOCH

