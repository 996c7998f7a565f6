"""Kernels from one source, compiled by rtriton and by Triton, beside torch's own operators: GB/s, of products TFLOP/s.

    python -m benchmarks.kernels [--json benchmarks/results/h200-kernels.json]        # on a GPU, with torch and Triton
    python -m benchmarks.kernels --rows softmax,"layer norm" --skip-pass coalesce
    python -m benchmarks.kernels --static        # no GPU: resources and machine instructions of both sides

A row whose figure the GPU cannot reach is refused; the run fails if one was, or if an output was wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import kernel_sources, kernel_static
from benchmarks.kernel_rows import GROUPS, Row
from benchmarks.twins import triton_twin

HEAD = (f"{'kernel':42}{'warps':>6}{'rtriton':>8}{'Triton':>8}{'torch':>8}{'ratio':>7}{'spread':>12}"
        f"{'to torch':>9}{'share':>8}{'us':>8}{'regs':>9}{'spills':>8}{'shared':>14}{'error':>9}")


def chosen(names: str) -> list[tuple[str, Row]]:
    """The rows that are of one of the groups named or whose label begins so, with their groups; all for no names."""
    every = [(group, row) for group, rows in GROUPS.items() for row in rows]
    wished = [n.strip() for n in names.split(",") if n.strip()]
    found = [(g, r) for g, r in every if not wished or any(r.label.startswith(w) or g == w for w in wished)]
    if not found:
        raise SystemExit(f"no row begins with {names}; there are {', '.join([*GROUPS, *(r.label for _, r in every)])}")
    return found


def first_launch(torch: Any, name: str, side: Any, arguments: list[Any]) -> dict[str, Any]:
    """Registers, bytes of local memory a thread (Triton counts words), shared bytes a program; and the milliseconds
    that the first launch took, which compiles: caches on disk are new."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    compiled = side(arguments)
    torch.cuda.synchronize()
    cold = 1e3 * (time.perf_counter() - start)
    spills = compiled.n_spills if name == "rtriton" else 4 * compiled.n_spills
    return {"registers": compiled.n_regs, "spills": spills, "shared": compiled.metadata.shared, "cold_ms": cold}


def new_caches(folder: str) -> None:
    """Nothing that was compiled before is found: by rtriton, by Triton, by the driver."""
    for name in ("RTRITON_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH"):
        os.environ[name] = f"{folder}/{name}"


def limits(row: Row, most: dict[str, float]) -> tuple[float, float]:
    """The ceiling that a row's share is of, and what no right figure is above: a copy's rate where as much is written
    as read, the memory's own otherwise."""
    if row.flops:
        return most["matmul"], 1.02 * most["matmul"]
    return most["copy"], 1.02 * most["copy"] if 2 * row.written >= row.bytes else most["memory"]


def compared(torch: Any, row: Row, most: dict[str, float]) -> dict[str, Any]:
    """Time a row's sides; its figures as data."""
    from benchmarks import kernel_timing as timing

    theirs = triton_twin(Path(kernel_sources.__file__))
    sides = {"rtriton": timing.kernel_side(kernel_sources, row), "triton": timing.kernel_side(theirs, row)}
    used = {name: first_launch(torch, name, side, timing.arguments(torch, row)) for name, side in sides.items()}
    by_torch = timing.torch_side(torch, row)
    timed = timing.measure(torch, row, sides | ({"torch": by_torch} if by_torch else {}))
    ceiling, limit = limits(row, most)
    above = [f"{name}'s {t.rate:.0f} {row.unit}" for name, t in timed.items() if name != "torch" and t.rate > limit]
    of = timing.ratios(timed, "rtriton", "triton")
    to_torch = statistics.median(timing.ratios(timed, "rtriton", "torch")) if by_torch else None
    return {"row": row.label, "unit": row.unit, "warps": row.warps, "bytes": row.bytes, "tolerance": row.tolerance,
            "sides": {name: {**asdict(t), **used.get(name, {})} for name, t in timed.items()},
            "ratio": statistics.median(of), "ratio_low": of[0], "ratio_high": of[-1], "ratio_to_torch": to_torch,
            "share": timed["rtriton"].rate / ceiling,
            "refused": f"{', '.join(above)} above {limit:.0f}: measured wrongly" if above else ""}


def is_wrong(made: dict[str, Any]) -> bool:
    return any(not s["error"] <= made["tolerance"] for name, s in made["sides"].items() if name != "torch")


