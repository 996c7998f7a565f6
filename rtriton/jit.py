"""`@rtriton.jit`: a Python function becomes a kernel that compiles when it is launched.

    @rtriton.jit
    def add(x, y, out, n, BLOCK: tl.constexpr): ...

    add[(rtriton.cdiv(n, 1024),)](x, y, out, n, BLOCK=1024)

Arrays in CPU memory (NumPy, torch) run on the CPU backend, CUDA arrays on the GPU; RTRITON_BACKEND picks another way.
"""
from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast, overload

import numpy as np

from rtriton import knobs, recording
from rtriton.arguments import (
    Argument, annotated_type, constant, is_const_annotation, leaves, parts_of, read_only, specialise,
)
from rtriton.compile import CompiledKernel, Grid, compile_kernel
from rtriton.errors import LaunchError
from rtriton.guards import is_tuple
from rtriton.language.values import unwrap
from rtriton.source import KernelFunction
from rtriton.types import Pointer, Type

OPTIONS: dict[str, Any] = {
    "num_warps": 4, "num_stages": 3, "num_ctas": 1, "maxnreg": None, "debug": False, "enable_fp_fusion": True,
    "launch_cooperative_grid": False, "launch_pdl": False,
}

# Triton's, with nothing behind them here: another value is refused rather than taken and ignored
ONLY_DEFAULT = ("num_ctas", "enable_fp_fusion", "launch_cooperative_grid", "launch_pdl")


