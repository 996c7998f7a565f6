"""`@autotune`: launch a kernel in the configuration that measured fastest for these arguments.

    @rtriton.autotune(configs=[rtriton.Config({"BLOCK": 128}, num_warps=4), ...], key=["n"])
    @rtriton.jit
    def kernel(x, n, BLOCK: tl.constexpr): ...

The choice is made once per value of the `key` arguments and dtypes of all arguments, and kept in `kernel.cache`; with
cache_results also on disk. Configurations are compiled side by side, then measured one after the other. One that cannot
run, or whose result is wrong where that is checked, is skipped with its reason: `kernel.failures`.
"""
from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rtriton import knobs, tuned
from rtriton.arrays import dtype_of
from rtriton.config import Config
from rtriton.errors import AutotunerError, CompileTimeAssertionFailure, OptionError, OutOfResources, PTXASError
from rtriton.heuristics import Heuristics, base_of, heuristics
from rtriton.jit import JITFunction, KernelInterface, named_object, outside_torch_compile

__all__ = ["Autotuner", "Config", "Heuristics", "autotune", "heuristics"]

Hook = Callable[..., Any]
Bench = Callable[..., Any]
Key = tuple[Any, ...]
SKIPPED = (OutOfResources, CompileTimeAssertionFailure, PTXASError, OptionError, tuned.Inaccurate)
INFINITE = float("inf")


@dataclass(frozen=True)
class Settings:
    """How @autotune was asked to tune."""

    key: tuple[str, ...]
    reset_to_zero: tuple[str, ...] = ()
    restore_value: tuple[str, ...] = ()
    prune: Mapping[str, Any] = field(default_factory=dict[str, Any])
    pre_hook: Hook | None = None
    post_hook: Hook | None = None
    bench: Bench | None = None
    cache_results: bool = False
    check: tuned.Check | None = None


