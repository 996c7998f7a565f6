"""What PTX text says, read: operands, instructions with where they stand, variables, entries, the whole program."""

from dataclasses import dataclass, field

from rtriton.ir import NO_SPAN, Span

SIZES = {"pred": 1, "f16": 2, "bf16": 2, "f16x2": 4, "bf16x2": 4, "f32": 4, "f64": 8, "b128": 16,
         **{f"{letter}{bits}": bits // 8 for letter in "bsu" for bits in (8, 16, 32, 64)}}


@dataclass(frozen=True, slots=True)
class Name:
    """A register, special register, symbol or label, told apart when decoded."""

    text: str


@dataclass(frozen=True, slots=True)
class Literal:
    """A number: `int`, or the bits of an `f32` or `f64`."""

    kind: str
    value: int


@dataclass(frozen=True, slots=True)
class Group:
    """Operands in braces."""

    items: tuple["Operand", ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two results, written `d|p`."""

    first: "Operand"
    second: "Operand"


@dataclass(frozen=True, slots=True)
class Address:
    """An operand in brackets: a register, symbol or nothing, plus bytes."""

    base: Name | None
    offset: int


@dataclass(frozen=True, slots=True)
class Negated:
    """A predicate operand with `!`."""

    name: Name


Operand = Name | Literal | Group | Pair | Address | Negated


@dataclass(frozen=True, slots=True)
class Place:
    """What a .loc says: a line of the user's program, by the number of its file, and the call it was inlined at."""

    file: int
    line: int
    column: int
    caller: "Place | None" = None


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: opcode split at its dots, operands in PTX order, and where it stands."""

    opcode: str
    parts: tuple[str, ...]
    operands: tuple[Operand, ...]
    guard: str | None
    negated: bool
    line: int
    place: Place | None


@dataclass(frozen=True, slots=True)
class Variable:
    """A declared piece of memory; `size` is None for `[]`."""

    name: str
    align: int
    size: int | None
    data: bytes | None = None
    type: str = "b8"


@dataclass
class Entry:
    """A kernel: parameters, registers with their types, shared variables, code, and where labels point."""

    name: str
    params: tuple[Variable, ...]
    block: tuple[int, int, int] | None  # from .reqntid, or .maxntid
    registers: dict[str, str] = field(default_factory=dict[str, str])
    shared: list[Variable] = field(default_factory=list[Variable])
    local: list[Variable] = field(default_factory=list[Variable])
    code: list[Instruction] = field(default_factory=list[Instruction])
    labels: dict[str, int] = field(default_factory=dict[str, int])


@dataclass
class Program:
    """A whole text: its entries, module-wide variables, and lines for messages."""

    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])
    shared: list[Variable] = field(default_factory=list[Variable])
    constants: list[Variable] = field(default_factory=list[Variable])
    files: dict[int, str] = field(default_factory=dict[int, str])
    lines: list[str] = field(default_factory=list[str])

    def span(self, place: Place | None) -> Span:
        """A place with the name of its file, which stands anywhere in the text."""
        if place is None:
            return NO_SPAN
        caller = self.span(place.caller) if place.caller else None
        return Span(self.files.get(place.file, f"file {place.file}"), place.line, place.column, caller=caller)

    def shown(self, inst: "Instruction") -> str:
        """An instruction's line of the text."""
        return f"PTX line {inst.line}: {self.lines[inst.line - 1].strip()}"
