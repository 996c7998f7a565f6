"""inline_asm_elementwise on every execution against NumPy: packing, several results, each instruction, the refusals."""
from __future__ import annotations

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.assembly import filled, parse_constraints
from rtriton.backend.ptx.ptxas import assemble
from rtriton.errors import CompilationError, InterpreterError, KernelError
from tests.backend.ptx.both import compiled
from tests.language.executions import EXECUTIONS, on_each

RNG = np.random.default_rng(0)


@rtriton.jit
def funnel(x, y, out, N: tl.constexpr):
    at = tl.arange(0, N)
    amount = tl.full((N,), 17, tl.int32)
    tl.store(out + at, tl.inline_asm_elementwise("shf.l.wrap.b32 $0, $1, $2, $3;", "=r,r, r, r",
                                                 [tl.load(x + at), tl.load(y + at), amount], dtype=tl.int32,
                                                 is_pure=True, pack=1))


def test_operands_are_put_in_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = (RNG.integers(0, 1 << 32, 128, dtype=np.uint32) for _ in range(2))
    for name, (_, _, got) in on_each(monkeypatch, funnel, x, y, np.zeros(128, np.int32), 128).items():
        np.testing.assert_array_equal(got.view(np.uint32), (y << 17) | (x >> 15), err_msg=name)


@rtriton.jit
def packed_bytes(x, out, N: tl.constexpr):
    at = tl.arange(0, N)
    moved = tl.inline_asm_elementwise("and.b32 $0, $1, 0x1F1F1F1F; shl.b32 $0, $0, 3;", "=r,r", [tl.load(x + at)],
                                      dtype=tl.int8, is_pure=True, pack=4)
    tl.store(out + at, moved)


def test_four_bytes_share_a_register(monkeypatch: pytest.MonkeyPatch) -> None:
    x = RNG.integers(0, 256, 256).astype(np.uint8)
    for name, (_, got) in on_each(monkeypatch, packed_bytes, x, np.zeros(256, np.int8), 256).items():
        np.testing.assert_array_equal(got.view(np.uint8), x << 3, err_msg=name)


@rtriton.jit
def text_over_two_lines(x):
    doubled = tl.inline_asm_elementwise("add.s32 $0, $1, \
                                         $1;", '=r,\
r', [tl.load(x)], dtype=tl.int32, is_pure=True, pack=1)
    tl.store(x, doubled)


