"""Random kernels give the interpreter's numbers, bit for bit, on every target that runs here."""

from __future__ import annotations

import pytest

from .harness import TARGETS, agree
from .random_kernels import random_kernel


@pytest.mark.parametrize("seed", range(24))
def test_random_kernels_agree_with_the_interpreter(seed: int) -> None:
    kernel, arguments = random_kernel(seed)
    agree(kernel, (1,), arguments, TARGETS[seed % len(TARGETS)])
