"""Modules: what the builder checks, and the text it prints."""

import pytest

from rtriton.backend.ptx.emit import Loc
from rtriton.backend.ptx.module import Inst, Mem, Module, Param, Reg, Special


def module(target: str = "sm_80") -> Module:
    return Module("k", target, [Param("x", "u64", True, 16), Param("n", "u32")])


def lines(m: Module) -> list[str]:
    return [" ".join(line.split()) for line in str(m).splitlines()]


def test_an_instruction_gives_a_register_of_its_result_type() -> None:
    m = module()
    product = m("mul.wide.u32", m("mov.u32", Special("tid.x")), 4)
    assert product == Reg("b64", 0)
    assert "mul.wide.u32 %rd0, %r0, 4;" in lines(m)


def test_operands_stand_behind_a_tab_as_in_the_ptx_of_llvm() -> None:
    m = module()
    m.do("cp.async.wait_group", 2)
    m.do("ret")
    assert "    cp.async.wait_group \t2;\n    ret;\n" in str(m)


def test_immediates_print_exactly() -> None:
    m = module()
    m("add.f32", m("mov.f32", 0.1), -1.0)
    m("mov.f64", 0.5)
    assert "mov.f32 %r0, 0f3DCCCCCD;" in lines(m)
    assert "add.f32 %r1, %r0, 0fBF800000;" in lines(m)
    assert "mov.f64 %rd0, 0d3FE0000000000000;" in lines(m)


def test_vectors_addresses_predicates_and_in_place_results_print() -> None:
    m = module()
    x = m.load_param("x")
    inside = m("setp.lt.u32", m("mov.u32", Special("tid.x")), m.load_param("n"))
    values = m.many("ld.global.v2.b32", Mem(x, 8), pred=inside)
    m("add.f32", values[0], values[1], dst=values[0])
    m.do("st.global.v2.b32", Mem(x, -16), values, pred=~inside)
    m.do("ret")
    assert "@%p0 ld.global.v2.b32 {%r2, %r3}, [%rd0+8];" in lines(m)
    assert "add.f32 %r2, %r2, %r3;" in lines(m)
    assert "@!%p0 st.global.v2.b32 [%rd0+-16], {%r2, %r3};" in lines(m)


def test_a_wrong_register_class_names_the_operand() -> None:
    m = module()
    with pytest.raises(TypeError, match=r"add.f32: operand 1 wanted f32 \(a b32 register\), got b64 register %rd0"):
        m("add.f32", m("mov.f32", 1.0), m.load_param("x"))


def test_a_wrong_number_of_operands_is_refused() -> None:
    m = module()
    with pytest.raises(TypeError, match="wanted 3 to 3 operands, got 2"):
        m("fma.rn.f32", m("mov.f32", 1.0), 2.0)


def test_immediates_that_do_not_fit_are_refused() -> None:
    m = module()
    with pytest.raises(TypeError, match="4294967296 does not fit"):
        m("mov.u32", 1 << 32)
    with pytest.raises(TypeError, match="wanted s32, got the float"):
        m("mov.s32", 1.5)


def test_a_refused_instruction_leaves_no_trace() -> None:
    m = module()
    with pytest.raises(TypeError):
        m("add.s32", 1.5, 2)
    assert m.body == [] and m.counts == {}


def test_results_of_every_number_are_taken_by_their_own_method() -> None:
    m = module()
    value = m("mov.b32", 7)
    got, valid = m.many("shfl.sync.bfly.b32", value, 1, 31, -1)
    assert (got.type, valid.type) == ("b32", "pred")
    assert m("shfl.sync.bfly.b32", value, 1, 31, -1).type == "b32"
    assert "shfl.sync.bfly.b32 %r1|%p0, %r0, 1, 31, -1;" in lines(m)
    with pytest.raises(TypeError, match="4 results"):
        m("ld.global.v4.b32", m.load_param("x"))
    with pytest.raises(TypeError, match="1 results, none are wanted"):
        m.do("mov.b32", 7)


