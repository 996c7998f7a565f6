"""A PTX module under construction: typed registers, instructions checked against the table, text made only at the end.

    m = Module("add_one", "sm_80", [Param("x", "u64"), Param("n", "u32")], num_warps=4)
    x, tid = m.load_param("x"), m("mov.u32", Special("tid.x"))
    inside = m("setp.lt.u32", tid, m.load_param("n"))
    address = m("mad.wide.u32", tid, 4, x)
    value = m("ld.global.f32", address, pred=inside)
    m.do("st.global.f32", address, m("add.f32", value, 1.0), pred=inside)
    m.do("ret")
    text = str(m)

`m(...)` gives the one result register, `m.many(...)` a tuple of them, `m.do(...)` none. `dst=` writes into registers that
exist already (loop-carried values, masked loads over a default). Python numbers become immediates of the operand's
type, tuples become vectors, a register or `Mem` serves as an address.
"""

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rtriton.backend.ptx.isa import Form, Operand, Version, forms, register_class, width


class Located(Protocol):
    """A place in the user's program."""

    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def col(self) -> int: ...


PREFIX = {"pred": "%p", "b16": "%h", "b32": "%r", "b64": "%rd"}
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
    """One instruction; vectors are `Vec`, a guard is a predicate or its negation."""

    opcode: str
    dsts: tuple[Reg | Vec, ...]
    srcs: tuple[Printed, ...]
    pred: Reg | Not | None = None
    span: Located | None = None

    def __str__(self) -> str:
        guard = f"@{self.pred} " if self.pred else ""
        places = ["|".join(map(str, self.dsts))] if self.dsts else []
        operands = ", ".join(places + [str(source) for source in self.srcs])
        return f"{guard}{self.opcode} {operands}".rstrip() + ";"


@dataclass(frozen=True, slots=True)
class Comment:
    """A line for the reader of the text."""

    text: str


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


@dataclass
class Module:
    """One kernel: its interface, its registers and its instructions in order."""

    name: str
    target: str
    params: Sequence[Param] = ()
    shared_bytes: int = 0
    num_warps: int = 4
    maxnreg: int | None = None
    body: list[Inst | Label | Comment] = field(default_factory=list[Inst | Label | Comment])
    span: Located | None = None
    version: Version = (0, 0)
    counts: dict[str, int] = field(default_factory=dict[str, int])
    _labels: int = 0

    def __post_init__(self) -> None:
        self.version = max(self.version, Arch.parse(self.target).version)

    def __call__(self, opcode: str, *args: Argument, pred: Reg | Not | None = None, dst: Reg | None = None) -> Reg:
        """Append an instruction with one result and give that register."""
        results = self._append(opcode, args, pred, None if dst is None else (dst,), 1)
        if len(results) != 1:
            raise TypeError(f"{opcode} has {len(results)} results; take them with many() or do()")
        return results[0]

    def many(self, opcode: str, *args: Argument, pred: Reg | Not | None = None,
             dst: Sequence[Reg] | None = None) -> tuple[Reg, ...]:
        """Append an instruction and give all its results, optional ones (the second predicate of setp) included."""
        return self._append(opcode, args, pred, None if dst is None else tuple(dst), None)

    def do(self, opcode: str, *args: Argument, pred: Reg | Not | None = None) -> None:
        """Append an instruction without a result."""
        if results := self._append(opcode, args, pred, (), None):
            raise TypeError(f"{opcode} has {len(results)} results; take them with the call itself or many()")

    def reg(self, type: str) -> Reg:
        """A fresh register wide enough for a PTX type."""
        kind = register_class(type)
        index = self.counts.get(kind, 0)
        self.counts[kind] = index + 1
        return Reg(kind, index)

    def pack(self, *parts: Reg) -> Reg:
        """Join two or four registers into a wider one, lowest bits first."""
        bits = sum(width(part.type) for part in parts)
        return self(f"mov.b{bits}", parts)

    def unpack(self, value: Reg, count: int) -> tuple[Reg, ...]:
        """Split a register into `count` narrower ones, lowest bits first."""
        part = f"b{width(value.type) // count}"
        dst = tuple(self.reg(part) for _ in range(count))
        return self.many(f"mov.{value.type}", value, dst=dst)

    def load_param(self, name: str) -> Reg:
        """Read a parameter into a register."""
        found = next((param for param in self.params if param.name == name), None)
        if not found:
            raise ValueError(f"kernel {self.name} has no parameter {name!r}, only {[p.name for p in self.params]}")
        return self(f"ld.param.{found.type}", Mem(Symbol(name)))

    @property
    def shared(self) -> Symbol:
        """The start of shared memory."""
        return Symbol(SHARED)

    def label(self, hint: str = "L") -> Label:
        """A fresh branch target, placed later."""
        self._labels += 1
        return Label(f"{hint}_{self._labels}")

    def place(self, label: Label) -> None:
        """Put a branch target here."""
        self.body.append(label)

    def bra(self, label: Label, pred: Reg | Not | None = None, uniform: bool = False) -> None:
        """Branch, where `pred` holds if given; `uniform` promises that all lanes of a warp agree."""
        self.do("bra.uni" if uniform else "bra", label, pred=pred)

    def comment(self, text: str) -> None:
        """Leave a line for the reader."""
        self.body.append(Comment(text))

    @contextmanager
    def at(self, span: Located | None) -> Iterator[None]:
        """Give the instructions made inside this place in the user's program."""
        before, self.span = self.span, span
        try:
            yield
        finally:
            self.span = before

    def __str__(self) -> str:
        from rtriton.backend.ptx.printer import show

        return show(self)

    def verify(self) -> None:
        """Check what single instructions cannot: labels placed exactly once, no register read that nothing writes."""
        placed = [item for item in self.body if isinstance(item, Label)]
        insts = [item for item in self.body if isinstance(item, Inst)]
        wanted = {source for inst in insts for source in inst.srcs if isinstance(source, Label)}
        for label in wanted - set(placed):
            raise ValueError(f"label {label} is branched to but never placed in kernel {self.name}")
        for label in placed:
            if placed.count(label) > 1:
                raise ValueError(f"label {label} is placed twice in kernel {self.name}")
        written = {reg for inst in insts for dst in inst.dsts for reg in _registers(dst)}
        for inst in insts:
            guard = [] if inst.pred is None else [inst.pred]
            for reg in (reg for source in (*inst.srcs, *guard) for reg in _registers(source)):
                if reg not in written:
                    raise ValueError(f"{inst} reads {reg}, which nothing in kernel {self.name} writes")

    def _append(self, opcode: str, args: Sequence[Argument], pred: Reg | Not | None, dst: tuple[Reg, ...] | None,
                limit: int | None) -> tuple[Reg, ...]:
        problems: list[str] = []
        for form in forms(opcode):
            try:
                srcs = _operands(form, args)
                places = self._places(form, dst, limit)
            except TypeError as problem:
                problems.append(str(problem))
                continue
            self._require(form)
            self.body.append(Inst(opcode, places, srcs, pred, self.span))
            return tuple(reg for place in places for reg in _registers(place))
        raise TypeError(f"{opcode}: " + ", or ".join(dict.fromkeys(problems)))

    def _require(self, form: Form) -> None:
        arch = Arch.parse(self.target)
        if arch.number < form.sm or (form.accelerated and not arch.accelerated):
            needed = f"sm_{form.sm}{'a' if form.accelerated else ''}"
            raise ValueError(f"{form.opcode} needs {needed}, the target of kernel {self.name} is {self.target}")
        self.version = max(self.version, form.version)

    def _places(self, form: Form, dst: tuple[Reg, ...] | None, limit: int | None) -> tuple[Reg | Vec, ...]:
        operands = [operand for i, operand in enumerate(form.dsts) if limit is None or i < limit or not operand.optional]
        if not dst and operands and dst is not None:
            raise TypeError(f"it has {len(operands)} results, none are wanted")
        if dst is None:
            return tuple(self._fresh(operand) for operand in operands)
        rest = list(dst)
        places: list[Reg | Vec] = []
        for operand in operands:
            if operand.optional and not rest:
                break
            taken, rest = rest[: operand.count or 1], rest[operand.count or 1 :]
            if len(taken) < (operand.count or 1):
                raise TypeError(f"it has {operand.count or 1} results, dst gives {len(taken)} registers")
            for reg in taken:
                _check_register(operand, reg, "result")
            places.append(Vec(tuple(taken)) if operand.count else taken[0])
        if rest:
            raise TypeError(f"dst gives {len(rest)} registers too many")
        return tuple(places)

    def _fresh(self, operand: Operand) -> Reg | Vec:
        if operand.count:
            return Vec(tuple(self.reg(operand.type) for _ in range(operand.count)))
        return self.reg(operand.type)


