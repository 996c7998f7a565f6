"""Launches on a GPU down to the driver's calls, where there is none: a fake driver takes the calls (fake_cuda.py)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.array import DeviceArray
from rtriton.backend.cuda import current
from rtriton.types import BY_NAME
from tests.runtime.fake_cuda import FakeDriver, install

SCALE = tl.constexpr(2)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeDriver]:
    monkeypatch.setenv("RTRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("RTRITON_BACKEND", raising=False)
    made = install(monkeypatch, devices=2)
    made.cuCtxSetCurrent(100)
    yield made


def kernel(**options: Any) -> rtriton.JITFunction:
    def scale(x, out, n, BLOCK: tl.constexpr = 32):
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        tl.store(out + at, tl.load(x + at, mask=at < n) * SCALE, mask=at < n)

    return rtriton.jit(**options)(scale)


def arrays(count: int = 64) -> tuple[DeviceArray, DeviceArray]:
    return DeviceArray.from_numpy(np.arange(count, dtype=np.float32)), DeviceArray.zeros((count,), tl.float32)


def test_both_roads_pass_the_driver_the_same(fake: FakeDriver) -> None:
    made, (x, out) = kernel(), arrays()
    for _ in range(4):
        made[(2, 1)](x, out, 48)
    assert (out.numpy() == np.where(np.arange(64) < 48, 2 * np.arange(64), 0)).all()
    one = fake.launches[0]
    assert (one.grid, one.threads, one.stream, one.device) == ((2, 1, 1), 128, 0, 0) and one.arguments[2] == 48
    assert all(repr(other) == repr(one) for other in fake.launches) and len(fake.launches) == 4
    assert fake.calls == ["cuLaunchKernel"] * 4 and len(fake.functions) == 1
    made[(0, 5)](x, out, 48)
    assert len(fake.launches) == 4


@pytest.mark.parametrize(("name", "given", "wanted"), [
    ("int8", -5, -5), ("uint8", 200, 200), ("uint32", -1, (1 << 32) - 1), ("int64", -(1 << 40), -(1 << 40)),
    ("fp32", 1.5, 1.5), ("fp64", 0.1, 0.1), ("fp32", 1e300, np.inf), ("fp16", 1.5, 0x3E00), ("bf16", 1.5, 0x3FC0),
    ("bf16", 3, 0x4040), ("fp8e5", 1.5, 0x3E), ("int1", 3, 1),
])
def test_numbers_arrive_in_the_form_of_their_type(fake: FakeDriver, name: str, given: float, wanted: float) -> None:
    def one(out, n):
        tl.store(out, n.to(tl.float32))

    one.__annotations__["n"] = BY_NAME[name]
    made = rtriton.jit(one)
    for _ in range(3):
        made[(1,)](DeviceArray.zeros((1,), tl.float32), given)
    found = {launched.arguments[1] for launched in fake.launches}
    assert {float(np.float16(f).view(np.uint16)) if name == "fp16" and f == 1.5 else f for f in found} == {wanted}


def test_options_become_attributes_of_the_launch(fake: FakeDriver) -> None:
    made, (x, out) = kernel(), arrays()
    for _ in range(3):
        made[(2,)](x, out, 64, launch_pdl=True)
        made[(2,)](x, out, 64, launch_cooperative_grid=True, num_warps=1)
        made[(2,)](x, out, 64, cluster_dims=(2, 1, 1))
    pdl, cooperative, cluster = ({k: vars(v) for k, v in one.attributes.items()} for one in fake.launches[-3:])
    assert pdl["PROGRAMMATIC_STREAM_SERIALIZATION"]["programmaticStreamSerializationAllowed"] == 1 and len(pdl) == 1
    assert cooperative["COOPERATIVE"]["cooperative"] == 1 and fake.launches[-2].threads == 32
    assert vars(cluster["CLUSTER_DIMENSION"]["clusterDim"]) == {"x": 2, "y": 1, "z": 1}
    assert set(fake.calls) == {"cuLaunchKernelEx"} and (out.numpy() == x.numpy() * 2).all()
    with pytest.raises(rtriton.LaunchError, match=r"grid of \(3, 1, 1\) is not made of whole clusters of \(2, 1, 1\)"):
        made[(3,)](x, out, 64, cluster_dims=2)
    kernel()[(16,)](x, out, 64, cluster_dims=16)
    assert fake.functions[-1].settings == {"NON_PORTABLE_CLUSTER_SIZE_ALLOWED": 1}


@pytest.mark.parametrize("dims", [(3, 3, 3), 0, (2, -1), (1, 1, 1, 1), "two"])
def test_clusters_that_no_gpu_has_are_refused(fake: FakeDriver, dims: Any) -> None:
    with pytest.raises(ValueError, match="cluster_dims has one to three sizes, 16 programs at most, got"):
        kernel()[(4,)](*arrays(), 64, cluster_dims=dims)


def test_attributes_are_kept_with_the_kernel_on_disk(fake: FakeDriver) -> None:
    x, out = arrays()
    for _ in range(2):                                  # compiled, then taken from the cache
        kernel()[(2,)](x, out, 64, cluster_dims=2, launch_pdl=True)
        assert set(fake.launches[-1].attributes) == {"CLUSTER_DIMENSION", "PROGRAMMATIC_STREAM_SERIALIZATION"}


def test_each_device_has_the_kernel_loaded_once(fake: FakeDriver) -> None:
    made = kernel()
    for turn in range(6):
        fake.context = turn % 2
        x, out = arrays()
        made[(2,)](x, out, 64)
        assert out.numpy()[5] == 10
    assert [f.device for f in fake.functions] == [0, 1] and [one.device for one in fake.launches] == [0, 1] * 3
    assert len(made.cache) == 1


def test_a_thread_without_a_context_gets_one(fake: FakeDriver) -> None:
    made, (x, out) = kernel(), arrays()
    made[(2,)](x, out, 64)
    fake.context = None
    made[(2,)](x, out, 64)
    assert fake.context == 0 and fake.calls[-2:] == ["cuLaunchKernel"] * 2 and len(fake.launches) == 2


def test_a_failing_launch_says_why_and_where(fake: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    made, (x, out) = kernel(), arrays()
    monkeypatch.setattr(fake, "cuLaunchKernel", lambda *_: (type(fake.cuInit(0)[0])(1),))
    with pytest.raises(rtriton.LaunchError, match=r"scale on a grid of \(2, 1, 1\): CUDA_ERROR_INVALID_VALUE"):
        made[(2,)](x, out, 64)


@pytest.mark.parametrize("devices", [1, 2])
def test_torchs_device_and_stream_are_asked_for_once_its_cuda_has_started(devices: int, fake: FakeDriver,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    started, streams = [False], {0: 5, 1: 6}
    below = SimpleNamespace(_cuda_getDevice=lambda: fake.context or 0, _cuda_getCurrentRawStream=streams.__getitem__)
    cuda = SimpleNamespace(is_initialized=lambda: started[0], device_count=lambda: devices)
    torch = SimpleNamespace(cuda=cuda, _C=below)
    monkeypatch.setitem(sys.modules, "torch", torch)        # pyright: ignore[reportArgumentType]
    made, (x, out) = kernel(), arrays()
    for turn in range(6):
        started[0], fake.context = turn > 1, int(turn > 3 and devices == 2)
        made[(2,)](x, out, 64)
    assert [one.stream for one in fake.launches] == [0, 0, 5, 5, *([5, 5] if devices == 1 else [6, 6])]
    streams[devices - 1] = 9
    made[(2,)](x, out, 64)
    before = current.set_stream(11)
    made[(2,)](x, out, 64)
    current.set_stream(before)
    made[(2,)](x, out, 64)
    assert [one.stream for one in fake.launches[-3:]] == [9, 11, 9]
    with ThreadPoolExecutor(1) as pool:                     # a stream that is set here is this thread's
        current.set_stream(11)
        pool.submit(made[(2,)], x, out, 64).result()
        current.set_stream(before)
    assert fake.launches[-1].stream == 9


def test_a_graph_holds_launches_of_both_roads_and_of_bound_kernels(fake: FakeDriver) -> None:
    made, (x, out) = kernel(), arrays()
    launch = made[(2,)]
    for _ in range(3):
        launch(x, out, 64)
    bound = made.compile_for(out, x, 64)
    with rtriton.capture("cuda") as graph:
        launch(x, out, 64)
        bound[(2,)]()
    assert len(fake.launches) == 3 and graph.nodes == 2
    graph.replay()
    assert x.numpy()[5] == 20 and out.numpy()[5] == 10
    launch(x, out, 64)
    assert out.numpy()[5] == 40 and fake.launches[-1].stream == 0


def test_a_bound_kernel_packs_once_and_is_the_same_on_every_device(fake: FakeDriver) -> None:
    made, (x, out) = kernel(), arrays()
    launch = made.compile_for(x, out, 64, num_warps=2)[(2,)]
    for turn in range(4):
        fake.context = turn % 2
        launch()
        assert fake.launches[-1].threads == 64 and fake.launches[-1].device == turn % 2
    assert (out.numpy() == 2 * x.numpy()).all()
    launch(n=32, out=x)
    assert fake.launches[-1].arguments[2] == 32 and x.numpy()[5] == 10


def test_cuda_arrays_and_arrays_in_cpu_memory_do_not_mix(fake: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    made, (x, out) = kernel(), arrays()
    for _ in range(3):
        made[(2,)](x, out, 64)
    monkeypatch.setattr("rtriton.backend.cuda.driver.reaches", lambda address: False)
    with pytest.raises(ValueError, match=r"Pointer argument \(at 0\) cannot be accessed"):
        made[(2,)](np.zeros(64, np.float32), out, 64)
    here = np.zeros(64, np.float32)
    made[(2,)](np.ones(64, np.float32), here, 64)
    assert (here == 2).all() and len(fake.launches) == 3
