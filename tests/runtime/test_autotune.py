"""Autotuning: what is tried, what is chosen, what is skipped and why, what is kept."""
from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton import Config, knobs


@pytest.fixture(autouse=True)
def a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "cpu")
    monkeypatch.setenv("RTRITON_CACHE_DIR", str(tmp_path / "cache"))


def add_one(x, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    tl.store(x + offsets, tl.load(x + offsets, mask=mask) + 1, mask=mask)


@rtriton.jit
def wrong_above_32(x, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + offsets, tl.load(x + offsets, mask=offsets < n) + (2 if BLOCK > 32 else 1), mask=offsets < n)


@rtriton.jit
def small_blocks_only(x, n, BLOCK: tl.constexpr):
    tl.static_assert(BLOCK <= 32, "the block is too large")
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + offsets, tl.load(x + offsets, mask=offsets < n) + 1, mask=offsets < n)


@rtriton.autotune(configs=[Config({"BLOCK": 16}), Config({"BLOCK": 32})], key=["n"], do_bench=lambda launch: launch())
@rtriton.heuristics({"EVEN": lambda args: args["n"] % args["BLOCK"] == 0})
@rtriton.jit
def at_the_top(x, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    tl.store(x, n)


def grid(meta: dict[str, Any]) -> tuple[int]:
    return (rtriton.cdiv(meta["n"], meta["BLOCK"]),)


class Clock:
    """A do_bench that launches once and says times of its own choosing, largest block first."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, launch: Callable[[], Any], quantiles: Any) -> list[float]:
        launch()
        self.runs += 1
        return [1.0 / self.runs] * 3


def tuner(kernel: Any = None, blocks: tuple[int, ...] = (16, 32, 64), **options: Any) -> tuple[Any, Clock]:
    clock = Clock()
    configs = [Config({"BLOCK": b}, num_warps=1) for b in blocks]
    base = rtriton.jit(add_one) if kernel is None else kernel
    return rtriton.autotune(configs=configs, key=["n"], do_bench=clock, **options)(base), clock


def test_the_fastest_is_chosen_once_per_key() -> None:
    kernel, clock = tuner()
    x = np.zeros(100, np.float32)
    for n in (100, 100, 60):
        kernel[grid](x, n)
    assert clock.runs == 6 and len(kernel.cache) == 2
    assert kernel.best_config == Config({"BLOCK": 64}, num_warps=1)
    assert [t[0] for t in kernel.configs_timings.values()] == [1 / 4, 1 / 5, 1 / 6]
    kernel[grid](x.astype(np.float64), 60)
    assert len(kernel.cache) == 3                     # the dtypes of all arrays are part of the key


def test_arguments_are_restored_and_zeroed_around_every_measured_launch() -> None:
    kernel, _ = tuner(restore_value=["x"])
    x = np.zeros(100, np.float32)
    kernel[grid](x=x, n=100)
    np.testing.assert_array_equal(x, 1)
    kernel, _ = tuner(reset_to_zero=["x"])
    kernel[grid](x, 100)
    np.testing.assert_array_equal(x, 1)


def test_hooks_surround_every_launch_and_hear_of_failures() -> None:
    heard: list[str] = []

    def before(arguments: dict[str, Any], reset_only: bool = False) -> None:
        heard.append("reset" if reset_only else f"before {arguments['BLOCK']}")

    def after(arguments: dict[str, Any], exception: Exception | None) -> None:
        heard.append(f"after {arguments['BLOCK']} {type(exception).__name__}")

    kernel, _ = tuner(small_blocks_only, blocks=(32, 64), pre_hook=before, post_hook=after)
    kernel[grid](np.zeros(64, np.float32), 64)
    assert heard == ["before 32", "after 32 NoneType", "before 64", "after 64 CompileTimeAssertionFailure", "reset"]


def test_a_configuration_that_cannot_run_is_skipped_with_its_reason() -> None:
    kernel, _ = tuner(small_blocks_only)
    x = np.zeros(64, np.float32)
    kernel[grid](x, 64)
    assert kernel.best_config == Config({"BLOCK": 32}, num_warps=1)
    ((failed, reason),) = kernel.failures.items()
    assert failed.kwargs == {"BLOCK": 64} and "the block is too large" in reason
    assert kernel.configs_timings[failed][0] == float("inf")


def test_where_no_configuration_can_run_all_reasons_are_said() -> None:
    kernel, _ = tuner(small_blocks_only, blocks=(64, 128))
    with pytest.raises(rtriton.errors.AutotunerError, match="no configuration of small_blocks_only can run"):
        kernel[grid](np.zeros(64, np.float32), 64)


def test_an_error_of_the_kernel_is_not_swallowed() -> None:
    def broken(x, n, BLOCK: tl.constexpr):
        tl.store(x, missing)  # noqa: F821

    kernel, _ = tuner(rtriton.jit(broken))
    with pytest.raises(rtriton.CompilationError, match="missing is not defined"):
        kernel[grid](np.zeros(64, np.float32), 64)


def test_a_configuration_with_wrong_results_is_skipped_where_they_are_checked() -> None:
    kernel, _ = tuner(wrong_above_32, restore_value=["x"], check=lambda arguments: (arguments["x"] == 1).all())
    x = np.zeros(100, np.float32)                     # the clock says less each time: the last would win
    kernel[grid](x, 100)
    assert kernel.best_config.kwargs == {"BLOCK": 32}
    assert list(kernel.failures.values()) == ["Inaccurate: the accuracy check did not accept its results"]


def test_pruning_keeps_what_it_is_told_to() -> None:
    seen: list[Any] = []

    def early(configs: list[Config], named: dict[str, Any], **kwargs: Any) -> list[Config]:
        seen.append((set(named), kwargs))
        return configs[1:]

    kernel, clock = tuner(prune_configs_by={"early_config_prune": early, "top_k": 1,
                                            "perf_model": lambda BLOCK, **_: -BLOCK})
    kernel[grid](np.zeros(64, np.float32), n=64)
    assert seen == [({"x"}, {"n": 64})]
    assert clock.runs == 1 and kernel.best_config.kwargs == {"BLOCK": 64}
    kernel, _ = tuner(prune_configs_by={"early_config_prune": lambda configs, named, **kwargs: []})
    with pytest.raises(rtriton.TritonError, match="Autotuner error: No valid autotuner configs after pruning"):
        kernel[grid](np.zeros(64, np.float32), 64)


def test_a_tuned_argument_cannot_be_passed_too() -> None:
    kernel, _ = tuner()
    with pytest.raises(ValueError, match="Conflicting meta-parameters: BLOCK"):
        kernel[1,](np.zeros(64, np.float32), 64, BLOCK=16)


def test_results_are_kept_on_disk_with_the_reasons(tmp_path: Path) -> None:
    first, clock = tuner(small_blocks_only, cache_results=True)
    first[grid](np.zeros(64, np.float32), 64)
    assert clock.runs == 2
    second, clock = tuner(small_blocks_only, cache_results=True)
    second[grid](np.zeros(64, np.float32), 64)
    assert clock.runs == 0 and second.best_config == first.best_config and second.failures == first.failures
    kept = [json.loads(p.read_bytes().split(b"\n", 1)[1]) for p in (tmp_path / "cache" / "kernels").rglob("*")
            if p.is_file()]
    (entry,) = [e for e in kept if "configs" in e]
    assert entry["kernel"] == "small_blocks_only" and entry["seconds"] > 0
    assert ["too large" in row["skipped"] for row in entry["configs"]] == [False, False, True]


def test_kept_results_are_not_taken_for_other_configurations_or_an_edited_kernel() -> None:
    tuner(cache_results=True)[0][grid](np.zeros(64, np.float32), 64)
    other, clock = tuner(blocks=(16, 128), cache_results=True)
    other[grid](np.zeros(64, np.float32), 64)
    assert clock.runs == 2
    edited = rtriton.jit(add_one)
    edited._unsafe_update_src(edited.src.replace("+ 1", "+ 2"))
    again, clock = tuner(edited, cache_results=True)
    again[grid](np.zeros(64, np.float32), 64)
    assert clock.runs == 3


def test_a_knob_keeps_results_and_another_says_what_happens(capsys: pytest.CaptureFixture[str]) -> None:
    with knobs.autotuning.scope():
        knobs.autotuning.cache = knobs.autotuning.print = True
        for wanted in (3, 0):
            kernel, clock = tuner()
            kernel[grid](np.zeros(64, np.float32), 64)
            assert clock.runs == wanted
    said = capsys.readouterr().out
    assert said.count("Autotuning kernel add_one with config BLOCK: 32") == 1
    assert "best config selected: BLOCK: 64" in said


def test_configurations_are_compiled_before_they_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_NUM_THREADS", "2")
    base = rtriton.jit(add_one)
    there: list[int] = []
    configs = [Config({"BLOCK": b}) for b in (16, 32, 64, 128)]

    def bench(launch: Callable[[], Any]) -> float:
        there.append(len(base.cache))
        launch()
        return 1.0

    rtriton.autotune(configs=configs, key=[], do_bench=bench)(base)[grid](np.zeros(64, np.float32), 64)
    assert there == [4, 4, 4, 4]


def test_configs_are_values() -> None:
    one = Config({"BLOCK": 16}, num_warps=2)
    assert one == Config({"BLOCK": 16}, num_warps=2) and hash(one) == hash(Config({"BLOCK": 16}, num_warps=2))
    assert one != Config({"BLOCK": 16}) and one != Config({"BLOCK": 16}, num_warps=2, pre_hook=print)
    assert str(one) == "BLOCK: 16, num_warps: 2, num_ctas: 1, num_stages: 3, maxnreg: None"
    assert pickle.loads(pickle.dumps(one)) == one
    assert Config({}, ir_override="k.ptx").all_kwargs()["ir_override"] == "k.ptx"


def test_a_config_hook_may_change_the_arguments_of_its_launch() -> None:
    def double(arguments: dict[str, Any]) -> None:
        arguments["x"] *= 2

    base = rtriton.jit(add_one)
    kernel = rtriton.autotune(configs=[Config({"BLOCK": 64}, pre_hook=double)], key=[])(base)
    x = np.full(64, 3, np.float32)
    kernel[grid](x, 64)
    np.testing.assert_array_equal(x, 7)


def test_tuners_and_their_kernels_are_pickled_by_name() -> None:
    assert pickle.loads(pickle.dumps(at_the_top)) is at_the_top
    assert pickle.loads(pickle.dumps(at_the_top.kernel)) is at_the_top.kernel
    with pytest.raises(pickle.PicklingError, match="define kernels at the top of a module"):
        pickle.dumps(rtriton.jit(add_one))


def test_warmup_compiles_every_configuration_that_pruning_leaves() -> None:
    kernel, clock = tuner()
    made = kernel.warmup(np.zeros(64, np.float32), 64, grid=(1,))
    assert [m.asm["tir"].count("load") for m in made] == [1, 1, 1] and clock.runs == 0


def test_tritons_old_way_of_asking_for_time_still_works() -> None:
    with pytest.warns(DeprecationWarning):
        decorate = rtriton.autotune(configs=[Config({"BLOCK": 16}), Config({"BLOCK": 64})], key=["n"], warmup=1, rep=1)
    kernel = decorate(rtriton.jit(add_one))
    kernel[grid](np.zeros(64, np.float32), 64)
    assert all(0 < t[0] < 1e4 for t in kernel.configs_timings.values())
