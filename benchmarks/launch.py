"""What a launch costs on the host: microseconds of `kernel[grid](...)` and of a bound kernel, beside Triton's.

    python -m benchmarks.launch [--json out.json] [--cpu]

On a GPU: torch tensors and DeviceArrays, stream lookup and the check of a captured global included, beside Triton on
the same text where it is installed, and beside the driver's own call with arguments packed beforehand: the floor. The
process keeps to one core, and the queue is emptied between rounds, so that no launch waits for one. With --cpu (and
where there is no GPU) NumPy arrays and torch tensors on the CPU backend, where a launch includes running the one
program. Medians of rounds that alternate between all rows; each result is checked after its rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import rtriton.language as tl
from benchmarks import launch_sources as ours
from benchmarks.twins import triton_twin
from rtriton.array import DeviceArray
from rtriton.backend.cuda import driver

ROUNDS, CALLS = 40, 300
SCALARS = {"one": (), "three": (), "five": (4096, 7), "nineteen": tuple(range(2, 16))}
ARRAYS = {"one": 1, "three": 3, "five": 3, "nineteen": 5}
OUTPUT = {"one": 0, "three": 2, "five": 2, "nineteen": 4}


@dataclass(frozen=True)
class Row:
    """One way to launch: `us` is the median over the rounds, `least` the fastest round."""

    kernel: str
    arguments: int
    way: str
    us: float
    least: float


@dataclass(frozen=True)
class Way:
    """Something to time, and what checks that it ran."""

    kernel: str
    name: str
    launch: Callable[[], Any]
    check: Callable[[], None]


def wanted(name: str) -> float:
    """What a launch over arrays of ones writes (kernel `one` counts up, and is checked by its changing)."""
    return float(ARRAYS[name] - 1 + sum(SCALARS[name]) + 1)


def checks(name: str, arrays: Sequence[Any], read: Callable[[Any], float]) -> Callable[[], None]:
    """After launches: the output holds what the kernel computes."""

    def check() -> None:
        found = read(arrays[OUTPUT[name]])
        assert found > ROUNDS if name == "one" else found == wanted(name), (name, found)

    return check


def kernel_ways(name: str, label: str, module: Any, arrays: Sequence[Any], read: Callable[[Any], float]) -> list[Way]:
    """`kernel[grid](...)`, and for rtriton's kernels the bound one."""
    kernel, args, check = getattr(module, name), (*arrays, *SCALARS[name]), checks(name, arrays, read)
    calls = {
        "one": lambda: kernel[(1,)](args[0], BLOCK=64),
        "three": lambda: kernel[(1,)](args[0], args[1], args[2], BLOCK=64),
        "five": lambda: kernel[(1,)](args[0], args[1], args[2], args[3], args[4], BLOCK=64),
        "nineteen": lambda: kernel[(1,)](*args, BLOCK=64),
    }
    made = [Way(name, f"kernel[grid](...), {label}", calls[name], check)]
    if module is ours:
        bound = kernel.compile_for(*args, BLOCK=64)
        made.append(Way(name, f"bound[grid](), {label}", lambda: bound[(1,)](), check))
        ready = bound[(1,)]
        made.append(Way(name, f"bound, grid chosen before, {label}", ready, check))
    return made


def driver_way(name: str, arrays: Sequence[DeviceArray]) -> Way:
    """cuLaunchKernel alone, of rtriton's kernel, with everything known beforehand."""
    compiled = getattr(ours, name).warmup(*arrays, *SCALARS[name], BLOCK=64, grid=(1,))
    executable = compiled.executable
    values = [a.address for a in arrays] + list(SCALARS[name])
    buffer = executable.prepared(values)[-1]
    call, function = driver.bindings().cuLaunchKernel, executable.function
    threads, shared, told = executable.threads, executable.shared_bytes, buffer.told

    def launch(kept: Any = buffer) -> None:
        call(function, 1, 1, 1, threads, 1, 1, shared, 0, 0, told)

    return Way(name, "the driver's call alone", launch, checks(name, arrays, lambda a: float(a.numpy()[0])))


def gpu_ways() -> tuple[list[Way], Callable[[], Any]]:
    """Everything there is to launch on the GPU, and what waits for it."""
    driver.ensure_context()
    torch: Any = __import__("torch") if find_spec("torch") else None
    theirs = triton_twin(Path(ours.__file__)) if torch is not None and find_spec("triton") else None
    made: list[Way] = []
    for name, count in ARRAYS.items():

        def device_arrays(count: int = count) -> list[DeviceArray]:
            return [DeviceArray.from_numpy(np.ones(64, np.float32), tl.float32) for _ in range(count)]

        made.append(driver_way(name, device_arrays()))
        made += kernel_ways(name, "DeviceArray", ours, device_arrays(), lambda a: float(a.numpy()[0]))
        if torch is not None:
            tensors = [torch.ones(64, device="cuda") for _ in range(count)]
            made += kernel_ways(name, "torch", ours, tensors, lambda a: float(a[0]))
        if theirs is not None:
            tensors = [torch.ones(64, device="cuda") for _ in range(count)]
            made += kernel_ways(name, "torch, Triton", theirs, tensors, lambda a: float(a[0]))
    return made, torch.cuda.synchronize if torch is not None else driver.synchronize


def cpu_ways() -> tuple[list[Way], Callable[[], Any]]:
    torch: Any = __import__("torch") if find_spec("torch") else None
    made: list[Way] = []
    for name, count in ARRAYS.items():
        arrays = [np.ones(64, np.float32) for _ in range(count)]
        made += kernel_ways(name, "NumPy", ours, arrays, lambda a: float(a[0]))
        if torch is not None:
            tensors = [torch.ones(64) for _ in range(count)]
            made += kernel_ways(name, "torch", ours, tensors, lambda a: float(a[0]))
    return made, lambda: None


def measure(ways: Sequence[Way], wait: Callable[[], Any], rounds: int = ROUNDS, calls: int = CALLS) -> list[Row]:
    """Rounds over all ways in turn."""
    for way in ways:
        for _ in range(3 * calls):
            way.launch()
        wait()
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for way, spent in zip(ways, times, strict=True):
            launch, count = way.launch, range(calls)
            begin = time.perf_counter_ns()
            for _ in count:
                launch()
            spent.append((time.perf_counter_ns() - begin) / calls / 1e3)
            wait()
    for way in ways:
        way.check()
    return [
        Row(w.kernel, ARRAYS[w.kernel] + len(SCALARS[w.kernel]), w.name, statistics.median(t), min(t))
        for w, t in zip(ways, times, strict=True)
    ]


def gpu_is_there() -> bool:
    try:
        driver.current_device()
    except driver.CudaUnavailable:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cpu", action="store_true", help="the CPU backend, even where there is a GPU")
    given = parser.parse_args()
    on_gpu = not given.cpu and gpu_is_there()
    if on_gpu:  # the CPU backend's workers want all of them
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    ways, wait = gpu_ways() if on_gpu else cpu_ways()
    rows = measure(ways, wait)
    for row in rows:
        print(f"{row.arguments:3d} arguments  {row.way:44s} {row.us:7.2f} us  (least {row.least:.2f})")
    if given.json:
        where = driver.device_name() if on_gpu else f"CPU backend, {platform.machine()}"
        versions = {name: version(name) for name in ("torch", "triton") if find_spec(name)}
        kept = {"device": where, "python": platform.python_version(), **versions, "rounds": ROUNDS, "calls": CALLS}
        given.json.write_text(json.dumps({**kept, "rows": [asdict(r) for r in rows]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
