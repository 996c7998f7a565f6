"""Annotations of kernel parameters: forced scalar types, pointers that are only read, and those that mean nothing."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.errors import CompilationError

BACKENDS = ("interpret", "cpu", "emulate")


@pytest.fixture(params=BACKENDS, autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RTRITON_BACKEND", request.param)
    return request.param


def annotated(**annotations: Any) -> Callable[[Any], Any]:
    def decorate(fn: Any) -> Any:
        fn.__annotations__ = annotations
        return fn

    return decorate


def kernel_for(annotation: Any, dtype: tl.dtype) -> Any:
    @rtriton.jit
    @annotated(value=annotation, wanted=tl.constexpr)
    def kernel(out, value, wanted):
        tl.static_assert(value.dtype == wanted)
        tl.store(out, value.to(tl.float32))

    return lambda out, value: kernel[1,](out, value, dtype)


NAMES = {"int8": tl.int8, "i16": tl.int16, "tl.int32": tl.int32, "int64": tl.int64, "u8": tl.uint8, "uint16": tl.uint16,
         "tl.uint32": tl.uint32, "u64": tl.uint64, "u1": tl.int1, "tl.int1": tl.int1, "tl.uint1": tl.int1,
         "fp16": tl.float16, "tl.bfloat16": tl.bfloat16, "float32": tl.float32, "tl.float64": tl.float64}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_type_given_by_name_or_object_forces_a_number(name: str) -> None:
    dtype = NAMES[name]
    for annotation in (name, dtype):
        launch = kernel_for(annotation, dtype)
        for value in (0, 1) if dtype.is_bool() else (0, 1, 42, 16):
            out = np.full(1, 7, np.float32)
            launch(out, value)
            assert out[0] == value


@pytest.mark.parametrize("dtype", [tl.float16, tl.bfloat16, tl.float32, tl.float64])
def test_a_float_argument_is_rounded_to_the_type_its_annotation_names(dtype: tl.dtype) -> None:
    own = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16, "fp32": np.float32, "fp64": np.float64}[dtype.name]
    launch = kernel_for(dtype, dtype)
    for value in (0.1, -3.3, 65000.0, float("inf"), float("nan"), np.float64(2.7), np.int64(3)):
        out = np.zeros(1, np.float32)
        launch(out, value)
        np.testing.assert_array_equal(out, np.array([value], np.float64).astype(own).astype(np.float32))


@rtriton.jit
def copies(source: tl.const, out, n: int, name: np.ndarray = 0):
    offsets = tl.arange(0, 16)
    tl.store(out + offsets, tl.load(source + offsets, mask=offsets < n, other=0), mask=offsets < n)


@rtriton.jit
def writes_what_is_const(out: tl.const):
    tl.store(out, 1)


def test_a_const_pointer_is_read_and_never_written() -> None:
    x, out = np.arange(16, dtype=np.float32), np.zeros(16, np.float32)
    copies[1,](x, out, 9)
    np.testing.assert_array_equal(out, np.where(np.arange(16) < 9, x, 0))
    with pytest.raises(CompilationError, match="Cannot store to a constant pointer"):
        writes_what_is_const[1,](out)


@rtriton.jit
def at_a_bool(out, flag):
    tl.store(out + flag, 5)


def test_a_bool_moves_a_pointer_by_one_element() -> None:
    out = np.zeros(2, np.int32)
    at_a_bool[1,](out, True)
    assert out.tolist() == [0, 5]
