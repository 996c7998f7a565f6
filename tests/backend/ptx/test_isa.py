"""The instruction table against ptxas: every row assembles at the chip and PTX version it states."""

import re

import numpy as np
import pytest

from rtriton.backend.ptx import isa
from rtriton.backend.ptx.emulate import emulate
from rtriton.backend.ptx.isa import Form, Operand, Version
from rtriton.backend.ptx.module import SHARED, Arch, Label, Mem, Module, Param, Reg, Symbol
from rtriton.backend.ptx.ptxas import AssembleError, assemble, find_ptxas

try:
    find_ptxas()
except AssembleError as problem:
    pytest.skip(str(problem), allow_module_level=True)

EVERY_FORM = [form for rows in isa.ROWS.values() for entry in rows for opcode in isa.spellings(entry)
              for form in isa.forms(opcode)]


def sample(m: Module, form: Form, operand: Operand, global_address: Reg, label: Label):
    if operand.kind == "mem":
        return Mem({"param": Symbol("x"), "shared": Symbol(SHARED)}.get(operand.type, global_address))
    if operand.kind == "imm":
        return 16 if form.opcode.startswith("cp.async.c") else 1
    if operand.kind == "label":
        return label
    if operand.count:
        return tuple(m.reg(operand.type) for _ in range(operand.count))
    return m.reg(operand.type)


def module_with(forms: list[Form], target: str) -> Module:
    m = Module("k", target, [Param("x", "u64", True, 16)], shared_bytes=64)
    address, label = m.load_param("x"), m.label()
    for form in forms:
        sources = [sample(m, form, operand, address, label) for operand in form.srcs if not operand.optional]
        dst = [m.reg(operand.type) for operand in form.dsts if not operand.optional for _ in range(operand.count or 1)]
        m.many(form.opcode, *sources, dst=dst)
    m.place(label)
    m.do("ret")
    return m


def by_version(target: str) -> dict[Version, list[Form]]:
    arch = Arch.parse(target)
    groups: dict[Version, list[Form]] = {}
    for form in EVERY_FORM:
        if form.sm <= arch.number and (arch.accelerated or not form.accelerated):
            groups.setdefault(max(form.version, arch.version), []).append(form)
    return groups


@pytest.mark.parametrize("target", ["sm_80", "sm_89", "sm_90", "sm_90a"])
def test_every_row_assembles_at_its_stated_version(target: str) -> None:
    groups = by_version(target)
    assert sum(map(len, groups.values())) > 900
    for version, forms in groups.items():
        m = module_with(forms, target)
        assert m.version <= version
        m.version = version
        assemble(str(m), target, options=("--opt-level=0",))


@pytest.mark.parametrize("opcode", ["stmatrix.sync.aligned.m8n8.x4.shared.b16", "add.bf16x2", "cvt.rn.bf16.f64"])
def test_what_the_table_calls_new_in_sm_90_is_refused_for_sm_80_by_ptxas_too(opcode: str) -> None:
    text = str(module_with(list(isa.forms(opcode)), "sm_90")).replace("sm_90", "sm_80")
    with pytest.raises(AssembleError, match="sm_90"):
        assemble(text, "sm_80")


def test_every_row_is_emulated() -> None:
    """The first instruction jumps over all the others, but the emulator decodes a kernel whole."""
    narrow = [form for form in EVERY_FORM if not form.opcode.startswith("ld.param.v")]  # the parameter is one word
    m = module_with(narrow, "sm_90a")
    text = str(m).replace("    ld.param.u64", "    bra $L_1;\n    ld.param.u64", 1)
    assert emulate(text, "k", 1, [np.zeros(4)], shared=64).ctas == 1


def test_an_opcode_that_is_not_in_the_table_is_an_error_that_shows_the_known_ones() -> None:
    with pytest.raises(ValueError, match=re.escape("'add.f33' is not in the PTX instruction table")):
        isa.forms("add.f33")


def test_operands_follow_the_chosen_types_and_vectors() -> None:
    (form,) = isa.forms("ld.global.v4.b32")
    assert form.dsts[0].count == 4 and form.dsts[0].type == "b32" and form.srcs[0].type == "global"
    (form,) = isa.forms("mad.wide.u32")
    assert [operand.type for operand in form.srcs] == ["u32", "u32", "u64"]
