"""`CompiledKernel`: what a launch runs, and everything one may want to look at.

    compiled = kernel.warmup(x, n, BLOCK=128, grid=(1,))
    compiled.asm["ptx"], compiled.metadata.shared, compiled.n_regs
    compiled[(8,)](x, n, 128)               # launch it again, all arguments in the kernel's order
"""
from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from rtriton import knobs, recording
from rtriton.asm import AsmDict
from rtriton.backend.cuda import current
from rtriton.errors import LaunchError
from rtriton.ir import Kernel
from rtriton.reach import Watch
from rtriton.devices import GPUTarget

if TYPE_CHECKING:
    from rtriton.ahead import ASTSource, IRSource

Grid = tuple[int, int, int]


def _given(grid: Any) -> tuple[Any, ...]:
    """The sizes of a grid that is no tuple: a number, of NumPy too, or something else to go through."""
    return (grid,) if hasattr(grid, "__index__") and not getattr(grid, "shape", ()) else tuple(grid)


def grid_sizes(grid: Any) -> Grid:
    """Three sizes of a grid; programs along x come first. TypeError for what is no integers, ValueError for other than
    one to three that are not negative."""
    try:
        given: tuple[Any, ...] = grid if grid.__class__ is tuple else _given(grid)
        count, x, y, z = len(given), 0, 1, 1
        if count == 1:
            (x,) = given
        elif count == 2:
            x, y = given
        elif count == 3:
            x, y, z = given
        if not x.__class__ is y.__class__ is z.__class__ is int:
            x, y, z = map(operator.index, (x, y, z))
        if 0 < count < 4 and x >= 0 and y >= 0 and z >= 0:
            return x, y, z
    except TypeError:
        raise TypeError(f"a grid is an integer or up to three of them, or a function that gives them, "
                        f"got {grid!r}: round up with rtriton.cdiv") from None
    raise ValueError(f"a grid has one to three sizes that are not negative, got {given}")


class Executable(Protocol):
    """A compiled kernel of one backend. `values` are addresses and numbers, `objects` the arguments as given; one that
    is `direct` may be launched with values alone, on whichever device is in use."""

    asm: dict[str, Any]

    @property
    def direct(self) -> bool: ...

    def launch(self, grid: Grid, values: Sequence[int | float], objects: Sequence[Any]) -> None: ...


class KernelMetadata(NamedTuple):
    """What a kernel was compiled to: `shared` in bytes per program, `hash` the name of its entry in the cache."""

    name: str
    hash: str
    target: GPUTarget
    backend: str
    shared: int
    num_warps: int
    num_stages: int
    num_ctas: int
    maxnreg: int | None
    debug: bool
    sanitize_overflow: bool
    enable_fp_fusion: bool
    launch_cooperative_grid: bool
    launch_pdl: bool
    ir_override: str | None
    ptx_options: str | None
    extern_libs: tuple[tuple[str, str], ...] | None
    arch: str | int | None
    enable_reflect_ftz: bool
    cluster_dims: tuple[int, int, int]


