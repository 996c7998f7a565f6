"""From an instruction to a closure: operand readers and result writers, and the registry of instruction families.

A family is a function `(Decoder, Instruction) -> Step`, registered under the opcode's first word. It reads its operands
once into getters and putters and returns a step that executes for the threads of an `Index`. Results given to a putter
must be fresh arrays, for a putter keeps them as the register when all threads run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rtriton.backend.ptx.emulate.legal import problem
from rtriton.backend.ptx.emulate.program import (
    Address, Entry, Group, Instruction, Literal, Name, Negated, Operand, Pair,
)
from rtriton.backend.ptx.emulate.state import ALL, STORAGE, Array, Index, Machine, Step
from rtriton.backend.ptx.isa import WIDTHS
from rtriton.errors import EmulatorError

if TYPE_CHECKING:
    from rtriton.backend.ptx.emulate.async_copy import AsyncCopies
    from rtriton.backend.ptx.emulate.barriers import Barriers
    from rtriton.backend.ptx.emulate.local import LocalMemory
    from rtriton.backend.ptx.emulate.mbarrier import Mbarriers
    from rtriton.backend.ptx.emulate.memory import Memory
    from rtriton.backend.ptx.emulate.shared import SharedMemory

Getter = Callable[[Index], Any]
Putter = Callable[[Index, Any], None]
Family = Callable[["Decoder", Instruction], Step]

FAMILIES: dict[str, Family] = {}

DTYPES: dict[str, np.dtype[Any]] = {
    **{f"{letter}{bits}": np.dtype(f"{'int' if letter == 's' else 'uint'}{bits}")
       for letter in "bsu" for bits in (8, 16, 32, 64)},
    "f16": np.dtype(np.float16), "f32": np.dtype(np.float32), "f64": np.dtype(np.float64),
    "bf16": np.dtype(np.uint16), "f16x2": np.dtype(np.uint32), "bf16x2": np.dtype(np.uint32),
    "s16x2": np.dtype(np.uint32), "u16x2": np.dtype(np.uint32), "tf32": np.dtype(np.uint32),
    "e4m3x2": np.dtype(np.uint16), "e5m2x2": np.dtype(np.uint16), "pred": np.dtype(np.bool_),
}


def family(*names: str) -> Callable[[Family], Family]:
    """Register how opcodes that begin with one of these words execute."""
    def register(function: Family) -> Family:
        FAMILIES.update(dict.fromkeys(names, function))
        return function

    return register


@dataclass
class Decoder:
    """What families need to turn operands into getters and putters for one machine."""

    machine: Machine
    entry: Entry
    memory: "Memory"
    shared: "SharedMemory"
    local: "LocalMemory"
    barriers: "Barriers"
    copies: "AsyncCopies"
    mbarriers: "Mbarriers"
    numbers: dict[str, int]
    params: dict[str, tuple[bytes, str]]
    symbols: dict[str, int]

    def decode(self, inst: Instruction) -> Step:
        """The step of an instruction, its guard included."""
        found = FAMILIES.get(inst.parts[0])
        if found is None or self._of_a_call(inst):
            return self.refusal(inst)
        if wrong := problem(inst, self.entry.registers):
            raise self.fail(inst, wrong)
        try:
            step = found(self, inst)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise self.fail(inst, f"{inst.opcode} is not emulated in this form ({error!r})") from error
        return self.guarded(step, inst) if inst.guard else step

    def _of_a_call(self, inst: Instruction) -> bool:
        """Whether an instruction moves the arguments or results of a call that is not emulated."""
        if inst.parts[1:2] != ("param",):
            return False
        places = [item.base for item in inst.operands if isinstance(item, Address)]
        known = self.numbers if inst.parts[0] == "st" else self.params
        return any(base is None or base.text not in known for base in places)

    def refusal(self, inst: Instruction) -> Step:
        """Unknown instructions, calls among them, are an error where one is reached."""
        def run(index: Index) -> None:
            raise self.fail(inst, f"{inst.opcode} is not emulated")

        return self.guarded(run, inst) if inst.guard else run

    def fail(self, inst: Instruction, problem: str) -> EmulatorError:
        """An error in the module itself."""
        self.machine.pc = self.entry.code.index(inst)
        return self.machine.fault(problem)

    def guarded(self, step: Step, inst: Instruction) -> Step:
        """Execute only where the guard holds."""
        assert inst.guard is not None
        holds, pick = self.get(Name(inst.guard), "pred"), self.machine.pick
        negated = inst.negated

        def run(index: Index) -> None:
            mask = holds(index)
            chosen = pick(index, ~mask if negated else mask)
            if chosen is not None:
                step(chosen)

        return run

    def get(self, operand: Operand, type: str) -> Getter:
        """Read an operand as a PTX type: an array over the index, or a NumPy scalar for a literal."""
        if isinstance(operand, Literal):
            value = literal(operand, type)
            return lambda index: value
        if isinstance(operand, Negated):
            inner = self.get(operand.name, "pred")
            return lambda index: ~inner(index)
        if not isinstance(operand, Name):
            raise TypeError(f"wanted a {type} value, got {operand}")
        if operand.text in self.numbers:
            return self._register(self.numbers[operand.text], DTYPES[type])
        if operand.text in self.symbols:
            address = np.asarray(self.symbols[operand.text], np.uint64).astype(DTYPES[type])[()]
            return lambda index: address
        name, dtype, machine = operand.text, DTYPES[type], self.machine
        if not name.startswith("%"):
            raise TypeError(f"{name} is not declared")
        return lambda index: machine.special(name)[index].astype(dtype)

    def _register(self, number: int, dtype: np.dtype[Any]) -> Getter:
        machine = self.machine
        regs, init = machine.regs, machine.init
        bits = self.width(number)
        if (1 if dtype == np.bool_ else 8 * dtype.itemsize) == bits:
            def get(index: Index) -> Array:
                if init[number] is not True:
                    machine.read_before_write(number, index)
                return regs[number][index].view(dtype)

            return get
        narrow = np.dtype(STORAGE[8 * dtype.itemsize])

        def get_low(index: Index) -> Array:  # ld, st and cvt take the low bits of a wider register
            if init[number] is not True:
                machine.read_before_write(number, index)
            return regs[number][index].astype(narrow).view(dtype)

        return get_low

    def put(self, operand: Operand, type: str) -> Putter:
        """Write a result of a PTX type into a register, extended by its sign where the register is wider."""
        if not isinstance(operand, Name):
            raise TypeError(f"wanted a register for a {type} result, got {operand}")
        if operand.text == "_":
            return lambda index, value: None
        machine, number, dtype = self.machine, self.numbers[operand.text], DTYPES[type]
        regs, init, storage = machine.regs, machine.init, STORAGE[self.width(number)]
        wider = dtype != np.bool_ and np.dtype(storage).itemsize > dtype.itemsize
        extended = np.dtype(f"{'int' if dtype.kind == 'i' else 'uint'}{8 * np.dtype(storage).itemsize}")
        bits = dtype if dtype.kind in "iu" else np.dtype(STORAGE[8 * dtype.itemsize])

        def put(index: Index, value: Any) -> None:
            if wider:
                value = value.view(bits).astype(extended)
            if index is ALL:
                value = value.view(storage)
                regs[number] = value if value.shape == machine.shape else np.full(machine.shape, value, storage)
                init[number] = True
                return
            machine.partial(number, storage)[index] = value.view(storage)
            if init[number] is not True:
                machine.mark(number, index)

        return put

    def width(self, number: int) -> int:
        """Bits of a register."""
        return WIDTHS[self.types[number]]

    @property
    def types(self) -> list[str]:
        if not hasattr(self, "_types"):
            self._types = list(self.entry.registers.values())
        return self._types

    def gets(self, operand: Operand, type: str) -> list[Getter]:
        """Readers of a vector's elements; a scalar counts as a vector of one."""
        return [self.get(item, type) for item in (operand.items if isinstance(operand, Group) else (operand,))]

    def puts(self, operand: Operand, type: str) -> list[Putter]:
        """Writers of a vector's elements."""
        return [self.put(item, type) for item in (operand.items if isinstance(operand, Group) else (operand,))]

    def results(self, operand: Operand) -> tuple[Operand, Operand]:
        """The two results of `d|p`; the second is a sink where it is left out."""
        return (operand.first, operand.second) if isinstance(operand, Pair) else (operand, Name("_"))

    def address(self, operand: Operand) -> Getter:
        """Read an address operand as unsigned 64-bit numbers, one per thread or one for all."""
        if not isinstance(operand, Address):
            raise TypeError(f"wanted an address, got {operand}")
        offset = np.uint64(operand.offset % (1 << 64))
        if operand.base is None:
            return lambda index: offset
        name = operand.base.text
        type = "u64"
        if name in self.numbers and self.width(self.numbers[name]) == 32:
            type = "u32"
        base = self.get(operand.base, type)
        if type == "u32":
            narrow = np.uint32(operand.offset % (1 << 32))
            return lambda index: (base(index) + narrow).astype(np.uint64)
        return base if not operand.offset else (lambda index: base(index) + offset)


def literal(operand: Literal, type: str) -> Any:
    """A number of the text as a NumPy scalar of a PTX type."""
    dtype = DTYPES[type]
    if dtype == np.bool_:
        return np.bool_(operand.value != 0)
    if dtype.kind == "f":
        if operand.kind == "int":
            return dtype.type(operand.value)
        wide = np.uint32(operand.value).view(np.float32) if operand.kind == "f32" else \
            np.uint64(operand.value).view(np.float64)
        return dtype.type(wide)
    bits = 8 * dtype.itemsize
    if operand.kind == "f64" and bits == 32:  # a decimal fraction where 32 bits are wanted
        return np.float32(np.uint64(operand.value).view(np.float64)).view(dtype)
    return np.asarray(operand.value % (1 << bits), STORAGE[bits]).view(dtype)[()]
