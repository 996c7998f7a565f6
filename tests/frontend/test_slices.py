"""Places of tiles picked by numbers and slices known when compiling, against NumPy's own indexing."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from tests.kernels.gpu import EXECUTIONS

BACKENDS = EXECUTIONS


@rtriton.jit
def vectors(x, out):
    v = tl.load(x + tl.arange(0, 64))
    small = tl.arange(0, 16)
    tl.store(out + small, v[16:32])
    tl.store(out + 16 + small, v[3:19])
    tl.store(out + 32 + small, v[::4])
    tl.store(out + 48 + small, v[-1:-17:-1])
    tl.store(out + 64, v[3])
    tl.store(out + 65, v[-1])
    tl.store(out + 66, v[:][0])
    tl.store(out + 67 + tl.arange(0, 1), v[5:6])


@rtriton.jit
def matrices(x, out):
    rows, columns = tl.arange(0, 8), tl.arange(0, 16)
    m = tl.load(x + rows[:, None] * 16 + columns)
    tl.store(out + rows, m[:, 3])
    tl.store(out + 8 + columns, m[-2])
    tl.store(out + 24 + tl.arange(0, 4)[:, None] * 16 + columns, m[4:])
    tl.store(out + 88 + rows[:, None] * 2 + tl.arange(0, 2), m[..., 7:9])
    tl.store(out + 104 + tl.arange(0, 1)[:, None] + tl.arange(0, 2), m[2:3, 4:8:2])
    tl.store(out + 106, m[7, 15])
    tl.store(out + 107 + columns[None], m[1][None, :])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "int64", "bool", "float64"])
def test_slices_of_a_vector_are_numpys(backend: str, dtype: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    v = (np.random.default_rng(1).integers(0, 100, 64) % (2 if dtype == "bool" else 100)).astype(dtype)
    out = np.zeros(68, dtype)
    vectors[(1,)](v, out)
    wanted = [*v[16:32], *v[3:19], *v[::4], *v[-1:-17:-1], v[3], v[-1], v[0], v[5]]
    assert out.tolist() == np.array(wanted).astype(dtype).tolist()


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_columns_and_blocks_of_a_matrix_are_numpys(backend: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    m = np.random.default_rng(2).random((8, 16), np.float32)
    out = np.zeros(123, np.float32)
    matrices[(1,)](m, out)
    parts = [m[:, 3], m[-2], m[4:], m[..., 7:9], m[2:3, 4:8:2], m[7, 15], m[1]]
    np.testing.assert_array_equal(out, np.concatenate([np.ravel(p) for p in parts]))
