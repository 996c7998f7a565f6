"""What stands in an instruction: registers, literals, addresses, labels; and the checks of them against the table."""

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rtriton.backend.ptx.isa import Form, Operand, Version, register_class, width


class Located(Protocol):
    """A place in the user's program: in `function`, which was inlined where `caller` is (None: it is the kernel)."""

    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def col(self) -> int: ...
    @property
    def function(self) -> str: ...
    @property
    def caller(self) -> "Located | None": ...


PREFIX = {"pred": "%p", "b16": "%h", "b32": "%r", "b64": "%rd"}
LOCAL = "local_memory"  # the name of each thread's own buffer
SHARED = "shared_memory"  # the name of the dynamic shared memory, whose size is given at launch


@dataclass(frozen=True, slots=True)
class Reg:
    """A virtual register: untyped bits of one width (`pred`, `b16`, `b32`, `b64`)."""

    type: str
    index: int

    def __invert__(self) -> "Not":
        return Not(self)

    def __str__(self) -> str:
        return f"{PREFIX[self.type]}{self.index}"


@dataclass(frozen=True, slots=True)
class Not:
    """A negated predicate, as a guard or where the table says `!pred`."""

    reg: Reg

    def __str__(self) -> str:
        return f"!{self.reg}"


@dataclass(frozen=True, slots=True)
class Imm:
    """A literal of a PTX type."""

    type: str
    value: int | float

    def __str__(self) -> str:
        if self.type == "f32":
            return "0f" + struct.pack(">f", self.value).hex().upper()
        if self.type == "f64":
            return "0d" + struct.pack(">d", self.value).hex().upper()
        return str(int(self.value))


@dataclass(frozen=True, slots=True)
class Special:
    """A special register: `Special("tid.x")`, `Special("laneid")`."""

    name: str

    def __str__(self) -> str:
        return f"%{self.name}"


@dataclass(frozen=True, slots=True)
class Symbol:
    """A named place: a parameter or the shared memory."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Mem:
    """An address: a register or symbol plus a constant number of bytes."""

    base: Reg | Symbol
    offset: int = 0

    def __str__(self) -> str:
        return f"[{self.base}+{self.offset}]" if self.offset else f"[{self.base}]"


@dataclass(frozen=True, slots=True)
class Vec:
    """Several registers in braces."""

    regs: tuple[Reg, ...]

    def __str__(self) -> str:
        return "{" + ", ".join(map(str, self.regs)) + "}"


@dataclass(frozen=True, slots=True)
class Label:
    """A branch target."""

    name: str

    def __str__(self) -> str:
        return f"${self.name}"


Argument = Reg | Not | Special | Symbol | Mem | Label | int | float | Sequence[Reg]
Printed = Reg | Not | Imm | Special | Symbol | Mem | Vec | Label


@dataclass(frozen=True, slots=True)
class Inst:
    """One instruction; vectors are `Vec`, a guard is a predicate or its negation. It is spaced as LLVM spaces PTX, so
    that programs that look for an instruction in Triton's PTX find it in ours."""

    opcode: str
    dsts: tuple[Reg | Vec, ...]
    srcs: tuple[Printed, ...]
    pred: Reg | Not | None = None
    span: Located | None = None

    def __str__(self) -> str:
        guard = f"@{self.pred} " if self.pred else ""
        places = ["|".join(map(str, self.dsts))] if self.dsts else []
        operands = ", ".join(places + [str(source) for source in self.srcs])
        return f"{guard}{self.opcode} \t{operands}".rstrip() + ";"


@dataclass(frozen=True, slots=True)
class Raw(Inst):
    """Text that is no single instruction: a call of the driver's, a user's assembly. `opcode` names what it is;
    `dsts` and `srcs` say which registers it writes and reads."""

    text: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Param:
    """A kernel parameter; `align` is what a pointer is known to be divisible by."""

    name: str
    type: str
    pointer: bool = False
    align: int = 1


