"""mbarriers: a bulk copy and a pipeline that are right, and each way to misuse them, told with its line."""

import warnings
from collections.abc import Iterator

import numpy as np
import pytest

from rtriton.backend.ptx.emulate import EmulatorError, EmulatorWarning, emulate

HEAD = """
.version 8.0
.target sm_90
.address_size 64
.visible .entry k(.param .u64 x, .param .u64 out)
.reqntid 64
{
  .shared .align 16 .b8 buffer[256];
  .shared .align 8 .b8 bar[8];
  .reg .b32 %r<16>;
  .reg .b64 %rd<16>;
  .reg .pred %p<8>;
  mov.u32 %r0, %tid.x;
  setp.eq.u32 %p0, %r0, 0;
  setp.lt.u32 %p2, %r0, 32;
  mov.u32 %r1, bar;
  mov.u32 %r2, buffer;
  shl.b32 %r3, %r0, 2;
  add.u32 %r4, %r2, %r3;
  ld.param.u64 %rd0, [x];
  ld.param.u64 %rd1, [out];
  cvt.u64.u32 %rd2, %r3;
  add.u64 %rd3, %rd1, %rd2;
"""
BULK = """
  @%p0 mbarrier.init.shared::cta.b64 [%r1], 1;
  bar.sync 0;
  @%p0 mbarrier.arrive.expect_tx.shared::cta.b64 %rd4, [%r1], 256;
  @%p0 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%rd0], 256, [%r1];
$wait:
  mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r1], 0;
  @!%p1 bra $wait;
  ld.shared.b32 %r5, [%r4];
  st.global.b32 [%rd3], %r5;
  ret;
}
"""
# warp 0 fills the buffer four times, warp 1 empties it: one mbarrier says full, the other empty
PIPELINE = """
  @%p0 mbarrier.init.shared.b64 [%r1], 32;
  @%p0 mbarrier.init.shared.b64 [%r2], 32;
  bar.sync 0;
  mov.u32 %r6, 0;
  and.b32 %r7, %r3, 127;
  add.u32 %r7, %r7, %r2;
$loop:
  and.b32 %r8, %r6, 1;
  xor.b32 %r9, %r8, 1;
  @!%p2 bra $consume;
$empty:
  mbarrier.try_wait.parity.shared.b64 %p1, [%r2], %r9;
  @!%p1 bra $empty;
  add.u32 %r10, %r0, %r6;
  st.shared.b32 [%r7+16], %r10;
  mbarrier.arrive.shared.b64 %rd4, [%r1];
  bra $next;
$consume:
  mbarrier.try_wait.parity.shared.b64 %p1, [%r1], %r8;
  @!%p1 bra $consume;
  ld.shared.b32 %r11, [%r7+16];
  st.global.b32 [%rd3], %r11;
  mbarrier.arrive.shared.b64 %rd4, [%r2];
$next:
  add.u32 %r6, %r6, 1;
  setp.lt.u32 %p3, %r6, 4;
  @%p3 bra $loop;
  ret;
}
"""


@pytest.fixture(autouse=True)
def _both_programs_write_one_array() -> Iterator[None]:
    with warnings.catch_warnings(action="ignore", category=EmulatorWarning):
        yield


def run(body: str, *replaced: tuple[str, str]) -> np.ndarray:
    for old, new in replaced:
        assert old in body
        body = body.replace(old, new, 1)
    out = np.zeros(64, np.uint32)
    emulate(HEAD + body, None, 2, [np.arange(64, dtype=np.uint32), out], max_steps=50_000)
    return out


def test_a_bulk_copy_is_there_when_its_mbarrier_completes() -> None:
    np.testing.assert_array_equal(run(BULK), np.arange(64))


def test_producer_and_consumer_take_turns() -> None:
    out = run(PIPELINE)
    np.testing.assert_array_equal(out[32:], np.arange(32) + 3)


