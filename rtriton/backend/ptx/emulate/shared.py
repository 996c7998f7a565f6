"""Shared memory of all CTAs of a batch: bounds, alignment, bytes never written, copies under way, and races."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from rtriton.backend.ptx.emulate.race import ATOMIC, READ, WRITE, Races
from rtriton.backend.ptx.emulate.state import STORAGE, Array, Index, Machine

SHARED_BASE = 1024  # as on Hopper, which keeps the first KiB: a forgotten base address is then out of bounds
SHARED_WINDOW = 0x7F << 40  # where generic addresses of shared memory begin
VERB = {READ: "read", WRITE: "written", ATOMIC: "updated"}


class SharedMemory:
    """`size` bytes for each CTA, addressed from SHARED_BASE on."""

    def __init__(self, machine: Machine, size: int, granule: int, races: Races | None, async_copies: bool,
                 objects: bool) -> None:
        self.machine, self.size, self.granule, self.races = machine, size, granule, races
        self.stride = -(-max(size, 1) // 16) * 16
        self.async_copies, self.objects = async_copies, objects

    def reset(self) -> None:
        """Fresh memory for the machine's batch of CTAs."""
        total = self.machine.ctas * self.stride
        self.data = np.zeros(total, np.uint8)
        self.views: dict[int, Array] = {size: self.data.view(STORAGE[8 * size]) for size in (1, 2, 4, 8)}
        granules = total // self.granule
        self.written = np.zeros(granules, np.bool_)
        self.filling = np.zeros(granules if self.async_copies else 0, np.bool_)
        self.reserved = np.zeros(granules if self.objects else 0, np.bool_)
        if self.races:
            self.races.reset(granules)

    def load(self, machine: Machine, index: Index, address: Array, size: int, count: int) -> list[Array]:
        """`count` neighbouring values of `size` bytes per thread, as unsigned integers."""
        flat = self.place(index, address, size * count)
        self.touch(index, flat, size * count, READ)
        view, element = self.views[size], flat // size
        return [view[element + i] for i in range(count)]

    def store(self, machine: Machine, index: Index, address: Array, values: list[Array], size: int) -> None:
        """Write neighbouring values of `size` bytes per thread."""
        flat = self.place(index, address, size * len(values))
        self.touch(index, flat, size * len(values), WRITE)
        view, element = self.views[size], flat // size
        for i, value in enumerate(values):
            view[element + i] = value

    def place(self, index: Index, address: Array, total: int, aligned: int = 0) -> Array:
        """Byte positions in `data` of an access of `total` bytes per thread, checked for bounds and alignment."""
        machine = self.machine
        offset = address - np.uint64(SHARED_BASE)
        room = self.size - total
        bad = offset > np.uint64(room) if room >= 0 else np.ones(len(address), np.bool_)
        if bad.any():
            lost = np.flatnonzero(bad)
            at = int(offset[lost[0]].astype(np.int64))
            raise machine.fault(f"out of bounds: {total} bytes at byte {at} of {self.size} bytes of shared memory",
                                index, lost)
        off = address & np.uint64((aligned or total) - 1)
        if off.any():
            lost = np.flatnonzero(off)
            raise machine.fault(f"misaligned access: {total} bytes at byte {int(offset[lost[0]])} of shared memory",
                                index, lost)
        return offset.astype(np.intp) + machine.cta_of[index] * self.stride

    def touch(self, index: Index, flat: Array, total: int, kind: int) -> None:
        """Check an access against what is unwritten, under way, or another warp's; writes make bytes known."""
        if self.objects and self.reserved[self.granules(flat, total)].any():
            granules = self.granules(flat, total)
            self._complain("mbarrier misuse", index, granules, total // self.granule, self.reserved[granules],
                           "is {} as plain memory, and an mbarrier is there", kind)
        self.touch_object(index, flat, total, kind)

    def reserve(self, flat: Array, total: int, taken: bool) -> None:
        """Bytes become, or are no more, those of an mbarrier."""
        self.reserved[self.granules(flat, total)] = taken

    def fill(self, flat: Array, total: int, begins: bool) -> None:
        """A copy into these bytes begins or ends."""
        self.filling[self.granules(flat, total)] = begins

    def touch_object(self, index: Index, flat: Array, total: int, kind: int) -> None:
        """`touch` by an operation on an mbarrier, which may be there."""
        granules, repeat = self.granules(flat, total), total // self.granule
        if self.async_copies and self.filling[granules].any():
            self._complain("race", index, granules, repeat, self.filling[granules],
                           "is {} while a cp.async that fills it has not been waited for", kind)
        if kind == WRITE:
            self.written[granules] = True
        elif not self.written[granules].all():
            self._complain("uninitialised read", index, granules, repeat, ~self.written[granules],
                           "is {} but was never written", kind)
            self.written[granules] = True
        if self.races and (conflict := self.races.access(index, granules, repeat, kind)):
            byte = int(granules[conflict.position]) * self.granule % self.stride
            self.machine.note(f"race: shared byte {byte} is {VERB[kind]} here and was {conflict.who}, with no barrier "
                              "between", index, np.asarray([conflict.position // repeat]),
                              self.machine.other(conflict.who, conflict.pc))

    def granules(self, flat: Array, total: int) -> Array:
        """The granules of an access, all of the first thread, then of the next."""
        first, repeat = flat // self.granule, total // self.granule
        return first if repeat == 1 else (first[:, None] + np.arange(repeat)).reshape(-1)

    def _complain(self, name: str, index: Index, granules: Array, repeat: int, bad: Array, problem: str,
                  kind: int) -> None:
        lost = np.flatnonzero(bad)
        byte = int(granules[lost[0]]) * self.granule % self.stride
        self.machine.note(f"{name}: shared byte {byte} {problem.format(VERB[kind])}", index, np.unique(lost // repeat))

    def atomic_place(self, machine: Machine, index: Index, address: Array,
                     size: int) -> Iterator[tuple[Any, Array, None]]:
        """For an atomic: the typed view and the element each thread means."""
        flat = self.place(index, address, size)
        self.touch(index, flat, size, ATOMIC)
        yield self.views[size], flat // size, None
