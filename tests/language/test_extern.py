"""extern_elementwise: libdevice's symbols are done by our functions of that name, others are refused by name."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.errors import CompilationError
from tests.language.executions import on_each

FP32, FP64 = tl.float32, tl.float64
SYMBOLS = {"tanh": {(FP32,): ("__nv_tanhf", FP32), (FP64,): ("__nv_tanh", FP64)},
           "fabs": {(FP32,): ("__nv_fabsf", FP32)}, "fma": {(FP32,) * 3: ("__nv_fmaf", FP32)},
           "absent": {(FP32,): ("__nv_cyl_bessel_i0f", FP32)}}  # fmt: skip


def extern(name: str, args: list[Any], semantic: Any) -> Any:
    return tl.core.extern_elementwise("", "", args, SYMBOLS[name], is_pure=True, _semantic=semantic)


@tl.core.extern
def tanh(x, _semantic=None):
    return extern("tanh", [x], _semantic)


@tl.core.extern
def fabs(x, _semantic=None):
    return extern("fabs", [x], _semantic)


@tl.core.extern
def fma(x, y, z, _semantic=None):
    return extern("fma", [x, y, z], _semantic)


@tl.core.extern
def absent(x, _semantic=None):
    return extern("absent", [x], _semantic)


@rtriton.jit
def known(x, out):
    at = tl.arange(0, 64)
    v = tl.load(x + at)
    tl.store(out + at, fma(tanh(v), fabs(v), 2.0))


def test_symbols_are_our_functions_of_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.linspace(-3, 3, 64, dtype=np.float32)
    for name, (_, got) in on_each(monkeypatch, known, x, np.zeros(64, np.float32)).items():
        expected = np.tanh(x.astype(np.float64)) * np.abs(x) + 2
        atol = 2e-3 if name in ("emulate", "cuda") else 1e-6
        np.testing.assert_allclose(got, expected, rtol=0, atol=atol, err_msg=name)


@rtriton.jit
def unknown(x):
    tl.store(x, absent(tl.load(x)))


@rtriton.jit
def other_types(x):
    tl.store(x, fabs(tl.load(x).to(tl.float64)).to(tl.float32))


@pytest.mark.parametrize(("kernel", "sentence"), [(unknown, "symbol '__nv_cyl_bessel_i0f'"),
                                                  (other_types, r"takes \(f32\), got \(f64\)")])
def test_what_there_is_no_function_for_is_refused_by_name(kernel: Any, sentence: str,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "interpret")
    with pytest.raises(CompilationError, match=sentence) as caught:
        kernel[1,](np.zeros(1, np.float32))
    assert "test_extern.py" in str(caught.value)
