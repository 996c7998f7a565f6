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
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import ablation_sources, kernel_rows, kernel_sources, kernel_static
from benchmarks.compile import forget, instructions, to_ptx
from benchmarks.kernel_rows import In, Out, Row

ROUNDS = 5


@dataclass(frozen=True)
class Ablation:
    """A pass, the kernel that shows it, and how: in the words of the table."""

    name: str
    row: Row
    what: str
    sources: ModuleType = ablation_sources


def normalise(height: int, width: int) -> Row:
    def reference(xp: Any, x: Any) -> tuple[Any]:
        away = x - xp.mean(x, axis=1, keepdims=True)
        return (away / xp.sqrt(xp.mean(away * away, axis=1, keepdims=True) + 1e-5),)

    a = (height, width)
    return Row("normalise", f"{height}x{width} fp32", "normalise_kernel", (height,),
               (In(a, "fp32"), Out(a, "fp32"), width, width), {"BLOCK": kernel_rows.power_of_two(width)}, reference,
               warps=8, tolerance=1e-5)


def scaled(height: int, width: int) -> Row:
    def reference(xp: Any, x: Any, w: Any) -> tuple[Any]:
        return (x / xp.sqrt(xp.mean(x * x, axis=1, keepdims=True) + 1e-5) * w,)

    a = (height, width)
    return Row("root mean square norm", f"{height}x{width} bf16", "scaled_kernel", (height,),
               (In(a, "bf16"), In((width,), "bf16"), Out(a, "bf16"), width, width),
               {"BLOCK": kernel_rows.power_of_two(width)}, reference, warps=8, tolerance=2e-2)


def causal(size: int, bm: int = 32, bn: int = 128) -> Row:
    def reference(xp: Any, x: Any) -> tuple[Any]:
        at = xp.cumsum(xp.ones_like(x[0], dtype=xp.int64), axis=0) - 1
        return (xp.where(at[None, :] <= at[:, None], x, 0 * x - 10000),)

    a = (size, size)
    return Row("causal mask", f"{size}x{size} fp32", "causal_kernel", (size // bm, size // bn),
               (In(a, "fp32"), Out(a, "fp32"), size), {"BM": bm, "BN": bn}, reference, tolerance=0.0)


def variance(height: int, width: int, chunk: int = 256, block: int = 512) -> Row:
    parts = height // chunk

    def reference(xp: Any, x: Any, means: Any) -> tuple[Any]:
        return (xp.sum(((x - means) ** 2).reshape(parts, chunk, width), axis=1),)

    return Row("column variance", f"{height}x{width} fp32", "variance_kernel", (width // block, parts),
               (In((height, width), "fp32"), In((width,), "fp32"), Out((parts, width), "fp32"), width, chunk),
               {"BLOCK": block}, reference, tolerance=1e-5)


def unrolled_sum(height: int, width: int, block: int = 512, turns: int = 4) -> Row:
    return Row("row sum by turns", f"{height}x{width} fp32", "unrolled_sum_kernel", (height,),
               (In((height, width), "fp32"), Out((height,), "fp32"), width), {"BLOCK": block, "TURNS": turns},
               lambda xp, x: (xp.sum(x, axis=1),), tolerance=1e-4)


def transposes(size: int, block: int) -> Row:
    a = (size, size)
    return Row("three transposes", f"{size}x{size} fp32", "transposes_kernel", (size // block, size // block),
               (*[In(a, "fp32")] * 3, *[Out(a, "fp32")] * 3, size), {"B": block},
               lambda xp, a, b, c: (a.T, b.T, c.T), warps=8, tolerance=0.0)


def product(size: int, block: int = 128, inner: int = 32) -> Row:
    a = (size, size)
    return Row("matrix product", f"{size}^3 fp16", "product_kernel", (size // block, size // block),
               (In(a, "fp16"), In(a, "fp16"), Out(a, "fp32"), size, size), {"BM": block, "BN": block, "BK": inner},
               lambda xp, a, b: (a @ b,), warps=8, tolerance=1e-5)


ABLATIONS = (
    Ablation("unroll", unrolled_sum(16384, 16384), "four loads of a lane under way instead of one"),
    Ablation("canonicalize", kernel_rows.dropout(1 << 26), "less arithmetic on whole numbers", kernel_sources),
    Ablation("cse", normalise(16384, 8192), "the row is read once instead of twice"),
    Ablation("licm", variance(16384, 8192), "the means are read once a program instead of once a row"),
    Ablation("dce", normalise(16384, 8192), "no maximum over the row that nobody asked for"),
    Ablation("combine", causal(16384), "the fill value is the load's own"),
    Ablation("mma", product(2048), "tensor cores instead of multiply-adds"),
    Ablation("coalesce", kernel_rows.add(1 << 26, "bf16"), "16 bytes an access instead of 2", kernel_sources),
    Ablation("accumulate", kernel_rows.cross_entropy(4096, 128256), "one reduction a turn, not two", kernel_sources),
    Ablation("layouts", kernel_rows.transpose(8192, 8192, "fp16"), "one conversion instead of two", kernel_sources),
    Ablation("reorder", scaled(8192, 4096), "the weights are on their way while the row is summed up"),
    Ablation("pipeline", kernel_rows.softmax_persistent(16384, 4096), "the next row is on its way", kernel_sources),
    Ablation("allocate", transposes(8192, 128), "three conversions through one piece of shared memory"),
    Ablation("barriers", kernel_rows.cross_entropy(4096, 128256), "two barriers a turn, not four", kernel_sources),
)

SMALL = (
    unrolled_sum(3, 512, 128), normalise(3, 300), scaled(3, 300), variance(16, 64, 8, 32), causal(64, 16, 32),
    transposes(64, 32), product(64, 32, 32),
)


class skipping:
    """rtriton leaves a pass out of what is compiled inside."""

    def __init__(self, name: str) -> None:
        self.name, self.before = name, os.environ.get("RTRITON_SKIP")

    def __enter__(self) -> None:
        os.environ["RTRITON_SKIP"] = self.name

    def __exit__(self, *_: object) -> None:
        if self.before is None:
            del os.environ["RTRITON_SKIP"]
        else:
            os.environ["RTRITON_SKIP"] = self.before


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
    worst = max((t.error for t in found.values() if t.error is not None), key=lambda e: (e != e, e))
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
