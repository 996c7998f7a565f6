"""Planted faults: each kernel is right but for one thing, and the emulator names that thing and where it is."""

from dataclasses import replace

import numpy as np
import pytest

from rtriton.backend.ptx.emulate import EmulatorError, Memory, ParseError, emulate
from tests.backend.ptx import ptx_kernels as kernels


def spoilt(kernel: kernels.Kernel, old: str, new: str, count: int = -1) -> kernels.Kernel:
    """A kernel with some of its text replaced."""
    assert old in kernel.body
    return replace(kernel, body=kernel.body.replace(old, new, count))


def run(kernel: kernels.Kernel, grid, *args, **options):
    return emulate(kernel.text(kernel.needs), kernel.name, grid, args, **options)


def body(text: str, params: tuple[str, ...] = (".u64 x",), threads: int = 64, shared: int = 0) -> kernels.Kernel:
    return kernels.Kernel("k", params, threads, text, shared)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_a_store_past_the_end_is_found_with_thread_and_both_lines() -> None:
    kernel = spoilt(kernels.VECTOR_ADD, "@%p1 ", "")
    x, y, out = floats(500), floats(500), np.zeros(500, np.float32)
    big_x, big_y = floats(512), floats(512)
    with pytest.raises(EmulatorError) as error:
        run(kernel, 1, big_x, big_y, out, 500)
    message = str(error.value)
    assert "out of bounds: 16 bytes at byte 2000, 16 bytes past the end of out (float32[500]) of 2000 bytes" in message
    assert "in program (0, 0, 0), warp 3, lane 29 (thread 125), and 2 more threads" in message
    assert message.startswith("kernel.py:9:4: ") and "st.global.v4.f32 [%rd3]" in message
    with pytest.raises(EmulatorError, match="past the end of x"):
        run(kernel, 1, x, y, out, 500)


def test_an_access_before_the_start_says_by_how_much() -> None:
    kernel = body("ld.param.u64 %rd1, [x];\nld.global.u8 %r1, [%rd1+-3];\nret;")
    with pytest.raises(EmulatorError, match=r"at byte -3, 3 bytes before x"):
        run(kernel, 1, np.zeros(8, np.uint8))


def test_an_address_in_no_array_is_found() -> None:
    kernel = body("mov.u64 %rd1, 64;\nst.global.u32 [%rd1], 0;\nret;", ())
    with pytest.raises(EmulatorError, match="address 0x40, which is in no array"):
        run(kernel, 1)


def test_a_view_may_not_be_left_even_where_its_owner_goes_on() -> None:
    owner = floats(1024)
    with pytest.raises(EmulatorError, match="past the end of x"):
        run(kernels.VECTOR_ADD, 1, owner[:500], floats(512), np.zeros(512, np.float32), 512)


def test_a_store_into_a_read_only_array_is_found() -> None:
    out = np.zeros(512, np.float32)
    out.flags.writeable = False
    with pytest.raises(EmulatorError, match=r"out .* is read-only"):
        run(kernels.VECTOR_ADD, 1, floats(512), floats(512), out, 512)


def test_a_misaligned_vector_access_is_found() -> None:
    with pytest.raises(EmulatorError, match=r"misaligned access: 16 bytes at byte 0 of y"):
        run(kernels.VECTOR_ADD, 1, floats(512), floats(513)[1:], np.zeros(512, np.float32), 512)


def test_a_misaligned_shared_access_is_found() -> None:
    kernel = spoilt(kernels.SOFTMAX, "[%r10+16]", "[%r10+12]")
    with pytest.raises(EmulatorError, match="misaligned access: 16 bytes at byte 12 of shared memory"):
        run(kernel, 1, floats(1, 128), np.zeros((1, 128), np.float32))


def test_a_register_read_before_it_is_written_is_found() -> None:
    kernel = spoilt(kernels.VECTOR_ADD, "@%p1 add.f32 %f1, %f1, %f5;", "add.f32 %f1, %f1, %f5;")
    with pytest.raises(EmulatorError, match=r"(?s)register %f1 is read before anything is written.*warp 3, lane 29"):
        run(kernel, 1, floats(500), floats(500), np.zeros(500, np.float32), 500)


