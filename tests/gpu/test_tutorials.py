"""The tutorial kernels on a GPU: right numbers, at sizes that are not multiples of the blocks."""

from __future__ import annotations

import numpy as np
import pytest

from rtriton.array import DeviceArray
from rtriton.backend.cuda.driver import CudaUnavailable, bindings, synchronize
from tests.kernels import examples


def gpu_is_there() -> bool:
    try:
        bindings()
    except CudaUnavailable:
        return False
    return True


pytestmark = pytest.mark.skipif(not gpu_is_there(), reason="no GPU")


@pytest.mark.parametrize("make", examples.EXAMPLES, ids=lambda make: make.__name__)
def test_a_tutorial_kernel_is_right_on_the_gpu(make: examples.Callable[..., examples.Example]) -> None:
    from rtriton.backend.cuda.launch import CudaExecutable
    from rtriton.backend.ptx.emit import lower_to_ptx
    from rtriton.backend.cuda.driver import current_device
    from rtriton.passes import run_pipeline

    example = make()
    kernel = run_pipeline(example.kernel, None, "tile")
    module = lower_to_ptx(kernel, current_device().target)
    there = [DeviceArray.from_numpy(a) if isinstance(a, np.ndarray) else a for a in example.args]
    loaded = CudaExecutable(
        kernel.name, [v.type for v in kernel.params], str(module), module.shared_bytes, kernel.attrs["num_warps"]
    )
    loaded.launch((*example.grid, 1, 1)[:3], [a.address if isinstance(a, DeviceArray) else a for a in there], there)
    synchronize()
    for host, device in zip(example.args, there, strict=True):
        if isinstance(host, np.ndarray):
            host[...] = device.numpy()
    example.check()