class Autotuner(KernelInterface):
    """A kernel with configurations. Launches like the kernel, without the tuned arguments.

    `cache`: the best Config by key; `best_config`: that of the last launch; `configs_timings`: milliseconds per Config
    of the last tuning (median, or what do_bench gave; infinite for those that were skipped), `failures` why they were;
    `bench_time`: seconds that it took."""

    def __init__(self, fn: Any, configs: Sequence[Config], settings: Settings) -> None:
        self.fn, self.configs, self.settings = fn, list(configs) or [Config({})], settings
        self.kernel: JITFunction = base_of(fn)
        self.base_fn = self.kernel.fn
        self.arg_names, self.keys = self.kernel.arg_names, list(settings.key)
        for name in [*settings.reset_to_zero, *settings.restore_value]:
            if name not in self.arg_names:
                raise ValueError(f"autotune: {self.kernel.__name__} has no argument {name!r}")
        self.cache: dict[Key, Config] = {}
        self.best_config: Config | None = None
        self.configs_timings: dict[Config, Any] = {}
        self.failures: dict[Config, str] = {}
        self.bench_time = 0.0
        self.__name__, self.__doc__, self.__module__ = self.kernel.__name__, self.kernel.__doc__, self.kernel.__module__
        self.__qualname__ = self.kernel.__qualname__

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return named_object, (self.__module__, self.__qualname__)

    @outside_torch_compile
    def run(self, *args: Any, grid: Any, warmup: bool = False, **kwargs: Any) -> Any:
        """Tune for these arguments if that was not done, and launch the best configuration."""
        if warmup:
            return self.warmup(*args, grid=grid, **kwargs)
        named = dict(zip(self.arg_names, args, strict=False))
        config = self.configs[0] if len(self.configs) == 1 else self.choose(named, args, grid, kwargs)
        self.best_config = config
        if config.pre_hook is not None:
            config.pre_hook({**named, **kwargs, **config.all_kwargs()})
        return self.fn.run(*args, grid=grid, **{**kwargs, **config.all_kwargs()})

    def choose(self, named: dict[str, Any], args: Sequence[Any], grid: Any, kwargs: dict[str, Any]) -> Config:
        """The best configuration for the key of these arguments."""
        key = self.key_of({**named, **kwargs})
        found = self.cache.get(key)
        if found is not None:
            return found
        candidates = self.prune_configs(kwargs, named)
        fresh = self._tune_or_read(key, candidates, named, args, grid, kwargs)
        best = min(candidates, key=lambda c: _first(self.configs_timings.get(c, INFINITE)))
        if _first(self.configs_timings.get(best, INFINITE)) == INFINITE:
            reasons = "; ".join(f"{c}: {why}" for c, why in self.failures.items())
            raise AutotunerError(f"no configuration of {self.__name__} can run. {reasons}")
        self.cache[key] = best
        if fresh:
            self._zero({**named, **kwargs, **best.all_kwargs()}, reset_only=True)
            if knobs.autotuning.print:
                print(f"Triton autotuning for function {self.__name__},\nwith key as {key},\nfinished after "
                      f"{self.bench_time:.2f}s,\nbest config selected: {best};")
        return best

    def key_of(self, named: Mapping[str, Any]) -> Key:
        """The values of the key arguments, and the dtypes of all arrays."""
        known = {name: named[name] for name in self.arg_names if name in named}
        dtypes = [found.name for x in known.values() if (found := dtype_of(x)) is not None]
        return (*(known[name] for name in self.keys if name in known), *dtypes)

    def warmup(self, *args: Any, grid: Any = (1,), **kwargs: Any) -> list[Any]:
        """Compile every configuration."""
        named = dict(zip(self.arg_names, args, strict=False))
        return [self.fn.warmup(*args, grid=grid, **{**kwargs, **c.all_kwargs()})
                for c in self.prune_configs(kwargs, named)]

    def prune_configs(self, kwargs: Mapping[str, Any], named: Mapping[str, Any]) -> list[Config]:
        """The configurations worth measuring: early_config_prune(configs, arguments, **kwargs), then the top_k (a
        number or a share of all) of those that perf_model(**everything) thinks fastest."""
        candidates = list(self.configs)
        early = self.settings.prune.get("early_config_prune")
        if early is not None:
            candidates = list(early(candidates, dict(named), **kwargs))
            if not candidates:
                raise AutotunerError("No valid autotuner configs after pruning. `early_config_prune` should return at "
                                     "least one config.")
        model, top = self.settings.prune.get("perf_model"), self.settings.prune.get("top_k", 1.0)
        if model is None:
            return candidates
        if isinstance(top, float) and top <= 1.0:
            top = max(1, int(len(self.configs) * top))
        if not isinstance(top, int):
            raise TypeError(f"top_k is a whole number or a share up to 1.0, got {top!r}")
        if len(candidates) <= top:
            return candidates
        return sorted(candidates, key=lambda c: model(**{**named, **kwargs, **c.all_kwargs()}))[:top]

    # -- measuring ---------------------------------------------------------------------------------------------------

    def _tune_or_read(self, key: Key, candidates: list[Config], named: dict[str, Any], args: Sequence[Any], grid: Any,
                      kwargs: dict[str, Any]) -> bool:
        """Fill in the timings; False if they came from disk."""
        kept = self.settings.cache_results or knobs.autotuning.cache
        entry = tuned.entry_name(self.kernel, key, candidates) if kept else None
        found = tuned.read(entry) if entry is not None else None
        if found is not None:
            self.configs_timings, self.failures = tuned.match(found, candidates)
            return False
        begin = time.perf_counter()
        self.configs_timings, self.failures = {}, {}
        tuned.compile_together(self.fn, candidates, args, grid, kwargs)
        for config in candidates:
            self.configs_timings[config] = self._measure(config, named, args, grid, kwargs)
        self.bench_time = time.perf_counter() - begin
        if entry is not None:
            tuned.write(entry, self.__name__, key, self.configs_timings, self.failures, self.bench_time)
        return True

    def _measure(self, config: Config, named: dict[str, Any], args: Sequence[Any], grid: Any,
                 kwargs: dict[str, Any]) -> Any:
        """What do_bench says of a configuration: infinite, with the reason noted, if it cannot run."""
        conflicts = kwargs.keys() & config.kwargs.keys()
        if conflicts:
            raise ValueError(f"Conflicting meta-parameters: {', '.join(sorted(conflicts))}. Make sure that you don't "
                             "re-define auto-tuned symbols.")
        current = {**kwargs, **config.all_kwargs()}
        everything = {**named, **current}
        if knobs.autotuning.print:
            print(f"Autotuning kernel {self.__name__} with config {config}")

        def once() -> None:
            if config.pre_hook is not None:
                config.pre_hook(everything)
            saved = self._before(everything)
            try:
                self.fn.run(*args, grid=grid, **current)
            except Exception as error:
                self._after(everything, saved, error)
                raise
            self._after(everything, saved, None)

        try:
            if self.settings.check is not None:
                tuned.check(self.settings.check, everything, lambda: self._unrestored(config, args, grid, current))
            return self._bench(once)
        except SKIPPED as error:
            self.failures[config] = f"{type(error).__name__}: {error}"
            if knobs.autotuning.print:
                print(f"Autotuning failed with {error}")
            return [INFINITE, INFINITE, INFINITE]

    def _unrestored(self, config: Config, args: Sequence[Any], grid: Any, current: dict[str, Any]) -> None:
        """One launch whose results stay, for the accuracy check."""
        everything = {**dict(zip(self.arg_names, args, strict=False)), **current}
        if config.pre_hook is not None:
            config.pre_hook(everything)
        self._zero(everything, reset_only=True)
        self.fn.run(*args, grid=grid, **current)

    def _bench(self, once: Callable[[], None]) -> Any:
        bench = self.settings.bench
        if bench is None:
            from rtriton.testing import do_bench as bench
        return bench(once, quantiles=(0.5, 0.2, 0.8)) if tuned.takes(bench, "quantiles") else bench(once)

    def _before(self, everything: dict[str, Any]) -> dict[str, Any]:
        if self.settings.pre_hook is not None:
            self.settings.pre_hook(everything)
            return {}
        self._zero(everything, reset_only=False)
        return {name: tuned.copy(everything[name]) for name in self.settings.restore_value}

    def _after(self, everything: dict[str, Any], saved: dict[str, Any], error: Exception | None) -> None:
        if self.settings.post_hook is not None:
            self.settings.post_hook(everything, exception=error)
            return
        for name, value in saved.items():
            tuned.restore(everything[name], value)

    def _zero(self, everything: dict[str, Any], reset_only: bool) -> None:
        if reset_only and self.settings.pre_hook is not None:
            if tuned.takes(self.settings.pre_hook, "reset_only"):
                self.settings.pre_hook(everything, reset_only=True)
            return
        for name in self.settings.reset_to_zero:
            tuned.zero(everything[name])


