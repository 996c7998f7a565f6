"""`@heuristics`: meta-parameters that are computed from the other arguments.

    @rtriton.heuristics({"EVEN": lambda args: args["n"] % args["BLOCK"] == 0})
    @rtriton.jit
    def kernel(x, n, BLOCK: tl.constexpr, EVEN: tl.constexpr): ...
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rtriton.jit import JITFunction, KernelInterface, named_object, outside_torch_compile

Rule = Callable[[dict[str, Any]], Any]


class Heuristics(KernelInterface):
    """A kernel some of whose meta-parameters are computed from the other arguments."""

    def __init__(self, fn: Any, values: Mapping[str, Rule]) -> None:
        self.fn, self.values = fn, dict(values)
        base = base_of(fn)
        self.arg_names, self.base_fn = base.arg_names, base.fn
        self.__name__, self.__doc__, self.__module__ = base.__name__, base.__doc__, base.__module__
        self.__qualname__ = base.__qualname__

    @outside_torch_compile
    def run(self, *args: Any, grid: Any, warmup: bool = False, **kwargs: Any) -> Any:
        """Compute the values, in order (each sees those before it), and launch with them."""
        named = {**dict(zip(self.arg_names, args, strict=False)), **kwargs}
        for name, compute in self.values.items():
            kwargs[name] = named[name] = compute(named)
        return self.fn.run(*args, grid=grid, warmup=warmup, **kwargs)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return named_object, (self.__module__, self.__qualname__)


def base_of(fn: Any) -> JITFunction:
    """The kernel under @autotune and @heuristics; TypeError for what is none."""
    found = fn
    while not isinstance(found, JITFunction):
        found = getattr(found, "fn", None)
        if found is None:
            raise TypeError(f"a kernel under @jit is wanted here, got {fn!r}")
    return found


def heuristics(values: Mapping[str, Rule]) -> Callable[[Any], Heuristics]:
    """Decorate a kernel: `@heuristics({"EVEN": lambda args: args["n"] % 128 == 0})`."""
    return lambda fn: Heuristics(fn, values)
