"""Global memory: the argument arrays themselves, each an allocation with bounds, and loads and stores in every space.

Device addresses are made up: allocation k begins in the middle of its own tebibyte, keeping the low bits of the host
address (so that alignment is what the array's is). An address out of every array is thus always found, however far off.
Host addresses of the arrays, as tables of pointers in memory hold them, mean the same places.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rtriton.arrays import occupied
from rtriton.backend.ptx.emulate.decode import DTYPES, Decoder, family
from rtriton.backend.ptx.emulate.global_race import GlobalRaces
from rtriton.backend.ptx.emulate.local import LOCAL_WINDOW
from rtriton.backend.ptx.emulate.program import Address, Instruction
from rtriton.backend.ptx.emulate.shared import SHARED_WINDOW
from rtriton.backend.ptx.emulate.state import STORAGE, Array, Index, Machine, Step

SPACING = 40  # log2 of the distance between allocations
MIDDLE = 1 << (SPACING - 1)
KEPT_BITS = 0xFF  # of the host address


@dataclass
class Allocation:
    """Bytes that the kernel may touch."""

    name: str
    start: int
    data: Array  # uint8, aliasing the owner's memory
    owner: Any
    writable: bool
    written: Array | None = None  # for poisoned arrays: which bytes hold a value
    views: dict[int, Array] = field(default_factory=dict[int, Array])

    def view(self, size: int) -> Array | None:
        """The data as unsigned integers of `size` bytes, or None where its start is not so aligned."""
        if self.start % size:
            return None
        if size not in self.views:
            self.views[size] = self.data[: len(self.data) // size * size].view(STORAGE[8 * size])
        return self.views[size]


class Memory:
    """All allocations of a launch. `address(array)` gives the device address of an array, for tables of pointers."""

    def __init__(self) -> None:
        self.allocations: list[Allocation] = []
        self.races: GlobalRaces | None = None

    def address(self, array: Array, name: str = "", poison: bool = False) -> int:
        """The device address of an array's first element; the array becomes accessible."""
        low, high = occupied(array.ctypes.data, array.shape, array.strides, array.itemsize)
        for allocation in self.allocations:
            start = allocation.data.ctypes.data
            if root(array) is allocation.owner and start <= low and high <= start + len(allocation.data):
                return allocation.start + array.ctypes.data - start
        memory: Any = (ctypes.c_uint8 * (high - low)).from_address(low)
        data = np.ctypeslib.as_array(memory) if high > low else np.zeros(0, np.uint8)
        start = (len(self.allocations) + 1 << SPACING) + MIDDLE + (low & KEPT_BITS)
        written = np.zeros(len(data), np.bool_) if poison else None
        name = name or f"array {len(self.allocations)}"
        self.allocations.append(Allocation(f"{name} ({array.dtype}{list(array.shape)})", start, data, root(array),
                                           bool(array.flags.writeable), written))
        return start + array.ctypes.data - low

    def _on_device(self, address: Array) -> Array:
        """Addresses of the host become those that were made up for them."""
        strange = address >= np.uint64(len(self.allocations) + 2 << SPACING)
        if not strange.any():
            return address
        for allocation in self.allocations:
            start = np.uint64(allocation.data.ctypes.data)
            inside = strange & (address >= start) & (address < start + np.uint64(len(allocation.data)))
            address = np.where(inside, address - start + np.uint64(allocation.start), address)
        return address

    def load(self, machine: Machine, index: Index, address: Array, size: int, count: int) -> list[Array]:
        """`count` neighbouring values of `size` bytes per thread, as unsigned integers; zero where nothing is."""
        total, address = size * count, self._on_device(address)
        found: list[Array] | None = None
        for allocation, chosen, offset in self._split(machine, index, address, total):
            if allocation.written is not None:
                self._check_written(machine, index, allocation, offset, chosen, total)
            if self.races:
                self.races.read(index, allocation, offset, chosen, total)
            values = [_gather(allocation, offset, size, i) for i in range(count)]
            if chosen is None:
                return values
            found = found or [np.zeros(len(address), STORAGE[8 * size]) for _ in range(count)]
            for whole, part in zip(found, values, strict=True):
                whole[chosen] = part
        return found or [np.zeros(len(address), STORAGE[8 * size]) for _ in range(count)]

    def store(self, machine: Machine, index: Index, address: Array, values: list[Array], size: int) -> None:
        """Write neighbouring values of `size` bytes per thread."""
        total, address = size * len(values), self._on_device(address)
        for allocation, chosen, offset in self._split(machine, index, address, total):
            if not allocation.writable:
                machine.note(f"store into {allocation.name}, which is read-only", index, np.zeros(1, np.intp))
                continue
            if allocation.written is not None:
                allocation.written[offset[:, None] + np.arange(total)] = True
            parts = [value if chosen is None or not value.shape else value[chosen] for value in values]
            access = None
            if self.races:
                changed = _differs(allocation, offset, size, parts)
                access = self.races.write(index, allocation, offset, chosen, total, changed)
            for i, part in enumerate(parts):
                _scatter(allocation, offset, size, i, part)
            if self.races and access and (lost := _differs(allocation, offset, size, parts)).any():
                self.races.overwritten(access, lost)

    def place(self, machine: Machine, index: Index, address: Array, size: int) -> Iterator[tuple[Array, Array, Any]]:
        """For an atomic: typed views, the elements that threads mean, and the positions of those (None for all)."""
        address = self._on_device(address)
        for allocation, chosen, offset in self._split(machine, index, address, size):
            view = allocation.view(size)
            if view is None or not allocation.writable:
                why = "is read-only" if view is not None else f"begins at an address that {size} does not divide"
                machine.note(f"atomic on {allocation.name}, which {why}", index, np.zeros(1, np.intp))
                continue
            if allocation.written is not None:
                self._check_written(machine, index, allocation, offset, chosen, size)
            if self.races:
                self.races.sync(index)
            yield view, offset // size, chosen

    def _split(self, machine: Machine, index: Index, address: Array,
               total: int) -> Iterator[tuple[Allocation, Any, Array]]:
        """Allocations that threads mean, the positions of those (None for all), and byte offsets; wrong addresses are
        noted and left out."""
        numbers = address >> np.uint64(SPACING)
        whole = bool((numbers == numbers[0]).all())
        for number in numbers[:1] if whole else np.unique(numbers):
            chosen = None if whole else np.flatnonzero(numbers == number)
            if not 1 <= int(number) <= len(self.allocations):
                lost = np.arange(len(address)) if chosen is None else chosen
                value = int(address[lost[0]])
                machine.note(f"out of bounds: {total} bytes at address {value:#x}, which is in no array", index, lost)
                continue
            allocation = self.allocations[int(number) - 1]
            here = address if chosen is None else address[chosen]
            relative = here - np.uint64(allocation.start)  # below the start it wraps to something huge
            bad = self._wrong(machine, index, allocation, here, relative, chosen, total)
            if bad is not None:
                good = np.flatnonzero(~bad)
                if not len(good):
                    continue
                chosen, relative = good if chosen is None else chosen[good], relative[good]
            yield allocation, chosen, relative.astype(np.intp)

    def _wrong(self, machine: Machine, index: Index, allocation: Allocation, here: Array, relative: Array,
               chosen: Any, total: int) -> Array | None:
        """Which accesses leave an allocation or are not aligned; None if none does."""
        room = len(allocation.data) - total
        outside = relative > np.uint64(room) if room >= 0 else np.ones(len(here), np.bool_)
        askew = (here & np.uint64(total - 1)) != 0
        if not outside.any() and not askew.any():
            return None
        for wrong, tell in ((outside, _leaves), (askew & ~outside, _lies_askew)):
            if wrong.any():
                lost = np.flatnonzero(wrong)
                problem = tell(allocation, int(relative[lost[0]].astype(np.int64)), int(here[lost[0]]), total)
                machine.note(problem, index, lost if chosen is None else chosen[lost])
        return outside | askew

    def _check_written(self, machine: Machine, index: Index, allocation: Allocation, offset: Array, chosen: Any,
                       total: int) -> None:
        assert allocation.written is not None
        touched = offset[:, None] + np.arange(total)
        missing = np.flatnonzero(~allocation.written[touched].all(1))
        if len(missing):
            machine.note(f"uninitialised read: byte {int(offset[missing[0]])} of {allocation.name} was never written",
                         index, missing if chosen is None else chosen[missing])
            allocation.written[touched] = True


