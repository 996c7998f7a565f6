"""What @autotune needs around its measurements: compiling configurations side by side, keeping results on disk, copying
and comparing arrays."""
from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rtriton import cache, knobs
from rtriton.arrays import array_of
from rtriton.config import Config
from rtriton.devices import active
from rtriton.errors import RtritonError
from rtriton.guards import is_numpy
from rtriton.jit import JITFunction
from rtriton.reach import Uncacheable, code_key, digest, stable

Check = Callable[[dict[str, Any]], Any]


class Inaccurate(RtritonError):
    """A configuration whose results the accuracy check did not accept."""


def check(accept: Check, arguments: Mapping[str, Any], launch: Callable[[], None]) -> None:
    """Launch once and ask the accuracy check; arrays are put back after. Inaccurate if it says no."""
    arrays = {name: copy(x) for name, x in arguments.items() if array_of(x) is not None}
    try:
        launch()
        verdict = accept(dict(arguments))
    finally:
        for name, saved in arrays.items():
            restore(arguments[name], saved)
    if verdict is not None and not verdict:
        raise Inaccurate("the accuracy check did not accept its results")


def takes(function: Callable[..., Any], name: str) -> bool:
    """Has a function a parameter of this name, or any keyword?"""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return True
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def compile_together(fn: Any, configs: Sequence[Config], args: Sequence[Any], grid: Any,
                     kwargs: Mapping[str, Any]) -> None:
    """Compile configurations in threads, so that measuring finds them ready. What fails fails again, and is reported,
    when it is measured: here it is let go.

    Python compiles one at a time; LLVM and the driver's assembler, which take most of the time, do not hold it up."""
    from concurrent.futures import ThreadPoolExecutor

    threads = min(knobs.num_threads(), len(configs))
    if threads < 2:
        return
    with ThreadPoolExecutor(threads, "rtriton-autotune") as pool:
        made = [pool.submit(_compile, fn, config, args, grid, kwargs) for config in configs]
    for future in made:
        if isinstance(future.exception(), (KeyboardInterrupt, SystemExit)):
            future.result()


def _compile(fn: Any, config: Config, args: Sequence[Any], grid: Any, kwargs: Mapping[str, Any]) -> None:
    if config.pre_hook is not None or kwargs.keys() & config.kwargs.keys():
        return                             # a hook may change the arguments, and with them what is compiled
    fn.run(*args, grid=grid, warmup=True, **{**kwargs, **config.all_kwargs()})


# -- on disk ---------------------------------------------------------------------------------------------------------


def entry_name(kernel: JITFunction, key: Sequence[Any], configs: Sequence[Config]) -> str | None:
    """The name that timings are kept under: the kernel's code, the machine, the key and all configurations. None where
    hooks or values have no text that stands for them."""
    if any(config.pre_hook is not None for config in configs):
        return None
    try:
        texts = [stable(tuple(key)), *(stable(tuple(sorted(c.all_kwargs().items()))) for c in configs)]
        target = active.get_current_target()
        return digest(["autotune", cache.sources_digest(), code_key(kernel), repr(target), knobs.backend(),
                       repr(knobs.code_state()), machine(), *texts])
    except Uncacheable:
        return None


def machine() -> str:
    """What timings depend on beside the code: the GPU and its driver, or the processor and how many threads."""
    if active.get_current_target().backend == "cuda":
        from rtriton.backend.cuda.stored import target_key

        return target_key()
    from rtriton.backend.cpu.target import host

    return f"{host().key}|{knobs.num_threads()}"


def read(name: str) -> list[dict[str, Any]] | None:
    """The rows kept under a name."""
    if knobs.always_compile():
        return None
    found = cache.read(name)
    return None if found is None else found.get("configs")


def match(rows: Sequence[Mapping[str, Any]], configs: Sequence[Config]) -> tuple[dict[Config, Any], dict[Config, str]]:
    """Timings and failures by configuration, out of rows in the same order."""
    timings: dict[Config, Any] = {}
    failures: dict[Config, str] = {}
    for config, row in zip(configs, rows, strict=True):
        timings[config] = [float("inf")] * 3 if row["milliseconds"] is None else row["milliseconds"]
        if row["skipped"]:
            failures[config] = row["skipped"]
    return timings, failures


def write(name: str, kernel: str, key: Sequence[Any], timings: Mapping[Config, Any], failures: Mapping[Config, str],
          seconds: float) -> None:
    """Keep what was measured, with why a configuration was skipped."""
    rows = [{"config": str(config), "milliseconds": None if config in failures else _plain(timing),
             "skipped": failures.get(config, "")} for config, timing in timings.items()]
    cache.write(name, {"kernel": kernel, "key": [str(k) for k in key], "seconds": seconds, "configs": rows})
    if knobs.autotuning.print:
        print(f"kept in {cache.path_of(name)}", file=sys.stderr)


def _plain(timing: Any) -> Any:
    return float(timing) if isinstance(timing, (int, float)) else [float(t) for t in timing]


# -- arrays, names ---------------------------------------------------------------------------------------------------


def zero(x: Any) -> None:
    if is_numpy(x):
        x.fill(0)
    else:
        x.zero_()


def copy(x: Any) -> Any:
    return x.copy() if is_numpy(x) else x.clone()


def restore(x: Any, value: Any) -> None:
    if is_numpy(x):
        x[...] = value
    else:
        x.copy_(value)


def old_bench(warmup: float | None, rep: float | None, use_cuda_graph: bool) -> Callable[..., Any]:
    """do_bench as `warmup`, `rep` and `use_cuda_graph` of @autotune ask for it."""
    from rtriton import testing

    def bench(launch: Callable[[], Any], quantiles: Sequence[float] | None = None) -> Any:
        if use_cuda_graph:
            return testing.do_bench_cudagraph(launch, rep=100 if rep is None else rep, quantiles=quantiles)
        return testing.do_bench(launch, 25 if warmup is None else warmup, 100 if rep is None else rep,
                                quantiles=quantiles)

    return bench
