"""Cold compile time beside Triton, and how long a process takes to its first kernel.

    python -m benchmarks.compile [--rounds 9] [--json benchmarks/results/compile.json]

First part: four kernels of tests/kernels/tutorials.py from Python source to PTX for sm_90, without ptxas, by rtriton
and by Triton from the same text (only the two import lines differ), in one process. Rounds alternate between the two;
before each of ours everything that rtriton remembers of earlier compilations is forgotten: parsed functions, memoised
results. The grammar's tables stay loaded, as Triton's library does. Times are medians: processor time of the process,
which a busy machine moves less, and time on the clock. Neither side hashes sources or touches a cache.
Second part: fresh processes, medians: `import rtriton` beside `import numpy`, and a first launch on the CPU with empty
and filled cache folder; Python's bytecode is there, as after an installation. Needs Triton 3.6; no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.twins import triton_twin
from tests.kernels import tutorials


@dataclass(frozen=True)
class Case:
    """A kernel's signature by leading parameters, the constants of the others, and launch options."""

    kernel: str
    types: tuple[str, ...]
    constants: tuple[Any, ...]
    num_warps: int
    num_stages: int


def case(kernel: str, types: str, *constants: Any, warps: int = 4, stages: int = 3) -> Case:
    return Case(kernel, tuple(types.split()), constants, warps, stages)


CASES = {
    "softmax": case("softmax_kernel", "*fp32 *fp32 i32 i32 i32 i32", 1024, 2, warps=8),
    "layer norm": case("layer_norm_forward_kernel", "*fp16 " * 4 + "*fp32 *fp32 i32 i32 fp32", 1024),
    "matmul": case("matmul_kernel", "*fp16 " * 3 + "i32 " * 9, 128, 128, 32, 8, "leaky_relu"),
    "attention": case("attention_kernel", "*fp16 " * 4 + "fp32 i32 i32 i32", True, 64, 64, 64),
}


@dataclass
class Row:
    """Medians in ms, and the instructions of the PTX."""

    name: str
    ours_cpu_ms: float
    theirs_cpu_ms: float
    ours_ms: float
    theirs_ms: float
    ours_lines: int
    theirs_lines: int

    @property
    def ratio(self) -> float:
        return self.ours_cpu_ms / self.theirs_cpu_ms


def to_ptx(fn: Any, types: Mapping[str, str], constants: Mapping[str, Any], divisible: Iterable[str], num_warps: int,
           num_stages: int) -> Callable[[], str]:
    """One compilation by rtriton, from source to PTX: the types of run-time parameters, values of the others, and which
    of the former are multiples of 16."""
    from rtriton.backend.ptx.emit import lower_to_ptx
    from rtriton.frontend.lower import lower
    from rtriton.passes import run_pipeline
    from rtriton.signature import str_to_ty
    from rtriton.target import Target

    found = {name: str_to_ty(type) for name, type in types.items()}
    known = dict.fromkeys(divisible, 16)
    target = Target.of("sm_90")

    def compile() -> str:
        lowered = lower(fn, found, constants, known, num_warps=num_warps, num_stages=num_stages)
        tile = run_pipeline(lowered.kernel, None, "tile")
        return str(lower_to_ptx(tile, target))

    return compile


def ours(case: Case) -> Callable[[], str]:
    """One compilation by rtriton; its PTX."""
    fn: Any = getattr(tutorials, case.kernel)
    types = dict(zip(fn.arg_names, case.types, strict=False))
    constants = dict(zip(fn.arg_names[len(types) :], case.constants, strict=True))
    divisible = [name for name, type in types.items() if type != "fp32"]
    return to_ptx(fn, types, constants, divisible, case.num_warps, case.num_stages)


def theirs(case: Case, kernels: ModuleType) -> Callable[[], str]:
    """One compilation by Triton, its stages up to PTX; the PTX."""
    from triton._C.libtriton import ir
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, make_backend

    fn = getattr(kernels, case.kernel)
    names = fn.arg_names
    signature = {n: case.types[i] if i < len(case.types) else "constexpr" for i, n in enumerate(names)}
    constants = {(i + len(case.types),): c for i, c in enumerate(case.constants)}
    divisible = {(i,): [["tt.divisibility", 16]] for i, t in enumerate(case.types) if t != "fp32"}
    target = GPUTarget("cuda", 90, 32)

    def compile() -> str:
        source = ASTSource(fn, signature, constants, divisible)
        backend = make_backend(target)
        options = backend.parse_options({"num_warps": case.num_warps, "num_stages": case.num_stages})
        stages: dict[str, Callable[[Any, Any], Any]] = {}
        backend.add_stages(stages, options, source.language)
        context = ir.context()
        ir.load_dialects(context)
        backend.load_dialects(context)
        metadata = {"target": target, **options.__dict__}
        functions, modules = backend.get_codegen_implementation(options), backend.get_module_map()
        module = source.make_ir(target, options, functions, modules, context)
        for stage in ("ttir", "ttgir", "llir", "ptx"):
            module = stages[stage](module, metadata)
        return module

    return compile


