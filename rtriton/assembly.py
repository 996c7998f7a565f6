"""A user's inline assembly: LLVM's constraint syntax, and the text with its operands put in.

    parse_constraints("=r,=&f,r,l,0,~{memory}")      outputs r, f; inputs r, l and one tied to output 0

A letter says which register an operand takes: h 16 bits, r 32, l 64, f float, d double, b a predicate. In the text
`$0` or `${0}` is an operand, outputs first, and `$$` a dollar sign.
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

INLINE_ASSEMBLY = ("inline_asm", "inline_asm_volatile")
"""The ops that hold it."""
WIDTHS = {"b": 1, "h": 16, "r": 32, "f": 32, "l": 64, "d": 64}
REGISTERS = {"b": "pred", "h": "b16", "r": "b32", "f": "b32", "l": "b64", "d": "b64"}
_OPERAND = re.compile(r"\$(?:(\$)|(\d+)|\{(\d+)(?::\w+)?\})")


@dataclass(frozen=True)
class Constraints:
    """Letters by operand; `tied` gives the output whose register an input shares."""

    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    tied: tuple[int | None, ...]


def parse_constraints(text: str) -> Constraints:
    """ValueError for what is not a register, a tie or a clobber."""
    outputs: list[str] = []
    inputs: list[str] = []
    tied: list[int | None] = []
    for part in (p.strip() for p in text.split(",") if p.strip()):
        letter = part.lstrip("=&")
        if part.startswith("~{"):
            continue
        if part.startswith("=") and letter in WIDTHS and not inputs:
            outputs.append(letter)
        elif letter == part and letter in WIDTHS:
            inputs.append(letter)
            tied.append(None)
        elif part.isdigit() and int(part) < len(outputs):
            inputs.append(outputs[int(part)])
            tied.append(int(part))
        else:
            raise ValueError(f"constraint {part!r} of {text!r} is not understood: outputs are =r and the like, then "
                             f"come inputs r and the like (letters {', '.join(WIDTHS)}) or the number of an output")
    return Constraints(tuple(outputs), tuple(inputs), tuple(tied))


def filled(text: str, operands: Sequence[str]) -> str:
    """The assembly with its operands put in. ValueError for a number that there is not."""

    def shown(found: re.Match[str]) -> str:
        if found[1]:
            return "$"
        number = int(found[2] or found[3])
        if number >= len(operands):
            raise ValueError(f"the assembly names operand ${number}, the constraints {len(operands)} operands")
        return operands[number]

    return _OPERAND.sub(shown, text)


def entry(text: str, constraints: Constraints) -> tuple[str, list[str], list[str]]:
    """PTX of an entry that holds the assembly alone, and the registers of its inputs and outputs."""
    outs = [f"%out{k}" for k in range(len(constraints.outputs))]
    ins = [outs[t] if t is not None else f"%in{k}" for k, t in enumerate(constraints.tied)]
    letters = dict(zip((*outs, *ins), (*constraints.outputs, *constraints.inputs), strict=True))
    lines = [f".reg .{REGISTERS[letter]} {name};" for name, letter in letters.items()]
    body = filled(text, [*outs, *ins])
    return "\n".join([".visible .entry assembly()", ".reqntid 32", "{", *lines, "{", body, "}", "}", ""]), ins, outs


def module(text: str, constraints: Constraints) -> str:
    """PTX of a kernel that runs the assembly once in each thread, from arrays of inputs to arrays of outputs."""
    outs = [f"%out{k}" for k in range(len(constraints.outputs))]
    ins = [outs[t] if t is not None else f"%in{k}" for k, t in enumerate(constraints.tied)]
    sides = [*zip(constraints.inputs, ins, strict=True), *zip(constraints.outputs, outs, strict=True)]
    lines = [".version 8.0", ".target sm_90a", ".address_size 64",
             ".visible .entry assembly(" + ", ".join(f".param .u64 p{k}" for k in range(len(sides))) + ")",
             ".reqntid 32", "{", ".reg .b32 %tid_x, %cta_x;", ".reg .b64 %at<2>;", ".reg .b16 %byte;"]  # fmt: skip
    declared = dict.fromkeys((name, letter) for letter, name in sides)
    lines += [f".reg .{REGISTERS[letter]} {name};" for name, letter in declared]
    lines += ["mov.u32 %tid_x, %tid.x;", "mov.u32 %cta_x, %ctaid.x;", "mad.lo.u32 %tid_x, %cta_x, 32, %tid_x;"]
    for k, (letter, name) in enumerate(sides):
        if k == len(constraints.inputs):
            lines += ["{", filled(text, [*outs, *ins]), "}"]
        lines += _moved(k, letter, name, k < len(constraints.inputs))
    return "\n".join([*lines, "ret;", "}", ""])


def _moved(k: int, letter: str, name: str, load: bool) -> list[str]:
    """An element between an array and a register."""
    size, kind = max(1, WIDTHS[letter] // 8), f"b{max(8, WIDTHS[letter])}"
    lines = [f"ld.param.u64 %at0, [p{k}];", f"mad.wide.u32 %at1, %tid_x, {size}, %at0;"]
    if load and letter == "b":
        return [*lines, "ld.global.u8 %byte, [%at1];", f"setp.ne.u16 {name}, %byte, 0;"]
    if load:
        return [*lines, f"ld.global.{kind} {name}, [%at1];"]
    if letter == "b":
        return [*lines, f"selp.u16 %byte, 1, 0, {name};", "st.global.u8 [%at1], %byte;"]
    return [*lines, f"st.global.{kind} [%at1], {name};"]
