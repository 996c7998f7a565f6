"""The assembler wrapper: cubins, resource figures and located complaints."""

import pytest

from rtriton.backend.ptx import ptxas
from rtriton.backend.ptx.module import Module, Param, Special
from rtriton.backend.ptx.ptxas import AssembleError, Usage, assemble, find_ptxas, read_usage

try:
    find_ptxas()
except AssembleError as problem:
    pytest.skip(str(problem), allow_module_level=True)


def small(target: str) -> Module:
    m = Module("k", target, [Param("x", "u64", True, 16)], shared_bytes=128)
    address = m("mad.wide.u32", m("mov.u32", Special("tid.x")), 4, m.load_param("x"))
    m.do("st.global.f32", address, m("add.f32", m("ld.global.f32", address), 1.0))
    m.do("ret")
    return m


@pytest.mark.parametrize("target", ["sm_80", "sm_89", "sm_90", "sm_90a"])
def test_a_module_becomes_a_cubin_for_every_target(target: str) -> None:
    done = assemble(str(small(target)), target)
    assert done.cubin[:4] == b"\x7fELF"
    assert 0 < done.usage.registers < 32 and done.usage.spills == 0


def test_a_complaint_shows_the_line_it_is_about() -> None:
    text = str(small("sm_80")).replace("add.f32", "add.f99")
    with pytest.raises(AssembleError, match=r"(?s)refused the module for sm_80.*\| add.f99 "):
        assemble(text, "sm_80")


def test_usage_is_read_from_the_report() -> None:
    said = ("ptxas info    : Function properties for k\n"
            "    40 bytes stack frame, 24 bytes spill stores, 32 bytes spill loads\n"
            "ptxas info    : Used 255 registers, used 1 barriers, 4096 bytes smem, 368 bytes cmem[0]\n")
    assert read_usage(said) == Usage(registers=255, shared=4096, spills=24)


def test_a_knob_that_names_no_file_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_PTXAS", "/nowhere/ptxas")
    with pytest.raises(AssembleError, match="RTRITON_PTXAS names /nowhere/ptxas"):
        find_ptxas()


def test_the_version_of_the_assembler_is_known() -> None:
    assert ptxas.version(find_ptxas())[0].isdigit()
