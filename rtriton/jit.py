"""`@rtriton.jit`: a Python function becomes a kernel that compiles when it is launched.

    @rtriton.jit
    def add(x, y, out, n, BLOCK: tl.constexpr): ...

    add[(rtriton.cdiv(n, 1024),)](x, y, out, n, BLOCK=1024)

Arrays in CPU memory (NumPy, torch) run on the CPU backend, CUDA arrays on the GPU; RTRITON_BACKEND picks another way.
"""
from __future__ import annotations

import importlib
import inspect
import pickle
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import FunctionType
from typing import Any, TypeVar, cast, overload

import numpy as np

from rtriton import jit_hooks, knobs
from rtriton.arguments import (
    Argument, annotated_type, constant, forced, is_const_annotation, leaves, read_only, run_time, specialise, unaligned,
)
from rtriton.arrays import MockTensor
from rtriton.bound import BoundKernel
from rtriton.async_compile import FutureKernel, active_mode
from rtriton.compile import Unit, compile_unit
from rtriton.compiled import CompiledKernel, grid_sizes
from rtriton.errors import CompilationError, LaunchError
from rtriton.ir import Span
from rtriton.language.values import unwrap
from rtriton.launcher import Launcher
from rtriton.options import resolve, settled
from rtriton.reach import Reach, Watch
from rtriton.source import KernelFunction, Written
from rtriton.types import DType
from rtriton.where import choose_backend, target_of_launches

Key = tuple[Any, ...]
FUNCTIONS = (Written, FunctionType)     # of the kernel language, and plain ones that run when compiling

Run = TypeVar("Run", bound=Callable[..., Any])


def outside_torch_compile(run: Run) -> Run:
    """Have torch.compile call a launch as it is, between what it compiles, rather than look into it: it cannot see that
    the kernel writes into its arguments. Under fullgraph=True torch refuses with this reason. (torch reads the marks;
    nothing of it is imported.)"""
    vars(run).update(_torchdynamo_disable=True, _torchdynamo_disable_msg="rtriton launches its kernels itself: put the "
                     "launch into a torch.library.custom_op")
    return run


class KernelInterface:
    """What can be launched as `kernel[grid](...)`: a JITFunction, and what @autotune and @heuristics make of one."""

    def run(self, *args: Any, grid: Any, warmup: bool = False, **kwargs: Any) -> Any:
        """Compile if need be, and launch over `grid` unless `warmup`."""
        raise NotImplementedError

    def warmup(self, *args: Any, grid: Any = (1,), **kwargs: Any) -> Any:
        """Compile for these arguments without launching. A dtype of torch stands for an array of it."""
        return self.run(*map(MockTensor.wrap_dtype, args), grid=grid, warmup=True, **kwargs)

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        return partial(self.run, grid=grid)