@pytest.mark.parametrize(("old", "new", "wanted"), [
    ("  @%p0 mbarrier.init.shared::cta.b64 [%r1], 1;\n  bar.sync 0;\n", "",
     r"mbarrier misuse: mbarrier.arrive.expect_tx.* on shared byte 256, where no mbarrier.init was"),
    ("[%r1], 1;", "[%r1], 2;", r"deadlock: phase 0 of an mbarrier never completes: it has 1 of 2 arrivals\n"),
    ("[%r1], 256;\n  @%p0 cp", "[%r1], 512;\n  @%p0 cp", r"has 1 of 1 arrivals and still expects 256 bytes"),
    ("[%r1], 256;\n  @%p0 cp", "[%r1], 128;\n  @%p0 cp", r"got 128 bytes more than it was told to expect"),
    ("  @!%p1 bra $wait;", "", "race: shared byte 0 is read while a cp.async that fills it has not been waited for"),
    ("$wait:\n  mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r1], 0;\n  @!%p1 bra $wait;", "",
     r"race: shared byte 0 is read while a cp.async that fills it has not been waited for"),
    ("  @%p0 mbarrier.init.shared::cta.b64 [%r1], 1;", "  @%p0 mbarrier.init.shared::cta.b64 [%r1], 1;\n"
     "  @%p0 mbarrier.init.shared::cta.b64 [%r1], 1;",
     r"(?s)mbarrier.init on shared byte 256, where there is one already.*made at PTX line"),
    ("  ld.shared.b32 %r5, [%r4];", "  ld.shared.b32 %r5, [%r1];",
     r"mbarrier misuse: shared byte 256 is read as plain memory, and an mbarrier is there"),
    ("  ld.shared.b32 %r5, [%r4];", "  @%p0 mbarrier.arrive.shared.b64 %rd4, [%r1], 2;\n  ld.shared.b32 %r5, [%r4];",
     r"2 arrivals at an mbarrier that waits for 1 more in phase 1 \(its count is 1\)"),
    ("[%rd0], 256, [%r1]", "[%rd0+16], 256, [%r1]", r"out of bounds: 16 bytes at byte 256, 16 bytes past the end of x"),
    ("  bar.sync 0;\n", "", r"race: shared byte 256 is updated here and was written by warp 0|no mbarrier.init was"),
])  # fmt: skip
def test_misuse_around_a_bulk_copy_is_told(old: str, new: str, wanted: str) -> None:
    with pytest.raises(EmulatorError, match=wanted):
        run(BULK, (old, new))


@pytest.mark.parametrize(("old", "new", "wanted"), [
    ("%p1, [%r1], %r8", "%p1, [%r1], 0", r"(?s)deadlock: phase .*waits as well at PTX line .*\[%r1\], 0"),
    ("%p1, [%r2], %r9", "%p1, [%r2], 1", r"(?s)deadlock: phase 1 .* has 0 of 32 arrivals.*\[%r2\], 1;"),
    ("  @!%p1 bra $consume;", "  @!%p1 bra $consume;\n  mbarrier.test_wait.parity.shared.b64 %p1, [%r1], %r8;",
     r"mbarrier misuse: waits again for phase 0 of an mbarrier, which passed before"),
    ("  mbarrier.arrive.shared.b64 %rd4, [%r1];\n", "  mbarrier.arrive.shared.b64 %rd4, [%r1];\n"
     "  @%p3 mbarrier.test_wait.shared.b64 %p1, [%r1], %rd5;\n  mov.b64 %rd5, %rd4;\n",
     "uninitialised read: register %p3"),
    ("$empty:\n  mbarrier.try_wait.parity.shared.b64 %p1, [%r2], %r9;\n  @!%p1 bra $empty;\n", "",
     r"arrivals at an mbarrier that waits for|race: shared byte"),
    ("  mbarrier.arrive.shared.b64 %rd4, [%r2];\n", "",
     r"(?s)deadlock: phase 0 of an mbarrier never completes: it has 0 of 32 arrivals.*try_wait"),
])  # fmt: skip
def test_a_pipeline_out_of_step_is_told(old: str, new: str, wanted: str) -> None:
    with pytest.raises(EmulatorError, match=wanted):
        run(PIPELINE, (old, new))