def test_a_shared_byte_never_written_is_found() -> None:
    kernel = spoilt(kernels.SOFTMAX, "[%r10+16]", "[%r10+32]")
    kernel = replace(kernel, shared=64)
    with pytest.raises(EmulatorError, match=r"uninitialised read: shared byte 32 is read but was never written"):
        run(kernel, 2, floats(2, 128), np.zeros((2, 128), np.float32))


def test_a_shared_access_out_of_bounds_is_found() -> None:
    with pytest.raises(EmulatorError, match=r"out of bounds: 16 bytes at byte 16 of 16 bytes of shared memory"):
        run(replace(spoilt(kernels.SOFTMAX, "st.shared.f32 [%r6+16]", "st.shared.f32 [%r6]"), shared=16), 1,
            floats(1, 128), np.zeros((1, 128), np.float32), races=False)


def test_a_poisoned_array_may_not_be_read_before_it_is_written() -> None:
    args = floats(512), floats(512), np.zeros(512, np.float32)
    run(kernels.VECTOR_ADD, 1, *args, 512, poison={2})
    with pytest.raises(EmulatorError, match=r"uninitialised read: byte 0 of y \(float32\[512\]\) was never written"):
        run(kernels.VECTOR_ADD, 1, *args, 512, poison={1})


def test_a_read_without_the_barrier_after_the_write_is_a_race() -> None:
    kernel = spoilt(kernels.SOFTMAX, "bar.sync 0;", "")
    with pytest.raises(EmulatorError) as error:
        run(kernel, 3, floats(3, 128), np.zeros((3, 128), np.float32))
    message = str(error.value)
    assert "race: shared byte 4 is read here and was written by warp 1, with no barrier" in message
    assert "ld.shared.v4.f32" in message and "st.shared.f32 [%r6+16], %f2" in message


def test_a_write_without_a_barrier_after_the_reads_is_a_race() -> None:
    kernel = spoilt(kernels.SOFTMAX, "[%r6+16]", "[%r6]")
    with pytest.raises(EmulatorError, match="race: shared byte 0 is written here and was read by several warps"):
        run(kernel, 1, floats(1, 128), np.zeros((1, 128), np.float32))


def test_two_warps_writing_the_same_bytes_are_a_race() -> None:
    kernel = body("mov.u32 %r1, buffer;\nst.shared.u32 [%r1], 5;\nret;", (), shared=4)
    with pytest.raises(EmulatorError, match="race: shared byte 0 is written here and was written by warp 1"):
        run(kernel, 1)
    run(kernel, 1, races=False)


def test_atomics_do_not_race_with_each_other_but_with_plain_accesses() -> None:
    run(kernels.HISTOGRAM, 1, np.zeros(64, np.uint8), np.zeros(16, np.uint32))
    kernel = spoilt(kernels.HISTOGRAM, "    bar.sync 0;\n    @%p1 ld", "    @%p1 ld")
    with pytest.raises(EmulatorError, match="race: shared byte 0 is read here and was updated atomically by"):
        run(kernel, 1, np.zeros(64, np.uint8), np.zeros(16, np.uint32))


@pytest.mark.parametrize("old,new", [("    bar.sync 1, 64;\n", ""), ("    bar.arrive 1, 64;\n", "")])
def test_a_producer_and_consumer_out_of_step_race_or_hang(old: str, new: str) -> None:
    with pytest.raises(EmulatorError, match=r"race|deadlock|uninitialised|threads arrived"):
        run(spoilt(kernels.PRODUCER, old, new), 1, np.zeros(32, np.uint32))


def test_a_buffer_refilled_before_it_was_read_is_a_race_between_named_barriers() -> None:
    kernel = spoilt(kernels.PRODUCER, "    ld.shared.u32 %r6, [%r3];\n    bar.arrive 2, 64;\n",
                    "    bar.arrive 2, 64;\n    ld.shared.u32 %r6, [%r3];\n")
    with pytest.raises(EmulatorError, match=r"race: shared byte 0 is (written|read) here and was (read|written) by"):
        run(kernel, 1, np.zeros(32, np.uint32))


