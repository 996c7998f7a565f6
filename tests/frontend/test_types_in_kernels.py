"""Types as kernels and programs ask them: members of dtypes, pointers and tiles, and of the values that have them."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.types import DTYPES

FLOATS = {"fp8e4nv": (8, 3, 7), "fp8e4b8": (8, 3, 8), "fp8e4b15": (8, 3, 15), "fp8e5": (8, 2, 15),
          "fp8e5b16": (8, 2, 16), "fp16": (16, 10, 15), "bf16": (16, 7, 127), "fp32": (32, 23, 127),
          "fp64": (64, 52, 1023)}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_dtype_says_what_it_is(dtype: tl.dtype) -> None:
    name, bits = dtype.name, dtype.primitive_bitwidth
    floating, signed = name in FLOATS, name.startswith("int") and name != "int1"
    assert str(dtype) == name and tl.dtype(name) == dtype and tl.dtype.is_dtype(name)
    assert dtype.is_floating() == floating and dtype.is_int() == (not floating)
    assert dtype.is_int_signed() == signed and dtype.is_int_unsigned() == (not floating and not signed)
    assert dtype.is_fp8() == (floating and bits == 8) and dtype.is_standard_floating() == (floating and bits > 8)
    assert not (dtype.is_ptr() or dtype.is_block() or dtype.is_const() or dtype.is_void()) and dtype.scalar is dtype
    for other in DTYPES:
        assert getattr(dtype, f"is_{other.name}")() == (other is dtype)
    order = {"int1": "BOOLEAN"}.get(name, "FLOATING" if floating else "INTEGRAL")
    assert dtype.kind() == getattr(tl.dtype.KIND, order)
    if floating:
        assert (bits, dtype.fp_mantissa_width, dtype.exponent_bias) == FLOATS[name]
        with pytest.raises(AttributeError):
            _ = dtype.int_bitwidth
    else:
        assert dtype.int_bitwidth == bits
        assert dtype.int_signedness == (tl.dtype.SIGNEDNESS.SIGNED if signed else tl.dtype.SIGNEDNESS.UNSIGNED)
        limits = np.iinfo(name) if bits > 1 else None
        assert dtype.get_int_max_value() == (limits.max if limits else 1)
        assert dtype.get_int_min_value() == (limits.min if limits else 0)


def test_the_text_of_a_dtype_can_be_evaluated() -> None:
    for dtype in DTYPES:
        assert eval(repr(dtype), {"rtriton": rtriton}) is dtype


def test_types_are_made_by_tritons_constructors() -> None:
    pointer, tile = tl.pointer_type(tl.float16), tl.block_type(tl.float32, [64, tl.constexpr(32)])
    assert pointer.element_ty == tl.float16 and pointer.is_ptr() and pointer.name == "pointer<fp16>"
    assert pointer != tl.pointer_type(tl.float16, 1, True) and tl.pointer_type(tl.float16, const=True).is_const()
    assert tl.pi32_t == tl.pointer_type(tl.int32)
    assert isinstance(pointer, tl.pointer_type) and not isinstance(tl.float16, tl.pointer_type)
    assert tile.shape == (64, 32) and tile.element_ty == tile.scalar == tl.float32 and tile.numel == 2048
    assert tile.is_block() and tile.nbytes == 8192 and tile.get_block_shapes() == (64, 32)
    assert tile.with_element_ty(tl.int8) == tl.block_type(tl.int8, (64, 32)) and isinstance(tile, tl.block_type)
    assert tl.void.is_void() and not tl.void.is_int()


def test_types_that_cannot_be_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="must be a power of 2"):
        tl.block_type(tl.float32, [3])
    with pytest.raises(TypeError, match="at least one axis"):
        tl.block_type(tl.float32, [])
    with pytest.raises(TypeError, match="wants a dtype"):
        tl.pointer_type(3)
    with pytest.raises(ValueError, match="address space 1, got 3"):
        tl.pointer_type(tl.float32, 3)
    with pytest.raises(ValueError, match="no dtype is called 'float32'"):
        tl.dtype("float32")


@rtriton.jit
def asks(x, n, flag, size: tl.constexpr):
    tile = tl.load(x + tl.arange(0, size))
    tl.static_assert(tile.dtype == tl.float32)
    tl.static_assert(tile.type == tl.block_type(tl.float32, [size]))
    tl.static_assert(tile.type.is_block() and not n.type.is_block())
    tl.static_assert(tile.shape == (size,) and tile.shape[0] == size and len(tile.shape) == 1)
    tl.static_assert(tile.numel == size and n.numel == 1)
    tl.static_assert(x.dtype.is_ptr() and x.dtype.element_ty == tl.float32 and x.type.is_ptr())
    tl.static_assert(x.dtype == tl.pointer_type(tl.float32))
    tl.static_assert((x + tl.arange(0, size)).type.element_ty == tl.pointer_type(tl.float32))
    tl.static_assert(n.dtype.is_int_signed() and n.dtype.int_bitwidth == 32 and flag.dtype.is_int1())
    tl.static_assert(tile.dtype.kind() == tl.float64.kind())
    tl.static_assert(n.dtype.int_signedness == tl.dtype.SIGNEDNESS.SIGNED)
    tl.static_assert(isinstance(tile, tl.tensor) and isinstance(n, tl.tensor) and not isinstance(size, tl.tensor))
    tl.static_assert(isinstance(size, tl.constexpr) and isinstance(size, int) and not isinstance(n, tl.constexpr))
    tl.static_assert(isinstance(tile.dtype, tl.dtype) and isinstance(x.dtype, tl.pointer_type))
    tl.static_assert(isinstance(tile.type, tl.block_type) and isinstance((1, n), tl.tuple))
    tl.static_assert(isinstance(size.type, tl.constexpr_type) and isinstance((1, n).type, tl.tuple_type))
    tl.static_assert((1, n).type[1] == tl.int32)
    tl.static_assert(size.value == size and tile.shape[0].value == size)
    tl.static_assert(hasattr(tile, "sum") and not hasattr(tile, "total") and getattr(tile, "total", 3) == 3)
    tl.static_assert(tl.dtype("fp16") == tl.float16)
    tl.static_assert(tl.core.get_int_dtype(16, False) == tl.uint16)


def test_kernels_ask_values_and_types_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "interpret")
    asks[1,](np.zeros(8, np.float32), 5, True, 8)


@rtriton.jit
def methods(x, out):
    a = tl.load(x + tl.arange(0, 4))
    b = a.__add__(1).__rsub__(10).__mul__(2.0).__neg__()
    tl.store(out + tl.arange(0, 4), b)
    tl.store(out + 4 + tl.arange(0, 4), tl.core.add(a, a.__lt__(2)).to(tl.float32))
    tl.store(out + 8, a.max().to(tl.int32).cdiv(2))
    tl.store(out + 9 + tl.arange(0, 4), a.sort(descending=True))
    tl.store(out + 13, a.__getitem__((None, slice(None))).T.numel)


@pytest.mark.parametrize("backend", ["interpret", "cpu", "emulate"])
def test_every_operator_is_a_method_too(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    a, out = np.array([1, 3, 0, 2], np.float32), np.zeros(14, np.float32)
    methods[1,](a, out)
    np.testing.assert_array_equal(out[:4], -(10 - (a + 1)) * 2)
    np.testing.assert_array_equal(out[4:8], a + (a < 2))
    np.testing.assert_array_equal(out[9:13], sorted(a, reverse=True))
    assert out[8] == 2 and out[13] == 4


@tl.core.builtin
def doubled(x, times: Any = 1, _semantic=None):
    assert isinstance(x, tl.tensor) and isinstance(times, tl.constexpr)
    kind = x.to(tl.float32, _semantic=_semantic) if x.dtype.is_int() else x
    assert x.shape == (4,) and x.numel == 4
    total = tl.add(kind, kind, _semantic=_semantic)
    return total, [times.value + 1, "end"]


@tl.core.extern
def number_of_warps(_semantic=None):
    return tl.constexpr(tl.extra.cuda.num_warps(_semantic=_semantic))


@rtriton.jit
def calls_host_functions(out):
    x, (more, word) = doubled(tl.arange(0, 4), times=2)
    tl.store(out + tl.arange(0, 4), x * more)
    known: tl.constexpr = doubled(tl.arange(0, 4), 4)[1]
    tl.static_assert(known == (5, "end"))
    tl.static_assert(word == "end")
    tl.static_assert(number_of_warps() == 8 and tl.extra.cuda.num_threads() == 256)


@pytest.mark.parametrize("backend", ["interpret", "cpu", "emulate"])
def test_functions_under_builtin_get_values_constexprs_and_the_compiler(
        backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    out = np.zeros(4, np.float32)
    calls_host_functions[1,](out, num_warps=8)
    np.testing.assert_array_equal(out, np.arange(4) * 6)
    with pytest.raises(ValueError, match="inside a kernel"):
        doubled(1)


@rtriton.jit
def asks_the_target(out):
    tl.store(out, 1 if tl.target_info.is_cuda() else 0)
    tl.store(out + 1, 1 if tl.target_info.cuda_capability_geq(9, 0) else 0)
    tl.store(out + 2, 1 if tl.target_info.cuda_capability_geq(11) or tl.target_info.is_hip() else 0)


@pytest.mark.parametrize(("backend", "wanted"), [("interpret", [0, 0, 0]), ("cpu", [0, 0, 0]), ("emulate", [1, 1, 0])])
def test_target_info_is_of_what_the_kernel_is_compiled_for(
        backend: str, wanted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    out = np.full(3, 7, np.int32)
    asks_the_target[1,](out)
    assert out.tolist() == wanted


@rtriton.jit
def looks_at_the_clock(times, work, read: tl.constexpr):
    start = read()
    for i in range(50):
        tl.store(work, tl.load(work) + i)
    end = read()
    tl.store(times, start)
    tl.store(times + 1, end)
    tl.store(work + 1, tl.extra.cuda.smid())


@pytest.mark.parametrize("backend", ["interpret", "cpu", "emulate"])
def test_the_clock_goes_forward_around_the_work_it_measures(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    times, work = np.zeros(2, np.int64), np.array([0, -1], np.int32)
    kernel = looks_at_the_clock[1,](times, work, tl.extra.cuda.globaltimer)
    assert times[1] > times[0] and work.tolist() == [1225, 0]
    if backend == "emulate":
        assert kernel.asm["ptx"].count("%globaltimer") == 2 and kernel.asm["ptx"].count("%smid") == 1