class JITFunction(KernelFunction):
    """A kernel. `kernel[grid](*args, **options)` launches; `kernel.warmup(*args, grid=...)` only compiles."""

    def __init__(self, fn: Callable[..., Any], do_not_specialize: Sequence[int | str] = (),
                 do_not_specialize_on_alignment: Sequence[int | str] = (), debug: bool | None = None,
                 noinline: bool | None = None) -> None:
        super().__init__(fn)
        self.debug = debug
        self.noinline = noinline
        self.cache: dict[Any, CompiledKernel] = {}
        self._lock = threading.Lock()
        self._plain = {self._index(p) for p in do_not_specialize}
        self._unaligned = self._plain | {self._index(p) for p in do_not_specialize_on_alignment}
        self._forced = [annotated_type(p.annotation) for p in self.params]
        self._read_only = {i for i, p in enumerate(self.params) if is_const_annotation(p.annotation)}
        self._defaults = {p.name: unwrap(p.default) for p in self.params if p.has_default}

    def _index(self, param: int | str) -> int:
        return param if isinstance(param, int) else self.arg_names.index(param)

    def __getitem__(self, grid: Any) -> Callable[..., CompiledKernel]:
        def launch(*args: Any, **kwargs: Any) -> CompiledKernel:
            return self.run(*args, grid=grid, **kwargs)

        return launch

    def warmup(self, *args: Any, grid: Any = (1,), **kwargs: Any) -> CompiledKernel:
        """Compile for these arguments without launching."""
        return self.run(*args, grid=grid, warmup=True, **kwargs)

    def run(self, *args: Any, grid: Any, warmup: bool = False, **kwargs: Any) -> CompiledKernel:
        """Compile for these arguments if need be and launch over `grid`, a tuple of up to three sizes or a function of
        the arguments by name."""
        values = self.bind(args, kwargs)
        options = self.options(kwargs)
        arguments = [self.argument(i, v) for i, v in enumerate(values)]
        flat = list(leaves(arguments)) if any(a.parts for a in arguments) else arguments
        backend = choose_backend(flat, self.__name__)
        target = knobs.target() if backend == "emulate" else ""
        key = (tuple((a.key, a.divisible, a.constant) for a in arguments), tuple(options.values()), backend, target)
        compiled = self.cache.get(key)
        if compiled is None:
            compiled = self.compile(key, arguments, options, backend)
        for fn, name, value in compiled.watched:
            check_unchanged(fn, name, value)
        if warmup:
            return compiled
        sizes = grid_of(grid, self.arg_names, values)
        recording.announce(self.__name__, sizes, backend)
        if flat is not arguments:
            values = list(_leaves_of(arguments, values))
        run_time = [i for i, a in enumerate(flat) if not a.constant]
        numbers, objects = [flat[i].value for i in run_time], [values[i] for i in run_time]
        recorder = recording.recording()
        if recorder is None or backend == "cuda":
            compiled.launch(sizes, numbers, objects)
        elif backend != "cpu":
            raise LaunchError(f"{self.__name__}: launches on the backend {backend!r} cannot be captured: "
                              "capture on cpu or cuda")
        else:
            recorder.record(compiled.executable, sizes, numbers, objects)
        return compiled

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """One value per parameter, in order; TypeError as Python words it."""
        if len(args) > len(self.params):
            raise TypeError(f"{self.__name__}() takes {len(self.params)} positional arguments "
                            f"but {len(args)} were given")
        values = list(args)
        for name in self.arg_names[len(args):]:
            if name in kwargs:
                values.append(kwargs[name])
            elif name in self._defaults:
                values.append(self._defaults[name])
            else:
                raise TypeError(f"{self.__name__}() missing a required argument: '{name}'")
        for name in self.arg_names[:len(args)]:
            if name in kwargs:
                raise TypeError(f"{self.__name__}() got multiple values for argument '{name}'")
        return values

    def options(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Launch options with their defaults; KeyError for a name that is neither option nor parameter."""
        options = dict(OPTIONS)
        if self.debug is not None:
            options["debug"] = self.debug
        for name, value in kwargs.items():
            if name in options:
                options[name] = value
            elif name not in self.arg_names:
                raise KeyError(f"Keyword argument {name} was specified but unrecognised")
        warps = options["num_warps"]
        if not isinstance(warps, int) or warps < 1 or warps > 32 or warps & (warps - 1):
            raise ValueError(f"num_warps is a power of two from 1 to 32, got {warps!r}")
        for name in ONLY_DEFAULT:
            if options[name] != OPTIONS[name]:
                raise ValueError(f"{name}={options[name]!r} is not supported: leave it at {OPTIONS[name]!r}")
        return options

    def argument(self, index: int, value: Any) -> Argument:
        """How parameter `index` specialises on `value`."""
        param = self.params[index]
        if param.is_constexpr:
            return constant(value)
        forced = self._forced[index]
        if forced is not None and isinstance(value, np.generic):
            value = cast(Any, value).item()
        if forced is not None and isinstance(value, (bool, int, float)):
            number = float(value) if forced.is_floating() else int(value)
            return Argument(forced, forced.is_int() and number % 16 == 0 and index not in self._unaligned, number, "")
        try:
            found = specialise(value, index in self._plain)
        except TypeError as error:
            raise TypeError(f"{self.__name__}(): argument '{param.name}': {error}") from None
        found = read_only(found) if index in self._read_only else found
        return _unaligned(found) if index in self._unaligned else found

    def compile(self, key: Any, arguments: Sequence[Argument], options: Mapping[str, Any],
                backend: str) -> CompiledKernel:
        with self._lock:
            if key in self.cache:
                return self.cache[key]
            run_time: dict[str, Argument] = {}
            constants: dict[str, Any] = {}
            for param, argument in zip(self.params, arguments, strict=True):
                found, template = parts_of(argument, param.name)
                run_time.update(found)
                if param.name not in found:
                    constants[param.name] = template
            signature = {name: _type(a.key) for name, a in run_time.items()}
            divisible = {name: 16 for name, a in run_time.items() if a.divisible}
            compiled = compile_kernel(self, signature, constants, divisible, options, backend)
            self.cache[key] = compiled
            return compiled


def _unaligned(argument: Argument) -> Argument:
    return argument._replace(divisible=False, parts=tuple([_unaligned(p) for p in argument.parts]))


def _leaves_of(arguments: Sequence[Argument], values: Sequence[Any]) -> Iterator[Any]:
    """The objects that belong to the leaves of `arguments`."""
    for argument, value in zip(arguments, values, strict=True):
        if argument.parts:
            parts = value.kernel_parts() if hasattr(value, "kernel_parts") else value
            yield from _leaves_of(argument.parts, parts)
        else:
            yield value


def _type(key: Any) -> Type:
    return Pointer(key[1], key[0] == "*k") if is_tuple(key) else key


def choose_backend(arguments: Sequence[Argument], name: str) -> str:
    """Where the arrays are decides; RTRITON_BACKEND overrules for arrays in CPU memory."""
    devices = {a.device for a in arguments if a.device}
    if len(devices) > 1:
        raise ValueError(f"{name}(): arrays in CPU memory and on a GPU cannot meet in one launch")
    wished = knobs.backend()
    if "cuda" in devices:
        if wished not in ("", "cuda"):
            raise ValueError(f"{name}(): RTRITON_BACKEND={wished} needs arrays in CPU memory, got CUDA arrays")
        return "cuda"
    if wished == "cuda":
        raise ValueError(f"{name}(): RTRITON_BACKEND=cuda needs CUDA arrays, got arrays in CPU memory")
    return wished or "cpu"


def grid_of(grid: Any, names: Sequence[str], values: Sequence[Any]) -> Grid:
    """Three sizes; programs along x first."""
    if callable(grid):
        grid = grid(dict(zip(names, values, strict=True)))
    if isinstance(grid, int):
        grid = (grid,)
    try:
        sizes = tuple(operator.index(n) for n in grid)
    except TypeError:
        raise TypeError(f"a grid is an integer or up to three of them, or a function that gives them, "
                        f"got {grid!r}") from None
    if not 1 <= len(sizes) <= 3 or any(n < 0 for n in sizes):
        raise ValueError(f"a grid has one to three sizes that are not negative, got {sizes}")
    x, y, z = (*sizes, 1, 1)[:3]
    return x, y, z


_ABSENT = object()


def check_unchanged(fn: KernelFunction, name: str, value: Any) -> None:
    """A global that the compiled kernel has taken the value of must still have it."""
    now = unwrap(fn.nonlocals()[name] if name in fn.fn.__code__.co_freevars else fn.globals.get(name, _ABSENT))
    if now is not value and now != value:
        raise RuntimeError(f"Global variable {name} has changed since we compiled kernel {fn.__name__}: "
                           f"it was {value!r} and is {now!r}")


Decorator = Callable[[Callable[..., Any]], JITFunction]


@overload
def jit(fn: Callable[..., Any]) -> JITFunction: ...
@overload
def jit(fn: None = None, *, version: Any = None, repr: Any = None, launch_metadata: Any = None,
        do_not_specialize: Sequence[int | str] = (), do_not_specialize_on_alignment: Sequence[int | str] = (),
        debug: bool | None = None, noinline: bool | None = None) -> Decorator: ...
def jit(fn: Callable[..., Any] | None = None, *, version: Any = None, repr: Any = None, launch_metadata: Any = None,
        do_not_specialize: Sequence[int | str] = (), do_not_specialize_on_alignment: Sequence[int | str] = (),
        debug: bool | None = None, noinline: bool | None = None) -> JITFunction | Decorator:
    """Make a function written in the kernel language a kernel: `@jit`, or `@jit(do_not_specialize=["n"])`.

    version, repr and launch_metadata are Triton's and accepted only as None. Calls are always inlined, so that noinline
    changes neither a result nor the code."""
    for name, given in (("version", version), ("repr", repr), ("launch_metadata", launch_metadata)):
        if given is not None:
            raise TypeError(f"jit: {name} is not supported")

    def decorate(function: Callable[..., Any]) -> JITFunction:
        return JITFunction(function, do_not_specialize, do_not_specialize_on_alignment, debug, noinline)

    return decorate if fn is None else decorate(fn)