@dataclass(frozen=True)
class Arch:
    """A chip: `sm_90a` is number 90 with the accelerated features."""

    number: int
    accelerated: bool

    @staticmethod
    def parse(name: str) -> "Arch":
        """Read `sm_80`; anything else is an error."""
        match = re.fullmatch(r"sm_(\d+)(a?)", name)
        if not match:
            raise ValueError(f"a target looks like sm_80 or sm_90a, got {name!r}")
        return Arch(int(match[1]), bool(match[2]))

    @property
    def version(self) -> Version:
        """The PTX version that first knew this chip."""
        if self.accelerated:
            return (8, 0)
        return (7, 8) if self.number >= 89 else (7, 0)


def operands(form: Form, args: Sequence[Argument]) -> tuple[Printed, ...]:
    """The operands of an instruction as they are printed; a TypeError says which one does not fit the form."""
    least = sum(not operand.optional for operand in form.srcs)
    if not least <= len(args) <= len(form.srcs):
        raise TypeError(f"wanted {least} to {len(form.srcs)} operands, got {len(args)}")
    return tuple(_operand(operand, arg, i) for i, (operand, arg) in enumerate(zip(form.srcs, args, strict=False)))


def _operand(operand: Operand, arg: Argument, position: int) -> Printed:
    where = f"operand {position}"
    if operand.kind == "mem":
        return _address(operand, arg, where)
    if operand.kind == "label":
        if isinstance(arg, Label):
            return arg
    elif operand.count:
        return _vector(operand, arg, where)
    elif isinstance(arg, int | float):
        return _immediate(operand, arg, where)
    elif (isinstance(arg, Special | Symbol) and operand.kind == "any") or (isinstance(arg, Not) and operand.negatable):
        return arg
    elif isinstance(arg, Reg) and operand.kind in ("reg", "any"):
        check_register(operand, arg, where)
        return arg
    raise TypeError(f"{where} wanted {operand.kind} {operand.type}, got {arg!r}")


def _vector(operand: Operand, arg: Argument, where: str) -> Vec:
    regs = tuple(arg) if isinstance(arg, Sequence) else ()
    if len(regs) != operand.count:
        raise TypeError(f"{where} wanted a vector of {operand.count} {operand.type}, got {arg!r}")
    for reg in regs:
        check_register(operand, reg, where)
    return Vec(regs)


def _address(operand: Operand, arg: Argument, where: str) -> Mem:
    mem = arg if isinstance(arg, Mem) else Mem(arg) if isinstance(arg, Reg | Symbol) else None
    if mem is None:
        raise TypeError(f"{where} wanted an address in {operand.type} memory, got {arg!r}")
    if isinstance(mem.base, Reg):
        allowed = {"shared": ("b32", "b64"), "param": ()}.get(operand.type, ("b64",))
        if mem.base.type not in allowed:
            got = f"{mem.base.type} register {mem.base}"
            raise TypeError(f"{where} wanted an address in {operand.type} memory, got {got}")
    return mem


def _immediate(operand: Operand, value: int | float, where: str) -> Imm:
    type = operand.type or "s32"
    if type in ("f32", "f64"):
        return Imm(type, float(value))
    if isinstance(value, float):
        raise TypeError(f"{where} wanted {type}, got the float {value}")
    if type in ("f16", "bf16", "f16x2", "bf16x2"):
        raise TypeError(f"{where}: PTX has no {type} literals, move the bits into a register first")
    bits = width(type)
    if not -(1 << (bits - 1)) <= value < 1 << bits:
        raise TypeError(f"{where} wanted {type}, {value} does not fit")
    return Imm(type, value)


def check_register(operand: Operand, reg: Reg, where: str) -> None:
    """Raise a TypeError unless the register's width suits the operand."""
    wanted = register_class(operand.type)
    fits = width(reg.type) >= width(wanted) if operand.wider and reg.type != "pred" else reg.type == wanted
    if not fits:
        raise TypeError(f"{where} wanted {operand.type} (a {wanted} register), got {reg.type} register {reg}")


def registers(item: Printed) -> Iterable[Reg]:
    """The registers that an operand is made of."""
    if isinstance(item, Reg):
        return (item,)
    if isinstance(item, Vec):
        return item.regs
    if isinstance(item, Not):
        return (item.reg,)
    if isinstance(item, Mem) and isinstance(item.base, Reg):
        return (item.base,)
    return ()
