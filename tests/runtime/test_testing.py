"""Measuring, comparing, reporting."""
from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

import rtriton
from rtriton.testing import Benchmark, assert_close, do_bench, perf_report


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "cpu")


def nap() -> None:
    time.sleep(0.002)


def test_do_bench_gives_milliseconds_in_the_form_asked_for() -> None:
    assert 1.9 < do_bench(nap, warmup=2, rep=10) < 1900, "not in seconds, nor in microseconds"
    every = do_bench(nap, warmup=2, rep=10, return_mode="all")
    assert len(every) >= 1 and min(every) > 1.9
    low, middle, high = do_bench(nap, warmup=2, rep=10, quantiles=(0.0, 0.5, 1.0))
    assert 1.9 < low <= middle <= high
    with pytest.raises(ValueError, match="return_mode is min, max, mean, median or all, got 'sum'"):
        do_bench(nap, return_mode="sum")


def test_do_bench_clears_gradients_before_each_repetition() -> None:
    class Leaf:
        grad: object = "old"

    leaf, seen = Leaf(), []
    do_bench(lambda: seen.append(leaf.grad), warmup=0, rep=0, grad_to_none=[leaf])
    assert seen[-1] is None


def test_arrays_that_agree_are_close_and_others_are_not() -> None:
    assert_close([1.0, np.nan], np.array([1.005, np.nan]))
    assert_close(2.0, 2.0, atol=0)
    assert_close(np.float32([1, 2]), np.float32([1.5, 2.5]), atol=lambda dtype: 0.6 if dtype == np.float32 else 0)
    with pytest.raises(AssertionError, match="Mismatched elements: 1 / 2"):
        assert_close(np.array([1.0, 2.0]), np.array([1.0, 2.1]))
    with pytest.raises(AssertionError, match="shapes differ"):
        assert_close(np.zeros(3), np.zeros(4))


def test_tensors_of_torch_are_compared_too() -> None:
    torch = pytest.importorskip("torch")
    assert_close(torch.ones(3, dtype=torch.bfloat16), np.ones(3))
    with pytest.raises(AssertionError):
        assert_close(torch.ones(3, requires_grad=True), torch.full((3,), 1.5))


def bench_of(name: str = "") -> Benchmark:
    return Benchmark(x_names=["n", "m"], x_vals=[1, (2, 5)], line_arg="how", line_vals=["a", "b"],
                     line_names=["first", "second"], ylabel="ms", plot_name=name, args={"scale": 10})


def measure(n: int, m: int, how: str, scale: int, extra: int = 0) -> float | tuple[float, float, float]:
    value = float(scale * n + m + extra)
    return value if how == "a" else (value + 0.5, value, value + 1)


def test_a_report_prints_and_saves_a_row_per_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark = perf_report(bench_of("speed"))(measure)
    assert mark.run(print_data=True, save_path=str(tmp_path), save_precision=2, diff_col=True, extra=1) is None
    assert (tmp_path / "speed.csv").read_text() == (
        "n,m,first (ms),second (ms),Diff\n1,1,12.00,12.50,0.50\n2,5,26.00,26.50,0.50\n")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "speed:" and said[2].split() == ["1", "1", "12", "12.5", "0.5"]


def test_a_report_gives_its_results_back() -> None:
    (found,) = perf_report([bench_of()])(measure).run(return_df=True)
    assert list(found.columns) == ["n", "m", "first (ms)", "second (ms)"]
    bad = Benchmark(["n", "m"], [(1, 2, 3)], "how", ["a"], ["a"], "", {"scale": 1})
    with pytest.raises(ValueError, match="expected 2 values"):
        perf_report(bad)(measure).run()


def test_the_limits_of_a_cpu_are_not_made_up() -> None:
    with pytest.raises(ValueError, match="memory bandwidth of a CPU is not known"):
        rtriton.testing.get_dram_gbps()
    with pytest.raises(ValueError, match="no rate is known"):
        rtriton.testing.get_max_tensorcore_tflops("float64", 1000)


def test_a_gpus_limits_follow_from_its_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"mem_clock_rate": 2_000_000, "mem_bus_width": 4096, "multiprocessor_count": 100}
    monkeypatch.setattr("rtriton.testing._gpu_properties", lambda device, what: known)
    assert rtriton.testing.get_dram_gbps() == pytest.approx(2048)                  # 2 GHz, twice a clock, 512 bytes
    assert rtriton.testing.get_max_tensorcore_tflops("float16", 1_000_000) == pytest.approx(204.8)
    assert rtriton.testing.get_max_simd_tflops(np.dtype("float32"), 1_000_000) == pytest.approx(12.8)
