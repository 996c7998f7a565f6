"""The instruction table: what each PTX opcode takes, gives, and which chip and PTX version first had it.

A row is two short texts. The first spells the opcode: parts between dots, `|` between choices, `?` where a part may be
left out, `name=` where the choice is needed below. The second spells results and operands, in PTX order:

    row("add t=s32|u32|s64|u64", "t = t t")
    row("ld global v=v2|v4? t=b32|b64", "t+*v = [global]")

In the second text `t` stands for what was chosen, `+` lets the register be wider than the type, `*v` makes a vector,
`?` marks what may be left out, `[space]` is an address, `imm` a literal, `label` a branch target, `!pred` a predicate
that may be negated, `any` also takes special registers and symbols. `forms("ld.global.v4.b32")` gives what fits.
Families live in the files beside this one; each is imported at the end so that its rows are there.
"""

import re
from dataclasses import dataclass
from functools import cache

Version = tuple[int, int]

# Registers are untyped bits of one width, as PTX allows for every instruction type: a bitcast costs nothing.
CLASSES = {1: "pred", 8: "b16", 16: "b16", 32: "b32", 64: "b64"}
WIDTHS = {
    "pred": 1, "f16": 16, "bf16": 16, "f32": 32, "tf32": 32, "f64": 64, "f16x2": 32, "bf16x2": 32, "s16x2": 32,
    "u16x2": 32, "e4m3x2": 16, "e5m2x2": 16,
    **{f"{letter}{bits}": bits for letter in "bsu" for bits in (8, 16, 32, 64)},
}


def width(type: str) -> int:
    """Bits of a PTX type; an unknown one is an error."""
    if type not in WIDTHS:
        raise ValueError(f"no PTX type is called {type!r}; there are {', '.join(sorted(WIDTHS))}")
    return WIDTHS[type]


def register_class(type: str) -> str:
    """The kind of register that holds a value of this PTX type."""
    return CLASSES[width(type)]


@dataclass(frozen=True)
class Operand:
    """What may stand in one place of an instruction."""

    kind: str  # "reg", "mem", "imm", "label", "any"
    type: str = ""  # a PTX type, or the state space for "mem"
    count: int = 0  # 0 is a scalar, n a vector of n registers
    optional: bool = False
    wider: bool = False
    negatable: bool = False


@dataclass(frozen=True)
class Form:
    """One way to write an opcode: its results, operands, and the first chip and PTX version that have it."""

    opcode: str
    dsts: tuple[Operand, ...]
    srcs: tuple[Operand, ...]
    sm: int
    accelerated: bool  # only on the "a" chip, like wgmma on sm_90a
    version: Version


@dataclass(frozen=True)
class Row:
    """One line of the table: a spelling with choices, and its operands."""

    spelling: str
    operands: str
    sm: int
    accelerated: bool
    version: Version
    pattern: re.Pattern[str]


ROWS: dict[str, list[Row]] = {}

INT = "s16|u16|s32|u32|s64|u64"
INT8 = "s8|u8|" + INT
RND = "rn|rz|rm|rp"
SCOPE = "cta|cluster|gpu|sys"


def row(spelling: str, operands: str, sm: int = 80, version: Version = (7, 0), accelerated: bool = False) -> None:
    """Add one line to the table."""
    opcode, *parts = spelling.split()
    pattern = re.escape(opcode) + "".join(_part(part) for part in parts)
    entry = Row(spelling, operands, sm, accelerated, version, re.compile(pattern))
    ROWS.setdefault(opcode.split(".")[0], []).append(entry)


@cache
def forms(opcode: str) -> tuple[Form, ...]:
    """Every form an opcode may be written in, most usual first; an unknown opcode is an error."""
    rows = ROWS.get(opcode.split(".")[0], [])
    found = tuple(_form(opcode, entry, match) for entry in rows if (match := entry.pattern.fullmatch(opcode)))
    if not found:
        known = "; ".join(entry.spelling for entry in rows) or "no spelling begins like this"
        raise ValueError(f"{opcode!r} is not in the PTX instruction table. Known: {known}")
    return found


def spellings(entry: Row) -> list[str]:
    """Enough opcodes of a row to meet each of its choices once: what tests assemble."""
    opcode, *parts = entry.spelling.split()
    choices = [_choices(part) for part in parts]
    longest = max((len(options) for options, _ in choices), default=1)
    picks = [[options[i % len(options)] for options, _ in choices] for i in range(longest)]
    found = [opcode + "".join(f".{word}" for word in pick) for pick in picks]
    least = opcode + "".join(f".{options[0]}" for options, optional in choices if not optional)
    return list(dict.fromkeys([least, *found]))


def _choices(part: str) -> tuple[list[str], bool]:
    optional = part.endswith("?")
    words = part.removesuffix("?").split("=")[-1]
    return words.split("|"), optional


def _part(part: str) -> str:
    options, optional = _choices(part)
    name = f"?P<{part.split('=')[0]}>" if "=" in part else "?:"
    return rf"(?:\.({name}{'|'.join(map(re.escape, options))}))" + ("?" if optional else "")


def _form(opcode: str, entry: Row, match: re.Match[str]) -> Form:
    names = {name: chosen or "" for name, chosen in match.groupdict().items()}
    dsts, _, srcs = entry.operands.rpartition("=")
    read = [tuple(_operand(word, names) for word in side.split()) for side in (dsts, srcs)]
    version = max(entry.version, (7, 8)) if "::cta" in opcode else entry.version  # sub-qualified state spaces
    return Form(opcode, read[0], read[1], entry.sm, entry.accelerated, version)


def _operand(word: str, names: dict[str, str]) -> Operand:
    optional, word = word.endswith("?"), word.removesuffix("?")
    if word.startswith("["):
        space = word[1:-1]
        return Operand("mem", (names.get(space, space) or "generic").split("::")[0], optional=optional)
    if word in ("imm", "label"):
        return Operand(word, optional=optional)
    word, _, count = word.partition("*")
    negatable, word = word.startswith("!"), word.removeprefix("!")
    kind, _, word = word.rpartition(":")
    wider, word = word.endswith("+"), word.removesuffix("+")
    type = names.get(word, word)
    lanes = int(names.get(count, count).lstrip("v") or 0)
    width(type)  # a misspelt row fails when first used, with the type's name
    return Operand(kind or "reg", type, lanes, optional, wider, negatable)


from rtriton.backend.ptx.isa import arithmetic, convert, matrix, memory, sync  # noqa: E402

__all__ = ["ROWS", "Form", "Operand", "Row", "Version", "arithmetic", "convert", "forms", "matrix", "memory",
           "register_class", "row", "spellings", "sync", "width"]
