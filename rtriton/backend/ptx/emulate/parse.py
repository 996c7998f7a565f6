"""PTX text into instructions: registers, symbols and labels resolved, comments and debug sections dropped.

Every instruction keeps its line in the PTX text and the `.loc` before it, so that a fault can name both. Registers of
inner `{ }` scopes are renamed, so an entry has one flat table of them.
"""

import re
import struct
from functools import cache

from rtriton.backend.ptx.emulate.program import (
    SIZES, Address, Entry, Group, Instruction, Literal, Name, Negated, Operand, Pair, Place, Program, Variable,
)
from rtriton.backend.ptx.names import path_of


class ParseError(ValueError):
    """The text is not PTX that the emulator reads; the message has the line."""


MOST_REGISTERS = 1 << 19
"""Far more than any compiler declares in a module: each is an entry of a table."""

MOST_NESTED = 16
"""No instruction has brackets within more than one pair of others."""

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
_LABEL = re.compile(r"([$%\w]+)\s*:(?!:)")
_LOC = re.compile(r"loc\s+(\d+)\s+(\d+)\s+(\d+)(?:.*\binlined_at\s+(\d+)\s+(\d+)\s+(\d+))?")
_LINE_DIRECTIVE = re.compile(r"\.(loc|file|version|target|address_size|pragma|section|weak|alias)\b")
_REG = re.compile(r"\.reg\s+\.(\w+)\s+(.*)", re.S)
_VARIABLE = re.compile(r"(?:\.(?:visible|extern|weak|common)\s+)*\.(shared|global|const|local)\s+"
                       r"(?:\.align\s+(\d+)\s+)?"
                       r"(?:\.(?:align)\s+\d+\s+)?\.(\w+)\s+([$%\w]+)((?:\s*\[\s*\d*\s*\])*)\s*(?:=\s*(.*))?", re.S)
_PARAM = re.compile(r"\.param\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+(?:\.ptr\s*(?:\.\w+\s*)?(?:\.align\s+\d+\s+)?)?"
                    r"([$%\w]+)\s*(?:\[(\d+)\])?", re.S)
_CALL_PARAM = re.compile(r"\.param\s+\.(b32|b64)\s+([$%\w]+)")
_STRING = re.compile(r'"((?:\\.|[^"\\])*)"')
_FUNCTION = re.compile(r"(?:\.(?:visible|extern|weak)\s+)*\.(entry|func)\b")
_INSTRUCTION = re.compile(r"(?:@(!?)\s*([$%\w]+)\s+)?([a-z][\w.:]*)\s*(.*)", re.S)


