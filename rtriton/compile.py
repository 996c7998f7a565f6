"""From a kernel function to something that runs: source -> tile IR -> optimised -> native code or PTX.

    compiled = compile_kernel(fn, signature, constants, divisible, options, backend="cpu")
    compiled.launch(grid, values, objects)
    compiled.asm["tir"]     every stage as text, by name

RTRITON_DUMP=dir writes every stage, numbered in order; RTRITON_OVERRIDE=dir reads an edited one back.
"""
from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from rtriton import cache, knobs
from rtriton.ir import Kernel
from rtriton.source import KernelFunction
from rtriton.types import Type

Grid = tuple[int, int, int]


class Executable(Protocol):
    """A compiled kernel of one backend. `values` are addresses and numbers, `objects` the arguments as given."""

    asm: dict[str, Any]

    def launch(self, grid: Grid, values: Sequence[int | float], objects: Sequence[Any]) -> None: ...


@dataclass
class CompiledKernel:
    """What a launch runs, and everything one may want to look at."""

    name: str
    asm: _Asm
    executable: Executable
    backend: str
    metadata: dict[str, Any]
    watched: list[tuple[KernelFunction, str, Any]] = field(default_factory=list[Any])

    @cached_property
    def kernel(self) -> Kernel:
        """The optimised tile IR."""
        from rtriton.text import parse

        return self.asm.kernel or parse(self.asm["tir"])

    @property
    def launch(self) -> Callable[[Grid, Sequence[int | float], Sequence[Any]], None]:
        return self.executable.launch


class Stages:
    """Writes and overrides the stages of one compilation."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.number = itertools.count()
        self.asm: dict[str, Any] = {}
        self.folder, self.override = knobs.dump_dir(), knobs.override_dir()

    def text(self, stage: str, extension: str, text: str) -> str:
        """Record a stage's text; an edited file in the override folder takes its place."""
        file = f"{next(self.number):02d}-{stage}.{extension}"
        if self.override is not None and (edited := self.override / self.name / file).exists():
            text = edited.read_text()
        if self.folder is not None:
            write(self.folder / self.name / file, text)
        self.asm[stage] = text
        return text

    def pass_done(self, name: str, kernel: Kernel) -> None:
        """Dump what a pass made (counted even when nothing is dumped: numbers must not depend on that)."""
        number = next(self.number)
        if self.folder is not None:
            from rtriton.text import show

            write(self.folder / self.name / f"{number:02d}-{name}.tir", show(kernel))

    def kernel(self, stage: str, kernel: Kernel) -> Kernel:
        """Record tile IR; the printing is done only when someone looks."""
        if self.folder is None and self.override is None:
            next(self.number)
            return kernel
        from rtriton.text import parse, show

        before = show(kernel)
        after = self.text(stage, "tir", before)
        return kernel if after == before else parse(after)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_text(text)


def compile_kernel(fn: KernelFunction, signature: Mapping[str, Type], constants: Mapping[str, Any],
                   divisible: Mapping[str, int], options: Mapping[str, Any], backend: str) -> CompiledKernel:
    """`fn` for `backend` (interpret, cpu, emulate, cuda): from the disk cache, or lowered, optimised and built."""
    reach, key = _cache_key(fn, signature, constants, divisible, options, backend)
    metadata = {"name": fn.__name__, "backend": backend, **{k: v for k, v in options.items() if v is not None}}
    entry = cache.read(key) if key else None
    if entry is not None and reach is not None:
        executable = _stored(backend).restore(fn.__name__, entry["executable"])
        asm = _Asm({"source": fn.source.text, "tir": entry["tir"]}, None, executable.asm)
        return CompiledKernel(fn.__name__, asm, executable, backend, metadata, reach.watched())
    kernel, stages, watched = _optimised(fn, signature, constants, divisible, options)
    executable = _builder(backend)(kernel, stages, options)
    made = CompiledKernel(fn.__name__, _Asm(stages.asm, kernel, executable.asm), executable, backend, metadata, watched)
    if key and (kept := _stored(backend).save(kernel, executable)) is not None:
        cache.write(key, {"tir": made.asm["tir"], "executable": kept})
    return made


def _optimised(fn: KernelFunction, signature: Mapping[str, Type], constants: Mapping[str, Any],
               divisible: Mapping[str, int], options: Mapping[str, Any]) -> tuple[Kernel, Stages, cache.Watched]:
    from rtriton.frontend.lower import lower
    from rtriton.passes import run_pipeline

    stages = Stages(fn.__name__)
    stages.asm["source"] = fn.source.text
    lowered = lower(fn, signature, constants, divisible, **options)
    kernel = stages.kernel("frontend", lowered.kernel)
    kernel = run_pipeline(kernel, None, "tile", each=lambda name, _, after: stages.pass_done(name, after))
    watched = [(f, name, value) for (f, name), value in lowered.globals.items()]
    return stages.kernel("optimised", kernel), stages, watched


def _cache_key(fn: KernelFunction, signature: Mapping[str, Type], constants: Mapping[str, Any],
               divisible: Mapping[str, int], options: Mapping[str, Any],
               backend: str) -> tuple[cache.Reach | None, str]:
    """The entry's name, "" where the cache is not to be used."""
    if backend not in ("cpu", "cuda") or knobs.always_compile() or knobs.dump_dir() or knobs.override_dir():
        return None, ""
    try:
        reach, target = cache.Reach(fn), _stored(backend).target_key()
        return reach, cache.key_of(reach, fn.__name__, signature, constants, divisible, options, target)
    except cache.Uncacheable:
        return None, ""


def _stored(backend: str) -> Any:
    """How a backend keeps its executables: target_key(), save(), restore()."""
    return import_module(f"rtriton.backend.{backend}.stored")


class _Asm(dict[str, Any]):
    """The stages' texts. Some are made when first asked for: "tir" here, machine code by the backend."""

    def __init__(self, texts: dict[str, Any], kernel: Kernel | None, backend: Mapping[str, Any]) -> None:
        super().__init__({**texts, **backend})
        self.kernel, self.backend = kernel, backend

    def __missing__(self, key: str) -> Any:
        if key == "tir" and self.kernel is not None:
            from rtriton.text import show

            self[key] = show(self.kernel)
        else:
            try:
                self[key] = self.backend[key]
            except KeyError:
                known = ", ".join(dict.fromkeys([*self, "tir"]))
                raise KeyError(f"there is no stage {key!r}; there are {known}") from None
        return self[key]


def _builder(backend: str) -> Callable[[Kernel, Stages, Mapping[str, Any]], Executable]:
    if backend == "interpret":
        from rtriton.backend.interpreted import build_interpreted as build
    elif backend == "cpu":
        from rtriton.backend.cpu.launch import build_cpu as build
    elif backend == "emulate":
        from rtriton.backend.emulated import build_emulated as build
    elif backend == "cuda":
        from rtriton.backend.cuda.launch import build_cuda as build
    else:
        raise ValueError(f"there is no backend {backend!r}")
    return build
