"""device_print and device_assert on every execution: the lines, the messages, and what ptxas says."""
from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.backend.ptx.ptxas import assemble
from rtriton.errors import CompilationError, DeviceAssertError
from tests.backend.ptx.both import compiled
from tests.language.executions import EXECUTIONS


def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], execution: str, kernel: Any,
            *args: Any, grid: tuple[int, ...] = (1,)) -> list[str]:
    """The lines of a run by one warp, whose threads all print a scalar when emulated, sorted."""
    monkeypatch.setenv("RTRITON_BACKEND", execution)
    capsys.readouterr()
    kernel[grid](*args, num_warps=1)
    return sorted(capsys.readouterr().out.splitlines())


@rtriton.jit
def print_tile(x, to: tl.constexpr, hex: tl.constexpr):
    at = tl.arange(0, 4)[:, None] * 16 + tl.arange(0, 16)[None, :]
    tl.device_print("x", tl.load(x + at).to(to), hex=hex)


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("to", [tl.int1, tl.int8, tl.uint8, tl.int16, tl.uint16, tl.int32, tl.uint32, tl.int64,
                                tl.uint64])
def test_integers_are_printed_with_program_and_place(
    execution: str, to: tl.dtype, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.arange(-32, 32, dtype=np.int64)
    kept = values != 0 if to == tl.int1 else values.astype(to.storage)
    lines = printed(monkeypatch, capsys, execution, print_tile, values, to, False, grid=(1, 2))
    assert lines == sorted(f"pid (0, {p}, 0) idx ({i // 16}, {i % 16:2}) x: {int(kept[i])}"
                           for p in range(2) for i in range(64))


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("to", [tl.float8e5, tl.float16, tl.bfloat16, tl.float32, tl.float64])
def test_floats_are_printed_with_six_decimals(execution: str, to: tl.dtype, monkeypatch: pytest.MonkeyPatch,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    values = np.array([0.5, -1.25, 3, 0, math.inf, -math.inf, math.nan, -0.0] * 8, np.float32)
    lines = printed(monkeypatch, capsys, execution, print_tile, values, to, False)
    expected = values.copy()
    if to == tl.float8e5:
        expected[4::8], expected[5::8] = 57344, -57344  # a cast to fp8 saturates
        lines = [line.replace("inf", "57344.000000") for line in lines]
    assert sorted(lines) == sorted(f"pid (0, 0, 0) idx ({i // 16}, {i % 16:2}) x: {expected[i]:f}" for i in range(64))


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize(("to", "digits"), [(tl.int8, 2), (tl.int16, 4), (tl.int32, 8), (tl.int64, 16)])
def test_hex_shows_the_bits_in_as_many_digits_as_there_are(
    execution: str, to: tl.dtype, digits: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.arange(-32, 32, dtype=np.int64)
    lines = printed(monkeypatch, capsys, execution, print_tile, values, to, True)
    assert lines == sorted(f"pid (0, 0, 0) idx ({i // 16}, {i % 16:2}) x: 0x{int(v) % (1 << 4 * digits):0{digits}x}"
                           for i, v in enumerate(values))


@rtriton.jit
def print_several(x):
    y = tl.load(x + tl.arange(0, 2))
    tl.device_print("100%", y, tl.program_id(0))
    print("", 2.5)
    print("no arg")
    print(tl.program_id(1), hex=True)
    tl.device_print("ptr ", x)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_several_values_scalars_texts_and_pointers(execution: str, monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(monkeypatch, capsys, execution, print_several, np.array([7, 8], np.int32))
    threads = 32 if execution in ("emulate", "cuda") else 1
    pointers = [line for line in lines if "ptr" in line]
    assert len(pointers) == threads and pointers[0].startswith("pid (0, 0, 0) idx () ptr: 0x")
    start = "pid (0, 0, 0)"
    assert [line for line in lines if line not in pointers] == sorted([
        f"{start} idx (0) 100%: (operand 0) 7", f"{start} idx (1) 100%: (operand 0) 8",
        *[f"{start} idx () 100%: (operand 1) 0", f"{start} idx (): 2.500000", f"{start} no arg",
          f"{start} idx (): 0x00000000"] * threads])


@rtriton.jit
def print_some(x, limit):
    i = tl.program_id(0)
    if i < limit:
        for k in range(2):
            tl.device_print("turn", i * 10 + k)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_only_programs_that_come_by_print(execution: str, monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(monkeypatch, capsys, execution, print_some, np.zeros(1), 2, grid=(4,))
    assert sorted(set(lines)) == [f"pid ({i}, 0, 0) idx () turn: {i * 10 + k}" for i in range(2) for k in range(2)]


@rtriton.jit
def print_binary():
    tl.device_print("caf\u00e9")


def test_a_text_beyond_ascii_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "interpret")
    with pytest.raises(CompilationError, match="printable ASCII"):
        print_binary[1,]()


@rtriton.jit
def print_when_compiling(x, n, B: tl.constexpr):
    v = tl.load(x + tl.arange(0, B))
    tl.static_print("a", v, n, x, B, (v, 1), v[:, None], x + tl.arange(0, B), 2.5, None, sep="|")


def test_static_print_shows_types_and_known_values_as_triton_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "interpret")
    print_when_compiling[1,](np.zeros(16, np.float32), 3, 16)
    assert capsys.readouterr().out == (
        "a|fp32[constexpr[16]]|int32[]|pointer<fp32>[]|16|['fp32[constexpr[16]]', '1']|"
        "fp32[constexpr[16], constexpr[1]]|pointer<fp32>[constexpr[16]]|2.5|None\n")


# -- assertions --------------------------------------------------------------------------------------------------------


@rtriton.jit
def asserts(x, out, masked: tl.constexpr):
    at = tl.arange(0, 8)
    values = tl.load(x + at)
    if masked:
        tl.device_assert(values > 0, "not positive", mask=at < 4)
    else:
        tl.device_assert(values > 0, "not positive")
    tl.store(out + at, values)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_a_failed_assertion_says_its_message_and_place(execution: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", execution)
    x, out = np.arange(8, 0, -1, dtype=np.int32), np.zeros(8, np.int32)
    asserts[1,](x, out, False, debug=True)
    assert (out == x).all()
    x[5] = 0
    asserts[1,](x, out, True, debug=True)
    asserts[1,](x, out, False, debug=False)
    with pytest.raises(RuntimeError, match="device-side assert failed: not positive") as caught:
        asserts[1,](x, out, False, debug=True)
    assert isinstance(caught.value, DeviceAssertError)
    assert caught.value.span.file.endswith("test_debug.py")
    assert caught.value.span.line == asserts.fn.__code__.co_firstlineno + 7


@pytest.mark.parametrize("target", ["sm_80", "sm_89", "sm_90a"])
def test_prints_and_assertions_assemble(target: str) -> None:
    x = np.zeros(64, np.int64)
    for kernel, args, constants in ((print_several, {"x": x}, {}), (print_tile, {"x": x}, {"to": tl.bfloat16,
                                                                                          "hex": True})):
        assemble(str(compiled(kernel, args, constants, target)[1]), target)