def matmul_args() -> tuple:
    return np.ones((32, 128), np.float16), np.ones((8, 128), np.float16), np.zeros((32, 8), np.float32), 8, 256


def test_reading_what_cp_async_still_fills_is_a_race() -> None:
    kernel = spoilt(kernels.MATMULS["f16"], "cp.async.wait_group 1;", "cp.async.wait_group 2;")
    with pytest.raises(EmulatorError, match=r"race: .* is read while a cp.async that fills it has not been waited for"):
        run(kernel, (1, 1), *matmul_args())


def test_cp_async_into_a_buffer_that_is_still_read_is_a_race() -> None:
    kernel = spoilt(kernels.MATMULS["f16"], "    bar.sync 0;\n    @%p1 bra", "    @%p1 bra")
    with pytest.raises(EmulatorError, match=r"race: .* is written here and was read by"):
        run(kernel, (1, 1), *matmul_args())


def test_cp_async_seen_by_other_warps_needs_the_barrier_after_the_wait() -> None:
    kernel = spoilt(kernels.MATMULS["f16"], "cp.async.wait_group 1;\n    bar.sync 0;", "cp.async.wait_group 1;")
    with pytest.raises(EmulatorError, match=r"race: .* is read here and was written by"):
        run(kernel, (1, 1), *matmul_args())


def test_a_barrier_that_some_warps_never_reach_is_a_deadlock() -> None:
    kernel = body("mov.u32 %r1, %tid.x;\nsetp.lt.u32 %p1, %r1, 32;\n@%p1 bra $end;\nbar.sync 0;\n$end:\nret;", (), 96)
    with pytest.raises(EmulatorError) as error:
        run(kernel, 2)
    message = str(error.value)
    assert "deadlock: no warp can move" in message
    assert "warps [1, 2] of program (0, 0, 0) wait at barrier 0, where 64 of 96 threads arrived" in message


def test_lanes_of_one_warp_at_two_barriers_are_told_with_both_lines() -> None:
    kernel = body(".loc 1 5 3\nmov.u32 %r1, %tid.x;\nsetp.lt.u32 %p1, %r1, 8;\n@%p1 bra $few;\nbar.sync 0;\nbra $end;\n"
                  "$few:\n.loc 1 7 3\nbar.sync 0;\n$end:\nret;", (), 32)
    with pytest.raises(EmulatorError, match="divergent barrier: lanes of one warp come to a barrier at") as error:
        run(kernel, 1)
    assert {line for line in ("kernel.py:5:3", "kernel.py:7:3") if line in str(error.value)} == {"kernel.py:5:3",
                                                                                                 "kernel.py:7:3"}


def test_faults_are_told_once_a_line_with_how_often_and_at_most_twenty() -> None:
    loop = ("ld.param.u64 %rd1, [x];\nmov.u32 %r1, 0;\n$again:\nld.global.u32 %r2, [%rd1+64];\nadd.u32 %r1, %r1, 1;\n"
            "setp.lt.u32 %p1, %r1, 5;\n@%p1 bra $again;\nst.global.u32 [%rd1+4], %r2;\nret;")
    x = np.ones(2, np.uint32)
    with pytest.raises(EmulatorError, match=r"(?s)out of bounds: 4 bytes at byte 64.*\(found 5 times\)") as error:
        run(body(loop, threads=32), 1, x)
    assert len(error.value.findings) == 1 and x.tolist() == [1, 0]  # a load of nothing gives zero; the rest is done
    many = "".join(f".loc 1 {i + 1} 1\nst.global.u32 [%rd1+{64 + i}], 0;\n" for i in range(40))
    with pytest.raises(EmulatorError, match="kernel k is wrong in 20 or more places") as error:
        run(body(f"ld.param.u64 %rd1, [x];\n{many}ret;", threads=32), 1, x)
    assert len(error.value.findings) == 20