def parse(text: str) -> Program:
    """Read a module."""
    return _Reader(text).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = _COMMENT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
        self.at, self.line, self.counted = 0, 1, 0
        self.program = Program(lines=text.splitlines())
        self.location: Place | None = None
        self.places: dict[tuple[int, int, int], Place] = {}  # as last said: a caller has to have been said before
        self.entry: Entry | None = None
        self.scopes: list[dict[str, str]] = []
        self.made = 0
        self.declared = 0

    def read(self) -> Program:
        while self._skip_space():
            try:
                self._next()
            except ParseError:
                raise
            except (ValueError, LookupError, RecursionError) as problem:
                # numbers of thousands of digits, types that are none, operands that nest without end
                raise self._fail(f"cannot be read ({problem})") from problem
        return self.program

    def _next(self) -> None:
        character = self.text[self.at]
        if character == "{":
            self.at += 1
            self.scopes.append({})
        elif character == "}":
            self.at += 1
            self._close()
        elif found := _LINE_DIRECTIVE.match(self.text, self.at):
            self._directive(found[1])
        elif self.entry and (found := _LABEL.match(self.text, self.at)):
            self.at = found.end()
            self.entry.labels[found[1]] = len(self.entry.code)
        else:
            self._statement()

    def _skip_space(self) -> bool:
        while self.at < len(self.text) and (self.text[self.at].isspace() or self.text[self.at] == ";"):
            self.at += 1
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return self.at < len(self.text)

    def _fail(self, problem: str) -> ParseError:
        shown = self.program.lines[self.line - 1].strip() if self.line <= len(self.program.lines) else ""
        return ParseError(f"PTX line {self.line}: {problem}\n  {self.line:>5} | {shown}")

    def _take(self, end: str) -> str:
        stop = self.text.find(end, self.at)
        if stop < 0:
            raise self._fail(f"no {end!r} ends this statement")
        taken, self.at = self.text[self.at : stop].strip(), stop + 1
        return taken

    def _close(self) -> None:
        if not self.scopes:
            raise self._fail("a } without its {")
        self.scopes.pop()
        if not self.scopes:
            self.entry, self.location = None, None

    def _directive(self, kind: str) -> None:
        if kind == "section":
            self._take("}")
            return
        text = self._take("\n").rstrip(";").removeprefix(".")
        if kind == "file":
            number, name = text.split(maxsplit=2)[1:]
            quoted = _STRING.match(name)
            self.program.files[int(number)] = path_of(quoted[1]) if quoted else name
        elif kind == "loc" and (found := _LOC.match(text)):
            file, line, column, *caller = (int(number or 0) for number in found.groups())
            outer = (caller[0], caller[1], caller[2])
            at = self.places.get(outer, Place(*outer)) if outer[0] else None
            self.location = self.places[file, line, column] = Place(file, line, column, at)

    def _statement(self) -> None:
        if found := _FUNCTION.match(self.text, self.at):
            if found[1] == "entry":
                self._entry(self._take("{"))
            else:
                self._skip_function()
            return
        if self.entry is None:
            self._variable(self._take(";"), self.program.shared)
            return
        line = self.line
        statement = self._take(";")
        if statement.startswith(".reg"):
            self._declare(statement)
        elif statement.startswith("."):
            if found := _CALL_PARAM.fullmatch(statement):
                self._declare(f".reg .{found[1]} {found[2]}")
            elif not statement.startswith((".pragma", ".param")):  # bytes for a call, which is refused where reached
                self._variable(statement, self.entry.shared)
        else:
            self._instruction(self.entry, statement, line)

    def _entry(self, head: str) -> None:
        found = re.search(r"\.entry\s+([$%\w]+)\s*(?:\((.*?)\))?([^()]*)$", head, re.S)
        if not found:
            raise self._fail("cannot read the head of this entry")
        params = tuple(_parameter(text) for text in (found[2] or "").split(",") if text.strip())
        threads = re.search(r"\.(?:reqntid|maxntid)\s+(\d+)(?:\s*,\s*(\d+))?(?:\s*,\s*(\d+))?", found[3])
        block = (int(threads[1]), int(threads[2] or 1), int(threads[3] or 1)) if threads else None
        self.entry = self.program.entries[found[1]] = Entry(found[1], params, block)
        self.scopes = [{}]

    def _skip_function(self) -> None:
        """Device functions are not run; a kernel may hold calls of them as long as it does not reach one."""
        head = re.compile(r"[;{]").search(self.text, self.at)
        if head is None:
            raise self._fail("a function without a body or ;")
        self.at, depth = head.end(), head[0] == "{"
        while depth:
            brace = re.compile(r"[{}]").search(self.text, self.at)
            if brace is None:
                raise self._fail("a function without its }")
            self.at, depth = brace.end(), depth + (1 if brace[0] == "{" else -1)

    def _variable(self, statement: str, shared: list[Variable]) -> None:
        found = _VARIABLE.fullmatch(statement)
        if not found:
            raise self._fail(f"cannot read {statement!r}")
        space, align, type, name, dims, data = found.groups()
        counts = [int(count) if count else None for count in re.findall(r"\[\s*(\d*)\s*\]", dims)]
        size: int | None = SIZES[type]
        for count in counts:
            size = None if count is None or size is None else size * count
        values = _initial(data, type) if data else None
        if size is None and values is not None:
            size = len(values)
        variable = Variable(name, int(align or SIZES[type]), size, values, type)
        if space == "local" and self.entry:
            self.entry.local.append(variable)
        else:
            (shared if space == "shared" else self.program.constants).append(variable)

    def _declare(self, statement: str) -> None:
        assert self.entry is not None
        found = _REG.fullmatch(statement)
        if not found:
            raise self._fail(f"cannot read the declaration {statement!r}")
        for text in found[2].split(","):
            ranged = re.fullmatch(r"([$%\w]+)<(\d+)>", text.strip())
            count = int(ranged[2]) if ranged else 1
            self.declared += count
            if self.declared > MOST_REGISTERS:
                raise self._fail(f"more than {MOST_REGISTERS} registers are declared")
            names = [f"{ranged[1]}{i}" for i in range(count)] if ranged else [text.strip()]
            for name in names:
                unique = name
                if len(self.scopes) > 1:
                    self.made += 1
                    unique = f"{name}@{self.made}"
                    self.scopes[-1][name] = unique
                self.entry.registers[unique] = found[1]

    def _instruction(self, entry: Entry, statement: str, line: int) -> None:
        found = _INSTRUCTION.fullmatch(statement)
        if not found:
            raise self._fail(f"cannot read the instruction {statement!r}")
        negated, guard, opcode, rest = found.groups()
        try:
            operands = tuple(self._scoped(_operand(text)) for text in _split(rest))
        except ValueError as problem:
            raise self._fail(str(problem)) from problem
        guard = self._rename(guard) if guard else None
        entry.code.append(Instruction(opcode, tuple(opcode.split(".")), operands, guard, bool(negated), line,
                                      self.location))

    def _rename(self, name: str) -> str:
        return next((scope[name] for scope in reversed(self.scopes) if name in scope), name)

    def _scoped(self, operand: Operand) -> Operand:
        if len(self.scopes) < 2:
            return operand
        match operand:
            case Name(text):
                return Name(self._rename(text))
            case Negated(name):
                return Negated(Name(self._rename(name.text)))
            case Group(items):
                return Group(tuple(map(self._scoped, items)))
            case Pair(first, second):
                return Pair(self._scoped(first), self._scoped(second))
            case Address(base, offset):
                return Address(base and Name(self._rename(base.text)), offset)
            case Literal():
                return operand