def test_packing_and_unpacking_move_parts() -> None:
    m = module()
    low, high = m.unpack(m.load_param("x"), 2)
    assert m.pack(low, high).type == "b64"
    assert "mov.b64 {%r0, %r1}, %rd0;" in lines(m) and "mov.b64 %rd1, {%r0, %r1};" in lines(m)


def test_the_lowest_version_that_the_instructions_need_is_printed() -> None:
    m = module("sm_89")
    assert lines(m)[0] == ".version 7.8"
    m("cvt.rn.satfinite.e4m3x2.f32", 1.0, 2.0)
    assert lines(m)[0] == ".version 8.1"
    assert lines(module("sm_80"))[0] == ".version 7.0"
    assert lines(module("sm_90a"))[:2] == [".version 8.0", ".target sm_90a"]


def test_an_instruction_the_target_lacks_is_refused() -> None:
    m = module("sm_80")
    with pytest.raises(ValueError, match="needs sm_90, the target of kernel k is sm_80"):
        m.do("stmatrix.sync.aligned.m8n8.x1.shared.b16", m.shared, (m("mov.b32", 0),))


def test_spans_become_loc_lines_only_where_they_change() -> None:
    m = module()
    with m.at(Loc("add.py", 12, 9)):
        m("mov.b32", 1)
        m("mov.b32", 2)
    with m.at(Loc("lib.py", 3, 1)):
        m("mov.b32", 3)
    text = lines(m)
    assert text.count(".loc 1 12 9") == 1 and text.count(".loc 2 3 1") == 1
    assert '.file 1 "add.py"' in text and '.file 2 "lib.py"' in text


def test_the_place_of_an_inlined_function_comes_after_its_call() -> None:
    m = module()
    call = Loc("add.py", 12, 9, "add")
    inner = Loc("lib.py", 3, 1, "double", call)
    with m.at(Loc("lib.py", 8, 2, "twice", inner)):
        m("mov.b32", 1)
    with m.at(Loc("lib.py", 3, 5, "double", call)):
        m("mov.b32", 2)
    with m.at(Loc("lib.py", 3, 1, "double", Loc("add.py", 13, 9, "add"))):     # called from another line too
        m("mov.b32", 3)
    assert [line for line in lines(m) if line.startswith(".loc")] == [
        ".loc 2 12 9",
        ".loc 1 3 1, function_name inlined_0, inlined_at 2 12 9",
        ".loc 1 8 2, function_name inlined_1, inlined_at 1 3 1",
        ".loc 1 3 5, function_name inlined_0, inlined_at 2 12 9",
        ".loc 2 13 9",
        ".loc 1 3 1, function_name inlined_0, inlined_at 2 13 9",
    ]
    assert [bytes(map(int, line[4:].split(", "))) for line in lines(m) if line.startswith(".b8")] == [
        b"double\0", b"twice\0"]


def test_labels_and_branches() -> None:
    m = module()
    loop = m.label("loop")
    count = m("mov.u32", 0)
    m.place(loop)
    m("add.u32", count, 1, dst=count)
    m.bra(loop, m("setp.lt.u32", count, 10))
    m.do("ret")
    m.verify()
    assert "$loop_1:" in lines(m) and "@%p0 bra $loop_1;" in lines(m)


def test_verify_finds_labels_never_placed_and_registers_never_written() -> None:
    m = module()
    m.bra(m.label("end"))
    with pytest.raises(ValueError, match=r"\$end_1 is branched to but never placed"):
        m.verify()
    m = module()
    m("not.b32", m.reg("b32"))
    with pytest.raises(ValueError, match="reads %r0, which nothing in kernel k writes"):
        m.verify()


def test_the_interface_carries_threads_shared_memory_and_register_limits() -> None:
    m = Module("k", "sm_80", [Param("x", "u64", True, 16)], shared_bytes=512, num_warps=8, maxnreg=64)
    text = str(m)
    assert ".extern .shared .align 1024 .b8 shared_memory[];" in text
    assert ".param .u64 .ptr .global .align 16 x" in text
    assert ".reqntid 256" in text and ".maxnreg 64" in text
    assert m("mov.u32", m.shared) == Reg("b32", 0)
    assert isinstance(m.body[0], Inst)
