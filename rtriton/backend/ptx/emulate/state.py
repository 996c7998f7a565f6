"""The machine: registers of all threads of a batch of CTAs, who runs where, and who a fault is told of.

Threads lie in one axis: CTA by CTA, warp by warp, 32 lanes each. An `Index` picks the threads that execute: `ALL` (the
usual case, whole arrays), another slice, or sorted thread numbers. A register is one array over all threads, of
unsigned integers of its width (bool for predicates), read through views of the instruction's type.
"""

import linecache
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rtriton.backend.ptx.emulate.findings import Findings
from rtriton.backend.ptx.emulate.program import Entry, Instruction, Program
from rtriton.backend.ptx.isa import WIDTHS
from rtriton.errors import EmulatorError, outside

Array = np.ndarray[Any, Any]
Index = slice | Array
Step = Callable[[Index], None]
ALL = slice(None)
where: Callable[[Any, Any, Any], Any] = np.where  # NumPy's own annotation knows too little about the results
LANES = 32
JUNK = 0xA5A5A5A5A5A5A5A5  # what an unwritten register holds where reading one is allowed

STORAGE: dict[int, type[np.generic]] = {1: np.bool_, 8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}


@dataclass
class Machine:
    """The state of one batch of CTAs of one launch."""

    program: Program
    entry: Entry
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    findings: Findings
    regs: list[Any] = field(default_factory=list[Any])
    init: list[Any] = field(default_factory=list[Any])  # None: never written, True: everywhere, else where
    strict: bool = True  # whether reading an unwritten register is a fault
    pc: int = 0
    steps: int = 0
    polled: bool = False  # an atomic or volatile access since the last backward branch: it may be a spin loop
    first_cta: int = 0
    ctas: int = 0
    live: Array = field(default_factory=lambda: np.zeros(0, np.bool_))
    _specials: dict[str, Array] = field(default_factory=dict[str, Array])

    @property
    def block_threads(self) -> int:
        """Threads of a CTA."""
        return self.block[0] * self.block[1] * self.block[2]

    @property
    def warps(self) -> int:
        """Warps of a CTA; the last may be partly empty."""
        return -(-self.block_threads // LANES)

    @property
    def padded(self) -> int:
        """Places for threads of a CTA."""
        return self.warps * LANES

    def reset(self, first_cta: int, ctas: int) -> Index:
        """Begin a batch: fresh registers, and the threads that start."""
        self.first_cta, self.ctas = first_cta, ctas
        self.threads = ctas * self.padded
        self.shape = (self.threads,)
        self.regs[:] = [None] * len(self.regs)
        self.init[:] = [None] * len(self.init)
        self._specials = {}
        place = np.arange(self.threads)
        self.cta_of = place // self.padded
        self.warp_of = place % self.padded // LANES
        self.live = place % self.padded < self.block_threads
        return ALL if bool(self.live.all()) else np.flatnonzero(self.live)

    def pick(self, index: Index, mask: Array) -> Index | None:
        """The threads of `index` where `mask` (one entry per thread of index) holds; None if there are none."""
        if mask.all():
            return index
        chosen = np.flatnonzero(mask)
        if not len(chosen):
            return None
        if isinstance(index, slice):
            return as_slice(chosen + index.start if index.start else chosen)
        return as_slice(index[chosen])

    def numbers(self, index: Index) -> Array:
        """Thread numbers of an index."""
        return np.arange(self.threads)[index] if isinstance(index, slice) else index

    def each(self, index: Index, value: Any) -> Array:
        """A getter's result as one value per thread: literals and symbols come as one for all."""
        return value if value.shape else np.full(len(self.numbers(index)), value)

    def join(self, *parts: Index) -> Index:
        """All threads of several indices."""
        if len(parts) == 1:
            return parts[0]
        joined = np.sort(np.concatenate([self.numbers(part) for part in parts]))
        return ALL if len(joined) == self.threads else as_slice(joined)

    def special(self, name: str) -> Array:
        """A special register's value in every thread."""
        if name in ("%clock", "%clock64", "%clock_hi", "%globaltimer", "%globaltimer_lo"):
            return np.full(self.shape, self.steps, np.uint64)
        if name not in self._specials:
            self._specials[name] = self._special(name)
        return self._specials[name]

    def _special(self, name: str) -> Array:
        inside = np.arange(self.threads) % self.padded
        cta = self.cta_of + self.first_cta
        base, _, axis = name.partition(".")
        position = "xyz".index(axis) if axis else 0
        values: dict[str, Callable[[], Any]] = {
            "%tid": lambda: _unravel(inside, self.block)[position],
            "%ntid": lambda: self.block[position],
            "%ctaid": lambda: _unravel(cta, self.grid)[position],
            "%nctaid": lambda: self.grid[position],
            "%laneid": lambda: inside % LANES,
            "%warpid": lambda: inside // LANES,
            "%nwarpid": lambda: self.warps,
            "%smid": lambda: cta % 132,
            "%nsmid": lambda: 132,
            "%gridid": lambda: 0,
            "%lanemask_eq": lambda: 1 << (inside % LANES),
            "%lanemask_lt": lambda: (1 << (inside % LANES)) - 1,
            "%lanemask_le": lambda: (2 << (inside % LANES)) - 1,
            "%lanemask_gt": lambda: 0xFFFFFFFF & ~((2 << (inside % LANES)) - 1),
            "%lanemask_ge": lambda: 0xFFFFFFFF & ~((1 << (inside % LANES)) - 1),
            "%cluster_ctaid": lambda: 0, "%cluster_nctaid": lambda: 1,
            "%cluster_ctarank": lambda: 0, "%cluster_nctarank": lambda: 1,
        }
        if base not in values:
            raise self.fault(f"{name} is neither a register of this entry nor a special register that is emulated")
        return np.broadcast_to(np.asarray(values[base](), np.uint64), self.shape)

    def read_before_write(self, register: int, index: Index) -> None:
        """Called where a register may be unwritten: note a fault if any executing thread has not written it."""
        written = self.init[register]
        missing = np.ones(self.shape, np.bool_) if written is None else ~written
        lost = np.flatnonzero(missing[index])
        if not len(lost):
            return
        name, type = list(self.entry.registers.items())[register]
        if self.strict:
            self.note(f"uninitialised read: register {name.split('@')[0]} is read before anything is written to it",
                      index, lost)
        storage = STORAGE[WIDTHS[type]]
        self.partial(register, storage)[missing] = np.asarray(JUNK).astype(storage)
        self.init[register] = True

    def partial(self, register: int, storage: type[np.generic]) -> Array:
        """A register's array, to write some threads of."""
        if self.regs[register] is None:
            self.regs[register] = np.zeros(self.shape, storage)
        return self.regs[register]

    def mark(self, register: int, index: Index) -> None:
        """Note that these threads have written a register."""
        if self.init[register] is None:
            self.init[register] = ~self.live  # places without a thread, and threads that ended, never read
        self.init[register][index] = True
        if self.init[register].all():
            self.init[register] = True

    def note(self, problem: str, index: Index | None = None, positions: Array | None = None, *notes: str) -> None:
        """Note a fault that the kernel survives, of the threads at `positions` within `index`, where it stands now."""
        inst = self.entry.code[min(self.pc, len(self.entry.code) - 1)]
        told = (*self.told(inst, index, positions), *notes)
        self.findings.add(problem, self.program.span(inst.place), told, inst.line)

    def doubt(self, problem: str, index: Index, positions: Array, *notes: str) -> None:
        """Note a warning."""
        inst = self.entry.code[self.pc]
        told = (*self.told(inst, index, positions), *notes)
        self.findings.doubt(problem, self.program.span(inst.place), told, inst.line)

    def fault(self, problem: str, index: Index | None = None, positions: Array | None = None,
              *notes: str) -> EmulatorError:
        """The error for a fault that ends the launch: it tells what was found before as well."""
        self.note(problem, index, positions, *notes)
        return self.findings.error()

    def told(self, inst: Instruction, index: Index | None = None, positions: Array | None = None) -> tuple[str, ...]:
        """Who executes an instruction, and its line."""
        where = f"kernel {self.entry.name}, {self.program.shown(inst)}"
        if index is None or positions is None or not len(positions):
            return (where,)
        return self.whose(int(self.numbers(index)[positions[0]]), len(positions)), where

    def whose(self, thread: int, many: int = 1) -> str:
        """Name a thread as its kernel knows it."""
        inside = thread % self.padded
        others = f", and {many - 1} more threads" if many > 1 else ""
        return (f"in program {self.program_of(thread)}, warp {inside // LANES}, lane {inside % LANES} "
                f"(thread {inside}){others}")

    def program_of(self, thread: int) -> tuple[int, ...]:
        """The program (CTA) of a thread, by its three numbers."""
        return self.numbered(int(self.cta_of[thread]) + self.first_cta)

    def numbered(self, program: int) -> tuple[int, ...]:
        """The three numbers of a program, by its place among all."""
        return tuple(int(part) for part in _unravel(np.asarray(program), self.grid))

    def other(self, did: str, pc: int) -> str:
        """A note on another instruction that takes part in a fault."""
        inst = self.entry.code[pc]
        span = outside(self.program.span(inst.place))
        source = linecache.getline(span.file, span.line).strip()
        place = f"{span}: {source}" if source else str(span)
        return f"{did} {f'at {place} (' if inst.place else 'at '}{self.program.shown(inst)}{')' if inst.place else ''}"


def as_slice(numbers: Array) -> Index:
    """Sorted thread numbers, as a slice where they are consecutive: slices make views, not copies."""
    if numbers[-1] - numbers[0] + 1 == len(numbers):
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return numbers


def _unravel(number: Array, sizes: tuple[int, int, int]) -> tuple[Array, Array, Array]:
    """x fastest, as CUDA counts."""
    return number % sizes[0], number // sizes[0] % sizes[1], number // (sizes[0] * sizes[1])