class JITFunction(KernelFunction, KernelInterface):
    """A kernel. `kernel[grid](*args, **options)` launches; `kernel.warmup(*args, grid=...)` only compiles."""

    def __init__(self, fn: Callable[..., Any], version: Any = None,
                 do_not_specialize: Sequence[int | str] | None = None,
                 do_not_specialize_on_alignment: Sequence[int | str] | None = None, debug: bool | None = None,
                 noinline: bool | None = None, repr: Callable[..., str] | None = None,
                 launch_metadata: Callable[..., dict[str, Any]] | None = None) -> None:
        super().__init__(fn, hold=True)
        self.version, self.debug, self.noinline = version, debug, noinline
        self.launch_metadata, self._repr = launch_metadata, repr
        self.do_not_specialize = list(do_not_specialize or ())
        self.do_not_specialize_on_alignment = list(do_not_specialize_on_alignment or ())
        self.pre_run_hooks: list[Callable[..., Any]] = []
        self.cache = jit_hooks.KernelCache(lambda: self.launcher.forget())
        self._lock = threading.Lock()
        self._compiling: dict[Key, threading.RLock] = {}
        self._plain = {self._index(p) for p in self.do_not_specialize}
        alignment = {self._index(p) for p in self.do_not_specialize_on_alignment}
        self._unaligned = self._plain | alignment
        self.params = [replace(p, do_not_specialize=p.num in self._plain,
                               do_not_specialize_on_alignment=p.num in alignment) for p in self.params]
        self._forced = [None if p.is_constexpr else annotated_type(p.annotation) for p in self.params]
        self._read_only = {p.num for p in self.params if is_const_annotation(p.annotation)}
        self.constexprs = [p.num for p in self.params if p.is_constexpr]
        self.launcher = Launcher(self)
        outside_torch_compile(self.launcher.function)

    def _index(self, param: int | str) -> int:
        return param if isinstance(param, int) else self.arg_names.index(param)

    def repr(self, specialization: Any = None) -> str:
        """The kernel's name for tools that list launches: what @jit's `repr` makes of a specialisation."""
        return f"{self.__module__}.{self.__qualname__}" if self._repr is None else self._repr(specialization)

    def add_pre_run_hook(self, hook: Callable[..., Any]) -> None:
        """Call `hook` with the arguments and options of every launch, before it."""
        if not callable(hook):
            raise TypeError(f"a hook is a function, got {hook!r}")
        self.pre_run_hooks.append(hook)

    @property
    def device_caches(self) -> jit_hooks.DeviceCaches:
        """Compiled kernels by device: `[device][0]` is the dict of them, one for all devices, whose keys tell apart."""
        return jit_hooks.DeviceCaches(self.cache)

    @property
    def used_global_vals(self) -> dict[tuple[str, int], tuple[Any, Any]]:
        """The globals whose values the kernel was compiled with: {(name, id of its namespace): (value, namespace)}."""
        return {(w.name, id(w.namespace)): (w.value, w.namespace) for w in Reach(self).watched()
                if not isinstance(w.value, KernelFunction)}

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        if named_kernel(self.__module__, self.__qualname__) is not self:
            raise pickle.PicklingError(f"{self!r} is pickled by its name, and that name leads elsewhere: "
                                       "define kernels at the top of a module")
        return named_kernel, (self.__module__, self.__qualname__)

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        return partial(self._launch_with_hooks if self.pre_run_hooks else self.launcher.function, grid)

    def run(self, *args: Any, grid: Any, warmup: bool = False, **kwargs: Any) -> CompiledKernel | FutureKernel | None:
        """Compile for these arguments if need be and launch over `grid`, a tuple of up to three sizes or a function of
        the arguments by name. None where knobs.runtime.jit_cache_hook asked not to compile."""
        if not warmup:
            return self[grid](*args, **kwargs)
        for hook in self.pre_run_hooks:
            hook(*args, **kwargs)
        arguments, options, backend = self._specialised(*self.launcher.bind(*args, **kwargs))
        compiled = self.compiled(arguments, options, backend, warmup=True)
        if backend == "cuda" and isinstance(compiled, CompiledKernel):
            compiled.load()            # so that a capture finds it loaded
        return compiled

    @outside_torch_compile
    def _launch_with_hooks(self, grid: Any, *args: Any, **kwargs: Any) -> CompiledKernel | None:
        for hook in self.pre_run_hooks:
            hook(*args, **kwargs)
        return self.launcher.function(grid, *args, **kwargs)

    def launch(self, grid: Any, values: Sequence[Any], given: Mapping[str, Any], facts: Any) -> CompiledKernel | None:
        """The long road of a launch, with a value per parameter, in order, and options. The launcher, whose function
        calls this and tells which `facts` it has found, is told what came of it."""
        compiled, arguments, backend = self._ready(values, given)
        if compiled is None:
            return None
        sizes = grid_sizes(grid(dict(zip(self.arg_names, values, strict=True))) if callable(grid) else grid)
        compiled.start(sizes, grid, *run_time(arguments, values), values)
        if compiled.executable.direct and {a.device for a in leaves(arguments) if a.device} == {backend}:
            self.launcher.remember(facts, values, arguments, compiled)
        return compiled

    def compile_for(self, *args: Any, **kwargs: Any) -> BoundKernel:
        """The kernel compiled for these arguments and with them, for many launches: `bound[grid]()`. See bound.py."""
        values, given = self.launcher.bind(*args, **kwargs)
        compiled, arguments, _ = self._ready(values, given)
        if compiled is None:
            raise LaunchError(f"{self.__name__}: knobs.runtime.jit_cache_hook asked not to compile")
        return BoundKernel(self, compiled, values, arguments)

    def _ready(self, values: Sequence[Any],
               given: Mapping[str, Any]) -> tuple[CompiledKernel | None, list[Argument], str]:
        """The kernel for a launch, waited for if need be; how the arguments specialise, and where it runs."""
        arguments, options, backend = self._specialised(values, given)
        compiled = self.compiled(arguments, options, backend, warmup=False)
        if isinstance(compiled, FutureKernel):
            compiled = cast("CompiledKernel", compiled.result())
        return compiled, arguments, backend

    def _specialised(self, values: Sequence[Any],
                     given: Mapping[str, Any]) -> tuple[list[Argument], dict[str, Any], str]:
        """How the arguments specialise, all options, and where the launch runs."""
        options = resolve(given, (), self.debug)
        arguments = [self.argument(i, v) for i, v in enumerate(values)]
        return arguments, options, choose_backend(list(leaves(arguments)), self.__name__)

    def is_forced(self, index: int) -> bool:
        """Does an annotation say what type a number has that parameter `index` is given?"""
        return isinstance(self._forced[index], DType)

    def argument(self, index: int, value: Any) -> Argument:
        """How parameter `index` specialises on `value`."""
        param = self.params[index]
        if param.is_constexpr:
            return constant(value)
        kind = self._forced[index]
        if kind is not None and isinstance(value, np.generic):
            value = cast(Any, value).item()
        try:
            if isinstance(kind, DType) and isinstance(value, (bool, int, float)):
                return forced(value, kind, index not in self._unaligned)
            found = specialise(value, index in self._plain)
        except (TypeError, OverflowError) as error:
            raise type(error)(f"{self.__name__}(): argument '{param.name}': {error}") from None
        if found.device and kind is not None and not isinstance(kind, DType):
            found = found._replace(key=("*k" if kind.const else "*", kind.element))
        elif index in self._read_only:
            found = read_only(found)
        return unaligned(found) if index in self._unaligned else found

    def compiled(self, arguments: Sequence[Argument], options: dict[str, Any], backend: str,
                 warmup: bool) -> CompiledKernel | FutureKernel | None:
        """The kernel for these arguments, out of memory if it is there and the globals it saw are what they were."""
        key = self._key(arguments, options, backend)
        found = self.cache.get(key)
        if found is not None:
            stale = next((w for w in found.watched if w.changed()), None)
            if stale is None:
                return found
            self._refuse_or_forget(key, stale)
            key = self._key(arguments, options, backend)
        return self._compile(key, arguments, options, backend, warmup)

    def _key(self, arguments: Sequence[Argument], options: Mapping[str, Any], backend: str) -> Key:
        """What makes a kernel another one."""
        return (tuple([(a.key, a.divisible, a.constant) for a in arguments]), tuple(options.values()), backend,
                knobs.code_state(), self.code_key, target_of_launches(backend))

    def _refuse_or_forget(self, key: Key, stale: Watch) -> None:
        """A function that was defined anew is compiled anew; a changed value is refused, as in Triton."""
        if isinstance(stale.value, FUNCTIONS) and isinstance(unwrap(stale.now()), FUNCTIONS):
            with self._lock:
                self.cache.pop(key, None)
                self.hash = None
            return
        raise RuntimeError(f"Global variable {stale.name} has changed since we compiled this kernel, from {stale.was} "
                           f"to {stale.now()!r} (kernel {self.__name__})")

    def _compile(self, key: Key, arguments: Sequence[Argument], options: dict[str, Any], backend: str,
                 warmup: bool) -> CompiledKernel | FutureKernel | None:
        with self._lock:
            lock = self._compiling.setdefault(key, threading.RLock())
        with lock:                               # kernels compile side by side, each of them once
            if key in self.cache:
                return self.cache[key]
            self._check_parameters()
            from rtriton.ahead import ASTSource

            unit = Unit(ASTSource.of(self, arguments), arguments, settled(options), backend)
            info = jit_hooks.describe(self, key, unit, warmup)
            if info is not None and knobs.runtime.jit_cache_hook is not None and knobs.runtime.jit_cache_hook(**info):
                return None

            def keep(made: CompiledKernel) -> None:
                self.cache[key] = made
                self._compiling.pop(key, None)
                if info is not None and knobs.runtime.jit_post_compile_hook is not None:
                    knobs.runtime.jit_post_compile_hook(**info)

            mode = active_mode.get()
            if mode is not None:
                return mode.submit((self, key), lambda: compile_unit(unit), keep)
            made = compile_unit(unit)
            keep(made)
            return made

    def _check_parameters(self) -> None:
        for index in sorted(self._unaligned):
            if self.params[index].is_constexpr:
                raise CompilationError(f"{self.params[index].name} marked as constexpr and listed in "
                                       "do_not_specialize: a constexpr is always specialised on",
                                       Span(self.source.file, self.source.first_line))

    def preload(self, specialization_data: str) -> CompiledKernel | FutureKernel | None:
        """Compile what a jit_cache_hook was told of (`compile["specialization_data"]`, maybe in another process).
        RuntimeError if that was another kernel."""
        arguments, options, backend = jit_hooks.read(specialization_data, self)
        key = self._key(arguments, options, backend)
        return self.cache.get(key) or self._compile(key, arguments, options, backend, warmup=True)


