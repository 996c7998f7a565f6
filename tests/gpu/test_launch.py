"""Launches on a GPU: both roads with torch tensors and DeviceArrays, graphs, attributes, threads, several devices."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.array import DeviceArray
from rtriton.backend.cuda import driver
from tests.gpu.test_tutorials import gpu_is_there

pytestmark = pytest.mark.skipif(not gpu_is_there(), reason="no GPU")

SCALE = tl.constexpr(2)


@rtriton.jit
def scale(x, out, n, BLOCK: tl.constexpr = 64):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(x + at, mask=at < n) * SCALE, mask=at < n)


@rtriton.jit
def wait_and_scale(x, out, n, BLOCK: tl.constexpr = 64):
    tl.extra.cuda.gdc_wait()
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(x + at, mask=at < n) * 2, mask=at < n)
    tl.extra.cuda.gdc_launch_dependents()


@rtriton.jit
def rank_in_cluster(out):
    rank = tl.inline_asm_elementwise("mov.u32 $0, %cluster_ctarank;", "=r,r", [tl.program_id(0)], tl.int32, False, 1)
    count = tl.inline_asm_elementwise("mov.u32 $0, %cluster_nctarank;", "=r,r", [tl.program_id(0)], tl.int32, False, 1)
    tl.store(out + tl.program_id(0), rank + 100 * count)


@rtriton.jit
def meet(counter, out, programs):
    """Every program waits until all have come: it ends only where all of them run at once."""
    tl.atomic_add(counter, 1)
    while tl.atomic_add(counter, 0) < programs:
        pass
    tl.store(out + tl.program_id(0), 1)


def torch_with_cuda() -> Any:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA")
    return torch


def launches(kernel: rtriton.JITFunction) -> list[str]:
    """Have launches that take the long road noted."""
    taken: list[str] = []
    plain = kernel.launcher.names[kernel.launcher.prefix + "long"]

    def long(*args: Any) -> Any:
        taken.append(kernel.__name__)
        return plain(*args)

    kernel.launcher.names[kernel.launcher.prefix + "long"] = long
    return taken


def fresh(kernel: rtriton.JITFunction) -> rtriton.JITFunction:
    return rtriton.jit(kernel.fn)


def test_device_arrays_take_the_short_road() -> None:
    kernel = fresh(scale)
    taken = launches(kernel)
    for n in (128, 112, 96, 80):
        x, out = DeviceArray.from_numpy(np.arange(128, dtype=np.float32)), DeviceArray.zeros((128,), tl.float32)
        kernel[(2,)](x, out, n)
        wanted = np.where(np.arange(128) < n, 2 * np.arange(128), 0)
        np.testing.assert_array_equal(out.numpy(), wanted)
    assert len(taken) == 2


def test_torch_tensors_of_every_alignment_and_dtype_get_their_own_kernels() -> None:
    torch = torch_with_cuda()
    kernel = fresh(scale)
    for _ in range(3):
        for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8):
            for start in (0, 1, 2, 8, 16):
                for n in (1, 33, 64):
                    x = torch.arange(100, device="cuda").to(dtype)[start:]
                    out = torch.zeros(100, device="cuda", dtype=dtype)[start:]
                    kernel[lambda meta: (rtriton.cdiv(meta["n"], meta["BLOCK"]),)](x, out, n)
                    assert torch.equal(out[:n], x[:n] * 2) and not out[n:].any()


def test_cpu_tensors_are_refused_where_cuda_ones_were_before() -> None:
    torch = torch_with_cuda()
    kernel = fresh(scale)
    x, out = torch.ones(64, device="cuda"), torch.zeros(64, device="cuda")
    for _ in range(3):
        kernel[(1,)](x, out, 64)
    with pytest.raises(ValueError, match="cannot be accessed from Triton"):
        kernel[(1,)](x.cpu(), out, 64)
    here = torch.zeros(64)
    kernel[(1,)](x.cpu(), here, 64)                      # all on the CPU: the CPU backend
    assert (here == 2).all()
    pinned = torch.zeros(64).pin_memory()
    kernel[(1,)](x, pinned, 64)
    torch.cuda.synchronize()
    assert (pinned == 2).all()


def test_launches_go_to_torchs_current_stream_and_into_its_graphs() -> None:
    torch = torch_with_cuda()
    kernel = fresh(scale)
    x, out = torch.ones(64, device="cuda"), torch.zeros(64, device="cuda")
    for _ in range(3):
        kernel[(1,)](x, out, 64)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(20_000_000)
        x.fill_(3)
        kernel[(1,)](x, out, 64)
    side.synchronize()
    assert (out == 6).all()
    graph = torch.cuda.CUDAGraph()
    bound = kernel.compile_for(out, x, 64)
    with torch.cuda.graph(graph):
        kernel[(1,)](x, out, 64)
        bound[(1,)]()
    torch.cuda.synchronize()
    x.fill_(1)
    for turn in (1, 2):
        graph.replay()
        torch.cuda.synchronize()
        assert (out == 2 * 4 ** (turn - 1)).all() and (x == 4**turn).all()


def test_a_first_launch_may_be_inside_a_capture() -> None:
    torch = torch_with_cuda()
    x, out = torch.ones(64, device="cuda"), torch.zeros(64, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        fresh(scale)[(1,)](x, out, 64)
    assert not out.any()
    graph.replay()
    assert (out == 2).all()


def test_rtritons_own_capture_records_launches_of_both_roads() -> None:
    kernel = fresh(scale)
    x, out = DeviceArray.from_numpy(np.ones(64, np.float32)), DeviceArray.zeros((64,), tl.float32)
    kernel[(1,)](x, out, 64)
    bound = kernel.compile_for(out, x, 64)
    with rtriton.capture("cuda") as graph:
        kernel[(1,)](x, out, 64)
        bound[(1,)]()
    assert graph.nodes == 2
    before = x.numpy()[0]
    graph.replay()
    graph.replay()
    assert x.numpy()[0] == 16 * before


def test_a_dependent_launch_sees_what_the_one_before_wrote() -> None:
    kernel = fresh(wait_and_scale)
    x, y = DeviceArray.from_numpy(np.ones(1 << 16, np.float32)), DeviceArray.zeros((1 << 16,), tl.float32)
    for _ in range(6):
        kernel[(1 << 10,)](x, y, 1 << 16, launch_pdl=True)
        kernel[(1 << 10,)](y, x, 1 << 16, launch_pdl=True)
    assert (x.numpy() == 4**6).all()


@pytest.mark.parametrize("dims", [(2, 1, 1), (4, 1, 1), (16, 1, 1)])
def test_programs_of_a_cluster_know_their_rank(dims: tuple[int, int, int]) -> None:
    out = DeviceArray.zeros((32,), tl.int32)
    for _ in range(3):
        rank_in_cluster[(32,)](out, cluster_dims=dims)
    assert out.numpy().tolist() == [100 * dims[0] + i % dims[0] for i in range(32)]
    with pytest.raises(rtriton.LaunchError, match="is not made of whole clusters"):
        rank_in_cluster[(31,)](out, cluster_dims=dims)


def test_a_cooperative_grid_runs_at_once_or_not_at_all() -> None:
    programs = driver.current_device().multiprocessors
    for _ in range(3):
        counter, out = DeviceArray.zeros((1,), tl.int32), DeviceArray.zeros((programs,), tl.int32)
        meet[(programs,)](counter, out, programs, launch_cooperative_grid=True)
        assert out.numpy().all()
    with pytest.raises(rtriton.LaunchError, match="COOPERATIVE_LAUNCH_TOO_LARGE"):
        meet[(1 << 20,)](counter, out, programs, launch_cooperative_grid=True)


def test_bound_kernels_launch_from_any_thread() -> None:
    x, out = DeviceArray.from_numpy(np.ones(64, np.float32)), DeviceArray.zeros((64,), tl.float32)
    kernel = fresh(scale)
    bound = kernel.compile_for(x, out, 64)

    def work(_: int) -> None:
        for _ in range(200):
            bound[(1,)]()
            kernel[(1,)](x, out, 64)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    driver.synchronize()
    assert (out.numpy() == 2).all()


def test_every_gpu_has_the_code_that_is_launched_on_it() -> None:
    torch = torch_with_cuda()
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    kernel = fresh(scale)
    for turn in range(6):
        with torch.cuda.device(turn % 2):
            x, out = torch.ones(64, device="cuda"), torch.zeros(64, device="cuda")
            kernel[(1,)](x, out, 64)
            assert (out == 2).all()