class LazyDict:
    """A launch as hooks see it: `get()` gives a dict, computing what was added with `add` only then."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.extras: list[tuple[Callable[..., dict[str, Any]], tuple[Any, ...]]] = []

    def add(self, func: Callable[..., dict[str, Any]], args: tuple[Any, ...]) -> None:
        self.extras.append((func, args))

    def get(self) -> dict[str, Any]:
        for func, args in self.extras:
            self.data = {**self.data, **func(*args)}
        self.extras.clear()
        return self.data


class CompiledKernel:
    """A compiled kernel. `.asm` has its stages as text, `.metadata` what it was compiled to, `.src` what from."""

    def __init__(self, name: str, asm: AsmDict, executable: Executable, metadata: KernelMetadata,
                 watched: list[Watch], src: ASTSource | IRSource, files: dict[str, str]) -> None:
        self.name, self.asm, self.executable, self.metadata, self.src = name, asm, executable, metadata, src
        self.backend, self.hash = metadata.backend, metadata.hash
        self.watched, self.metadata_group = watched, files
        self.packed_metadata = (metadata.num_warps, metadata.num_ctas, metadata.shared)
        self.module: Any = None
        self.launch: Callable[[Grid, Sequence[int | float], Sequence[Any]], None] = self._first_launch

    @cached_property
    def kernel(self) -> Kernel:
        """The optimised tile IR."""
        from rtriton.text import parse

        return self.asm.kernel or parse(self.asm["tir"])

    def load(self) -> None:
        """Load the code where it runs, unless that was done; tells the hooks of knobs.runtime before and after."""
        if self.module is not None:
            return
        hooks = knobs.runtime
        hooks.kernel_load_start_hook(self.module, None, self.name, self.metadata_group, self.hash)
        load = getattr(self.executable, "load", None)
        if load is not None:
            load()
        self.module = getattr(self.executable, "module", None) or self.executable
        self.launch = self.executable.launch
        hooks.kernel_load_end_hook(self.module, self.function, self.name, self.metadata_group, self.hash)

    _init_handles = load            # Triton's name, which programs call to read n_regs

    def _first_launch(self, grid: Grid, values: Sequence[int | float], objects: Sequence[Any]) -> None:
        self.load()
        self.executable.launch(grid, values, objects)

    @property
    def function(self) -> Any:
        """The loaded function: the driver's handle on a GPU, the executable elsewhere; None before it is loaded."""
        if self.module is None:
            return None
        return getattr(self.executable, "function", self.executable)

    @property
    def n_regs(self) -> int:
        """Registers of a thread; 0 where there is no GPU code."""
        return int(getattr(self.executable, "n_regs", 0))

    @property
    def n_spills(self) -> int:
        """Bytes of local memory of a thread."""
        return int(getattr(self.executable, "n_spills", 0))

    @property
    def n_max_threads(self) -> int:
        """The most threads that a program of these registers may have."""
        return int(getattr(self.executable, "n_max_threads", 1024))

    def launch_metadata(self, grid: Any, stream: Any, *args: Any) -> LazyDict:
        """The launch as hooks see it; `launch_metadata` of @jit adds to it."""
        self.load()
        made = LazyDict({"name": self.name, "function": self.function, "stream": stream})
        describe = getattr(getattr(self.src, "fn", None), "launch_metadata", None)
        if describe is not None:
            made.add(describe, (grid, self.metadata, dict(zip(self.src.names, args, strict=False))))
        return made

    def start(self, sizes: Grid, grid: Any, numbers: Sequence[int | float], objects: Sequence[Any],
              args: Sequence[Any]) -> None:
        """Launch, or have it recorded where a capture is under way; tell traces and hooks."""
        recording.announce(self.name, sizes, self.backend)
        recorder = recording.recording()
        if recorder is not None and self.backend != "cuda":
            if self.backend != "cpu":
                raise LaunchError(f"{self.name}: launches on the backend {self.backend!r} cannot be captured: "
                                  "capture on cpu or cuda")
            recorder.record(self.executable, sizes, numbers, objects)
        elif knobs.runtime.launch_enter_hook or knobs.runtime.launch_exit_hook:
            self.announced(sizes, grid, numbers, objects, args)
        else:
            self.launch(sizes, numbers, objects)

    def announced(self, sizes: Grid, grid: Any, numbers: Sequence[int | float], objects: Sequence[Any],
                  args: Sequence[Any]) -> None:
        """Launch, with the hooks of knobs.runtime told before and after."""
        stream = current_stream(self.backend)
        told = self.launch_metadata(grid, stream, *args)
        knobs.runtime.launch_enter_hook(told)
        self.launch(sizes, numbers, objects)
        knobs.runtime.launch_exit_hook(told)

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        """Launch over a grid with all of the kernel's arguments by position, constants too (they are not looked at)."""
        self.load()
        return functools.partial(self._run, grid)

    def _run(self, grid: Any, *args: Any, stream: Any = None) -> None:
        if stream is not None and self.backend not in ("cuda", "ptx"):
            raise ValueError(f"a stream has no meaning on {self.backend}: it is of a GPU")
        sizes = grid_sizes(grid)
        numbers, objects = self.src.run_time_arguments(args)
        with on_stream(stream):
            if knobs.runtime.launch_enter_hook or knobs.runtime.launch_exit_hook:
                self.announced(sizes, grid, numbers, objects, args)
            else:
                self.launch(sizes, numbers, objects)

    def run(self, grid_0: int, grid_1: int, grid_2: int, stream: Any, function: Any, packed_metadata: Any,
            launch_metadata: Any, launch_enter_hook: Any, launch_exit_hook: Any, *args: Any) -> None:
        """Launch as Triton's launchers do: with hooks given, on a stream given (None: the current one)."""
        self.load()
        numbers, objects = self.src.run_time_arguments(args)
        for hook in filter(None, [launch_enter_hook]):
            hook(launch_metadata)
        with on_stream(stream if self.backend in ("cuda", "ptx") else None):
            self.launch((grid_0, grid_1, grid_2), numbers, objects)
        for hook in filter(None, [launch_exit_hook]):
            hook(launch_metadata)


def current_stream(backend: str) -> int:
    """The stream that a launch goes to; 0 where there are none."""
    return current.stream() if backend in ("cuda", "ptx") else 0


class on_stream:
    """Launches inside go to this stream of the GPU; None leaves them where they were."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.before = stream, 0

    def __enter__(self) -> None:
        if self.stream:
            self.before = current.set_stream(int(self.stream))

    def __exit__(self, *_: object) -> None:
        if self.stream:
            current.set_stream(self.before)
