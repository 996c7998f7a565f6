"""Measuring and comparing: `do_bench`, `assert_close`."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

FLUSH_BYTES = 256 << 20   # larger than any L2, so that each repetition starts cold


def do_bench(fn: Callable[[], Any], warmup: float = 25, rep: float = 100, grad_to_none: Sequence[Any] | None = None,
             quantiles: Sequence[float] | None = None, return_mode: str = "mean") -> Any:
    """Milliseconds that `fn()` takes: `warmup` and `rep` are budgets in milliseconds.

    Gives the mean (or what return_mode says: min, max, mean, median, all), or the quantiles asked for. On a GPU, times
    with events and writes 256 MB between repetitions; on a CPU with the clock."""
    if return_mode not in ("min", "max", "mean", "median", "all"):
        raise ValueError(f"return_mode is min, max, mean, median or all, got {return_mode!r}")
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
    if quantiles is not None:
        found = [float(q) for q in np.quantile(times, list(quantiles))]
        return found[0] if len(found) == 1 else found
    if return_mode == "all":
        return times
    return float({"min": min, "max": max, "mean": np.mean, "median": np.median}[return_mode](times))


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


def _events() -> Callable[[Callable[[], Any]], float]:
    from rtriton.backend.cuda import driver

    driver.ensure_context()
    flush = _flush_buffer()
    begin, end = (driver.call("cuEventCreate", 0) for _ in range(2))

    def timer(fn: Callable[[], Any]) -> float:
        driver.fill(flush, 0, FLUSH_BYTES)
        stream = driver.current_stream()
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


def assert_close(x: Any, y: Any, atol: float | None = None, rtol: float | None = None, err_msg: str = "") -> None:
    """Raise an AssertionError unless two arrays agree: |x - y| <= atol + rtol |y| (defaults 1e-2 and 0)."""
    a, b = _on_host(x), _on_host(y)
    if a.shape != b.shape:
        raise AssertionError(f"{err_msg}shapes differ: {a.shape} and {b.shape}")
    np.testing.assert_allclose(a, b, atol=1e-2 if atol is None else atol, rtol=0.0 if rtol is None else rtol,
                               err_msg=err_msg)


def _on_host(x: Any) -> np.ndarray[Any, Any]:
    """An array of any library as NumPy's (torch's bf16 as f32)."""
    if hasattr(x, "detach"):
        return np.asarray(x.detach().float().cpu())
    return np.asarray(x.numpy() if hasattr(x, "data_ptr") else x)
