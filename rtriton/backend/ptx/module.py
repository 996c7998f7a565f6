"""A PTX module under construction: typed registers, instructions checked against the table, text made only at the end.

    m = Module("add_one", "sm_80", [Param("x", "u64"), Param("n", "u32")], num_warps=4)
    x, tid = m.load_param("x"), m("mov.u32", Special("tid.x"))
    inside = m("setp.lt.u32", tid, m.load_param("n"))
    address = m("mad.wide.u32", tid, 4, x)
    value = m("ld.global.f32", address, pred=inside)
    m.do("st.global.f32", address, m("add.f32", value, 1.0), pred=inside)
    m.do("ret")
    text = str(m)

`m(...)` gives the one result register, `m.many(...)` a tuple of them, `m.do(...)` none. `dst=` writes into registers
that exist already (loop-carried values, masked loads over a default). Python numbers become immediates of the
operand's type, tuples become vectors, a register or `Mem` serves as an address.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rtriton.backend.ptx.isa import Form, Operand, Version, forms, register_class, width
from rtriton.backend.ptx.operands import (
    LOCAL,
    PREFIX,
    SHARED,
    Arch,
    Argument,
    Imm,
    Inst,
    Label,
    Located,
    Mem,
    Not,
    Param,
    Printed,
    Raw,
    Reg,
    Special,
    Symbol,
    Vec,
    check_register,
    operands,
    registers,
)

__all__ = ["LOCAL", "PREFIX", "SHARED", "Arch", "Argument", "Imm", "Inst", "Label", "Located", "Mem",
           "Module", "Not", "Param", "Printed", "Raw", "Reg", "Special", "Symbol", "Vec"]


@dataclass
class Module:
    """One kernel: its interface, its registers and its instructions in order."""

    name: str
    target: str
    params: Sequence[Param] = ()
    shared_bytes: int = 0
    num_warps: int = 4
    maxnreg: int | None = None
    body: list[Inst | Label] = field(default_factory=list[Inst | Label])
    span: Located | None = None
    version: Version = (0, 0)
    counts: dict[str, int] = field(default_factory=dict[str, int])
    texts: dict[str, str] = field(default_factory=dict[str, str])  # constant C strings: their names
    externs: dict[str, None] = field(default_factory=dict[str, None])  # declarations of functions of the driver's
    under_way: int = 0  # bytes that a thread loads from memory at once, where that says how many threads it takes
    local_bytes: int = 0  # of the buffer `local_memory` that each thread has for itself
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

    def raw(self, what: str, text: str, reads: Sequence[Reg], writes: Sequence[Reg] = ()) -> None:
        """Append text that the table does not know; the registers in it are those named here."""
        self.body.append(Raw(what, tuple(writes), tuple(reads), None, self.span, text))

    def text(self, content: str) -> str:
        """The name of a constant C string."""
        return self.texts.setdefault(content, f"text_{len(self.texts)}")

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

    @contextmanager
    def at(self, span: Located | None) -> Generator[None]:
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
        written = {reg for inst in insts for dst in inst.dsts for reg in registers(dst)}
        for inst in insts:
            guard = [] if inst.pred is None else [inst.pred]
            for reg in (reg for source in (*inst.srcs, *guard) for reg in registers(source)):
                if reg not in written:
                    raise ValueError(f"{inst} reads {reg}, which nothing in kernel {self.name} writes")

    def _append(self, opcode: str, args: Sequence[Argument], pred: Reg | Not | None, dst: tuple[Reg, ...] | None,
                limit: int | None) -> tuple[Reg, ...]:
        problems: list[str] = []
        for form in forms(opcode):
            try:
                srcs = operands(form, args)
                places = self._places(form, dst, limit)
            except TypeError as problem:
                problems.append(str(problem))
                continue
            self._require(form)
            self.body.append(Inst(opcode, places, srcs, pred, self.span))
            return tuple(reg for place in places for reg in registers(place))
        raise TypeError(f"{opcode}: " + ", or ".join(dict.fromkeys(problems)))

    def _require(self, form: Form) -> None:
        arch = Arch.parse(self.target)
        if arch.number < form.sm or (form.accelerated and not arch.accelerated):
            needed = f"sm_{form.sm}{'a' if form.accelerated else ''}"
            raise ValueError(f"{form.opcode} needs {needed}, the target of kernel {self.name} is {self.target}")
        self.version = max(self.version, form.version)

    def _places(self, form: Form, dst: tuple[Reg, ...] | None, limit: int | None) -> tuple[Reg | Vec, ...]:
        wanted = [operand for i, operand in enumerate(form.dsts) if limit is None or i < limit or not operand.optional]
        if not dst and wanted and dst is not None:
            raise TypeError(f"it has {len(wanted)} results, none are wanted")
        if dst is None:
            return tuple(self._fresh(operand) for operand in wanted)
        rest = list(dst)
        places: list[Reg | Vec] = []
        for operand in wanted:
            if operand.optional and not rest:
                break
            taken, rest = rest[: operand.count or 1], rest[operand.count or 1 :]
            if len(taken) < (operand.count or 1):
                raise TypeError(f"it has {operand.count or 1} results, dst gives {len(taken)} registers")
            for reg in taken:
                check_register(operand, reg, "result")
            places.append(Vec(tuple(taken)) if operand.count else taken[0])
        if rest:
            raise TypeError(f"dst gives {len(rest)} registers too many")
        return tuple(places)

    def _fresh(self, operand: Operand) -> Reg | Vec:
        if operand.count:
            return Vec(tuple(self.reg(operand.type) for _ in range(operand.count)))
        return self.reg(operand.type)