def test_a_text_may_go_on_after_a_backslash(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (got,) in on_each(monkeypatch, text_over_two_lines, np.array([21], np.int32)).items():
        assert got[0] == 42, name


@rtriton.jit
def bytes_and_floats(a, b, whole, largest, N: tl.constexpr):
    at = tl.arange(0, N)
    c, d = tl.inline_asm_elementwise(
        asm="""
        {
            // the bytes one by one
            .reg .b8 part<4>;
            mov.b32 {part0, part1, part2, part3}, $8;
            cvt.u32.u8 $0, part0;
            cvt.u32.u8 $1, part1;
            cvt.u32.u8 $2, part2;
            cvt.u32.u8 $3, part3;
        }
        cvt.rn.f32.s32 $4, $0;
        cvt.rn.f32.s32 $5, $1;
        cvt.rn.f32.s32 $6, $2;
        cvt.rn.f32.s32 $7, $3;
        max.f32 $4, $4, $9;
        max.f32 $5, $5, $10;
        max.f32 $6, $6, $11;
        max.f32 $7, $7, $12;
        """,
        constraints="=r,=r,=r,=r,=r,=r,=r,=r,r,r,r,r,r", args=[tl.load(a + at), tl.load(b + at)],
        dtype=(tl.int32, tl.float32), is_pure=True, pack=4)
    tl.store(whole + at, c)
    tl.store(largest + at, d)


def test_several_results_of_packed_operands(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = RNG.integers(0, 256, 256).astype(np.uint8), RNG.normal(100, 80, 256).astype(np.float32)
    after = on_each(monkeypatch, bytes_and_floats, a, b, np.zeros(256, np.int32), np.zeros(256, np.float32), 256)
    for name, (_, _, whole, largest) in after.items():
        np.testing.assert_array_equal(whole, a, err_msg=name)
        np.testing.assert_array_equal(largest, np.maximum(a.astype(np.float32), b), err_msg=name)


@rtriton.jit
def broadcast_halves(x, out, k):
    i, j = tl.arange(0, 8), tl.arange(0, 16)
    v = tl.inline_asm_elementwise("add.f16x2 $0, $1, $2;", "=r,r,r",
                                  [tl.load(x + i).to(tl.float16)[:, None], tl.load(x + j).to(tl.float16)[None, :]],
                                  dtype=tl.float16, is_pure=True, pack=2)
    w = tl.inline_asm_elementwise("add.s32 $0, $1, 1;", "=r,0", [k], dtype=tl.int32, is_pure=True, pack=1)
    tl.store(out + i[:, None] * 16 + j[None, :], v + w)


def test_operands_are_broadcast_scalars_stay_scalars_and_ties_share_a_register(monkeypatch: pytest.MonkeyPatch) -> None:
    x = RNG.integers(-99, 99, 16).astype(np.float32)
    for name, (_, got) in on_each(monkeypatch, broadcast_halves, x, np.zeros((8, 16), np.float32), 4).items():
        np.testing.assert_array_equal(got, x[:8, None] + x[None, :] + 5, err_msg=name)


@rtriton.jit
def one(x, y, z, out, asm: tl.constexpr, dtype: tl.constexpr, constraints: tl.constexpr):
    at = tl.arange(0, 64)
    tl.store(out + at, tl.inline_asm_elementwise(asm, constraints, [tl.load(x + at), tl.load(y + at), tl.load(z + at)],
                                                 dtype=dtype, is_pure=True, pack=1))


WORDS = ["add.s32 $0, $1, $2;", "sub.u32 $0, $1, $2;", "mul.lo.s32 $0, $1, $2;", "mul.hi.u32 $0, $1, $2;",
         "mul.hi.s32 $0, $1, $2;", "mad.lo.s32 $0, $1, $2, $3;", "min.s32 $0, $1, $2;", "max.u32 $0, $1, $2;",
         "and.b32 $0, $1, $2;", "xor.b32 $0, $1, $2;", "not.b32 $0, $1;", "neg.s32 $0, $1;", "abs.s32 $0, $1;",
         "shl.b32 $0, $1, $3;", "shr.u32 $0, $1, $3;", "shr.s32 $0, $1, $3;", "shf.r.wrap.b32 $0, $1, $2, $3;",
         "shf.l.clamp.b32 $0, $1, $2, $3;", "lop3.b32 $0, $1, $2, $3, 0xE8;", "prmt.b32 $0, $1, $2, 0x5410;",
         "prmt.b32 $0, $1, $2, $3;", "bfe.u32 $0, $1, 5, 9;", "bfe.s32 $0, $1, 20, 12;",
         "bfi.b32 $0, $1, $2, 8, 8;", "popc.b32 $0, $1;", "clz.b32 $0, $3;", "brev.b32 $0, $1;",
         "{ .reg .pred p; setp.lt.s32 p, $1, $2; selp.b32 $0, $1, $3, p; }",
         "{ .reg .pred p, q; setp.gt.u32 p|q, $1, $2; mov.b32 $0, 7; @q mov.b32 $0, $3; @!q add.u32 $0, $0, $2; }",
         "{ .reg .pred p, q; setp.hs.u32 p, $1, $2; setp.gt.and.s32 q, $3, 5, p; selp.b32 $0, 1, 0, q; }",
         "{ .reg .b16 a, b; mov.b32 {a, b}, $1; mov.b32 $0, {b, a}; }", "{ .reg .b64 t; mul.wide.u32 t, $1, $2; "
         "shr.u64 t, t, 7; cvt.u32.u64 $0, t; }", "cvt.s32.s8 $0, $1;", "cvt.u32.u16 $0, $1;",
         "{ .reg .b16 h; cvt.u16.u32 h, $1; cvt.s32.s16 $0, h; }", "div.s32 $0, $1, $3;", "rem.u32 $0, $1, $3;",
         "{ .reg .f32 f; cvt.rn.f32.s32 f, $1; mov.b32 $0, f; }"]


@pytest.mark.parametrize("asm", WORDS)
def test_integer_instructions_do_on_the_cpu_what_the_emulator_says(asm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = (RNG.integers(-(1 << 31), 1 << 31, 64, dtype=np.int64).astype(np.int32) for _ in range(2))
    z = RNG.integers(1, 40, 64).astype(np.int32)
    after = on_each(monkeypatch, one, x, y, z, np.zeros(64, np.int32), asm, tl.int32, "=r,r,r,r")
    wanted = after["interpret"][3]
    for name in after:
        np.testing.assert_array_equal(after[name][3], wanted, err_msg=name)
    assert len(np.unique(wanted)) > 1


FLOATS = ["add.f32 $0, $1, $2;", "sub.rn.f32 $0, $1, $2;", "mul.f32 $0, $1, $2;", "fma.rn.f32 $0, $1, $2, $3;",
          "min.f32 $0, $1, $2;", "max.NaN.f32 $0, $1, $2;", "neg.f32 $0, $1;", "abs.f32 $0, $1;",
          "div.rn.f32 $0, $1, $2;", "div.full.f32 $0, $1, $2;", "rcp.rn.f32 $0, $1;", "sqrt.rn.f32 $0, $3;",
          "rsqrt.approx.f32 $0, $3;", "ex2.approx.f32 $0, $1;", "lg2.approx.f32 $0, $3;", "sin.approx.f32 $0, $1;",
          "cos.approx.f32 $0, $1;", "tanh.approx.f32 $0, $1;", "add.sat.f32 $0, $1, $2;", "mul.ftz.f32 $0, $1, $2;",
          "add.f32 $0, $1, 0f3FC00000;", "cvt.rni.f32.f32 $0, $1;", "cvt.rmi.f32.f32 $0, $1;",
          "cvt.rpi.f32.f32 $0, $1;", "cvt.rzi.f32.f32 $0, $1;", "cvt.f32.f32 $0, $1;",
          "{ .reg .b32 t; cvt.rzi.s32.f32 t, $1; cvt.rn.f32.s32 $0, t; }",
          "{ .reg .pred p; setp.gtu.f32 p, $1, $2; selp.f32 $0, $1, $2, p; }",
          "{ .reg .b16 h; cvt.rn.f16.f32 h, $1; cvt.f32.f16 $0, h; }",
          "{ .reg .b16 h; cvt.rn.bf16.f32 h, $1; mov.b32 $0, {0, h}; }",
          "{ .reg .b32 t; .reg .b16 a, b; cvt.rn.f16x2.f32 t, $1, $2; mov.b32 {a, b}, t; cvt.f32.f16 $0, b; }",
          "{ .reg .b16 t; .reg .b32 w; .reg .b16 a, b; cvt.rn.satfinite.e4m3x2.f32 t, $1, $2; "
          "cvt.rn.f16x2.e4m3x2 w, t; mov.b32 {a, b}, w; cvt.f32.f16 $0, a; }",
          "{ .reg .f64 d; cvt.f64.f32 d, $1; add.f64 d, d, 0d3FF0000000000000; cvt.rn.f32.f64 $0, d; }"]


@pytest.mark.parametrize("asm", FLOATS)
def test_float_instructions_do_on_the_cpu_what_the_emulator_says(asm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = (RNG.normal(0, 2, 64).astype(np.float32) for _ in range(2))
    z = np.abs(RNG.normal(3, 2, 64)).astype(np.float32) + np.float32(0.01)
    x[:3] = 0.5, 1.5, -2.5
    if ".bf16." in asm:  # a register of 16 bits beside zeros
        asm = asm.replace("{ .reg .b16 h;", "{ .reg .b16 h, o; mov.b16 o, 0;").replace("{0, h}", "{o, h}")
    after = on_each(monkeypatch, one, x, y, z, np.zeros(64, np.float32), asm, tl.float32, "=f,f,f,f")
    wanted = after["interpret"][3]
    for name in after:
        np.testing.assert_allclose(after[name][3], wanted, rtol=1e-3 if "tanh" in asm else 4e-7,
                                   atol=1e-6 if "approx" in asm else 0, err_msg=name)
    assert len(np.unique(wanted)) > 1


@rtriton.jit
def volatile(x, y):
    tl.inline_asm_elementwise("ld.global.b32 $0, [$1]; shl.b32 $0, $0, 3; atom.global.add.u32 $0, [$2], $0;",
                              "=r,l,l", [x + tl.arange(0, 16), y + tl.arange(0, 16)], dtype=tl.int32, is_pure=False,
                              pack=1)


def test_volatile_assembly_runs_once_for_each_element(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "emulate")
    x, y = np.arange(16, dtype=np.int32), np.ones(16, np.int32)
    volatile[1,](x, y, num_warps=4)
    np.testing.assert_array_equal(y, 1 + 8 * x)


@pytest.mark.parametrize(("execution", "error"), [("interpret", InterpreterError), ("cpu", KernelError)])
def test_assembly_that_touches_memory_is_refused_off_the_gpu(execution: str, error: type[Exception],
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", execution)
    with pytest.raises(error, match=r"ld\.global\.b32") as caught:
        volatile[1,](np.zeros(16, np.int32), np.zeros(16, np.int32))
    assert "test_inline_asm.py" in str(caught.value)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_an_instruction_that_is_not_there_is_named(execution: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", execution)
    x = np.ones(64, np.int32)
    with pytest.raises(Exception, match=r"frobnicate"):
        one[1,](x, x, x, x, "frobnicate.b32 $0, $1;", tl.int32, "=r,r,r,r")


@pytest.mark.parametrize(("asm", "constraints", "dtype", "sentence"), [
    ("add.s32 $0, $1, $2;", "=r,r,r", tl.int32, r"name 2 inputs \(r, r\), the operands fill registers of 32, 32, 32"),
    ("add.s32 $0, $1, $2;", "=l,r,r,r", tl.int32, r"name 1 outputs \(l\), the operands fill registers of 32 bits"),
    ("add.s32 $0, $1, $7;", "=r,r,r,r", tl.int32, r"names operand \$7, the constraints 4 operands"),
    ("add.s32 $0, $1, $2;", "=r,r,r,m", tl.int32, "constraint 'm' of '=r,r,r,m' is not understood")])
def test_constraints_that_do_not_fit_are_refused_in_one_sentence(
    asm: str, constraints: str, dtype: tl.dtype, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "interpret")
    x = np.ones(64, np.int32)
    with pytest.raises(CompilationError, match=sentence):
        one[1,](x, x, x, x, asm, dtype, constraints)


def test_constraints_and_operands_are_read_in_llvms_syntax() -> None:
    rules = parse_constraints("=&r, =f, r, 0, l,~{memory}")
    assert (rules.outputs, rules.inputs, rules.tied) == (("r", "f"), ("r", "r", "l"), (None, 0, None))
    assert filled("add $0, ${1}, $2; // $$", ["a", "b", "c"]) == "add a, b, c; // $"


@pytest.mark.parametrize("target", ["sm_80", "sm_89", "sm_90a"])
def test_assembly_assembles(target: str) -> None:
    a, b = np.zeros(256, np.uint8), np.zeros(256, np.float32)
    kernel = compiled(bytes_and_floats, {"a": a, "b": b, "whole": a.astype(np.int32), "largest": b}, {"N": 256}, target)
    assemble(str(kernel[1]), target)