def test_the_calls_that_code_was_inlined_through_are_told() -> None:
    kernel = body(".loc 1 9 4\nld.param.u64 %rd1, [x];\n.loc 1 20 5, function_name f, inlined_at 1 9 4\n"
                  ".loc 1 30 6, function_name g, inlined_at 1 20 5\nld.global.u32 %r1, [%rd1+64];\nret;")
    with pytest.raises(EmulatorError) as error:
        run(kernel, 1, np.zeros(2, np.uint32))
    assert str(error.value).startswith("kernel.py:30:6: out of bounds")
    assert str(error.value).endswith("called from kernel.py:20:5\ncalled from kernel.py:9:4")


def test_a_shuffle_whose_lanes_wait_elsewhere_is_a_deadlock() -> None:
    kernel = body("mov.u32 %r1, %tid.x;\nsetp.lt.u32 %p1, %r1, 8;\n@%p1 bra $other;\n"
                  "shfl.sync.idx.b32 %r2, %r1, 0, 31, -1;\n$other:\nbar.sync 0;\nret;", (), 32)
    with pytest.raises(EmulatorError, match=r"(?s)deadlock.*8 of 32 threads.*lane 8.*wait for other lanes"):
        run(kernel, 1)


def test_a_lock_that_nobody_releases_is_reported() -> None:
    kernel = spoilt(kernels.SPIN_LOCK, "atom.release.gpu.global.exch.b32 %r2, [%rd1], 0;", "")
    with pytest.raises(EmulatorError, match="still running after 20000 instructions"):
        run(kernel, 4, np.zeros(1, np.uint32), np.zeros(1, np.uint32), max_steps=20_000)


def test_a_shuffle_from_a_lane_that_does_not_take_part_is_found() -> None:
    kernel = body("mov.u32 %r1, %tid.x;\nsetp.lt.u32 %p1, %r1, 8;\n"
                  "@%p1 shfl.sync.bfly.b32 %r2, %r1, 8, 31, 255;\nret;", (), 32)
    with pytest.raises(EmulatorError, match="shuffle from lane 8, which does not execute it"):
        run(kernel, 1)


def test_a_trap_is_reported() -> None:
    with pytest.raises(EmulatorError, match="trap is reached"):
        run(body("trap;", ()), 1)


def test_wrong_arguments_are_named() -> None:
    x = floats(512)
    with pytest.raises(EmulatorError, match=r"takes 4 arguments \(x, y, out, n\), got 3"):
        run(kernels.VECTOR_ADD, 1, x, x, x)
    with pytest.raises(EmulatorError, match=r"parameter n is .u32, got float"):
        run(kernels.VECTOR_ADD, 1, x, x, x, 1.5)
    with pytest.raises(EmulatorError, match=r"parameter n is .u32, 4294967296 does not fit"):
        run(kernels.VECTOR_ADD, 1, x, x, x, 1 << 32)
    with pytest.raises(EmulatorError, match=r"parameter x is .u64, got str"):
        run(kernels.VECTOR_ADD, 1, "x", x, x, 4)


def test_text_that_is_not_ptx_names_its_line() -> None:
    with pytest.raises(ParseError, match="PTX line 7: no ';' ends"):
        emulate(".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n.reqntid 32\n{\nret", None, 1, [])
    with pytest.raises(EmulatorError, match=r"(?s)frobnicate.u32 is not emulated.*PTX line"):
        run(body("frobnicate.u32 %r1, %r2;\nret;", ()), 1)


def test_tables_of_pointers_are_followed() -> None:
    kernel = body("ld.param.u64 %rd1, [x];\nld.global.u64 %rd2, [%rd1];\nld.global.u32 %r1, [%rd2];\n"
                  "mov.u32 %r2, %tid.x;\nsetp.eq.u32 %p1, %r2, 0;\n@%p1 st.global.u32 [%rd2+4], %r1;\nret;")
    memory, target = Memory(), np.asarray([11, 0], np.uint32)
    run(kernel, 1, np.asarray([memory.address(target)], np.uint64), memory=memory)
    assert target.tolist() == [11, 11]