def forget() -> None:
    """Empty what rtriton remembers of compilations, but for the grammar's tables."""
    from rtriton.frontend import parse

    for name, module in list(sys.modules.items()):
        if not name.startswith("rtriton"):
            continue
        for value in list(vars(module).values()):
            if hasattr(value, "cache_clear") and value is not parse._parser:
                value.cache_clear()


def timed(compile: Callable[[], str]) -> tuple[float, float, str]:
    """Processor and clock milliseconds of one call, and what it gave."""
    cpu, clock = time.process_time(), time.perf_counter()
    ptx = compile()
    return 1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - clock), ptx


def instructions(ptx: str) -> int:
    return sum(line.rstrip().endswith(";") and not line.lstrip().startswith(".") for line in ptx.splitlines())


def compare(name: str, case: Case, kernels: ModuleType, rounds: int) -> Row:
    mine, other = ours(case), theirs(case, kernels)
    mine()
    other()
    times: list[tuple[float, float, float, float]] = []
    texts = ("", "")
    for _ in range(rounds):
        forget()
        cpu, clock, ptx = timed(mine)
        their_cpu, their_clock, their_ptx = timed(other)
        times.append((cpu, their_cpu, clock, their_clock))
        texts = ptx, their_ptx
    medians = (statistics.median(t) for t in zip(*times, strict=True))
    return Row(name, *medians, *map(instructions, texts))


IMPORT = "import {module}"
FIRST_LAUNCH = """
import numpy as np, rtriton
from tests.kernels.tutorials import add_kernel
x = np.arange(1000, dtype=np.float32); out = np.zeros_like(x)
add_kernel[(8,)](x, x, out, 1000, BLOCK=128)
assert (out == 2 * x).all()
"""


def process(code: str, folder: Path, bytecode: Path) -> tuple[float, float]:
    """Processor and clock seconds of a fresh process, from start to end."""
    environment = {**os.environ, "RTRITON_CACHE_DIR": str(folder), "RTRITON_BACKEND": "cpu", "RTRITON_INTERPRET": "",
                   "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(bytecode)}  # fmt: skip
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    clock, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, clock


def start_up(rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds of processes: imports, and a first kernel with a cold and a warm cache."""
    with tempfile.TemporaryDirectory() as kept:
        warm, bytecode = Path(kept) / "cache", Path(kept) / "bytecode"
        process(FIRST_LAUNCH, warm, bytecode)
        codes: dict[str, tuple[str, Path | None]] = {
            "import numpy": ("import numpy", warm), "import rtriton": ("import numpy, rtriton", warm),
            "first launch, cold": (FIRST_LAUNCH, None), "first launch, warm": (FIRST_LAUNCH, warm),
        }  # fmt: skip
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in codes}
        for _ in range(rounds):
            for name, (code, folder) in codes.items():
                with tempfile.TemporaryDirectory() as empty:
                    times[name].append(process(code, folder or Path(empty), bytecode))
    return {name: {"cpu_s": statistics.median(c for c, _ in t), "s": statistics.median(w for _, w in t)}
            for name, t in times.items()}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    import triton

    result: dict[str, Any] = {"machine": platform.machine(), "python": platform.python_version(),
                              "triton": triton.__version__, "numpy": np.__version__, "target": "sm_90"}  # fmt: skip
    kernels = triton_twin(Path(tutorials.__file__))
    rows = [compare(name, case, kernels, given.rounds) for name, case in CASES.items()]
    for row in rows:
        print(f"{row.name:12} {row.ours_cpu_ms:6.1f} ms, Triton {row.theirs_cpu_ms:6.1f} ({row.ratio:.2f}); clock "
              f"{row.ours_ms:6.1f} and {row.theirs_ms:6.1f}; {row.ours_lines} and {row.theirs_lines} instructions")
    result["rows"] = [asdict(row) for row in rows]
    result["start_up"] = start_up(given.rounds)
    for name, times in result["start_up"].items():
        print(f"{name:20} {times['cpu_s']:.3f} s of processor, {times['s']:.3f} s on the clock")
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
