"""mbarriers: objects in shared memory that gather arrivals and bytes of bulk copies, phase by phase.

A phase completes when all arrivals came and no byte is expected any more; those who wait for it then know what those
who arrived had done. Bulk copies arrive late, the second time that somebody looks for them. Misuse is told:
objects that were not made, made twice or touched as plain memory, more arrivals than the phase takes, waits for a phase
long gone or for one that the thread has seen pass, and waits that nothing will end.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rtriton.backend.ptx.emulate.decode import Decoder, Getter, family
from rtriton.backend.ptx.emulate.program import Address, Instruction
from rtriton.backend.ptx.emulate.race import ATOMIC, WRITE, ClockRaces
from rtriton.backend.ptx.emulate.shared import SHARED_WINDOW, SharedMemory
from rtriton.backend.ptx.emulate.state import Array, Index, Machine, Step

if TYPE_CHECKING:
    from rtriton.backend.ptx.emulate.memory import Memory

SIZE = 8
IDLE_POLLS = 256  # that found a phase incomplete, and no arrival anywhere since: nobody is left who could arrive


@dataclass(frozen=True)
class Bulk:
    """A bulk copy under way: who began it, where it goes, its bytes, and whether somebody looked for it in vain."""

    thread: int
    flat: int
    data: Array
    awaited: int = 0  # the poll that looked


@dataclass
class Mbarrier:
    """The state of one object."""

    count: int
    made: int  # the instruction that did
    pending: int
    gathered: Array  # by warp, what those know that arrived in this phase; see ClockRaces
    known: Array  # what whoever waits for the last complete phase learns
    phase: int = 0
    bytes: int = 0  # expected in this phase and not there
    arrived: int = 0  # the instruction of the last arrival
    copies: list[Bulk] = field(default_factory=list[Bulk])
    passed: dict[int, int] = field(default_factory=dict[int, int])  # by thread, the last phase it saw complete


class Mbarriers:
    """The mbarriers of a batch of CTAs, by their place in shared memory."""

    def __init__(self, machine: Machine, shared: SharedMemory, races: Any) -> None:
        self.machine, self.shared = machine, shared
        self.clocks = races if isinstance(races, ClockRaces) else None

    def reset(self) -> None:
        """None made yet."""
        self.made: dict[int, Mbarrier] = {}
        self.polls, self.idle = 0, 0
        self.waiting: dict[int, int] = {}  # by instruction that found a phase incomplete, a thread

    def each(self, index: Index, address: Array, what: str) -> Iterator[tuple[int, int, Mbarrier]]:
        """Position, thread and object for each thread of the index; what no object is, is told."""
        flat = self._places(index, address)
        for position, (thread, at) in enumerate(zip(self.machine.numbers(index).tolist(), flat.tolist(), strict=True)):
            found = self.made.get(at)
            if found is None:
                self._misuse(f"{what} on shared byte {at % self.shared.stride}, where no mbarrier.init was", index,
                             position)
                continue
            self.shared.touch_object(np.asarray([thread]), np.asarray([at]), SIZE, ATOMIC)
            yield position, thread, found

    def init(self, index: Index, address: Array, counts: Array) -> None:
        """Make objects."""
        flat, machine = self._places(index, address), self.machine
        for position, (thread, at) in enumerate(zip(machine.numbers(index).tolist(), flat.tolist(), strict=True)):
            before = self.made.get(at)
            if before is not None:
                self._misuse(f"mbarrier.init on shared byte {at % self.shared.stride}, where there is one already "
                             f"({before.count - before.pending} of {before.count} arrivals in phase {before.phase}) "
                             "and no mbarrier.inval was", index, position, machine.other("made", before.made))
            if counts[position] < 1:
                self._misuse(f"mbarrier.init with a count of {int(counts[position])}", index, position)
            self.shared.touch_object(np.asarray([thread]), np.asarray([at]), SIZE, WRITE)
            self.shared.reserve(np.asarray([at]), SIZE, True)
            nothing = np.zeros(machine.warps, np.int32)
            self.made[at] = Mbarrier(int(counts[position]), machine.pc, int(counts[position]), nothing, nothing.copy())

    def invalidate(self, index: Index, address: Array) -> None:
        """Take objects away."""
        for at in self._places(index, address).tolist():
            self.made.pop(at, None)
            self.shared.reserve(np.asarray([at]), SIZE, False)

    def arrive(self, index: Index, position: int, thread: int, it: Mbarrier, count: int, drop: bool = False) -> int:
        """Arrivals of one thread; the phase they are for."""
        phase = it.phase
        if count > it.pending:
            self._misuse(f"{count} arrivals at an mbarrier that waits for {it.pending} more in phase {it.phase} (its "
                         f"count is {it.count})", index, position, self.machine.other("made", it.made))
            return phase
        self.publish(thread, it)
        it.pending -= count
        it.count -= count if drop else 0
        it.arrived, self.idle = self.machine.pc, 0
        self._complete(it)
        return phase

    def publish(self, thread: int, it: Mbarrier) -> None:
        """The object learns what a thread's warp knows."""
        if self.clocks:
            self.clocks.publish(thread, it.gathered)

    def expect(self, it: Mbarrier, bytes: int) -> None:
        """Bytes to come in this phase (fewer than none: they came)."""
        it.bytes += bytes
        self.idle = 0
        self._complete(it)

    def _complete(self, it: Mbarrier) -> None:
        if it.pending or it.bytes:
            return
        it.phase, it.pending = it.phase + 1, it.count
        np.maximum(it.known, it.gathered, out=it.known)
        it.gathered[:] = 0

    def waits(self, index: Index, position: int, thread: int, it: Mbarrier, phase: int) -> bool:
        """Whether a phase is complete; deadlock where it never will be."""
        for copy in it.copies:
            if 0 < copy.awaited < self.polls:
                self._arrived(copy, it)
        it.copies = [replace(copy, awaited=self.polls) for copy in it.copies if copy.awaited in (0, self.polls)]
        if phase == it.phase - 1:
            if it.passed.get(thread) == phase and phase >= 0:
                self._misuse(f"waits again for phase {phase} of an mbarrier, which passed before: the parity has to "
                             "change from wait to wait", index, position, self.machine.other("made", it.made))
            it.passed[thread] = phase
            self.idle = 0
            self.waiting.pop(self.machine.pc, None)
            if self.clocks:
                self.clocks.learn(thread, it.known)
            return True
        if phase < it.phase:
            self._misuse(f"waits for phase {phase} of an mbarrier, which is in phase {it.phase} already", index,
                         position)
            return True
        if self.idle > IDLE_POLLS:
            raise self._never(index, position, it)
        self.waiting[self.machine.pc] = thread
        return False

    def _arrived(self, copy: Bulk, it: Mbarrier) -> None:
        threads, flat = np.asarray([copy.thread]), copy.flat + 16 * np.arange(len(copy.data) // 16)
        self.shared.fill(flat, 16, False)
        self.shared.touch(np.repeat(threads, len(flat)), flat, 16, WRITE)
        self.shared.data[copy.flat : copy.flat + len(copy.data)] = copy.data
        self.publish(copy.thread, it)
        self.expect(it, -len(copy.data))

    def _never(self, index: Index, position: int, it: Mbarrier) -> Exception:
        machine = self.machine
        has = f"{it.count - it.pending} of {it.count} arrivals"
        if it.bytes:
            has += f" and still expects {it.bytes} bytes" if it.bytes > 0 else \
                f" and got {-it.bytes} bytes more than it was told to expect"
        notes = [machine.other("made", it.made)] + ([machine.other("last arrival", it.arrived)] if it.arrived else [])
        notes += [machine.other(f"{machine.whose(thread)} waits as well", pc) for pc, thread in self.waiting.items()
                  if pc != machine.pc]
        return machine.fault(f"deadlock: phase {it.phase} of an mbarrier never completes: it has {has}", index,
                             np.asarray([position]), *notes)

    def _places(self, index: Index, address: Array) -> Array:
        inside = np.where(address >= np.uint64(SHARED_WINDOW), address - np.uint64(SHARED_WINDOW), address)
        return self.shared.place(index, inside, SIZE)

    def _misuse(self, problem: str, index: Index, position: int, *notes: str) -> None:
        self.machine.note(f"mbarrier misuse: {problem}", index, np.asarray([position]), *notes)


@family("mbarrier")
def mbarrier(d: Decoder, inst: Instruction) -> Step:
    """Operations on mbarriers in shared memory of the own CTA."""
    return OPERATIONS[inst.parts[1]](d, inst)


def _init(d: Decoder, inst: Instruction) -> Step:
    address, count, machine = d.address(inst.operands[0]), d.get(inst.operands[1], "u32"), d.machine
    return lambda index: d.mbarriers.init(index, machine.each(index, address(index)), machine.each(index, count(index)))


def _inval(d: Decoder, inst: Instruction) -> Step:
    address, machine = d.address(inst.operands[0]), d.machine
    return lambda index: d.mbarriers.invalidate(index, machine.each(index, address(index)))


def _bytes(sign: int) -> Callable[[Decoder, Instruction], Step]:
    def decode(d: Decoder, inst: Instruction) -> Step:
        address, amount, machine = d.address(inst.operands[0]), d.get(inst.operands[1], "u32"), d.machine

        def run(index: Index) -> None:
            amounts = machine.each(index, amount(index))
            for position, _, it in d.mbarriers.each(index, machine.each(index, address(index)), inst.opcode):
                d.mbarriers.expect(it, sign * int(amounts[position]))

        return run

    return decode


def _arrive(d: Decoder, inst: Instruction) -> Step:
    """arrive, arrive_drop, arrive.expect_tx: the result is the phase, opaque to the kernel."""
    gives = not isinstance(inst.operands[0], Address)
    rest = inst.operands[1:] if gives else inst.operands
    put = d.put(inst.operands[0], "b64") if gives else None
    address, machine, expects = d.address(rest[0]), d.machine, "expect_tx" in inst.parts
    amount = d.get(rest[1], "u32") if len(rest) > 1 else None

    def run(index: Index) -> None:
        threads = machine.numbers(index)
        amounts = np.ones(len(threads), np.int64) if amount is None else machine.each(index, amount(index))
        phases = np.zeros(len(amounts), np.uint64)
        for position, thread, it in d.mbarriers.each(index, machine.each(index, address(index)), inst.opcode):
            if expects:
                it.bytes += int(amounts[position])
            count = 1 if expects else int(amounts[position])
            phases[position] = d.mbarriers.arrive(index, position, thread, it, count, "arrive_drop" in inst.parts)
        if put:
            put(index, phases)

    return run


def _wait(d: Decoder, inst: Instruction) -> Step:
    """test_wait and try_wait, by phase or by its parity."""
    put, address, machine = d.put(inst.operands[0], "pred"), d.address(inst.operands[1]), d.machine
    parity = "parity" in inst.parts
    wanted = d.get(inst.operands[2], "u32" if parity else "b64")

    def run(index: Index) -> None:
        machine.polled = True
        d.mbarriers.polls += 1
        phases = machine.each(index, wanted(index))
        done = np.ones(len(phases), np.bool_)  # a wait for what is no mbarrier was told, and passes
        for position, thread, it in d.mbarriers.each(index, machine.each(index, address(index)), inst.opcode):
            phase = int(phases[position])
            if parity:  # of the phase under way, or of the one before
                phase = it.phase if it.phase % 2 == phase % 2 else it.phase - 1
            done[position] = d.mbarriers.waits(index, position, thread, it, phase)
        d.mbarriers.idle += not done.all()
        put(index, done)

    return run


OPERATIONS: dict[str, Callable[[Decoder, Instruction], Step]] = {
    "init": _init, "inval": _inval, "expect_tx": _bytes(1), "complete_tx": _bytes(-1), "arrive": _arrive,
    "arrive_drop": _arrive, "test_wait": _wait, "try_wait": _wait,
}  # fmt: skip


def arrive_after_copies(d: Decoder, inst: Instruction) -> Step:
    """cp.async.mbarrier.arrive: an arrival once the thread's cp.async are done, which they are made to be here."""
    address, machine, extra = d.address(inst.operands[0]), d.machine, "noinc" not in inst.parts

    def run(index: Index) -> None:
        d.copies.wait(index, 0, uncommitted=True)
        for position, thread, it in d.mbarriers.each(index, machine.each(index, address(index)), inst.opcode):
            it.pending += extra
            d.mbarriers.arrive(index, position, thread, it, 1)

    return run


def bulk_copy(d: Decoder, inst: Instruction) -> Step:
    """cp.async.bulk from global to shared memory, told to an mbarrier."""
    if inst.parts[3] not in ("shared::cluster", "shared::cta") or "global" not in inst.parts or "tensor" in inst.parts:
        raise KeyError(inst.opcode)
    to, source, size = d.address(inst.operands[0]), d.address(inst.operands[1]), d.get(inst.operands[2], "u32")
    told, machine = d.address(inst.operands[3]), d.machine

    def each(index: Index, get: Getter) -> Array:
        return machine.each(index, get(index))

    def run(index: Index) -> None:
        targets, sources, sizes = each(index, to), each(index, source), each(index, size)
        for position, thread, it in d.mbarriers.each(index, each(index, told), inst.opcode):
            amount = int(sizes[position])
            if amount % 16:
                raise machine.fault(f"cp.async.bulk of {amount} bytes, which 16 does not divide", index,
                                    np.asarray([position]))
            it.copies.append(_begin(d.memory, d.shared, machine, thread, targets[position], sources[position], amount))

    return run


def _begin(memory: "Memory", shared: SharedMemory, machine: Machine, thread: int, to: Any, source: Any,
           amount: int) -> Bulk:
    """Read now, and mark where the bytes will go."""
    pieces = np.arange(0, amount, 16, dtype=np.uint64)
    threads = np.full(len(pieces), thread)
    flat = shared.place(threads, to + pieces, 16)
    shared.touch(threads, flat, 16, WRITE)
    shared.fill(flat, 16, True)
    low, high = memory.load(machine, threads, source + pieces, 8, 2)
    return Bulk(thread, int(flat[0]), np.stack([low, high], axis=1).view(np.uint8).reshape(-1))
