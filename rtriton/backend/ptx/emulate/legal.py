"""What the assembler would refuse is refused: spellings and operands of instructions, by the instruction table.

Not checked are families of which texts of other compilers use forms that the table does not list; there the emulator's
own reading is the check. Accesses to memory are looked up as those to global memory, of which the table lists all.
"""

from collections.abc import Iterator, Mapping

from rtriton.backend.ptx.emulate.program import Address, Group, Instruction, Literal, Name, Negated, Pair
from rtriton.backend.ptx.emulate.program import Operand as Given
from rtriton.backend.ptx.isa import ROWS, WIDTHS, Form, Operand, forms

OPEN = frozenset(("bar", "barrier", "cp", "cvta", "fence", "griddepcontrol", "membar", "mma", "prefetch"))
SPACES = {"const": "global", "local": "global"}
ORDERS = frozenset(("weak", "volatile", "relaxed", "acquire", "release", "acq_rel", "cta", "cluster", "gpu", "sys"))


def problem(inst: Instruction, registers: Mapping[str, str]) -> str | None:
    """Why the assembler would refuse an instruction; None if it would not, or if that is not known."""
    if inst.parts[0] in OPEN or inst.parts[0] not in ROWS or inst.parts[:2] == ("st", "param"):
        return None
    try:
        found = forms(_listed(inst.parts))
    except ValueError:
        known = "; ".join(entry.spelling.replace(" ", ".") for entry in ROWS[inst.parts[0]])
        return f"{inst.opcode} is no PTX instruction. There are {known}"
    if any(_fits(form, inst, registers) for form in found) or _moves_parts(inst, registers):
        return None
    wanted = " or ".join(" ".join(_spelt(operand) for operand in (*form.dsts, *form.srcs)) for form in found)
    return f"{inst.opcode} does not take these operands; it takes {wanted}"


def _listed(parts: tuple[str, ...]) -> str:
    """The opcode as the table lists it: an access to a space it does not list, or to any, as one to global memory."""
    words = [SPACES.get(part, part) for part in parts]
    spaces = {word.split("::")[0] for word in words} & {"global", "shared", "param"}
    if parts[0] in ("ld", "st", "atom", "red") and not spaces:
        words.insert(next(i for i, word in enumerate(words) if i and word not in ORDERS), "global")
    return ".".join(words)


def _moves_parts(inst: Instruction, registers: Mapping[str, str]) -> bool:
    """A mov that takes a register apart or puts one together, of parts as narrow as bytes."""
    if inst.parts[0] != "mov" or len(inst.operands) != 2:
        return False
    sides = [item.items if isinstance(item, Group) else (item,) for item in inst.operands]
    widths = [[WIDTHS[registers[part.text]] for part in side if isinstance(part, Name) and part.text in registers]
              for side in sides]
    counts = sorted(map(len, sides))
    return counts[0] == 1 < counts[1] and all(len(w) == len(side) for w, side in zip(widths, sides, strict=True)) and \
        sum(widths[0]) == sum(widths[1]) == WIDTHS[inst.parts[-1]]


def _spelt(operand: Operand) -> str:
    name = operand.type or operand.kind
    return f"{{{', '.join([name] * operand.count)}}}" if operand.count else name + "?" * operand.optional


def _fits(form: Form, inst: Instruction, registers: Mapping[str, str]) -> bool:
    given = list(_flat(inst))
    wanted = [(operand, True) for operand in form.dsts] + [(operand, False) for operand in form.srcs]
    if len(given) < len(wanted):  # those that may be left out
        wanted = [(operand, result) for operand, result in wanted if not operand.optional]
    return len(given) == len(wanted) and all(
        _takes(operand, item, result, registers) for (operand, result), item in zip(wanted, given, strict=True))


def _flat(inst: Instruction) -> Iterator[Given]:
    for item in inst.operands:
        if isinstance(item, Pair):
            yield from (item.first, item.second)
        else:
            yield item


def _takes(operand: Operand, given: Given, result: bool, registers: Mapping[str, str]) -> bool:
    match given:
        case Group(items):
            return len(items) == operand.count and all(_holds(operand, item, registers) for item in items)
        case Literal():
            return not result and not operand.count
        case Negated(name):
            return operand.negatable and _holds(operand, name, registers)
        case Name():
            if operand.kind in ("label", "mem") or operand.count:
                return operand.kind == "label"
            return _holds(operand, given, registers)
        case Address():
            return operand.kind == "mem"
        case Pair():
            return False


def _holds(operand: Operand, given: Given, registers: Mapping[str, str]) -> bool:
    """Whether a register is as wide as the operand; symbols and special registers where anything goes."""
    if not isinstance(given, Name):
        return isinstance(given, Literal)
    if given.text not in registers:
        return given.text == "_" or operand.kind == "any"
    have, want = WIDTHS[registers[given.text]], WIDTHS[operand.type]
    return have == want or (operand.wider and have > want) or (want == 8 and have == 16)
