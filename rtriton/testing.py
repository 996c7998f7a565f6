"""Measuring and comparing: `do_bench`, `assert_close`, `perf_report`, what a GPU can do at most."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from rtriton.report import Benchmark, Mark, perf_report
from rtriton.signature import canonicalize_dtype

__all__ = [
    "Benchmark", "Mark", "assert_close", "do_bench", "do_bench_cudagraph", "get_dram_gbps", "get_max_simd_tflops",
    "get_max_tensorcore_tflops", "perf_report",
]

FLUSH_BYTES = 256 << 20   # larger than any L2, so that each repetition starts cold


def do_bench(fn: Callable[[], Any], warmup: float = 25, rep: float = 100, grad_to_none: Sequence[Any] | None = None,
             quantiles: Sequence[float] | None = None, return_mode: str = "mean") -> Any:
    """Milliseconds that `fn()` takes: `warmup` and `rep` are budgets in milliseconds.

    Gives the mean (or what return_mode says: min, max, mean, median, all), or the quantiles asked for. On a GPU, times
    with events and writes 256 MB between repetitions; on a CPU with the clock."""
    _check_mode(return_mode)
    timer = _timer()
    first = timer(fn)
    estimate = max(1e-3, float(np.median([timer(fn) for _ in range(3)])) if first < 100 else first)
    for _ in range(int(warmup / estimate)):
        fn()
    times: list[float] = []
    for _ in range(max(1, int(rep / estimate))):
        for x in grad_to_none or ():
            x.grad = None
        times.append(timer(fn))
    return _summary(times, quantiles, return_mode)


MODES: dict[str, Callable[..., Any]] = {"min": min, "max": max, "mean": np.mean, "median": np.median}


def _check_mode(mode: str) -> None:
    if mode not in (*MODES, "all"):
        raise ValueError(f"return_mode is min, max, mean, median or all, got {mode!r}")


def _summary(times: list[float], quantiles: Sequence[float] | None, mode: str) -> Any:
    if quantiles is not None:
        found = [float(q) for q in np.quantile(times, list(quantiles))]
        return found[0] if len(found) == 1 else found
    return times if mode == "all" else float(MODES[mode](times))


def _timer() -> Callable[[Callable[[], Any]], float]:
    from rtriton.backend.cuda import driver

    try:
        driver.bindings()
    except driver.CudaUnavailable:
        return _clock
    return _events()


def _clock(fn: Callable[[], Any]) -> float:
    start = time.perf_counter_ns()
    fn()
    return (time.perf_counter_ns() - start) / 1e6


def _events(flushed: bool = True) -> Callable[[Callable[[], Any]], float]:
    from rtriton.backend.cuda import current, driver

    driver.ensure_context()
    flush = _flush_buffer() if flushed else 0
    begin, end = (driver.call("cuEventCreate", 0) for _ in range(2))

    def timer(fn: Callable[[], Any]) -> float:
        if flush:
            driver.fill(flush, 0, FLUSH_BYTES)
        stream = current.stream()
        driver.call("cuEventRecord", begin, stream)
        fn()
        driver.call("cuEventRecord", end, stream)
        driver.call("cuEventSynchronize", end)
        return float(driver.call("cuEventElapsedTime", begin, end))

    return timer


@cache
def _flush_buffer() -> int:
    from rtriton.backend.cuda import driver

    return driver.allocate(FLUSH_BYTES)


Tolerance = float | Callable[[Any], float] | None


def assert_close(x: Any, y: Any, atol: Tolerance = None, rtol: Tolerance = None, err_msg: str = "") -> None:
    """Raise an AssertionError unless two arrays (of any library; numbers, lists) agree: |x - y| <= atol + rtol |y|.
    Defaults 1e-2 and 0; a tolerance may be a function of x's dtype. NaN agrees with NaN."""
    a, b = _on_host(x), _on_host(y)
    if a.shape != b.shape and a.size > 1 and b.size > 1:
        raise AssertionError(f"{err_msg}shapes differ: {a.shape} and {b.shape}")
    dtype = getattr(x, "dtype", a.dtype)
    near = 1e-2 if atol is None else atol(dtype) if callable(atol) else atol
    relative = 0.0 if rtol is None else rtol(dtype) if callable(rtol) else rtol
    np.testing.assert_allclose(a, b, atol=near, rtol=relative, err_msg=err_msg)


