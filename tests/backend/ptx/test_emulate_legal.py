"""What ptxas refuses the emulator refuses: spellings of instructions made of all their words, put before both."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rtriton.backend.ptx.emulate import EmulatorError, emulate
from rtriton.backend.ptx.emulate.legal import problem
from rtriton.backend.ptx.emulate.parse import parse
from rtriton.backend.ptx.ptxas import AssembleError, find_ptxas

HEAD = """.version 8.0
.target sm_90a
.address_size 64
.visible .entry k()
.reqntid 32
{
.reg .b16 %h<4>; .reg .b32 %r<4>; .reg .b64 %d<4>; .reg .pred %p<4>;
mov.b16 %h1, 0; mov.b32 %r1, 0; mov.b64 %d1, 0; setp.eq.u32 %p1, %r1, 0;
"""
FIRST = HEAD.count("\n") + 1
INTEGERS, FLOATS = ("s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64"), ("f16", "bf16", "f32", "f64")
WIDE = {"b16": "h", "b32": "r", "b64": "d", "pred": "p", "s8": "r", "u8": "r", "f16": "h", "bf16": "h", "f32": "r",
        "f64": "d", "f16x2": "r", "bf16x2": "r", "s16": "h", "u16": "h", "s32": "r", "u32": "r", "s64": "d", "u64": "d"}


def spelt(name: str, words: tuple[str, ...], types: tuple[str, ...], operands: int, result: str = "") -> str:
    opcode = ".".join([name, *filter(None, words), *types])
    registers = [f"%{WIDE[result or types[0]]}2"] + [f"%{WIDE[types[-1]]}1"] * operands
    return f"{opcode} {', '.join(registers)};"


def candidates() -> Iterator[str]:
    every = (*INTEGERS, *FLOATS, "f16x2", "bf16x2", "b32", "b64")
    yield from arithmetic(every)
    yield from accesses(every)
    yield from exchanges()


def arithmetic(every: tuple[str, ...]) -> Iterator[str]:
    ftz, sat = ("", "ftz"), ("", "sat", "relu")
    rounding = ("", "rn", "rz", "rna", "rni", "rzi")
    for r, f, s, to, of in itertools.product(rounding, ftz, sat, (*INTEGERS, *FLOATS), (*INTEGERS, *FLOATS)):
        yield spelt("cvt", (r, f, s), (to, of), 1)
    for name, r, f, s, t in itertools.product(("add", "mul"), ("", "rn", "lo"), ftz, sat, every):
        yield spelt(name, (r, f, s), (t,), 2)
    for name, r, f, t in itertools.product(("fma", "mad"), ("", "rn", "lo"), ftz, every):
        yield spelt(name, (r, f), (t,), 3)
    for name, f, n, t in itertools.product(("min", "max"), ftz, ("", "NaN"), every):
        yield spelt(name, (f, n), (t,), 2)
    for name, r, t in itertools.product(("sqrt", "ex2", "sin", "tanh", "neg"), ("", "rn", "approx"), every):
        yield spelt(name, (r,), (t,), 1)
    for c, f, t in itertools.product(("eq", "lt", "lo", "num"), ftz, (*INTEGERS, *FLOATS, "b32", "pred")):
        yield spelt("setp", (c, f), (t,), 2, "pred")
    for name, t in itertools.product(("and", "shl", "shr", "not", "mov", "div", "rem"), (*every, "pred", "b16")):
        yield spelt(name, (), (t,), 1 if name in ("not", "mov") else 2)


def accesses(every: tuple[str, ...]) -> Iterator[str]:
    for name, t in itertools.product(("ld", "st"), (*every, "pred", "b128")):
        for words, count in itertools.product(("global", "volatile.shared", "relaxed.gpu", ""), (0, 2, 3, 4)):
            register = f"%{WIDE.get(t, 'd')}2"
            value = f"{{{', '.join([register] * count)}}}" if count else register
            opcode = ".".join(filter(None, (name, words, f"v{count}" if count else "", t)))
            yield f"{opcode} {value}, [%d1];" if name == "ld" else f"{opcode} [%d1], {value};"
    hows, orders = ("add", "min", "and", "exch", "inc"), ("global", "relaxed.gpu.shared", "")
    for how, t, words in itertools.product(hows, every, orders):
        opcode = ".".join(filter(None, (words, how, t)))
        yield f"atom.{opcode} %{WIDE[t]}2, [%d1], %{WIDE[t]}1;"
        yield f"red.{opcode} [%d1], %{WIDE[t]}1;"


def exchanges() -> Iterator[str]:
    for mode, t in itertools.product(("up", "idx", "down.x"), ("b32", "u32", "b64")):
        yield f"shfl.sync.{mode}.{t} %{WIDE[t]}2, %{WIDE[t]}1, 1, 31, -1;"
        yield f"shfl.sync.{mode}.{t} %{WIDE[t]}2|%p2, %{WIDE[t]}1, 1, 31, -1;"
        yield f"shfl.sync.{mode}.{t} %{WIDE[t]}2, %{WIDE[t]}1, 1, 31;"
    yield from ("vote.sync.all.b32 %r2, %p1, -1;", "vote.sync.ballot.b32 %r2, %p1, -1;", "activemask.u32 %r2;",
                "redux.sync.add.f32 %r2, %r1, -1;", "prmt.u32 %r2, %r1, %r1, 0;", "lop3.b32 %r2, %r1, %r1, %r1;",
                "nanosleep 10;")


def test_what_ptxas_refuses_is_refused(tmp_path: Path) -> None:
    try:
        ptxas = find_ptxas()
    except AssembleError as error:
        pytest.skip(str(error))
    lines = list(dict.fromkeys(candidates()))
    file = tmp_path / "k.ptx"
    file.write_text(HEAD + "\n".join(lines) + "\nret;\n}\n")
    command = [str(ptxas), "-arch=sm_90a", str(file), "-o", str(tmp_path / "k.cubin")]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    refused = {int(line) - FIRST for line in re.findall(r"line (\d+); error", told)}
    entry = parse(file.read_text()).entries["k"]
    accepted = {inst.line - FIRST for inst in entry.code if inst.line >= FIRST and not problem(inst, entry.registers)}
    assert len(refused) > 1500 and len(accepted) > 300
    assert not [lines[i] for i in sorted(refused & accepted)]


@pytest.mark.parametrize(("line", "wanted"), [
    ("cvt.rn.f32.f32 %r2, %r1;", r"cvt.rn.f32.f32 is no PTX instruction. There are cvt"),
    ("add.f32 %r2, %d1, %r1;", r"add.f32 does not take these operands; it takes f32 f32 f32"),
    ("fma.f32 %r2, %r1, %r1, %r1;", r"fma.f32 is no PTX instruction"),
    ("and.b32 %r2, %r1;", r"and.b32 does not take these operands"),
])  # fmt: skip
def test_a_refusal_says_what_there_is(line: str, wanted: str) -> None:
    with pytest.raises(EmulatorError, match=wanted) as error:
        emulate(HEAD + line + "\nret;\n}\n", None, 1, [])
    assert f"PTX line {FIRST}: {line}" in str(error.value)


def test_what_is_legal_runs() -> None:
    out = np.zeros(1, np.float32)
    text = (HEAD.replace("k()", "k(.param .u64 out)") + "mov.b32 %r1, 0f3FC00000;\ncvt.sat.f32.f32 %r2, %r1;\n"
            "mad.rn.f32 %r2, %r2, %r1, %r1;\nld.param.u64 %d2, [out];\nst.global.f32 [%d2], %r2;\nret;\n}\n")
    emulate(text, None, 1, [out])
    assert out[0] == 3.0
