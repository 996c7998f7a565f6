"""From a kernel to something that runs: source -> tile IR -> optimised -> native code or PTX.

    compiled = compile_unit(Unit(source, arguments, options, backend="cpu"))
    compiled.launch(grid, values, objects)
    compiled.asm["tir"]     every stage as text, by name

RTRITON_DUMP=dir writes every stage, numbered in order; RTRITON_OVERRIDE=dir reads an edited one back.
"""
from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rtriton import cache, knobs
from rtriton.arguments import Argument, parts_of
from rtriton.compiled import AsmDict, CompiledKernel, Executable, Grid, KernelMetadata
from rtriton.guards import is_tuple
from rtriton.ir import Kernel
from rtriton.options import DEFAULTS, check_for, kernel_attributes, need_clusters, wants_clusters
from rtriton.reach import Reach, Uncacheable, Watch, digest
from rtriton.source import KernelFunction
from rtriton.devices import CPU, GPUTarget, active
from rtriton.target import target_of
from rtriton.types import Pointer, Type

if TYPE_CHECKING:
    from rtriton.ahead import ASTSource, IRSource
    from rtriton.passes.check_bounds import Checked

__all__ = ["AsmDict", "CompiledKernel", "Grid", "Stages", "Unit", "compile_unit"]


@dataclass
class Unit:
    """One thing to compile: a source, how its arguments specialise (None: it says itself), options, and for what."""

    source: ASTSource | IRSource
    arguments: Sequence[Argument] | None
    options: dict[str, Any]
    backend: str
    target: GPUTarget | None = None
    signature: dict[str, Type] = field(default_factory=dict[str, Type])
    constants: dict[str, Any] = field(default_factory=dict[str, Any])
    divisible: dict[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        if self.arguments is None:
            return
        run_time: dict[str, Argument] = {}
        for param, argument in zip(self.fn.params, self.arguments, strict=True):
            found, template = parts_of(argument, param.name)
            run_time.update(found)
            if param.name not in found:
                self.constants[param.name] = template
        self.signature = {name: _type(a.key) for name, a in run_time.items()}
        self.divisible = {name: 16 for name, a in run_time.items() if a.divisible}

    @property
    def fn(self) -> KernelFunction:
        """The kernel function, of a source that has one."""
        return cast("ASTSource", self.source).fn

    def gpu_target(self) -> str:
        """The architecture that PTX is made for, where the machine at hand does not say."""
        if self.options["arch"] is not None:
            return target_of(self.options["arch"]).sm
        return target_of(self.target.arch).sm if self.target is not None else knobs.target()


def _type(key: Any) -> Type:
    return Pointer(key[1], const=key[0] == "*k") if is_tuple(key) else key


class Stages:
    """Writes and overrides the stages of one compilation."""

    def __init__(self, name: str, replaced: str | None = None, target: str = "") -> None:
        self.name, self.target = name, target
        self.number = itertools.count()
        self.asm: dict[str, Any] = {}
        self.replaced = Path(replaced) if replaced else None    # the option ir_override
        self.folder, self.override = knobs.dump_dir(), knobs.override_dir()

    def text(self, stage: str, extension: str, text: str) -> str:
        """Record a stage's text; an edited file in the override folder takes its place."""
        file = f"{next(self.number):02d}-{stage}.{extension}"
        if self.override is not None and (edited := self.override / self.name / file).exists():
            text = edited.read_text()
        elif self.replaced is not None and self.replaced.suffix == "." + stage:
            text = self.replaced.read_text()
        if self.folder is not None:
            write(self.folder / self.name / file, text)
        self.asm[stage] = text
        return text

    def pass_done(self, name: str, _: Kernel, kernel: Kernel) -> None:
        """Dump what a pass made of a kernel (counted even when nothing is dumped: numbers must not depend on that)."""
        number = next(self.number)
        if self.folder is not None:
            from rtriton.text import show

            write(self.folder / self.name / f"{number:02d}-{name}.tir", show(kernel))

    def kernel(self, stage: str, kernel: Kernel) -> Kernel:
        """Record tile IR; the printing is done only when someone looks."""
        if stage == "optimised" and self.replaced is not None and self.replaced.suffix == ".tir":
            from rtriton.text import parse

            kernel = parse(self.replaced.read_text())
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


class Clock:
    """Where the time of a compilation goes, in microseconds."""

    def __init__(self) -> None:
        self.last = time.perf_counter_ns()

    def lap(self) -> int:
        """Since the last lap; at least 1."""
        now = time.perf_counter_ns()
        spent, self.last = (now - self.last) // 1000, now
        return max(1, spent)


def compile_unit(unit: Unit) -> CompiledKernel:
    """The kernel for a backend (interpret, cpu, emulate, cuda; ptx: code for a GPU that need not be here): from the
    disk cache, or lowered, optimised and built."""
    check_for(unit.backend, unit.options)
    if wants_clusters(unit.options):
        need_clusters(unit.options, _target(unit))
    cache.refuse_managers()
    clock = Clock()
    reach, key = _cache_key(unit)
    entry = cache.read(key) if key else None
    if entry is not None and reach is not None:
        found = _restored(unit, entry, reach, key)
        _tell(found, [], clock.lap(), 0, hit=True)
        return found
    kernel, stages, watched = _front(unit, reach)
    first = clock.lap()
    spent: list[tuple[str, int]] = []
    steps = _steps(unit, stages)
    made: Any = kernel
    for name, step in steps.items():
        kernel = made if isinstance(made, Kernel) else kernel
        made = step(made, unit.options)
        spent.append((name, clock.lap()))
    asm = AsmDict(stages.asm, kernel, made.asm)
    name = key or digest([unit.source.name, unit.backend, str(unit.options), asm["tir"] if kernel else str(stages.asm)])
    compiled = CompiledKernel(unit.source.name, asm, made, _metadata(unit, made, name), watched, unit.source,
                              _files(unit, key))
    if key and (kept := _stored(unit.backend).save(kernel, made)) is not None:
        cache.write(key, {"tir": asm["tir"], "executable": kept})
    _tell(compiled, spent, first, clock.lap(), hit=False)
    return compiled


def _front(unit: Unit, reach: Reach | None) -> tuple[Any, Stages, list[Watch]]:
    """Tile IR as the front end makes it (or as a file holds it; for a file of PTX nothing)."""
    stages = Stages(unit.source.name, unit.options["ir_override"], unit.gpu_target() if unit.backend == "ptx" else "")
    if unit.arguments is None:
        read = cast("IRSource", unit.source)
        stages.asm[read.ext] = read.text
        return read.kernel, stages, []
    from rtriton.frontend.lower import lower

    stages.asm["source"] = unit.fn.source.text
    lowered = lower(unit.fn, unit.signature, unit.constants, unit.divisible, _target(unit),
                    **kernel_attributes(unit.options))
    kernel = lowered.kernel if unit.source.name == unit.fn.__name__ else replace(lowered.kernel, name=unit.source.name)
    return stages.kernel("frontend", kernel), stages, (reach or Reach(unit.fn)).watched()


def _steps(unit: Unit, stages: Stages) -> dict[str, Callable[[Any, Mapping[str, Any]], Any]]:
    """What is done to tile IR, by name and in order; the last step gives the executable. The hook
    knobs.runtime.add_stages_inspection_hook may put others in their place."""
    from rtriton.passes import run_pipeline

    checked: Checked | None = None

    def optimise(kernel: Kernel, _: Mapping[str, Any]) -> Kernel:
        nonlocal checked
        if _checks_bounds(unit):
            from rtriton.passes.check_bounds import checked as with_checks

            checked = with_checks(kernel)
            stages.pass_done("check_bounds", kernel, checked.kernel)
            kernel = checked.kernel
        made = run_pipeline(kernel, None, "tile", each=stages.pass_done)
        return stages.kernel("optimised", made)

    def build(kernel: Kernel, options: Mapping[str, Any]) -> Executable:
        made = _builder(unit.backend)(kernel, stages, options)
        if checked is None or not checked.accesses:
            return made
        from rtriton.checked import CheckedExecutable

        return CheckedExecutable(unit.source.name, made, checked, unit.backend == "cuda")

    def assembled(_: None, options: Mapping[str, Any]) -> Executable:
        from rtriton.backend.ptx.ahead import from_text

        return from_text(unit.source, stages.target, options)

    if unit.source.ext == "ptx":
        return {"ptx": assembled}
    steps: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {"tir": optimise, unit.backend: build}
    inspect = knobs.runtime.add_stages_inspection_hook
    if inspect is not None:
        inspect(unit, steps, unit.options, "triton", _target(unit).arch)
    return steps


def _checks_bounds(unit: Unit) -> bool:
    """Are accesses checked (RTRITON_CHECK=bounds)? Code for machines that are not here is launched by others."""
    return unit.backend != "ptx" and "bounds" in knobs.checks()


def _restored(unit: Unit, entry: Mapping[str, Any], reach: Reach, key: str) -> CompiledKernel:
    executable = _stored(unit.backend).restore(unit.source.name, entry["executable"])
    asm = AsmDict({"source": unit.fn.source.text, "tir": entry["tir"]}, None, executable.asm)
    return CompiledKernel(unit.source.name, asm, executable, _metadata(unit, executable, key), reach.watched(),
                          unit.source, _files(unit, key))


def _files(unit: Unit, key: str) -> dict[str, str]:
    """The files that hold a compiled kernel, by a name each."""
    return {f"{unit.source.name}.json": str(cache.path_of(key))} if key else {}


def _target(unit: Unit) -> GPUTarget:
    if unit.target is not None:
        return unit.target
    if unit.backend in ("ptx", "emulate") or (unit.backend == "cuda" and unit.options["arch"] is not None):
        return GPUTarget("cuda", target_of(unit.gpu_target()).number, 32)
    return active.get_current_target() if unit.backend == "cuda" else CPU


def _metadata(unit: Unit, made: Any, key: str) -> KernelMetadata:
    return KernelMetadata(unit.source.name, key, _target(unit), unit.backend, int(getattr(made, "shared_bytes", 0)),
                          **{name: unit.options[name] for name in DEFAULTS})


def _tell(made: CompiledKernel, stages: list[tuple[str, int]], first: int, kept: int, hit: bool) -> None:
    """Tell knobs.compilation.listener of a compilation."""
    listener = knobs.compilation.listener
    if listener is not None:
        listener(src=made.src, metadata=made.metadata._asdict(), metadata_group=made.metadata_group,
                 times=knobs.CompileTimes(first, stages, kept), cache_hit=hit)


def _cache_key(unit: Unit) -> tuple[Reach | None, str]:
    """What the kernel reaches, and its entry's name: "" where the cache is not to be used."""
    if unit.arguments is None:
        return None, ""
    reach = Reach(unit.fn)
    for value in unit.constants.values():
        reach.include(value)
    if unit.backend not in ("cpu", "cuda", "ptx") or knobs.always_compile() or knobs.dump_dir() or knobs.override_dir():
        return reach, ""
    if unit.options["ir_override"] is not None or _checks_bounds(unit):
        return reach, ""
    inspect = knobs.runtime.add_stages_inspection_hook
    try:
        target = unit.gpu_target() if unit.backend == "ptx" else _stored(unit.backend).target_key()
        target += "" if inspect is None else str(inspect())
        options = {**unit.options, "backend": unit.backend}
        return reach, cache.key_of(reach, unit.source.name, unit.signature, unit.constants, unit.divisible, options,
                                   target)
    except Uncacheable:
        return reach, ""


def _stored(backend: str) -> Any:
    """How a backend keeps its executables: target_key(), save(), restore()."""
    return import_module(f"rtriton.backend.{backend}.stored")


def _builder(backend: str) -> Callable[[Kernel, Stages, Mapping[str, Any]], Executable]:
    if backend == "interpret":
        from rtriton.backend.interpreted import build_interpreted as build
    elif backend == "cpu":
        from rtriton.backend.cpu.launch import build_cpu as build
    elif backend == "emulate":
        from rtriton.backend.emulated import build_emulated as build
    elif backend == "cuda":
        from rtriton.backend.cuda.launch import build_cuda as build
    elif backend == "ptx":
        from rtriton.backend.ptx.ahead import build_ahead as build
    else:
        raise ValueError(f"there is no backend {backend!r}")
    return build
