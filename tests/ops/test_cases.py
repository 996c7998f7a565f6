"""Every op case, on every backend present, with both tables of block sizes, equals its NumPy reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ops
from ops.device import tuned_for
from ops.quant import QuantWeight, on_device
from tests.ops.backends import BACKENDS

SMALL = [case for case in ops.ALL if not case.large]
# the block sizes that belong to a backend, and the other ones where a backend can run them quickly
TABLES = {"interpret": ("cpu", "cuda"), "cpu": ("cpu",), "emulate": ("cuda",), "cuda": ("cuda",)}
WALKS = [(backend, table) for backend in BACKENDS for table in TABLES[backend]]


@pytest.mark.parametrize("case", SMALL, ids=str)
@pytest.mark.parametrize(("backend", "table"), WALKS)
def test_an_op_equals_its_reference(
    backend: str, table: str, case: ops.OpCase, use_backend: Callable[[str], None]
) -> None:
    use_backend(backend)
    inputs = case.make(np.random.default_rng(7))
    with tuned_for(table):
        got = case.run(**{name: _moved(value, backend) for name, value in inputs.items()})
    want = case.reference(**case.make(np.random.default_rng(7)))
    rtol, atol = (case.rtol, case.atol) if table == "cpu" else (case.gpu_rtol or case.rtol, case.gpu_atol or case.atol)
    assert len(got) == len(want)
    for have, expected in zip(got, want, strict=True):
        _assert_near(_back(have), expected, rtol, atol)


def test_each_public_op_has_a_case() -> None:
    helpers = {
        "quantize",
        "dequantize",
        "typed",
        "kv_cache_shapes",
        "rope_table",
        "sample_workspace",
        "OpCase",
        "QuantWeight",
        "ALL",
    }
    assert {case.op for case in ops.ALL} == set(ops.__all__) - helpers


def test_cases_have_names_of_their_own() -> None:
    names = [str(case) for case in ops.ALL]
    assert len(names) == len(set(names))


def _moved(value: Any, backend: str) -> Any:
    if backend != "cuda":
        return value
    from rtriton.array import DeviceArray

    if isinstance(value, QuantWeight):
        return on_device(value, DeviceArray.from_numpy)
    return DeviceArray.from_numpy(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value


def _back(value: Any) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else ops.typed(value.numpy(), value.dtype.name)


def _assert_near(have: np.ndarray, want: np.ndarray, rtol: float, atol: float) -> None:
    assert have.shape == want.shape and have.dtype == want.dtype
    if rtol == 0 and atol == 0:
        np.testing.assert_array_equal(have, want)
    else:
        np.testing.assert_allclose(have.astype(np.float64), want.astype(np.float64), rtol, atol)