def _on_host(x: Any) -> np.ndarray[Any, Any]:
    """An array of any library as NumPy's (torch's bf16 and fp8 as f32)."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        return np.asarray(x.float() if x.is_floating_point() and x.element_size() < 4 else x)
    return np.asarray(x.numpy() if hasattr(x, "data_ptr") else x)


def do_bench_cudagraph(fn: Callable[[], Any], rep: float = 20, grad_to_none: Sequence[Any] | None = None,
                       quantiles: Sequence[float] | None = None, return_mode: str = "mean") -> Any:
    """Milliseconds that `fn()` takes when it is replayed from a CUDA graph: what a launch costs on the host is not in
    it. Results as of do_bench; CudaUnavailable without a GPU. `fn` launches kernels of rtriton only."""
    from rtriton.backend.cuda import driver
    from rtriton.backend.cuda.graphs import capture_graph

    _check_mode(return_mode)
    driver.current_device()
    estimate = max(1e-3, _events()(fn))
    count = max(1, int(rep / estimate))
    with capture_graph() as graph:
        for _ in range(count):
            for x in grad_to_none or ():
                x.grad = None
            fn()
    timer = _events(flushed=False)
    return _summary([timer(graph.replay) / count for _ in range(10)], quantiles, return_mode)


def get_dram_gbps(device: int | None = None) -> float:
    """The GPU's memory bandwidth by its data sheet, in GB/s. ValueError on a CPU, which does not tell."""
    known = _gpu_properties(device, "memory bandwidth")
    return known["mem_clock_rate"] * known["mem_bus_width"] * 2 / 8e6          # two transfers a clock; kHz and bits


# multiply-adds count as two; per quarter of a multiprocessor and clock, from compute capability 8.0 on
TENSORCORE_OPS = {"fp32": 256, "i32": 256, "fp16": 512, "bf16": 512, "i16": 512, "i8": 1024, "fp8e4nv": 1024,
                  "fp8e5": 1024, "fp8e4b15": 1024}
SIMD_OPS = {"fp32": 32, "fp16": 64, "bf16": 64}


def get_max_tensorcore_tflops(dtype: Any, clock_rate: float, device: int | None = None) -> float:
    """What the tensor cores do at most with `dtype` (torch's, NumPy's or tl's) at `clock_rate` kHz, as Triton counts:
    the rate of an A100 per multiprocessor."""
    return _tflops(TENSORCORE_OPS, dtype, clock_rate, device)


def get_max_simd_tflops(dtype: Any, clock_rate: float, device: int | None = None) -> float:
    """What the plain arithmetic units do at most with `dtype` at `clock_rate` kHz."""
    return _tflops(SIMD_OPS, dtype, clock_rate, device)


def _tflops(table: dict[str, int], dtype: Any, clock_rate: float, device: int | None) -> float:
    name = canonicalize_dtype(dtype)
    if name not in table:
        raise ValueError(f"no rate is known for {dtype}: there are {', '.join(table)}")
    return _gpu_properties(device, "arithmetic rate")["multiprocessor_count"] * 4 * clock_rate * table[name] * 1e-9


def _gpu_properties(device: int | None, what: str) -> dict[str, int]:
    from rtriton.devices import active

    if active.get_current_target().backend == "cpu":
        raise ValueError(f"the {what} of a CPU is not known: measure it")
    return active.utils.get_device_properties(active.get_current_device() if device is None else device)
