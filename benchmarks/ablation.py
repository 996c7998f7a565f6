"""What each pass of the GPU pipeline is worth: the kernel where it matters most, compiled with the pass and without.

    python -m benchmarks.ablation --json benchmarks/results/h200-ablation.json        # on a GPU, with torch
    python -m benchmarks.ablation --static [--passes coalesce]        # no GPU: resources and instructions

The figure without a pass is that of RTRITON_SKIP, which puts something plain in the place of passes whose work is
needed. Both are timed in one run, round by round, outputs checked (benchmarks/kernel_timing.py). Assemblers do some of
the work of some passes again; what such a pass saves is then instructions of PTX and time to compile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks import kernel_static
from benchmarks.ablation_rows import ABLATIONS, Ablation
from benchmarks.compile import forget, instructions, to_ptx

ROUNDS = 5


def skipping(name: str) -> AbstractContextManager[object]:
    """rtriton leaves a pass out of what is compiled inside."""
    return mock.patch.dict(os.environ, RTRITON_SKIP=name)


def compilation(case: Ablation) -> Callable[[], str]:
    """Compiles the kernel to PTX, by the passes that are not skipped when it is called."""
    row, function = case.row, getattr(case.sources, case.row.kernel)
    types, known = kernel_static.signature(row, function)
    types = {name: type for name, type in types.items() if type != "constexpr"}
    divisible = [function.arg_names[place] for place, in known]
    return to_ptx(function, types, row.constants, divisible, row.warps, row.stages)


def described(case: Ablation, skip: str) -> dict[str, Any]:
    """Resources and instructions, by ptxas; instructions of PTX; processor milliseconds from source to PTX."""
    compile, times = compilation(case), list[float]()
    with skipping(skip):
        compiled = kernel_static.ours(case.row, case.sources)
        for _ in range(ROUNDS):
            forget()
            start = time.process_time()
            compile()
            times.append(1e3 * (time.process_time() - start))
    code = kernel_static.describe(compiled.asm["cubin"], compiled.metadata.shared)
    return {**asdict(code), "ptx": instructions(compiled.asm["ptx"]), "compile_ms": statistics.median(times)}


def timed(torch: Any, case: Ablation) -> dict[str, Any]:
    """Microseconds with the pass and without, the ratio of each round, and errors."""
    from benchmarks import kernel_timing as timing

    side = timing.kernel_side(case.sources, case.row)

    def without(arguments: Any) -> Any:
        with skipping(case.name):
            return side(arguments)

    found = timing.measure(torch, case.row, {"with": side, "without": without})
    of = timing.ratios(found, "with", "without")
    worst = timing.worst(t.error for t in found.values() if t.error is not None)
    if not worst <= case.row.tolerance:
        raise ValueError(f"{case.row.label} comes out wrong: an error of {worst:.2g}")
    return {"with_us": found["with"].microseconds, "without_us": found["without"].microseconds,
            "ratio": statistics.median(of), "ratio_low": of[0], "ratio_high": of[-1], "error": worst}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", default="", help="these passes only, parted by commas")
    parser.add_argument("--static", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    wished = given.passes.split(",") if given.passes else [a.name for a in ABLATIONS]
    made: dict[str, Any] = {"rows": []}
    torch: Any = None
    if not given.static:
        import torch

        made["gpu"] = torch.cuda.get_device_name()
    print(f"{'pass':14}{'kernel':38}{'us':>9}{'without':>9}{'times':>7}{'registers':>12}{'shared':>15}{'machine':>12}"
          f"{'PTX':>12}{'compile ms':>14}")
    for case in (a for a in ABLATIONS if a.name in wished):
        row = {"pass": case.name, "row": case.row.label, "what": case.what, "with": described(case, ""),
               "without": described(case, case.name), **(timed(torch, case) if torch else {})}
        made["rows"].append(row)
        a, b = row["with"], row["without"]
        pairs = [f"{a[k]}/{b[k]}" for k in ("registers", "shared", "total", "ptx")]
        speed = f"{row['with_us']:9.1f}{row['without_us']:9.1f}{row['ratio']:7.2f}" if torch else f"{'':25}"
        print(f"{case.name:14}{case.row.label:38}{speed}{pairs[0]:>12}{pairs[1]:>15}{pairs[2]:>12}{pairs[3]:>12}"
              f"{a['compile_ms']:7.1f}/{b['compile_ms']:.1f}", flush=True)
    if given.json is not None:
        given.json.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
