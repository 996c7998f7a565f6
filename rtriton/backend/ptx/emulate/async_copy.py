"""cp.async: copies that go on while the threads do, until a wait.

Bytes arrive as late as allowed: when the thread that copies them waits for their group. Until then the destination is
marked, and whoever touches it is reported; so a missing or too small wait is found, not only made unlikely to work.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rtriton.backend.ptx.emulate.decode import Decoder, family
from rtriton.backend.ptx.emulate.mbarrier import arrive_after_copies, bulk_copy
from rtriton.backend.ptx.emulate.program import Instruction, Literal
from rtriton.backend.ptx.emulate.race import WRITE
from rtriton.backend.ptx.emulate.state import ALL, Array, Index, Machine, Step

if TYPE_CHECKING:
    from rtriton.backend.ptx.emulate.shared import SharedMemory


@dataclass(frozen=True)
class Copy:
    """One instruction's copies: by thread, the words and where in shared memory they go, and their group."""

    threads: Array
    flat: Array
    data: Array  # [threads, words], of 4 or 8 bytes
    groups: Array

    @property
    def size(self) -> int:
        """Bytes per thread."""
        return self.data.shape[1] * self.data.itemsize

    def of(self, chosen: Array) -> "Copy":
        """Those of some threads."""
        return Copy(self.threads[chosen], self.flat[chosen], self.data[chosen], self.groups[chosen])


class AsyncCopies:
    """The copies under way of a batch of CTAs."""

    def __init__(self, machine: Machine, shared: "SharedMemory") -> None:
        self.machine, self.shared = machine, shared

    def reset(self) -> None:
        """None under way."""
        self.committed = np.zeros(self.machine.threads, np.int64)
        self.under_way: list[Copy] = []

    def begin(self, index: Index, flat: Array, data: Array) -> None:
        """Copies of the threads' next group; other warps may not be using the destination any more."""
        size = data.shape[1] * data.itemsize
        self.shared.touch(index, flat, size, WRITE)
        self.shared.fill(flat, size, True)
        self.under_way.append(Copy(self.machine.numbers(index), flat, data, self.committed[index].copy()))

    def wait(self, index: Index, keep: int, uncommitted: bool = False) -> None:
        """Finish the threads' copies, save those of their `keep` newest committed groups."""
        limit = self.committed - keep + (1 if uncommitted else 0)
        mine = np.zeros(self.machine.threads, np.bool_)
        mine[index] = True
        rest = list[Copy]()
        for copy in self.under_way:
            done = mine[copy.threads] & (copy.groups < limit[copy.threads])
            if not done.all():
                rest.append(copy.of(~done) if done.any() else copy)
            if done.any():
                self._finish(copy if done.all() else copy.of(done))
        self.under_way = rest

    def _finish(self, copy: Copy) -> None:
        shared, size, word = self.shared, copy.size, copy.data.itemsize
        shared.fill(copy.flat, size, False)
        shared.touch(ALL if len(copy.threads) == self.machine.threads else copy.threads, copy.flat, size, WRITE)
        shared.views[word][copy.flat[:, None] // word + np.arange(size // word)] = copy.data


@family("cp")
def cp(d: Decoder, inst: Instruction) -> Step:
    """cp.async and its groups."""
    if inst.parts[1] != "async":
        raise KeyError(inst.opcode)
    copies, parts = d.copies, inst.parts
    if "commit_group" in parts:
        def commit(index: Index) -> None:
            copies.committed[index] += 1

        return commit
    if "wait_all" in parts:
        return lambda index: copies.wait(index, 0, uncommitted=True)
    if "wait_group" in parts:
        keep = inst.operands[0]
        assert isinstance(keep, Literal)
        return lambda index: copies.wait(index, keep.value)
    if parts[2] == "mbarrier":
        return arrive_after_copies(d, inst)
    if parts[2] == "bulk":
        return bulk_copy(d, inst)
    if parts[2] not in ("ca", "cg"):
        raise KeyError(inst.opcode)
    return _copy(d, inst)


def _copy(d: Decoder, inst: Instruction) -> Step:
    """The copy itself: bytes beyond the source size, if one is given, are zero and not read."""
    length = inst.operands[2]
    assert isinstance(length, Literal)
    machine, size = d.machine, length.value
    word = min(size, 8)
    to, source = d.address(inst.operands[0]), d.address(inst.operands[1])
    hinted = any("cache_hint" in part for part in inst.parts)
    given = inst.operands[3:-1] if hinted else inst.operands[3:]
    amount = d.get(given[0], "u32") if given else None

    def run(index: Index) -> None:
        flat = d.shared.place(index, machine.each(index, to(index)), size)
        address = machine.each(index, source(index))
        if (address & np.uint64(size - 1)).any():
            machine.note(f"misaligned access: cp.async of {size} bytes", index,
                         np.flatnonzero(address & np.uint64(size - 1)))
        if amount is None:
            words = d.memory.load(machine, index, address, word, size // word)
            d.copies.begin(index, flat, np.stack(words, axis=1))
            return
        data = np.zeros((len(flat), size), np.uint8)
        take = machine.each(index, amount(index))
        if (take > size).any():
            raise machine.fault(f"cp.async of {size} bytes with a source size of {int(take.max())}", index,
                                np.flatnonzero(take > size))
        for wanted in np.unique(take[take > 0]):
            _read(d, index, address, data, take == wanted, int(wanted))
        d.copies.begin(index, flat, data.view(f"u{word}"))

    return run


def _read(d: Decoder, index: Index, address: Array, data: Array, which: Array, wanted: int) -> None:
    """Fill the first `wanted` bytes of some rows from global memory, in the widest aligned pieces."""
    chosen = d.machine.pick(index, which)
    assert chosen is not None
    piece = next(width for width in (8, 4, 2, 1) if wanted % width == 0)
    values = d.memory.load(d.machine, chosen, address[which], piece, wanted // piece)
    data[which, :wanted] = np.stack(values, axis=1).view(np.uint8)
