"""Inline assembly on the CPU: PTX instructions become the ops of tile IR that do the same.

    before:  %y: 64xi32 = inline_asm %x {asm = "shl.b32 $0, $1, 3;", ...}
    after:   %y: 64xi32 = bitcast (shl (bitcast %x), 3)

A register is a tile of its bits, unsigned, or of i1. What an instruction does is said in ptx_instructions.py; one that
is not known there, and whatever branches or touches memory, is an error that names it.
"""
from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from rtriton.assembly import INLINE_ASSEMBLY, entry, parse_constraints
from rtriton.backend.cpu.ptx_instructions import INSTRUCTIONS, TYPES, Unknown
from rtriton.backend.ptx.emulate.parse import ParseError, parse
from rtriton.backend.ptx.emulate.program import Instruction, Literal, Name, Negated, Operand
from rtriton.backend.ptx.isa import WIDTHS
from rtriton.errors import KernelError
from rtriton.ir import Builder, Kernel, Op, Value, rebuild
from rtriton.language.table import infer
from rtriton.types import BY_SHORT, DType, Type, element_of, int1, with_element


def expand(kernel: Kernel) -> Kernel:
    """The kernel without inline assembly."""

    def rule(op: Op, operands: tuple[Value | None, ...], build: Builder) -> list[Value] | None:
        if op.kind not in INLINE_ASSEMBLY:
            return None
        return _translated(op, [v for v in operands if v is not None], build)

    return rebuild(kernel, rule, infer)


def _translated(op: Op, operands: list[Value], build: Builder) -> list[Value]:
    rules = parse_constraints(op.attrs["constraints"])
    text, ins, outs = entry(op.attrs["asm"], rules)
    try:
        program = parse(text).entries["assembly"]
    except ParseError as error:
        raise KernelError(f"inline assembly: {error}", op.span) from error
    machine = Registers(build, op.results[0].type, dict(program.registers))
    for name, value in zip(ins, operands, strict=True):
        machine.bits[name] = machine.raw(value)
    for inst in program.code:
        _run(machine, inst, op)
    missing = [name for name in outs if name not in machine.bits]
    if missing:
        raise KernelError(f"inline assembly writes nothing to output ${outs.index(missing[0])}", op.span)
    return [machine.seen_as(machine.bits[n], element_of(r.type)) for n, r in zip(outs, op.results, strict=True)]


def _run(machine: Registers, inst: Instruction, op: Op) -> None:
    rule = INSTRUCTIONS.get(inst.parts[0])
    try:
        if rule is None:
            raise Unknown("not known")
        machine.guard = machine.condition(inst)
        rule(machine, inst)
    except (Unknown, KeyError, IndexError, ValueError, TypeError) as error:
        said = f"inline assembly: the CPU backend does not execute {inst.opcode} ({error})"
        raise KernelError(said, op.span) from error


@dataclass
class Registers:
    """What registers hold while instructions are translated: the bits, as values of unsigned type."""

    build: Builder
    like: Type
    types: dict[str, str]
    bits: dict[str, Value] = field(default_factory=dict[str, Value])
    guard: Value | None = None

    def condition(self, inst: Instruction) -> Value | None:
        """The predicate under which an instruction acts."""
        if inst.guard is None:
            return None
        return self.read(Negated(Name(inst.guard)) if inst.negated else Name(inst.guard), "pred")

    def one(self, kind: str, *operands: Value, **attrs: Any) -> Value:
        return self.build.one(kind, *operands, **attrs)

    def const(self, value: int | float, type: DType) -> Value:
        return self.build.const(value, with_element(self.like, type))

    def raw(self, x: Value) -> Value:
        """Its bits, unsigned."""
        element = element_of(x.type)
        if element.kind in "bu":
            return x
        to = BY_SHORT[f"u{element.bits}"]
        return self.one("cast" if element.kind == "p" else "bitcast", x, to=to)

    def seen_as(self, x: Value, element: object) -> Value:
        """Bits as a value of a type of the same width."""
        if element_of(x.type) == element:
            return x
        pointer = getattr(element, "kind", "") == "p"
        return self.one("cast" if pointer else "bitcast", x, to=element)

    def cast(self, x: Value, to: DType) -> Value:
        return x if element_of(x.type) == to else self.one("cast", x, to=to)

    def read(self, operand: Operand, type: str) -> Value:
        """An operand as a value of a PTX type; the low bits of a wider register."""
        element = TYPES[type]
        if isinstance(operand, Negated):
            return self.one("xor", self.read(operand.name, "pred"), self.const(True, int1))
        if isinstance(operand, Literal):
            return self._literal(operand, element)
        if not isinstance(operand, Name):
            raise Unknown(f"with the operand {operand}")
        if operand.text not in self.bits:
            declared = operand.text in self.types
            raise Unknown("reads a register that nothing has written" if declared else f"reads {operand.text}")
        held = self.bits[operand.text]
        have = element_of(held.type)
        if element == int1 or have == int1:
            if element != have:
                raise Unknown(f"reads {operand.text} as {type}")
            return held
        if have.bits < element.bits:
            raise Unknown(f"reads {operand.text}, which has {have.bits} bits, as {type}")
        return self.seen_as(self.cast(held, BY_SHORT[f"u{element.bits}"]), element)

    def _literal(self, operand: Literal, element: DType) -> Value:
        if element.kind != "f" or operand.kind == "int":
            wrapped = operand.value % (1 << element.bits) if element.kind != "f" else operand.value
            if element.kind == "i" and wrapped >> (element.bits - 1):
                wrapped -= 1 << element.bits
            return self.const(wrapped, element)
        code, raw = ("<f", operand.value.to_bytes(4, "little")) if operand.kind == "f32" else (
            "<d", operand.value.to_bytes(8, "little"))  # fmt: skip
        return self.const(struct.unpack(code, raw)[0], element)

    def write(self, operand: Operand, value: Value) -> None:
        """A result: where the guard holds, extended by its sign in a wider register."""
        if not isinstance(operand, Name):
            raise Unknown(f"with the result {operand}")
        if operand.text == "_":
            return
        element, width = element_of(value.type), WIDTHS[self.types[operand.text]]
        if element != int1:
            to = BY_SHORT[f"u{width}"]
            if element.bits > width:
                raise Unknown(f"gives {element.bits} bits to {operand.text}")
            value = self.raw(value) if element.bits == width else self.cast(
                value if element.kind == "i" else self.raw(value), to)
        if self.guard is not None and operand.text in self.bits:
            value = self.one("where", self.guard, value, self.bits[operand.text])
        self.bits[operand.text] = value
