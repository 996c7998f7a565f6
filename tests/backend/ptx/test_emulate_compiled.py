"""PTX that another compiler wrote: local memory, constants, unrolled loops, calls that are not reached."""

from pathlib import Path

import numpy as np
import pytest

from rtriton.backend.ptx.emulate import EmulatorError, emulate
from tests.backend.ptx import ptx_kernels as kernels

TEXT = Path(__file__).with_name("compiled.ptx").read_text()


def test_an_array_in_local_memory_is_each_threads_own() -> None:
    x = np.random.default_rng(0).integers(-1000, 1000, (128, 16)).astype(np.int32)
    want = np.sort(x, axis=1)
    emulate(TEXT, "sort_rows", 2, [x, 0], block=64)
    assert np.array_equal(x, want)


def test_a_call_is_refused_only_where_it_is_reached() -> None:
    with pytest.raises(EmulatorError, match="is not emulated"):
        emulate(TEXT, "sort_rows", 1, [np.zeros((32, 16), np.int32), 1], block=32)


@pytest.mark.parametrize("block", [32, 128, 1024])
def test_a_sum_through_constants_shared_memory_and_an_atomic(block: int) -> None:
    x, out = np.random.default_rng(1).standard_normal(5000).astype(np.float32), np.zeros(1, np.float32)
    emulate(TEXT, "weighted_sum", 3, [x, out, 5000], block=block)
    want = (x.astype(np.float64) * np.asarray([1, 2, 3, 4.5])[np.arange(5000) % 4]).sum()
    assert abs(out[0] - want) < 1e-3


def test_lanes_that_nobody_listens_to_may_compute_on_unwritten_registers_if_that_is_allowed() -> None:
    kernel = kernels.Kernel("k", (".u64 out",), 32, """
        ld.param.u64 %rd1, [out];
        mov.u32 %r1, %tid.x;
        setp.lt.u32 %p1, %r1, 4;
        @%p1 mov.u32 %r2, 5;
        shfl.sync.bfly.b32 %r3, %r2, 1, 31, -1;
        add.u32 %r4, %r2, %r3;
        mad.wide.u32 %rd2, %r1, 4, %rd1;
        @%p1 st.global.u32 [%rd2], %r4;
        ret;""")
    out = np.zeros(32, np.uint32)
    with pytest.raises(EmulatorError, match="register %r2 is read before"):
        emulate(kernel.text(), "k", 1, [out])
    emulate(kernel.text(), "k", 1, [out], strict=False)
    assert out.tolist() == [10] * 4 + [0] * 28
