"""Races in global memory: two warps on the same bytes, one of them writing, and nothing that orders them. Warnings.

Warps of one program are ordered by its barriers. Programs are ordered by nothing but atomics and volatile accesses:
once both have made one after the first access, they count as ordered (who learns what from whom is not followed).
Writes of the value that is there already are no race, for programs may agree. Nor is a store by one of several warps
that loaded the same bytes together: warps that compute the same elements do so.

Reads cost next to nothing while nobody has written to an allocation: they are kept as they come, and looked at when
somebody does.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rtriton.backend.ptx.emulate.state import Array, Index, Machine, where

if TYPE_CHECKING:
    from rtriton.backend.ptx.emulate.memory import Allocation

# A key is who << 32 | event; who is program << 5 | warp, or has a bit that stands for several (COPIES: in one load).
COPIES, SEVERAL_WARPS, SEVERAL_PROGRAMS = np.uint64(1 << 61), np.uint64(1 << 62), np.uint64(1 << 63)
BITS = COPIES | SEVERAL_WARPS | SEVERAL_PROGRAMS
WHO, PROGRAM, EVENT = np.uint64(32), np.uint64(37), np.uint64(0xFFFFFFFF)
KEPT_READS = 1 << 22  # threads' reads kept per allocation before they are looked at


@dataclass
class Shadow:
    """Who last wrote and read the granules of an allocation, and reads not looked at yet."""

    granules: int
    written: Array | None = None
    read: Array | None = None
    kept: list[tuple[Array, Array]] = field(default_factory=list[tuple[Array, Array]])
    waiting: int = 0


@dataclass(frozen=True)
class Access:
    """One load or store: by which threads, and the granules that it touches, with who does."""

    index: Index
    chosen: Array | None  # the threads' positions within the index; None for all
    allocation: "Allocation"
    granules: Array
    keys: Array
    repeat: int  # granules per thread


class GlobalRaces:
    """Told of every access to global memory, of barriers, and of what orders programs."""

    def __init__(self, machine: Machine, granule: int) -> None:
        programs = machine.grid[0] * machine.grid[1] * machine.grid[2]
        self.machine, self.granule = machine, granule
        self.shadows: dict[int, Shadow] = {}  # by where an allocation starts
        self.pcs = [0]  # by event
        self.met = np.zeros(programs, np.uint64)  # the last event before each program's last barrier
        self.synced = np.zeros(programs, np.uint64)  # and before its last atomic

    def reset(self) -> None:
        """A new batch of programs; what others did stays known."""
        machine = self.machine
        program = (machine.cta_of + machine.first_cta).astype(np.uint64)
        self.who = program << PROGRAM | machine.warp_of.astype(np.uint64) << WHO

    def barrier(self, ctas: Array | None = None) -> None:
        """Programs of the batch (all, or these) passed a barrier."""
        first, now = self.machine.first_cta, len(self.pcs) - 1
        if ctas is None:
            self.met[first : first + self.machine.ctas] = now
        else:
            self.met[first + ctas] = now

    def sync(self, index: Index) -> None:
        """Threads made an atomic or volatile access."""
        self.synced[np.unique(self.machine.cta_of[index]) + self.machine.first_cta] = len(self.pcs) - 1

    def read(self, index: Index, allocation: "Allocation", offset: Array, chosen: Array | None, total: int) -> None:
        """A load of `total` bytes per thread at these offsets."""
        shadow = self._shadow(allocation)
        access = self._access(index, allocation, offset, chosen, total)
        granules, keys = access.granules, access.keys
        if shadow.written is None and shadow.waiting < KEPT_READS:
            shadow.kept.append((granules, keys))
            shadow.waiting += len(keys)
            return
        if shadow.written is not None:
            last = shadow.written[granules]
            bad = self._races(last, keys) & ((last & SEVERAL_PROGRAMS) == 0)  # they wrote the same
            if bad.any():
                bad[bad] = ~np.isin(_mixed(granules[bad], last[bad]), _mixed(granules, keys))
            self._tell(access, last, bad, "read", "written")
        self._look(shadow)
        self._share(shadow, granules, keys)

    def write(self, index: Index, allocation: "Allocation", offset: Array, chosen: Array | None, total: int,
              changed: Array) -> Access:
        """A store; `changed` says which threads' stores change what was there."""
        shadow = self._shadow(allocation)
        self._look(shadow)
        access = self._access(index, allocation, offset, chosen, total)
        granules, keys = access.granules, access.keys
        changed = np.repeat(changed, access.repeat)
        if shadow.written is None:
            shadow.written = np.zeros(shadow.granules, np.uint64)
        last = shadow.written[granules]
        other = self._races(last, keys)
        self._tell(access, last, other & changed & ((last & SEVERAL_PROGRAMS) == 0), "written", "written")
        if shadow.read is not None:
            read = shadow.read[granules]
            bad = self._races(read, keys) & changed & ((read & COPIES) == 0)
            self._tell(access, read, bad, "written", "read")
            shadow.read[granules] = 0  # who comes later meets this write
        shadow.written[granules] = where(other & ~changed, keys | SEVERAL_PROGRAMS, keys)
        return access

    def overwritten(self, access: Access, lost: Array) -> None:
        """After a store: `lost` says which threads' values are not in memory, as others of the same instruction won."""
        written = self._shadow(access.allocation).written
        assert written is not None
        last = written[access.granules]
        bad = np.repeat(lost, access.repeat) & self._races(last, access.keys)
        self._tell(access, last, bad & ((last & SEVERAL_PROGRAMS) == 0), "written", "written")

    def _shadow(self, allocation: "Allocation") -> Shadow:
        if allocation.start not in self.shadows:
            self.shadows[allocation.start] = Shadow(len(allocation.data) // self.granule + 2)
        return self.shadows[allocation.start]

    def _look(self, shadow: Shadow) -> None:
        """Bring the reads that were kept into the shadow."""
        for granules, keys in shadow.kept:
            self._share(shadow, granules, keys)
        shadow.kept.clear()

    def _share(self, shadow: Shadow, granules: Array, keys: Array) -> None:
        """Note reads; where others that are not ordered before have read too, that there are several."""
        if shadow.read is None:
            shadow.read = np.zeros(shadow.granules, np.uint64)
        joined = self._joined(shadow.read[granules], keys)
        shadow.read[granules] = joined
        mixed = shadow.read[granules] != joined
        if mixed.any():  # of one instruction
            shadow.read[granules[mixed]] = self._joined(shadow.read[granules[mixed]], joined[mixed])

    def _joined(self, last: Array, keys: Array) -> Array:
        apart = self._races(last, keys)
        if not apart.any():
            return keys
        one = (_program(last) == _program(keys)) & (last & SEVERAL_PROGRAMS == 0)
        together = where((last ^ keys) & EVENT == 0, COPIES, where(last & COPIES != 0, np.uint64(0), SEVERAL_WARPS))
        return where(apart, keys | where(one, together, SEVERAL_PROGRAMS), keys)

    def _access(self, index: Index, allocation: "Allocation", offset: Array, chosen: Array | None,
                total: int) -> Access:
        """An event of its own."""
        self.pcs.append(self.machine.pc)
        keys = (self.who[index] if chosen is None else self.who[index][chosen]) | np.uint64(len(self.pcs) - 1)
        granules, repeat = (offset + allocation.start % self.granule) // self.granule, max(1, total // self.granule)
        if repeat > 1:
            granules = (granules[:, None] + np.arange(repeat)).reshape(-1)
            keys = np.repeat(keys, repeat)
        return Access(index, chosen, allocation, granules, keys, repeat)

    def _races(self, last: Array, keys: Array) -> Array:
        """Which accesses have another warp's before them and nothing in between."""
        bad = ((last ^ keys) > EVENT) & (last != 0)
        if not bad.any():
            return bad
        at = np.flatnonzero(bad)
        last, keys = last[at], keys[at]
        when, several = last & EVENT, (last & SEVERAL_PROGRAMS) != 0
        before, here = _program(last), _program(keys)
        same = (before == here) & ~several
        ordered = where(same, (self.met[here] >= when) | (self.synced[here] >= when),
                        (self.synced[here] >= when) & (several | (self.synced[before] >= when)))
        bad[at] = ~ordered
        return bad

    def _tell(self, access: Access, last: Array, bad: Array, verb: str, did: str) -> None:
        """Warn of the first bad one, if there is any; `last` has the accesses before."""
        found = np.flatnonzero(bad)
        if not len(found):
            return
        at, machine, allocation = int(found[0]), self.machine, access.allocation
        key, position = last[at], at // access.repeat
        thread = np.asarray([position if access.chosen is None else int(access.chosen[position])])
        byte = int(access.granules[at]) * self.granule - allocation.start % self.granule
        inside = bool(not key & SEVERAL_PROGRAMS and _program(key) == _program(access.keys[at]))
        who, why = self._who(key, inside)
        machine.doubt(f"race {'in a program' if inside else 'between programs'}: byte {byte} of {allocation.name} is "
                      f"{verb} here and was {did} by {who}; {why}", access.index, thread,
                      machine.other(f"{did} by {who}", self.pcs[int(key & EVENT)]))

    def _who(self, key: Any, inside: bool) -> tuple[str, str]:
        """Who made an access, and why that is a race."""
        if inside:
            warp = "several warps" if key & SEVERAL_WARPS else f"warp {int(key >> WHO) & 31}"
            return warp, "a tl.debug_barrier() between them orders the warps of a program"
        several = bool(key & SEVERAL_PROGRAMS)
        return ("several programs" if several else f"program {self.machine.numbered(int(_program(key)))}",
                "programs run in any order, and only atomics order them")


def _program(keys: Any) -> Any:
    return (keys & ~BITS) >> PROGRAM


def _mixed(granules: Array, keys: Array) -> Array:
    """One number for a granule and who touches it."""
    return granules.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ (keys >> WHO)

