"""Planted faults for the sanitizer on a GPU: the command that finds nothing in the ops would find something.

compute-sanitizer --tool memcheck  --error-exitcode 9 python -m tests.gpu.faults out_of_bounds    # must exit 9
compute-sanitizer --tool racecheck --error-exitcode 9 python -m tests.gpu.faults race             # must exit 9
python -m tests.gpu.faults clean                                                                  # exits 0
"""

from __future__ import annotations

import sys

import numpy as np

import rtriton
import rtriton.language as tl
from rtriton.array import DeviceArray
from rtriton.backend.cuda.driver import synchronize
from rtriton.backend.cuda.launch import CudaExecutable
from rtriton.types import Pointer, float32

RACE = """
.version 7.0
.target sm_80
.address_size 64
.visible .entry race(.param .u64 out)
.reqntid 128
{
  .shared .align 4 .b8 cells[512];
  .reg .b32 %r<6>;
  .reg .b64 %d<5>;
  mov.u32 %r0, %tid.x;
  shl.b32 %r1, %r0, 2;
  mov.u32 %r2, cells;
  add.u32 %r3, %r2, %r1;
  st.shared.b32 [%r3], %r0;
  xor.b32 %r4, %r1, 256;
  add.u32 %r4, %r4, %r2;
  ld.shared.b32 %r5, [%r4];
  ld.param.u64 %d0, [out];
  cvta.to.global.u64 %d1, %d0;
  cvt.u64.u32 %d2, %r1;
  add.u64 %d3, %d1, %d2;
  st.global.b32 [%d3], %r5;
  ret;
}
"""


@rtriton.jit
def fill_kernel(out, count, BLOCK: tl.constexpr):
    here = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + here, here.to(tl.float32), mask=here < count)


def main(fault: str) -> None:
    out = DeviceArray.zeros((128,), float32)
    if fault == "race":  # threads read what another warp writes, with no barrier between
        CudaExecutable("race", [Pointer(float32)], RACE, 0, 4).launch((1, 1, 1), [out.address], [out])
    elif fault == "out_of_bounds":  # far beyond what is allocated
        fill_kernel[1,](DeviceArray(out.shape, out.dtype, out.address + (1 << 30), out), 128, BLOCK=128)
    else:
        fill_kernel[1,](out, 128, BLOCK=128)
    synchronize()
    if fault == "clean":
        assert (out.numpy() == np.arange(128)).all()


if __name__ == "__main__":
    if sys.argv[1:] not in (["out_of_bounds"], ["race"], ["clean"]):
        raise SystemExit(__doc__)
    main(sys.argv[1])