def _parameter(text: str) -> Variable:
    found = _PARAM.fullmatch(text.strip())
    if not found:
        raise ParseError(f"cannot read the parameter {text.strip()!r}")
    align, type, name, count = found.groups()
    return Variable(name, int(align or SIZES[type]), SIZES[type] * int(count or 1), None, "bytes" if count else type)


def _initial(text: str, type: str) -> bytes:
    pieces = [piece.strip() for piece in text.strip().strip("{}").split(",") if piece.strip()]
    literals = [_operand(piece) for piece in pieces]
    mask = (1 << 8 * SIZES[type]) - 1
    return b"".join((literal.value & mask).to_bytes(SIZES[type], "little")
                    for literal in literals if isinstance(literal, Literal))


@cache
def _split(text: str) -> tuple[str, ...]:
    pieces, depth, start = list[str](), 0, 0
    for i, character in enumerate(text):
        if character in "{[(":
            depth += 1
            if depth > MOST_NESTED:
                raise ValueError(f"brackets nest more than {MOST_NESTED} deep")
        elif character in "}])":
            depth -= 1
        elif character == "," and depth == 0:
            pieces.append(text[start:i].strip())
            start = i + 1
    last = text[start:].strip()
    return tuple([*pieces, last] if last else pieces)


@cache
def _operand(text: str) -> Operand:
    if text[:1] in ("{", "("):
        return Group(tuple(_operand(piece) for piece in _split(text[1:-1])))
    if text.startswith("["):
        return _address(text[1:-1].strip())
    if "|" in text:
        first, second = text.split("|")
        return Pair(_operand(first.strip()), _operand(second.strip()))
    if text.startswith("!"):
        return Negated(Name(text[1:].strip()))
    if re.fullmatch(r"[$%A-Za-z_][$%\w.]*", text):
        return Name(text)
    return Literal(*_number(text))


def _address(text: str) -> Address:
    found = re.fullmatch(r"([$%A-Za-z_][$%\w]*)\s*(?:\+\s*(-?\s*\w+)|(-\s*\w+))?", text)
    if found:
        offset = found[2] or found[3]
        return Address(Name(found[1]), _number(offset.replace(" ", ""))[1] if offset else 0)
    return Address(None, _number(text)[1])


def _number(text: str) -> tuple[str, int]:
    if found := re.fullmatch(r"0[fF]([0-9a-fA-F]{8})", text):
        return "f32", int(found[1], 16)
    if found := re.fullmatch(r"0[dD]([0-9a-fA-F]{16})", text):
        return "f64", int(found[1], 16)
    if found := re.fullmatch(r"(-?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[0-7]*|[1-9]\d*)U?", text):
        digits = found[2]
        base = 16 if digits[:2] in ("0x", "0X") else 2 if digits[:2] in ("0b", "0B") else 8 if digits[0] == "0" else 10
        return "int", int(digits, base) * (-1 if found[1] else 1)
    if re.fullmatch(r"-?\d+\.\d*(?:[eE][-+]?\d+)?|-?\d+[eE][-+]?\d+", text):
        return "f64", int.from_bytes(struct.pack("<d", float(text)), "little")
    raise ValueError(f"cannot read the operand {text!r}")
