"""Global memory: the argument arrays themselves, each an allocation with bounds, and loads and stores in every space.

Device addresses are made up: allocation k begins in the middle of its own tebibyte, keeping the low bits of the host
address (so that alignment is what the array's is). An address out of every array is thus always found, however far off.
Host addresses of the arrays, as tables of pointers in memory hold them, mean the same places.
"""

import ctypes
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rtriton.backend.ptx.emulate.decode import DTYPES, Decoder, family
from rtriton.backend.ptx.emulate.local import LOCAL_WINDOW
from rtriton.backend.ptx.emulate.parse import Address, Instruction
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

    def address(self, array: Array, name: str = "", poison: bool = False) -> int:
        """The device address of an array's first element; the array becomes accessible."""
        low, high = extent(array)
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
        """`count` neighbouring values of `size` bytes per thread, as unsigned integers."""
        total, address = size * count, self._on_device(address)
        found: list[Array] | None = None
        for allocation, chosen in self._split(machine, index, address, total):
            offset = self._check(machine, index, allocation, address, chosen, total)
            if allocation.written is not None:
                self._check_written(machine, index, allocation, offset, chosen, total)
            values = [_gather(allocation, offset, size, i) for i in range(count)]
            if chosen is None:
                return values
            found = found or [np.zeros(len(address), STORAGE[8 * size]) for _ in range(count)]
            for whole, part in zip(found, values, strict=True):
                whole[chosen] = part
        return found or []

    def store(self, machine: Machine, index: Index, address: Array, values: list[Array], size: int) -> None:
        """Write neighbouring values of `size` bytes per thread."""
        total, address = size * len(values), self._on_device(address)
        for allocation, chosen in self._split(machine, index, address, total):
            offset = self._check(machine, index, allocation, address, chosen, total)
            if not allocation.writable:
                raise machine.fault(f"store into {allocation.name}, which is read-only", index, np.zeros(1, np.intp))
            if allocation.written is not None:
                allocation.written[offset[:, None] + np.arange(total)] = True
            for i, value in enumerate(values):
                _scatter(allocation, offset, size, i, value if chosen is None or not value.shape else value[chosen])

    def place(self, machine: Machine, index: Index, address: Array, size: int) -> tuple[Array, Array]:
        """For an atomic: the typed view and the element each thread means; all must be in one allocation."""
        address = self._on_device(address)
        parts = list(self._split(machine, index, address, size))
        if len(parts) > 1:
            raise machine.fault("one atomic instruction on several arrays is not emulated", index, np.zeros(1, np.intp))
        allocation, chosen = parts[0]
        offset = self._check(machine, index, allocation, address, chosen, size)
        view = allocation.view(size)
        if view is None:
            raise machine.fault(f"atomic on {allocation.name}, whose start is not aligned to {size}", index,
                                np.zeros(1, np.intp))
        if allocation.written is not None:
            self._check_written(machine, index, allocation, offset, chosen, size)
        return view, offset // size

    def _split(self, machine: Machine, index: Index, address: Array, total: int) -> list[tuple[Allocation, Any]]:
        """Allocations that the threads mean, with the positions of each (None for all)."""
        numbers = address >> np.uint64(SPACING)
        first = int(numbers[0])
        if (numbers == numbers[0]).all():
            return [(self._allocation(machine, index, address, first, 0, total), None)]
        found = list[tuple[Allocation, Any]]()
        for number in np.unique(numbers):
            chosen = np.flatnonzero(numbers == number)
            found.append((self._allocation(machine, index, address, int(number), int(chosen[0]), total), chosen))
        return found

    def _allocation(self, machine: Machine, index: Index, address: Array, number: int, at: int,
                    total: int) -> Allocation:
        if 1 <= number <= len(self.allocations):
            return self.allocations[number - 1]
        value = int(address[at])
        raise machine.fault(f"{total}-byte access at address {value:#x}, which is in no array", index, np.asarray([at]))

    def _check(self, machine: Machine, index: Index, allocation: Allocation, address: Array, chosen: Any,
               total: int) -> Array:
        here = address if chosen is None else address[chosen]
        relative = here - np.uint64(allocation.start)  # below the start it wraps to something huge
        room = len(allocation.data) - total
        bad = relative > np.uint64(room) if room >= 0 else np.ones(len(here), np.bool_)
        if bad.any():
            self._out_of_bounds(machine, index, allocation, relative, bad, chosen, total)
        if total > 1 and (here & np.uint64(total - 1)).any():
            lost = np.flatnonzero(here & np.uint64(total - 1))
            at = int(relative[lost[0]])
            raise machine.fault(f"misaligned access: {total} bytes at byte {at} of {allocation.name}, address "
                                f"{int(here[lost[0]]):#x}", index, lost if chosen is None else chosen[lost])
        return relative.astype(np.intp)

    def _out_of_bounds(self, machine: Machine, index: Index, allocation: Allocation, relative: Array, bad: Array,
                       chosen: Any, total: int) -> None:
        lost = np.flatnonzero(bad)
        at = int(relative[lost[0]].astype(np.int64))
        off = f"{-at} bytes before" if at < 0 else f"{at + total - len(allocation.data)} bytes past the end of"
        raise machine.fault(f"out of bounds: {total} bytes at byte {at}, {off} {allocation.name} of "
                            f"{len(allocation.data)} bytes", index, lost if chosen is None else chosen[lost])

    def _check_written(self, machine: Machine, index: Index, allocation: Allocation, offset: Array, chosen: Any,
                       total: int) -> None:
        assert allocation.written is not None
        missing = np.flatnonzero(~allocation.written[offset[:, None] + np.arange(total)].all(1))
        if len(missing):
            raise machine.fault(f"uninitialised read: byte {int(offset[missing[0]])} of {allocation.name} was never "
                                "written", index, missing if chosen is None else chosen[missing])


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


def extent(array: Array) -> tuple[int, int]:
    """First byte, and one past the last, that an array's elements occupy."""
    low = high = array.ctypes.data
    if not array.size:
        return low, low
    for size, stride in zip(array.shape, array.strides, strict=True):
        if stride < 0:
            low += (size - 1) * stride
        else:
            high += (size - 1) * stride
    return low, high + array.itemsize


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

    def run(index: Index) -> None:
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
