"""A compiled CPU kernel, and lists of launches.

    kernel = compile_cpu(tile_ir, CpuOptions())
    kernel.launch((64, 1, 1), [x.ctypes.data, y.ctypes.data, 1000])   # one number per parameter
    graph = LaunchList(); graph.record(kernel, grid, values); graph.replay()

Arguments are packed into one 8-byte slot each. A list keeps its packed arguments and records in two buffers and
replays them with a single native call.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rtriton import knobs
from rtriton.assembly import INLINE_ASSEMBLY
from rtriton.backend.cpu import emit, jit, pool, reports
from rtriton.backend.cpu.pool_ir import RECORD_SLOTS
from rtriton.backend.cpu.target import CpuTarget, host, named, runs_here
from rtriton.backend.slots import Slots
from rtriton.ir import Kernel, walk
from rtriton.passes import run_pipeline
from rtriton.types import Type

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class CpuOptions:
    """`target`: host, or (to look at assembly) x86-64, avx2, avx512, arm64."""

    target: str = "host"
    cache: bool = True


@dataclass
class CpuKernel:
    """Native code of one kernel. `.llvm` and `.asm_text` show it; `.launch` runs it on the worker pool."""

    name: str
    params: tuple[Type, ...]
    llvm: str
    target: CpuTarget
    arena_bytes: int
    number: int
    cache: bool = True
    code: jit.Code | None = None
    asm: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        self.asm = _Asm(self)
        self.slots = Slots.of(self.params)
        self.pack = struct.Struct("<" + self.slots.codes).pack
        self.pack_launch = struct.Struct("<8q" + self.slots.codes).pack_into
        self.address = self.link() if self.target is host() else 0

    @property
    def direct(self) -> bool:
        return True

    def link(self) -> int:
        """The address of the code; made now for a target named explicitly, which this machine must be able to run."""
        if self.code is None:
            if not runs_here(self.target):
                raise RuntimeError(
                    f"kernel {self.name} is compiled for {self.target.name}, which this machine cannot run"
                )
            folder = knobs.cache_dir() / "cpu" if self.cache else None
            self.code = jit.load(self.llvm, self.target, (emit.ENTRY,), folder)
        return self.code.address[emit.ENTRY]

    def packed(self, values: Sequence[int | float]) -> bytes:
        """One 8-byte slot per parameter."""
        if not self.slots.coded:
            try:
                return self.pack(*values)
            except (struct.error, OverflowError):    # numbers that are wider than their parameters
                pass
        return self.pack(*self.slots.fitted(values))

    def shape(self, grid: Grid, threads: int) -> tuple[int, ...]:
        """A launch record but for the address of its arguments, which comes second."""
        total = grid[0] * grid[1] * grid[2]
        return (self.address or self.link(), *grid, total, max(1, total // (threads * 8)), self.number)

    def launch(self, grid: Grid, values: Sequence[int | float], objects: Sequence[Any] = ()) -> None:
        """Run every program of the grid; returns when all have ended."""
        workers = pool.current()
        if self.arena_bytes > workers.arena_bytes:
            workers.reserve(self.arena_bytes)
        if self.slots.coded:
            values = self.slots.fitted(values)
        record = self.shape(grid, workers.threads)
        try:
            code = workers.launch_one(self.pack_launch, record, values)
        except (struct.error, OverflowError):        # numbers that are wider than their parameters
            code = workers.launch_one(self.pack_launch, record, self.slots.fitted(values))
        if code:
            raise reports.error(code)


class _Asm(dict[str, Any]):
    """The texts behind a kernel; assembly is made when first asked for."""

    later = ("asm",)

    def __init__(self, kernel: CpuKernel) -> None:
        super().__init__(llvm=kernel.llvm)
        self.kernel = kernel

    def __missing__(self, key: str) -> Any:
        if key != "asm":
            raise KeyError(key)
        self["asm"] = jit.assembly(self.kernel.llvm, self.kernel.target)
        return self["asm"]


class LaunchList:
    """Recorded launches, replayed in order by one native call; the CPU twin of a CUDA graph."""

    def __init__(self) -> None:
        self.launches: list[tuple[CpuKernel, Grid, bytes]] = []
        self.alive: list[Any] = []
        self._threads = 0
        self._records: np.ndarray[Any, Any] | None = None
        self._arguments: Any = None
        self._arena = 0

    def record(self, kernel: CpuKernel, grid: Grid, values: Sequence[int | float], objects: Sequence[Any] = ()) -> None:
        """Add a launch; the arrays in `objects` are kept alive."""
        self.launches.append((kernel, grid, kernel.packed(values)))
        self.alive.append(tuple(objects))
        self._records = None

    def _build(self) -> np.ndarray[Any, Any]:
        """Lay out arguments and records once; again when the number of threads has changed."""
        packed = b"".join(arguments for _, _, arguments in self.launches)
        self._arguments = ctypes.create_string_buffer(packed, max(1, len(packed)))
        threads = pool.current().threads
        at = ctypes.addressof(self._arguments)
        rows: list[tuple[int, ...]] = []
        for kernel, grid, arguments in self.launches:
            entry, *rest = kernel.shape(grid, threads)
            rows.append((entry, at, *rest))
            at += len(arguments)
        self._arena = max((k.arena_bytes for k, _, _ in self.launches), default=0)
        self._threads = threads
        return np.array(rows, np.uint64).reshape(-1, RECORD_SLOTS)

    def replay(self) -> None:
        """Run all launches; the exception of the first failed assertion, if any."""
        workers = pool.current()
        if self._records is None or self._threads != workers.threads:
            self._records = self._build()
        if self._arena > workers.arena_bytes:
            workers.reserve(self._arena)
        code = workers.launch(self._records.ctypes.data, len(self.launches))
        if code:
            raise reports.error(code)


def compile_cpu(kernel: Kernel, options: CpuOptions | None = None) -> CpuKernel:
    """Native code for a kernel in tile IR (target-free passes already run)."""
    options = options or CpuOptions()
    target = named(options.target)
    expanded = _without_assembly(kernel)
    tidy = ("canonicalize", "cse", "dce") if expanded is not kernel else ()
    kernel = run_pipeline(expanded, None, (*tidy, "vectorize", "fuse"))
    emitted = emit.emit(kernel, target)
    number = reports.register(kernel.name, emitted.messages)
    cached = options.cache and not knobs.always_compile()
    types = tuple(p.type for p in kernel.params)
    return CpuKernel(kernel.name, types, emitted.text, target, emitted.arena_bytes, number, cached)


def build_cpu(kernel: Kernel, stages: Any, options: Mapping[str, Any]) -> CpuKernel:
    """What rtriton.compile asks of a backend: compile, and record the stages."""
    compiled = compile_cpu(kernel)
    stages.text("llvm", "ll", compiled.llvm)
    return compiled


def _without_assembly(kernel: Kernel) -> Kernel:
    """What PTX means is imported where there is some: it takes longer than loading a compiled kernel does."""
    if not any(op.kind in INLINE_ASSEMBLY for op in walk(kernel.body)):
        return kernel
    from rtriton.backend.cpu.assembly import expand

    return expand(kernel)