def line(made: dict[str, Any]) -> str:
    a, b, c = (made["sides"].get(n) for n in ("rtriton", "triton", "torch"))
    by_torch = (f"{c['rate']:8.0f}", f"{made['ratio_to_torch']:9.2f}") if c else (f"{'':8}", f"{'':9}")
    both = [f"{a[k]}/{b[k]}" for k in ("registers", "spills", "shared")]
    spread = f"{made['ratio_low']:.2f}-{made['ratio_high']:.2f}"
    return (f"{made['row']:42}{made['warps']:6}{a['rate']:8.0f}{b['rate']:8.0f}{by_torch[0]}"
            f"{made['ratio']:7.3f}{spread:>12}{by_torch[1]}{made['share']:8.0%}{a['microseconds']:8.1f}{both[0]:>9}{both[1]:>8}{both[2]:>14}"
            f"{a['error']:9.1g}{'  WRONG' if is_wrong(made) else ''} {made['refused']}")


def on_gpu(rows: list[tuple[str, Row]]) -> dict[str, Any]:
    """All rows, printed as they come; a row that fails is named and leaves the others to be measured."""
    import torch
    import triton

    from benchmarks import kernel_timing as timing
    from rtriton.backend.cuda import driver

    torch.manual_seed(0)
    most = timing.ceilings(torch)
    version = driver.current_device().driver_version
    made: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "triton": triton.__version__,
        "rtriton_assembler": f"driver JIT {version // 1000}.{version % 1000 // 10}",
        "triton_assembler": f"ptxas {triton.knobs.nvidia.ptxas.version}",
        "skipped": os.environ.get("RTRITON_SKIP", ""),
        "ceilings": most, "rows": [], "failed": {},
    }
    print(f"{made['gpu']}; torch {made['torch']}, Triton {made['triton']}; assembled by {made['rtriton_assembler']} "
          f"and by {made['triton_assembler']}; copy {most['copy']:.0f} GB/s, memory's clock and width "
          f"{most['memory']:.0f}, torch's product {most['matmul']:.0f} TFLOP/s\n{HEAD}")
    for group, row in rows:
        try:
            made["rows"].append({"group": group, **compared(torch, row, most)})
            print(line(made["rows"][-1]), flush=True)
        except Exception as error:  # noqa: BLE001 (told, counted, and the end of the run fails)
            made["failed"][row.label] = f"{type(error).__name__}: {error}"
            print(f"{row.label:42}FAILED: {made['failed'][row.label][:300]}", flush=True)
        torch.cuda.empty_cache()
    summarise(made)
    return made


def summarise(made: dict[str, Any]) -> None:
    """The geometric mean of each group's ratios, and first launches: of rows whose kernel no row before compiled."""
    made["geometric_means"], made["first_launch_ms"] = {}, {}
    for group in GROUPS:
        every = [r["ratio"] for r in made["rows"] if r["group"] == group and not (is_wrong(r) or r["refused"])]
        if every:
            mean = made["geometric_means"][group] = math.exp(statistics.fmean(map(math.log, every)))
            print(f"{group}: geometric mean of {len(every)} ratios {mean:.3f}, lowest {min(every):.3f}")
    for name in ("rtriton", "triton"):
        cold = [r["sides"][name]["cold_ms"] for r in made["rows"] if r["group"] == "memory"]
        if cold:
            made["first_launch_ms"][name] = statistics.median(cold)
            print(f"first launch, compiling: {name} {statistics.median(cold):.0f} ms (median of the group memory)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="", help=f"groups ({', '.join(GROUPS)}) or beginnings of labels")
    parser.add_argument("--skip-pass", default="", help="passes that rtriton leaves out, parted by commas")
    parser.add_argument("--warps", default="", help="try each row with these numbers of warps, parted by commas")
    parser.add_argument("--static", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows, start = chosen(given.rows), time.perf_counter()
    if given.warps:
        rows = [(group, replace(r, warps=int(w))) for group, r in rows for w in given.warps.split(",")]
    if given.skip_pass:
        os.environ["RTRITON_SKIP"] = given.skip_pass
    if given.static:
        sides = {"rtriton": kernel_static.ours, "triton": kernel_static.theirs}
        made: Any = kernel_static.table([row for _, row in rows], sides)
    else:
        with tempfile.TemporaryDirectory() as folder:
            new_caches(folder)
            made = on_gpu(rows)
    print(f"{time.perf_counter() - start:.0f} s")
    if given.json is not None:
        given.json.write_text(json.dumps(made, indent=1) + "\n")
    if not given.static and (made["failed"] or any(is_wrong(r) or r["refused"] for r in made["rows"])):
        raise SystemExit("some rows failed, came out wrong or were refused")


if __name__ == "__main__":
    main()
