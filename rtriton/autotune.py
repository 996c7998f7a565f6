"""`@autotune`: launch a kernel in the configuration that measured fastest for these arguments.

`@heuristics` computes options from the arguments.

    @rtriton.autotune(configs=[rtriton.Config({"BLOCK": 128}, num_warps=4), ...], key=["n"])
    @rtriton.jit
    def kernel(x, n, BLOCK: tl.constexpr): ...

The choice is made once per value of the `key` arguments and dtypes of all arguments, and kept in `kernel.cache`.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rtriton.arguments import array_of
from rtriton.errors import CompileTimeAssertionFailure, OutOfResources
from rtriton.guards import is_numpy
from rtriton.jit import JITFunction
from rtriton.testing import do_bench


@dataclass
class Config:
    """Meta-parameters and launch options to try. `pre_hook(arguments by name)` runs before each launch with them."""

    kwargs: dict[str, Any]
    num_warps: int = 4
    num_stages: int = 3
    num_ctas: int = 1
    maxnreg: int | None = None
    pre_hook: Callable[[dict[str, Any]], Any] | None = None

    def all_kwargs(self) -> dict[str, Any]:
        """What is passed to the launch."""
        options = {"num_warps": self.num_warps, "num_stages": self.num_stages, "num_ctas": self.num_ctas,
                   "maxnreg": self.maxnreg}
        return {**self.kwargs, **{k: v for k, v in options.items() if v is not None}}

    def __str__(self) -> str:
        return ", ".join(f"{k}: {v}" for k, v in self.all_kwargs().items())


@dataclass
class Tuned:
    """What was measured for one key: milliseconds per config, infinite for those that failed, with the reason."""

    best: Config
    timings: dict[str, float]
    failures: dict[str, str] = field(default_factory=dict[str, str])


def _launcher(run: Callable[..., Any], grid: Any) -> Callable[..., Any]:
    """What `kernel[grid]` is."""

    def launch(*args: Any, **kwargs: Any) -> Any:
        return run(*args, grid=grid, **kwargs)

    return launch


class Autotuner:
    """A kernel with configurations. Launches like the kernel, without the tuned arguments."""

    def __init__(self, fn: Any, configs: Sequence[Config], key: Sequence[str], reset_to_zero: Sequence[str],
                 restore_value: Sequence[str], prune: Mapping[str, Any],
                 bench: Callable[[Callable[[], Any]], float]) -> None:
        self.fn, self.configs, self.keys = fn, list(configs) or [Config({})], list(key)
        self.base_fn: JITFunction = _base(fn)
        self.arg_names = self.base_fn.arg_names
        self.reset_to_zero, self.restore_value = list(reset_to_zero), list(restore_value)
        self.prune, self.bench = dict(prune), bench
        for name in [*self.keys, *self.reset_to_zero, *self.restore_value]:
            if name not in self.arg_names:
                raise ValueError(f"autotune: {self.base_fn.__name__} has no argument {name!r}")
        self.cache: dict[tuple[Any, ...], Tuned] = {}
        self.best_config: Config | None = None
        self.__name__, self.__doc__ = self.base_fn.__name__, self.base_fn.__doc__

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        return _launcher(self.run, grid)

    def run(self, *args: Any, grid: Any, **kwargs: Any) -> Any:
        named = dict(zip(self.arg_names, args, strict=False))
        named.update({k: v for k, v in kwargs.items() if k in self.arg_names})
        key = tuple(named.get(k) for k in self.keys) + tuple(
            found.dtype.name for v in named.values() if (found := array_of(v)) is not None)
        tuned = self.cache.get(key)
        if tuned is None:
            tuned = self.cache[key] = self.tune(named, args, grid, kwargs)
        config = self.best_config = tuned.best
        if config.pre_hook is not None:
            config.pre_hook({**named, **config.all_kwargs()})
        return self.fn.run(*args, grid=grid, **{**kwargs, **config.all_kwargs()})

    def warmup(self, *args: Any, grid: Any = (1,), **kwargs: Any) -> list[Any]:
        """Compile every configuration."""
        return [self.fn.warmup(*args, grid=grid, **{**kwargs, **c.all_kwargs()}) for c in self.configs]

    def tune(self, named: Mapping[str, Any], args: Sequence[Any], grid: Any, kwargs: Mapping[str, Any]) -> Tuned:
        """Measure every configuration that survives pruning; those that cannot run are skipped with their reason."""
        candidates = self.pruned(named)
        if len(candidates) == 1:
            return Tuned(candidates[0], {str(candidates[0]): 0.0})
        timings: dict[str, float] = {}
        failures: dict[str, str] = {}
        for config in candidates:
            try:
                timings[str(config)] = self.measure(config, named, args, grid, kwargs)
            except (OutOfResources, CompileTimeAssertionFailure) as error:
                failures[str(config)], timings[str(config)] = str(error), float("inf")
        if len(failures) == len(candidates):
            reasons = "; ".join(failures.values())
            raise RuntimeError(f"autotune: no configuration of {self.__name__} can run: {reasons}")
        return Tuned(min(candidates, key=lambda c: timings[str(c)]), timings, failures)

    def pruned(self, named: Mapping[str, Any]) -> list[Config]:
        candidates = list(self.configs)
        early = self.prune.get("early_config_prune")
        if early is not None:
            candidates = list(early(candidates, dict(named)))
        model, top = self.prune.get("perf_model"), self.prune.get("top_k")
        if model is not None and top is not None:
            count = int(len(self.configs) * top) if isinstance(top, float) else top
            candidates = sorted(candidates, key=lambda c: model(**named, **c.all_kwargs()))[:count]
        if not candidates:
            raise RuntimeError(f"autotune: pruning left no configuration of {self.__name__}")
        return candidates

    def measure(self, config: Config, named: Mapping[str, Any], args: Sequence[Any], grid: Any,
                kwargs: Mapping[str, Any]) -> float:
        saved = {name: _copy(named[name]) for name in self.restore_value}

        def once() -> None:
            for name in self.reset_to_zero:
                _zero(named[name])
            if config.pre_hook is not None:
                config.pre_hook({**named, **config.all_kwargs()})
            self.fn.run(*args, grid=grid, **{**kwargs, **config.all_kwargs()})

        try:
            return self.bench(once)
        finally:
            for name, value in saved.items():
                _restore(named[name], value)


def _base(fn: Any) -> JITFunction:
    while not isinstance(fn, JITFunction):
        fn = fn.fn
    return fn


def _zero(x: Any) -> None:
    if is_numpy(x):
        x.fill(0)
    else:
        x.zero_()


def _copy(x: Any) -> Any:
    return x.copy() if is_numpy(x) else x.clone()


def _restore(x: Any, value: Any) -> None:
    if is_numpy(x):
        x[...] = value
    else:
        x.copy_(value)


def autotune(configs: Sequence[Config], key: Sequence[str], prune_configs_by: Mapping[str, Any] | None = None,
             reset_to_zero: Sequence[str] | None = None, restore_value: Sequence[str] | None = None, warmup: float = 25,
             rep: float = 100, do_bench: Callable[..., float] | None = None) -> Callable[[Any], Autotuner]:
    """Decorate a kernel to pick among `configs` by measurement, anew for each value of the `key` arguments."""
    bench = do_bench or _bench(warmup, rep)

    def decorate(fn: Any) -> Autotuner:
        return Autotuner(fn, configs, key, reset_to_zero or (), restore_value or (), prune_configs_by or {}, bench)

    return decorate


def _bench(warmup: float, rep: float) -> Callable[[Callable[[], Any]], float]:
    def bench(fn: Callable[[], Any]) -> float:
        return do_bench(fn, warmup=warmup, rep=rep, return_mode="median")

    return bench


class Heuristics:
    """A kernel some of whose meta-parameters are computed from the other arguments."""

    def __init__(self, fn: Any, values: Mapping[str, Callable[[dict[str, Any]], Any]]) -> None:
        self.fn, self.values = fn, dict(values)
        self.arg_names = _base(fn).arg_names
        self.__name__, self.__doc__ = _base(fn).__name__, _base(fn).__doc__

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        return _launcher(self.run, grid)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        named = {**dict(zip(self.arg_names, args, strict=False)), **kwargs}
        for name, compute in self.values.items():
            kwargs[name] = named[name] = compute(named)
        return self.fn.run(*args, **kwargs)

    def warmup(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, warmup=True, **kwargs)


def heuristics(values: Mapping[str, Callable[[dict[str, Any]], Any]]) -> Callable[[Any], Heuristics]:
    """Decorate a kernel: `@heuristics({"EVEN": lambda args: args["n"] % 128 == 0})`."""
    return lambda fn: Heuristics(fn, values)
