"""Compiling without launching: sources, targets, files of IR, and what a compiled kernel tells."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.compiler import ASTSource, GPUTarget


@rtriton.jit
def scale(x, out, n, factor, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(x + at, mask=at < n) * factor, mask=at < n)


@rtriton.jit
def of_a_tuple(pair, out):
    tl.store(out, pair[0] + pair[1])


SIGNATURE = {"x": "*fp32", "out": "*fp32", "n": "i32", "factor": "fp32", "BLOCK": "constexpr"}


def source() -> ASTSource:
    known = [["tt.divisibility", 16]]
    return ASTSource(scale, SIGNATURE, {"BLOCK": 32}, {(0,): known, (2,): known})


@pytest.mark.parametrize(("arch", "sm"), [(80, "sm_80"), (86, "sm_80"), (89, "sm_89"), (90, "sm_90a"), (100, "sm_90")])
def test_a_kernel_compiles_for_a_gpu_that_is_not_here(arch: int, sm: str) -> None:
    made = rtriton.compile(source(), target=GPUTarget("cuda", arch, 32), options={"num_warps": 8})
    assert f".target {sm}\n" in made.asm["ptx"] and ".reqntid 256" in made.asm["ptx"]
    assert made.metadata.name == "scale" and made.metadata.num_warps == 8 and made.metadata.target.arch == arch
    assert len(made.hash) == 64 and made.src.signature == SIGNATURE


def test_a_kernel_compiled_for_the_cpu_is_launched_with_all_its_arguments() -> None:
    made = rtriton.compile(source(), target=GPUTarget("cpu", "", 1))
    x, out = np.arange(40, dtype=np.float32), np.zeros(40, np.float32)
    made[(2, 1, 1)](x, out, 40, 3.0, 32)
    np.testing.assert_array_equal(out, 3 * x)
    out[:] = 0
    made.run(1, 1, 1, None, made.function, made.packed_metadata, None, None, None, x, out, 40, 2.0, 32)
    np.testing.assert_array_equal(out, np.where(np.arange(40) < 32, 2 * x, 0))
    with pytest.raises(TypeError, match="scale takes 5 arguments, got 3"):
        made[(1, 1, 1)](x, out, 40)
    assert made.n_regs == made.n_spills == 0


def test_tuples_are_described_part_by_part() -> None:
    src = ASTSource(of_a_tuple, {"pair": ("i32", "constexpr"), "out": "*i32"}, {(0, 1): 5})
    made = rtriton.compile(src, target=GPUTarget("cpu", "", 1))
    out = np.zeros(1, np.int32)
    made[(1, 1, 1)]((37, 5), out)
    assert out[0] == 42


def test_a_file_of_tile_ir_and_one_of_ptx_compile_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "cpu")
    x, out = np.arange(40, dtype=np.float32), np.zeros(40, np.float32)
    first = scale.warmup(x, out, 40, 3.0, BLOCK=64)
    (tmp_path / "scale.tir").write_text(first.asm["tir"])
    again = rtriton.compile(str(tmp_path / "scale.tir"))
    again[(1, 1, 1)](x, out, 40, 3.0)
    np.testing.assert_array_equal(out, 3 * x)
    ptx = rtriton.compile(source(), target=GPUTarget("cuda", 80, 32), options={"num_warps": 2}).asm["ptx"]
    (tmp_path / "scale.ptx").write_text(ptx)
    made = rtriton.compile(str(tmp_path / "scale.ptx"))
    assert made.asm["ptx"] == ptx and made.name == "scale"
    assert list(made.src.signature.values()) == ["*u8", "*u8", "i32", "fp32"]


@pytest.mark.parametrize(("call", "message"), [
    (lambda: rtriton.compile(source(), target=GPUTarget("hip", "gfx942", 64)), "there is no backend for hip"),
    (lambda: rtriton.compile(source(), target=GPUTarget("cuda", 70, 32)), "needs a GPU of compute capability 8.0"),
    (lambda: rtriton.compile(source(), target=GPUTarget("cuda", "hopper", 32)), "is a compute capability"),
    (lambda: rtriton.compile(ASTSource(scale, {"x": "*fp32"})), "lacks the parameter 'out'"),
    (lambda: rtriton.compile(ASTSource(scale, SIGNATURE)), "'BLOCK' is a constexpr, and constexprs gives it no value"),
    (lambda: rtriton.compile(ASTSource(scale, {**SIGNATURE, "n": "i33"}, {"BLOCK": 1})), "no type is called 'i33'"),
])
def test_what_cannot_be_compiled_is_refused_in_a_sentence(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_other_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="compile takes an ASTSource or the path"):
        rtriton.compile(scale)  # pyright: ignore[reportArgumentType]
    (tmp_path / "kernel.ttir").write_text("")
    with pytest.raises(ValueError, match=r"tile IR \(.tir\) or PTX \(.ptx\)"):
        rtriton.compile(str(tmp_path / "kernel.ttir"))
    with pytest.raises(TypeError, match="a signature goes by parameter names, got 0"):
        ASTSource(scale, {0: "*fp32"})  # pyright: ignore[reportArgumentType]


def test_a_stage_that_there_is_not_is_named_with_those_that_there_are() -> None:
    made = rtriton.compile(source(), target=GPUTarget("cuda", 90, 32))
    with pytest.raises(KeyError, match=r"there is no stage 'spirv'; there are source, tir, gpu, ptx, cubin, sass"):
        _ = made.asm["spirv"]
    assert made.asm["ttir"] == made.asm["tir"]
