"""What random numbers take as a seed; the numbers themselves are compared with a reference in tests/ops."""

from __future__ import annotations

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.errors import CompilationError


@rtriton.jit
def draws(out, seed):
    at = tl.arange(0, 8)
    tl.store(out + at, tl.rand(seed, at))


@pytest.mark.parametrize("seed", [2.3, np.zeros(1, np.int32)])
def test_a_seed_that_is_no_integer_is_refused(seed: object) -> None:
    with pytest.raises(CompilationError, match="the seed of random numbers is an integer"):
        draws[1,](np.zeros(8, np.float32), seed)


def test_seeds_of_every_width_count_by_their_value() -> None:
    drawn = []
    for seed in (7, np.int64(7), True, 1, 2**40 + 7):
        out = np.zeros(8, np.float32)
        draws[1,](out, seed)
        drawn.append(out.tolist())
    assert drawn[0] == drawn[1] and drawn[2] == drawn[3]
    assert len({tuple(d) for d in drawn}) == 3
