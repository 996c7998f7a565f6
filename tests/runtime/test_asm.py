"""`.asm[...]`: every stage of a kernel, machine code with the user's lines included, where there is no GPU."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import rtriton
import rtriton.language as tl
from rtriton.backend.ptx import disassemble, ptxas
from rtriton.compiler import ASTSource
from rtriton.devices import CPU, GPUTarget
from rtriton.text import parse
from rtriton.verify import verify

H100 = GPUTarget("cuda", 90, 32)


@rtriton.jit
def twice(x):
    return x + x  # in twice


@rtriton.jit
def kernel(out, x, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    value = tl.load(x + at)  # the load
    tl.store(out + at, tl.sigmoid(twice(value)))  # the store


def compiled(target: GPUTarget = H100) -> rtriton.compiler.CompiledKernel:
    return rtriton.compile(ASTSource(kernel, {"out": "*fp32", "x": "*fp32"}, {"BLOCK": 128}), target=target)


def line_of(comment: str) -> int:
    text = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(text, 1) if line.endswith("# " + comment))


def needs(tool: str) -> None:
    if ptxas.packaged_tool(tool) is None:
        pytest.skip(f"no {tool}")


def test_a_gpu_kernel_has_its_stages_in_order() -> None:
    asm = compiled().asm
    assert asm.stages() == ["source", "tir", "gpu", "ptx", "cubin", "sass"]
    assert asm["source"] == inspect.getsource(kernel.fn).split("\n", 1)[1]
    assert "layout<" not in asm["tir"] and asm["ttgir"] is asm["gpu"]
    verify(parse(asm["gpu"]), "gpu")


def test_a_cpu_kernel_has_its_stages_in_order() -> None:
    assert compiled(CPU).asm.stages() == ["source", "tir", "llvm", "asm"]
    with pytest.raises(KeyError, match="there is no stage 'sass'; there are source, tir, llvm, asm"):
        _ = compiled(CPU).asm["sass"]


def test_the_stages_of_a_kernel_from_the_disk_cache_are_those_of_a_fresh_one() -> None:
    first, second = compiled(), compiled()
    for stage in ("tir", "gpu", "ptx"):
        assert first.asm[stage] == second.asm[stage]


def test_emulated_kernels_have_machine_code_too(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("ptxas")
    monkeypatch.setenv("RTRITON_BACKEND", "emulate")
    made = rtriton.compile(ASTSource(kernel, {"out": "*fp32", "x": "*fp32"}, {"BLOCK": 128}))
    assert made.asm["cubin"].startswith(b"\x7fELF")


def test_sass_has_the_users_lines_through_inlined_functions() -> None:
    needs("ptxas"), needs("nvdisasm")
    lines = disassemble.disassemble(compiled().asm["cubin"]).lines
    here = str(Path(__file__))

    def places(opcode: str) -> set[tuple[tuple[str, int], ...]]:
        return {line.places for line in lines if re.search(rf"\b{opcode}\b", line.text)}

    assert ((here, line_of("the load")),) in places(r"LDG\S*")
    assert ((here, line_of("the store")),) in places(r"STG\S*")
    assert ((here, line_of("in twice")), (here, line_of("the store"))) in places("FADD")
    (sigmoid,) = places("MUFU.EX2")
    assert Path(sigmoid[0][0]).name == "derived.py" and sigmoid[-1] == (here, line_of("the store"))


def test_sass_is_one_line_an_instruction_with_its_place_above() -> None:
    needs("ptxas"), needs("nvdisasm")
    text = compiled().asm["sass"]
    assert re.search(rf"// test_asm.py:{line_of('the load')}\n/\*[0-9a-f]+\*/", text)
    assert "EXIT" in text and ".section" not in text and ";" not in text


def test_without_nvdisasm_the_error_says_where_it_was_sought(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disassemble, "packaged_tool", lambda name: None)
    monkeypatch.delenv("TRITON_NVDISASM_PATH", raising=False)
    with pytest.raises(disassemble.DisassembleError, match=r"TRITON_NVDISASM_PATH.*PATH.*/usr/local/cuda/bin.*pip"):
        disassemble.disassemble(b"")
    monkeypatch.setenv("TRITON_NVDISASM_PATH", "/none/nvdisasm")
    with pytest.raises(disassemble.DisassembleError, match="names /none/nvdisasm, which is not a file"):
        disassemble.disassemble(b"")


def test_what_is_no_machine_code_is_refused() -> None:
    needs("nvdisasm")
    with pytest.raises(disassemble.DisassembleError, match="refused the machine code"):
        disassemble.disassemble(b"no elf")
