"""What `rtriton explain` says of accesses to memory, beside what the hardware counts (Nsight Compute):

    python -m tests.gpu.explain_counters          # needs a GPU and ncu; status 1 where something was said wrongly

For each kernel the width of every access to global memory and the sectors that a request of a warp touches are read off
ncu's counters by instruction, and must be those that explain gives; where explain says that there are no bank conflicts
ncu must count none in excess. Masks are true everywhere, as explain takes them to be.
"""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rtriton.explain import kernels
from rtriton.explain.build import build
from rtriton.explain.report import Report, explain
from rtriton.target import Target

FILE = Path(__file__).parents[1] / "explain" / "kernels.py"
NCU = "/usr/local/cuda/bin/ncu"
PROGRAMS = 16


class Case(NamedTuple):
    kernel: str
    signature: str
    launch: Callable[[Any], None]


def array(n: int, half: bool = False) -> Any:
    import torch

    return torch.rand(n, device="cuda", dtype=torch.float16 if half else torch.float32)


def _rows(fn: Any, width: int) -> None:
    fn[(PROGRAMS,)](array(1 << 15), array(1 << 15), width, BLOCK=1024)


def _products(fn: Any) -> None:
    a, b = array(1 << 17, half=True), array(1 << 17, half=True)
    fn[(1,)](array(1 << 12), a, b, 8, 512, B=64, TURNS=8, STEP=True)


CASES = {
    "wide rows": Case("rows", "width=i32:16", lambda fn: _rows(fn, 1024)),
    "rows of 1025": Case("rows", "", lambda fn: _rows(fn, 1025)),
    "every 33rd": Case("strided", "out=*f32,x=*f32,step=i32,BLOCK=1024",
                       lambda fn: fn[(1,)](array(1024), array(1 << 16), 33, BLOCK=1024)),
    "transposed": Case("transposed", "out=*f32,x=*f32,stride=i32:16,M=64,N=64",
                       lambda fn: fn[(1,)](array(1 << 12), array(1 << 18), 1024, M=64, N=64)),
    "products": Case("products", "out=*f32,a=*f16,b=*f16,turns=i32,a_step=i32:16,B=64,TURNS=8,STEP=True", _products),
}  # fmt: skip


def said(case: Case) -> Report:
    found = kernels.kernels_of(kernels.load(FILE))[case.kernel]
    signature = kernels.signature_of(found, case.signature)
    return explain(build(signature.source(found.fn), Target.of("sm_90a"), signature.options))


def counted(name: str) -> list[dict[str, str]]:
    """ncu's counters of the case's kernel, by instruction."""
    ncu = shutil.which("ncu") or NCU
    this = [sys.executable, "-m", "tests.gpu.explain_counters", "launch", name]
    view = ["--section", "SourceCounters", "--page", "source", "--csv"]
    command = [ncu, *view, "-c", "1", "-k", CASES[name].kernel, *this]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    lines = done.stdout.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith('"Address","Source"'))
    return list(csv.DictReader(io.StringIO("\n".join(lines[first:]))))


Seen = set[tuple[str, int, float]]


def accesses_said(report: Report) -> Seen:
    """(Load or Store, bytes, sectors a request) of every access."""
    found = [finding for line in report.lines for finding in line.findings if finding.width]
    return {("Store" if f.op == "store" else "Load", f.width, float(f.sectors)) for f in found}


def accesses_counted(rows: list[dict[str, str]]) -> Seen:
    found: Seen = set()
    for row in rows:
        if row["Address Space"].startswith("Global") and int(row["Instructions Executed"]):
            sectors = int(row["L2 Theoretical Sectors Global"]) / int(row["Instructions Executed"])
            kind = "Store" if "Store" in row["Access Operation"] and "Load" not in row["Access Operation"] else "Load"
            found.add((kind, int(row["Access Size"]) // 8, sectors))
    return found


def compare(name: str) -> bool:
    """Print both sides; whether they agree: a run that may begin within a sector touches at most what was said."""
    report, rows = said(CASES[name]), counted(name)
    ours, theirs = accesses_said(report), accesses_counted(rows)
    agree = {(kind, width) for kind, width, _ in ours} == {(kind, width) for kind, width, _ in theirs}
    for kind, width, sectors in theirs:
        most = max((s for k, w, s in ours if (k, w) == (kind, width)), default=0.0)
        agree &= sectors <= most and sectors > most - 1
    # a kernel that touches no shared memory has no such column
    excess = sum(int(row.get("L1 Wavefronts Shared Excessive") or 0) for row in rows)
    conflicts = max((f.conflicts for line in report.lines for f in line.findings), default=0)
    agree &= conflicts > 1 or excess == 0
    print(f"{name}: said {sorted(ours)}, counted {sorted(theirs)}; conflicts said {conflicts}, in excess {excess}: "
          f"{'agree' if agree else 'DIFFER'}")  # fmt: skip
    return agree


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["launch"]:
        import torch

        case = CASES[arguments[1]]
        torch.zeros(1, device="cuda")
        case.launch(kernels.kernels_of(kernels.load(FILE))[case.kernel].fn)
        torch.cuda.synchronize()
        return 0
    differing = [name for name in CASES if not compare(name)]
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
