"""The tutorial kernels as native code: right numbers on every target that runs here, the packed instructions they
ought to have.
"""

from __future__ import annotations

import numpy as np
import pytest

from rtriton.backend.cpu.launch import CpuOptions, compile_cpu
from rtriton.passes import run_pipeline
from tests.kernels.examples import EXAMPLES

from .harness import TARGETS


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("make", EXAMPLES, ids=lambda make: make.__name__)
def test_tutorial_kernels_give_what_numpy_says(make, target: str) -> None:
    example = make()
    kernel = compile_cpu(run_pipeline(example.kernel, None, "tile"), CpuOptions(target))
    values = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in example.args]
    kernel.launch((*example.grid, 1, 1)[:3], values)
    example.check()
