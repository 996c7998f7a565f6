"""Ragged descriptors: blocks of a subarray, and nothing outside of it."""

from __future__ import annotations

import numpy as np
import pytest

import rtriton
from rtriton.errors import CompilationError
from rtriton.tools.ragged_tma import atomic_add_ragged, create_ragged_descriptor, load_ragged, store_ragged
from tests.memory.everywhere import BACKENDS, backend, copied


@rtriton.jit
def move(x, y, x_start, x_rows, y_start, y_rows):
    store_ragged(y, y_start, y_rows, [0, 0], load_ragged(x, x_start, x_rows, [0, 0]))


@rtriton.jit
def accumulate(x, y, x_start, x_rows, y_start, y_rows):
    atomic_add_ragged(y, y_start, y_rows, [0, 0], load_ragged(x, x_start, x_rows, [0, 0]))


@pytest.mark.parametrize("name", BACKENDS)
def test_a_subarray_is_read_with_padding_and_written_without_touching_its_neighbours(name: str) -> None:
    x = copied(np.random.default_rng(8).normal(size=(64, 20)).astype(np.float32))
    y = copied(np.random.default_rng(9).normal(size=(64, 20)).astype(np.float32))
    wanted = y.copy()
    wanted[21:35] = 0
    wanted[21:31] = x[42:52]
    with backend(name):
        given = create_ragged_descriptor(x, [16, 32]), create_ragged_descriptor(y, [16, 32])
        move[(1,)](*given, 42, 10, 21, 14)
        np.testing.assert_array_equal(y, wanted)
        accumulate[(1,)](*given, 0, 5, 21, 14)
    wanted[21:26] += x[:5]
    np.testing.assert_array_equal(y, wanted)


@rtriton.jit
def last_axis(x):
    load_ragged(x, 0, 1, [0, 0], 1)


def test_the_last_axis_is_not_ragged() -> None:
    x = copied(np.zeros((16, 16), np.float32))
    with pytest.raises(ValueError, match="the last axis cannot be the ragged one"):
        create_ragged_descriptor(x, [8, 8], -1)
    with pytest.raises(ValueError, match="has 2 or 3 axes, got 1"):
        create_ragged_descriptor(x[0], [8])
    with pytest.raises(CompilationError, match="ragged_dim is an axis before the last of 2, got 1"):
        last_axis.warmup(create_ragged_descriptor(x, [8, 8]), grid=(1,))