def _operands(form: Form, args: Sequence[Argument]) -> tuple[Printed, ...]:
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
    elif operand.kind == "any" and isinstance(arg, Special | Symbol):
        return arg
    elif isinstance(arg, Not) and operand.negatable:
        return arg
    elif isinstance(arg, Reg) and operand.kind in ("reg", "any"):
        _check_register(operand, arg, where)
        return arg
    raise TypeError(f"{where} wanted {operand.kind} {operand.type}, got {arg!r}")


def _vector(operand: Operand, arg: Argument, where: str) -> Vec:
    regs = tuple(arg) if isinstance(arg, Sequence) else ()
    if len(regs) != operand.count:
        raise TypeError(f"{where} wanted a vector of {operand.count} {operand.type}, got {arg!r}")
    for reg in regs:
        _check_register(operand, reg, where)
    return Vec(regs)


def _address(operand: Operand, arg: Argument, where: str) -> Mem:
    mem = arg if isinstance(arg, Mem) else Mem(arg) if isinstance(arg, Reg | Symbol) else None
    if mem is None:
        raise TypeError(f"{where} wanted an address in {operand.type} memory, got {arg!r}")
    if isinstance(mem.base, Reg):
        allowed = {"shared": ("b32", "b64"), "param": ()}.get(operand.type, ("b64",))
        if mem.base.type not in allowed:
            raise TypeError(f"{where} wanted an address in {operand.type} memory, got {mem.base.type} register {mem.base}")
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


def _check_register(operand: Operand, reg: Reg, where: str) -> None:
    wanted = register_class(operand.type)
    fits = width(reg.type) >= width(wanted) if operand.wider and reg.type != "pred" else reg.type == wanted
    if not fits:
        raise TypeError(f"{where} wanted {operand.type} (a {wanted} register), got {reg.type} register {reg}")


def _registers(item: Printed) -> Iterable[Reg]:
    if isinstance(item, Reg):
        return (item,)
    if isinstance(item, Vec):
        return item.regs
    if isinstance(item, Not):
        return (item.reg,)
    if isinstance(item, Mem) and isinstance(item.base, Reg):
        return (item.base,)
    return ()