def _first(timing: Any) -> float:
    """What configurations are compared by: the number, or the first of several."""
    return float(timing if isinstance(timing, (int, float)) else timing[0])


def autotune(configs: Sequence[Config], key: Sequence[str], prune_configs_by: Mapping[str, Any] | None = None,
             reset_to_zero: Sequence[str] | None = None, restore_value: Sequence[str] | None = None,
             pre_hook: Hook | None = None, post_hook: Hook | None = None, warmup: float | None = None,
             rep: float | None = None, use_cuda_graph: bool = False, do_bench: Bench | None = None,
             cache_results: bool = False, check: tuned.Check | None = None) -> Callable[[Any], Autotuner]:
    """Decorate a kernel to pick among `configs` by measurement, anew for each value of the `key` arguments.

    prune_configs_by: perf_model, top_k, early_config_prune (see Autotuner.prune_configs). reset_to_zero,
    restore_value: arguments that are zeroed before, or put back after, every measured launch; pre_hook(arguments,
    reset_only=False) and post_hook(arguments, exception) take their place. do_bench(launch, quantiles=...) measures
    (warmup, rep and use_cuda_graph choose it in Triton's old way). cache_results keeps timings on disk.
    check(arguments) is called after one launch of each configuration and returns whether the results are right: those
    that are not are skipped."""
    if warmup is not None or rep is not None or use_cuda_graph:
        warnings.warn("autotune: warmup, rep and use_cuda_graph are deprecated in Triton: pass do_bench",
                      DeprecationWarning, stacklevel=2)
        do_bench = tuned.old_bench(warmup, rep, use_cuda_graph)
    settings = Settings(tuple(key), tuple(reset_to_zero or ()), tuple(restore_value or ()),
                        dict(prune_configs_by or {}), pre_hook, post_hook, do_bench, cache_results, check)
    return lambda fn: Autotuner(fn, configs, settings)
