"""Writes down what the compiler makes of every kernel: optimised tile IR, PTX, and a hash of the CPU's LLVM text.

    python -m tests.replay record OUT.json

Kernels are those that the cases of `ops` launch (with the block sizes of both tables), the tests' tutorial kernels and
those that exercise one structure each, and the benchmarks' kernels at their full sizes. Nothing runs: launches are
dropped, so that what later kernels of an op find in memory is zero. A kernel's name is its specialisation, so that it
is found again in another commit. Lines of the source and paths are left out: a moved line is no change.

This file imports nothing of tests/ but the kernels: `diff` runs it on other commits, which may not have it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

TARGET = "sm_90a"
CPU = "avx2"
Record = dict[str, dict[str, str]]


def main(out: str, only: str = "") -> None:
    """Record everything whose group or case has `only` in its name."""
    for name in [n for n in os.environ if n.startswith(("RTRITON_", "TRITON_"))]:
        if name != "RTRITON_CACHE_DIR":
            del os.environ[name]
    os.environ.update(RTRITON_BACKEND="emulate", RTRITON_TARGET=TARGET)
    found: Record = {}
    for group, record in GROUPS.items():
        with watched(found, group):
            record(found, lambda case, group=group: only in f"{group}: {case}")
    Path(out).write_text(json.dumps(found, indent=1, sort_keys=True))


@contextmanager
def watched(found: Record, group: str) -> Iterator[None]:
    """Every kernel that is compiled inside is recorded; launches do nothing."""
    from rtriton.backend.emulated import Emulated

    jit: Any = import_module("rtriton.jit")  # rtriton.jit itself is the decorator
    compile_unit, launch = jit.compile_unit, Emulated.launch

    def recording(unit: Any) -> Any:
        made = compile_unit(unit)
        executable = made.executable
        found[f"{group}: {specialisation(unit)}"] = stages(executable.kernel, executable.ptx)
        return made

    jit.compile_unit, Emulated.launch = recording, lambda self, *_: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        jit.compile_unit, Emulated.launch = compile_unit, launch  # type: ignore[method-assign]


def specialisation(unit: Any) -> str:
    """A kernel with all that it is compiled for."""
    from rtriton.types import show_type

    signature = [f"{name}={show_type(type)}{':16' if name in unit.divisible else ''}"
                 for name, type in unit.signature.items()]
    constants = [f"{name}={getattr(value, '__name__', value)}" for name, value in unit.constants.items()]
    options = [f"{name}={unit.options[name]}" for name in ("num_warps", "num_stages")]
    return f"{unit.source.name}({', '.join(signature)}; {', '.join(constants)}; {', '.join(options)})"


def stages(kernel: Any, ptx: str) -> dict[str, str]:
    """What is kept of one kernel."""
    from rtriton.text import show

    return {"tir": show(kernel, spans=False), "ptx": plain(ptx), "llvm": native(kernel)}


def plain(ptx: str) -> str:
    """PTX without what tells of the source: places, names of files, texts that hold them."""
    ptx = re.sub(r"^\s*\.(loc|file)\b.*\n", "", ptx, flags=re.MULTILINE)
    ptx = re.sub(r"^\.section \.debug_str\n\{.*?^\}\n", "", ptx, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^(\.global .* text_\d+)\[.*\n", r"\1\n", ptx, flags=re.MULTILINE)


def native(kernel: Any) -> str:
    """A hash of the LLVM text; what the CPU backend says where it has none."""
    from rtriton.backend.cpu.launch import CpuOptions, compile_cpu
    from rtriton.errors import RtritonError

    try:
        text = compile_cpu(kernel, CpuOptions(CPU, cache=False)).llvm
    except RtritonError as error:
        return f"none: {str(error).splitlines()[0]}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


Wanted = Callable[[str], bool]


def of_ops(found: Record, wanted: Wanted) -> None:
    """Every case of every op, with the block sizes for CPUs and for GPUs."""
    import numpy as np

    import ops
    from ops.device import tuned_for

    for case in ops.ALL:
        if not case.large and wanted(str(case)):
            for table in ("cuda", "cpu"):
                with tuned_for(table):
                    inputs = case.make(np.random.default_rng(0))
                    attempted(found, f"ops: {case}", lambda run=case.run, inputs=inputs: run(**inputs))


def of_tutorials(found: Record, wanted: Wanted) -> None:
    """The tutorial kernels of the tests, for two architectures."""
    from rtriton.backend.ptx.emit import lower_to_ptx
    from rtriton.passes import run_pipeline
    from rtriton.target import Target
    from tests.kernels.examples import EXAMPLES

    for make in EXAMPLES:
        example = make()
        if wanted(example.name):
            kernel = run_pipeline(example.kernel, None, "tile")
            for target in ("sm_80", TARGET):
                ptx = str(lower_to_ptx(kernel, Target.of(target)))
                found[f"tutorials: {example.name}, {target}"] = stages(kernel, ptx)


def of_structures(found: Record, wanted: Wanted) -> None:
    """The kernels that the CPU backend's tests have for one structure each, as code for a GPU too."""
    from rtriton.jit import JITFunction, MockTensor
    from rtriton.types import float32, int32
    from tests.backend.cpu import kernels

    numbers, whole = {"n": 100, "step": 3}, ("index", "lock", "counts", "where")
    for name, kernel in vars(kernels).items():
        if isinstance(kernel, JITFunction) and wanted(name):
            element = int32 if name in ("histogram_kernel", "collatz", "atomics") else float32
            given = {p.name: numbers.get(p.name, MockTensor(int32 if p.name in whole else element))
                     for p in kernel.params if not p.is_constexpr}
            given |= {p.name: 0 if p.name == "AXIS" else 16 for p in kernel.params if p.is_constexpr}
            attempted(found, f"structures: {name}", lambda k=kernel, g=given: k.warmup(**g, grid=(1,)))


def attempted(found: Record, name: str, compile: Callable[[], Any]) -> None:
    """Compile; a kernel that this commit refuses is recorded with what is said."""
    from rtriton.errors import RtritonError

    try:
        compile()
    except RtritonError as error:
        found[name] = dict.fromkeys(("tir", "ptx", "llvm"), f"refused: {getattr(error, 'message', error)}")


def of_benchmarks(found: Record, wanted: Wanted) -> None:
    """The kernels that are timed beside Triton, at the sizes at which they are."""
    try:
        from benchmarks import kernel_sources
        from benchmarks.kernel_rows import GROUPS as ROWS, In, Out
    except ImportError:
        return  # a commit before there were any
    from rtriton.jit import MockTensor
    from rtriton.types import BY_NAME, BY_SHORT

    for row in (row for rows in ROWS.values() for row in rows if wanted(row.label)):
        arguments = [MockTensor(BY_NAME.get(a.dtype) or BY_SHORT[a.dtype]) if isinstance(a, (In, Out)) else a
                     for a in row.arguments]
        kernel = getattr(kernel_sources, row.kernel)
        options = {"grid": row.grid, "num_warps": row.warps, "num_stages": row.stages, **row.constants}
        attempted(found, f"benchmarks: {row.label}", lambda k=kernel, a=arguments, o=options: k.warmup(*a, **o))


GROUPS: dict[str, Callable[[Record, Wanted], None]] = {
    "ops": of_ops, "tutorials": of_tutorials, "structures": of_structures, "benchmarks": of_benchmarks,
}  # fmt: skip

if __name__ == "__main__":
    main(*sys.argv[1:])
