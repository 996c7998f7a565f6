"""What both compilers make of each row, without a GPU: resources, and instructions of the machine code by class.

The counts are of instructions in the code, not of instructions run. Both sides are assembled for sm_90a by ptxas: ours
by the one that rtriton finds, Triton's by the one in its package; the disassembler is that of Triton's package. On a
GPU the driver's linker assembles ours, and hands out more registers (as `ptxas -c` does), up to the cap that
rtriton/backend/ptx/occupancy.py sets.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import kernel_sources
from benchmarks.kernel_rows import In, Out, Row
from benchmarks.twins import triton_twin

SOURCES = Path(kernel_sources.__file__)

# The first pattern that an opcode begins with names its class.
CLASSES = (
    ("LDGSTS", "LDGSTS"), ("LDG", r"LDG\b"), ("STG", r"STG\b"), ("LDSM", "LDSM"), ("STSM", "STSM"),
    ("LDS", r"LDS\b"), ("STS", r"STS\b"), ("LDL", "LDL"), ("STL", "STL"), ("SHFL", "SHFL"), ("BAR", r"BAR|WARPSYNC"),
    ("ATOM", "ATOM|RED"), ("MUFU", "MUFU"), ("CVT", r"F2F|F2I|I2F|F2FP|F2IP|FRND|I2I|I2FP|HADD2\.F32"),
    ("FP", r"FADD|FMUL|FFMA|FMNMX|FSEL|FSETP|FSET|FCHK|HADD2|HMUL2|HFMA2|HMNMX2|HSETP2|DADD|DMUL|DFMA"),
    ("BRA", "BRA|BSSY|BSYNC|EXIT|CALL|RET|WARPSYNC"), ("NOP", "NOP"),
)  # fmt: skip


@dataclass(frozen=True)
class Code:
    """One compiled kernel: registers a thread, bytes spilled a thread, shared bytes, and counts by class."""

    registers: int
    spills: int
    shared: int
    total: int
    counts: dict[str, int]


@cache
def tool(name: str) -> str:
    """A program of the CUDA toolkit in Triton's package."""
    import triton

    return str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name)


def run(name: str, *arguments: str) -> str:
    return subprocess.run([tool(name), *arguments], capture_output=True, text=True, check=True, timeout=120).stdout


def classify(sass: str) -> tuple[int, dict[str, int]]:
    """Instructions in all but padding, and how many of each class; loads and stores are told apart by width in bits."""
    found: Counter[str] = Counter()
    for line in sass.splitlines():
        match = re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", line)
        if match is None:
            continue
        opcode = match[1]
        name = next((name for name, pattern in CLASSES if re.match(pattern, opcode)), "INT")
        if name in ("LDG", "STG", "LDS", "STS", "LDGSTS"):
            width = re.search(r"\.(128|64|U?8|S8|U?16|S16)\b", opcode)
            name += "." + (width[1].strip("US") if width else "32")
        found[name] += 1
    padding = found.pop("NOP", 0)
    return sum(found.values()), {"NOP": padding, **dict(sorted(found.items()))}


def describe(cubin: bytes, shared: int) -> Code:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = run("cuobjdump", "-res-usage", file.name)
        total, counts = classify(run("cuobjdump", "-sass", file.name))
    registers = max(int(n) for n in re.findall(r"REG:(\d+)", usage))
    spills = max(int(n) for n in re.findall(r"STACK:(\d+)", usage))
    return Code(registers, spills, shared, total, counts)


def signature(row: Row, function: Any) -> tuple[dict[str, str], dict[tuple[int, ...], Any]]:
    """Types by parameter (constants last) and what is known of the arguments: what a launch of the row would give."""
    names = function.arg_names
    types: dict[str, str] = {}
    attributes: dict[tuple[int, ...], Any] = {}
    for i, (name, value) in enumerate(zip(names, row.arguments, strict=False)):
        array = isinstance(value, (In, Out))
        types[name] = "*" + value.dtype if array else "fp32" if isinstance(value, float) else "i32"
        if array or (isinstance(value, int) and value % 16 == 0):
            attributes[(i,)] = [["tt.divisibility", 16]]
    return {**types, **dict.fromkeys(row.constants, "constexpr")}, attributes


def options(row: Row) -> dict[str, int]:
    return {"num_warps": row.warps, "num_stages": row.stages}


def ours(row: Row, sources: Any = kernel_sources) -> Any:
    """rtriton's compiled kernel for sm_90."""
    from rtriton import compile
    from rtriton.ahead import ASTSource
    from rtriton.devices import GPUTarget

    function = getattr(sources, row.kernel)
    types, attributes = signature(row, function)
    source = ASTSource(function, types, row.constants, attributes)
    return compile(source, target=GPUTarget("cuda", 90, 32), options=options(row))


def theirs(row: Row) -> Any:
    """Triton's."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = getattr(triton_twin(SOURCES), row.kernel)
    types, attributes = signature(row, function)
    constants = {(function.arg_names.index(name),): value for name, value in row.constants.items()}
    return triton.compile(ASTSource(function, types, constants, attributes), target=GPUTarget("cuda", 90, 32),
                          options=options(row))


def table(rows: list[Row], sides: dict[str, Any]) -> list[dict[str, Any]]:
    """Print what each side makes of each row; the same as data."""
    made: list[dict[str, Any]] = []
    for row in rows:
        codes = {side: _code(compile, row) for side, compile in sides.items()}
        print(f"\n{row.label}, {row.warps} warps")
        print_codes(codes)
        made.append({"row": row.label, **{side: asdict(c) if isinstance(c, Code) else c for side, c in codes.items()}})
    return made


def _code(compile: Any, row: Row) -> Code | str:
    try:
        compiled = compile(row)
        return describe(compiled.asm["cubin"], compiled.metadata.shared)
    except Exception as error:  # noqa: BLE001 (one row that fails leaves the others to look at)
        return f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"


def print_codes(codes: dict[str, Code | str]) -> None:
    names = dict.fromkeys(n for c in codes.values() if isinstance(c, Code) for n in sorted(c.counts) if n != "NOP")
    head = ["registers", "spills", "shared", "total", *sorted(names)]
    print(" " * 9 + "".join(f"{h:>{max(len(h), 5) + 1}}" for h in head))
    for side, code in codes.items():
        if isinstance(code, str):
            print(f"{side:9}{code}")
            continue
        values = [code.registers, code.spills, code.shared, code.total, *(code.counts.get(n, 0) for n in head[4:])]
        print(f"{side:9}" + "".join(f"{v or '-':>{max(len(h), 5) + 1}}" for h, v in zip(head, values, strict=True)))