def _leaves(allocation: Allocation, at: int, address: int, total: int) -> str:
    off = f"{-at} bytes before" if at < 0 else f"{at + total - len(allocation.data)} bytes past the end of"
    return f"out of bounds: {total} bytes at byte {at}, {off} {allocation.name} of {len(allocation.data)} bytes"


def _lies_askew(allocation: Allocation, at: int, address: int, total: int) -> str:
    return f"misaligned access: {total} bytes at byte {at} of {allocation.name}, address {address:#x}"


def _differs(allocation: Allocation, offset: Array, size: int, values: list[Array]) -> Array:
    """Which threads' values are not what memory holds."""
    differs = np.zeros(len(offset), np.bool_)
    for i, value in enumerate(values):
        differs |= _gather(allocation, offset, size, i) != value
    return differs


def _gather(allocation: Allocation, offset: Array, size: int, element: int) -> Array:
    view = allocation.view(size)
    if view is not None:
        return view[offset // size + element]
    raw = allocation.data[(offset + element * size)[:, None] + np.arange(size)]
    return raw.view(STORAGE[8 * size]).reshape(-1)


def _scatter(allocation: Allocation, offset: Array, size: int, element: int, value: Array) -> None:
    view = allocation.view(size)
    if view is not None:
        view[offset // size + element] = value
        return
    raw = np.ascontiguousarray(np.broadcast_to(value, offset.shape)).view(np.uint8).reshape(-1, size)
    allocation.data[(offset + element * size)[:, None] + np.arange(size)] = raw


def root(array: Array) -> Any:
    """The array that owns the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


@family("ld")
def ld(d: Decoder, inst: Instruction) -> Step:
    """Loads from every space; cache and eviction words change no value."""
    type, count = inst.parts[-1], _count(inst)
    if "param" in inst.parts:
        return _ld_param(d, inst, type, count)
    puts, address = d.puts(inst.operands[0], type), d.address(inst.operands[1])
    machine, size, dtype = d.machine, DTYPES[type].itemsize, DTYPES[type]
    load = _route(d, inst, "load")
    polling = not {"volatile", "relaxed", "acquire"}.isdisjoint(inst.parts)

    def run(index: Index) -> None:
        if polling:
            machine.polled = True
            if d.memory.races:
                d.memory.races.sync(index)
        values = load(machine, index, machine.each(index, address(index)), size, count)
        for put, value in zip(puts, values, strict=True):
            put(index, value.view(dtype))

    return run


def _ld_param(d: Decoder, inst: Instruction, type: str, count: int) -> Step:
    where = inst.operands[1]
    assert isinstance(where, Address) and where.base is not None
    data, dtype = d.params[where.base.text][0], DTYPES[type]
    if not 0 <= where.offset <= len(data) - count * dtype.itemsize:
        raise d.fail(inst, f"parameter {where.base.text} has {len(data)} bytes")
    puts = d.puts(inst.operands[0], type)
    values = np.frombuffer(data, dtype, count=count, offset=where.offset).copy()

    def run(index: Index) -> None:
        for put, value in zip(puts, values, strict=True):
            put(index, value)

    return run


@family("st")
def st(d: Decoder, inst: Instruction) -> Step:
    """Stores to every space."""
    type = inst.parts[-1]
    if "param" in inst.parts:
        from rtriton.backend.ptx.emulate.calls import st_param

        return st_param(d, inst)
    gets, address = d.gets(inst.operands[1], type), d.address(inst.operands[0])
    machine, dtype = d.machine, np.dtype(STORAGE[8 * DTYPES[type].itemsize])
    store = _route(d, inst, "store")
    publishing = not {"volatile", "relaxed", "release"}.isdisjoint(inst.parts)

    def run(index: Index) -> None:
        if publishing and d.memory.races:
            d.memory.races.sync(index)
        store(machine, index, machine.each(index, address(index)), [get(index).view(dtype) for get in gets],
              dtype.itemsize)

    return run


def _count(inst: Instruction) -> int:
    return next((int(part[1:]) for part in inst.parts if part in ("v2", "v4", "v8")), 1)


def _route(d: Decoder, inst: Instruction, what: str) -> Any:
    """The space's own function, or one that tells generic addresses apart."""
    spaces = {part.split("::")[0] for part in inst.parts}
    if "global" in spaces or "const" in spaces:
        return getattr(d.memory, what)
    if "shared" in spaces:
        return getattr(d.shared, what)
    if "local" in spaces:
        return getattr(d.local, what)
    to_global, to_local, to_shared = (getattr(space, what) for space in (d.memory, d.local, d.shared))

    def run(machine: Machine, index: Index, address: Array, *rest: Any) -> Any:
        low, high = address.min(), address.max()
        if high < LOCAL_WINDOW:
            return to_global(machine, index, address, *rest)
        if low >= SHARED_WINDOW:
            return to_shared(machine, index, address - np.uint64(SHARED_WINDOW), *rest)
        if low >= LOCAL_WINDOW and high < SHARED_WINDOW:
            return to_local(machine, index, address - np.uint64(LOCAL_WINDOW), *rest)
        raise machine.fault("one generic access to memory of several spaces is not emulated", index,
                            np.flatnonzero(address >= LOCAL_WINDOW))

    return run


@family("cvta")
def cvta(d: Decoder, inst: Instruction) -> Step:
    """Between generic addresses and those of a space; global ones are the same."""
    get, put = d.get(inst.operands[1], "u64"), d.put(inst.operands[0], "u64")
    windows = {"shared": SHARED_WINDOW, "local": LOCAL_WINDOW}
    shift = next((windows[name] for part in inst.parts if (name := part.split("::")[0]) in windows), 0)
    change = np.uint64((-shift if "to" in inst.parts else shift) % (1 << 64))
    return lambda index: put(index, get(index) + change)


@family("prefetch", "prefetchu", "discard", "applypriority")
def hint(d: Decoder, inst: Instruction) -> Step:
    """Cache hints do nothing."""
    return lambda index: None


@family("createpolicy")
def createpolicy(d: Decoder, inst: Instruction) -> Step:
    """A cache policy is an opaque number."""
    put = d.put(inst.operands[0], "b64")
    return lambda index: put(index, np.uint64(0))