def named_object(module: str, name: str) -> Any:
    """The object that a pickled name leads to."""
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise pickle.PicklingError(f"{module} has no {name}: define kernels at the top of a module")
    return found


def named_kernel(module: str, name: str) -> JITFunction:
    """The kernel that a name leads to, below @autotune and @heuristics."""
    found = named_object(module, name)
    while found is not None and not isinstance(found, JITFunction):
        found = getattr(found, "fn", None)
    if found is None:
        raise pickle.PicklingError(f"{module} has no kernel {name}: define kernels at the top of a module")
    return found


Decorator = Callable[[Callable[..., Any]], JITFunction]


@overload
def jit(fn: Callable[..., Any]) -> JITFunction: ...
@overload
def jit(fn: None = None, *, version: Any = None, repr: Callable[..., str] | None = None,
        launch_metadata: Callable[..., dict[str, Any]] | None = None,
        do_not_specialize: Sequence[int | str] | None = None,
        do_not_specialize_on_alignment: Sequence[int | str] | None = None,
        debug: bool | None = None, noinline: bool | None = None) -> Decorator: ...
def jit(fn: Callable[..., Any] | None = None, *, version: Any = None, repr: Callable[..., str] | None = None,
        launch_metadata: Callable[..., dict[str, Any]] | None = None,
        do_not_specialize: Sequence[int | str] | None = None,
        do_not_specialize_on_alignment: Sequence[int | str] | None = None,
        debug: bool | None = None, noinline: bool | None = None) -> JITFunction | Decorator:
    """Make a function written in the kernel language a kernel: `@jit`, or `@jit(do_not_specialize=["n"])`.

    do_not_specialize, do_not_specialize_on_alignment: parameters (names or places) on whose value, or on whose
    divisibility by 16, no kernel of its own is compiled. debug: device asserts are checked, unless a launch says
    otherwise. launch_metadata(grid, metadata, arguments) gives a dict that launch hooks see, repr(specialization) the
    name that tools show. version is kept for whoever asks. noinline: calls are inlined in any case, which changes no
    result."""
    def decorate(function: Callable[..., Any]) -> JITFunction:
        if isinstance(function, JITFunction):
            raise TypeError(f"{function!r} is a kernel already")
        if not hasattr(inspect.unwrap(function), "__code__"):
            raise TypeError(f"{function!r} is no function made by def: a kernel has a name and statements of its own")
        return JITFunction(function, version, do_not_specialize, do_not_specialize_on_alignment, debug, noinline, repr,
                           launch_metadata)

    return decorate if fn is None else decorate(fn)
