"""Triton's own unit tests against rtriton, and the table of what became of them.

    python -m tests.peers.triton_units --backend cpu                       # the nine files, on the CPU backend
    python -m tests.peers.triton_units --backend interpret test_tuple      # one file
    python -m tests.peers.triton_units --backend cuda --jobs 16 --seconds 560 --out run1.jsonl
    python -m tests.peers.triton_units --backend cpu test_core -k "test_reduce1d and float32" -x
    python -m tests.peers.triton_units --merge run1.jsonl run2.jsonl       # the table of several runs
    python -m tests.peers.triton_units --merge run1.jsonl --backend cuda --device "NVIDIA H100" --jobs 16 --wall 141 \
        --keep benchmarks/results/triton-units.json                        # the figures of docs/language.md
    python -m tests.peers.triton_units --backend cpu --sample 200 --seed 7 # a sample

The tests are not in this repository: put python/test and python/triton of Triton (3.6's branch point is commit
acd81049917c62aa156fff2669ae25664048ac77) into .peers/triton/, which git ignores (RTRITON_PEERS names another place
for .peers). On CPU backends the tests that Triton marks for its interpreter run, on tensors in CPU memory;
`--baseline` runs the installed Triton itself by its interpreter, for comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from tests.peers import figures

ROOT = Path(__file__).parents[2]
PEERS = Path(os.environ.get("RTRITON_PEERS") or ROOT / ".peers")
UNIT = PEERS / "triton" / "python" / "test" / "unit"
FILES = {
    "test_core": "language", "test_standard": "language", "test_random": "language", "test_block_pointer": "language",
    "test_tensor_descriptor": "language", "test_conversions": "language", "test_tuple": "language",
    "test_compile_errors": "language", "test_autotuner": "runtime",
}  # fmt: skip
OUTCOMES = ("passed", "failed", "skipped", "xfailed")


def main() -> int:
    options = _parser().parse_args()
    if options.merge:
        merged = {row["test"]: row for file in options.files for row in read(Path(file))}
        report(merged, options)
        keep_figures(merged, options, options.wall or sum(row["seconds"] for row in merged.values()))
        return 0
    if not UNIT.is_dir():
        sys.exit(f"Triton's tests are not at {UNIT}: see the text at the top of this file")
    out = Path(options.out or tempfile.mkstemp(suffix=".jsonl")[1])
    begin = time.perf_counter()
    status = run(options, out)
    wall = time.perf_counter() - begin
    rows = {row["test"]: row for row in read(out)}
    report(rows, options)
    keep_figures(rows, options, wall)
    print(f"{wall:.0f} s wall, {options.jobs} at a time, backend {options.backend}; rows in {out}")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("tests.peers.triton_units", description="Triton's unit tests against rtriton.")
    parser.add_argument("files", nargs="*", help=f"test files by name (default: {' '.join(FILES)}); with --merge: rows")
    parser.add_argument("--backend", default="cpu", choices=["interpret", "cpu", "emulate", "cuda"])
    parser.add_argument("--baseline", action="store_true", help="the installed Triton instead of rtriton")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with a shard of the tests")
    parser.add_argument("--shard", default="0/1", help="run only shard I of N (with --jobs: cut further)")
    parser.add_argument("--seconds", type=float, default=0, help="stop after so long; what has finished is kept")
    parser.add_argument("--sample", type=int, default=0, help="only so many tests, drawn from --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="", help="file of JSON lines, appended to")
    parser.add_argument("--merge", action="store_true", help="print the table of the given row files")
    parser.add_argument("--reasons", type=int, default=25, help="how many kinds of failure to list")
    parser.add_argument("--than", default="", help="rows of another run: say which tests passed there and not here")
    parser.add_argument("--keep", default="", help="JSON file of figures to write this run into")
    parser.add_argument("--device", default="", help="with --keep: the device's name")
    parser.add_argument("--wall", type=float, default=0, help="with --merge --keep: seconds of wall time of the runs")
    parser.add_argument("-k", default="", help="pytest's -k")
    parser.add_argument("-x", action="store_true", help="stop at the first failure and show it")
    parser.add_argument("--tb", default="no", help="pytest's --tb")
    return parser


def run(options: argparse.Namespace, out: Path) -> int:
    """Start the shards, wait, and say whether all exited well."""
    shard, shards = map(int, options.shard.split("/"))
    total = shards * options.jobs
    processes = [start(options, f"{shard + shards * j}/{total}", out) for j in range(options.jobs)]
    end = time.monotonic() + options.seconds if options.seconds else None
    status = 0
    for process in processes:
        try:
            status |= process.wait(None if end is None else max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            status |= 1
    return status


def start(options: argparse.Namespace, shard: str, out: Path) -> subprocess.Popen[bytes]:
    """One pytest process over one shard."""
    names = options.files or list(FILES)
    paths = [UNIT / FILES[n] / f"{n}.py" if n in FILES else next(UNIT.glob(f"*/{n}.py")) for n in names]
    on_gpu = options.backend == "cuda"
    environment = {
        **os.environ, "TRITON_UNITS_OUT": str(out), "TRITON_UNITS_SHARD": shard,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TRITON_UNITS_SAMPLE": str(options.sample), "TRITON_UNITS_SEED": str(options.seed), "PYTHONHASHSEED": "0",
    }  # fmt: skip
    environment.setdefault("RTRITON_CACHE_DIR", tempfile.mkdtemp(prefix="triton-units-"))
    if not on_gpu:
        environment["TRITON_INTERPRET"] = "1"
    if not options.baseline:
        environment["RTRITON_BACKEND"] = options.backend
    command = [sys.executable, "-m", "pytest", "-q", f"--tb={'short' if options.x else options.tb}", "-p",
               "no:cacheprovider", "-p", "no:randomly", "--no-header", "--continue-on-collection-errors", "-p",
               "tests.peers.triton_baseline" if options.baseline else "tests.peers.triton_plugin", "--device",
               "cuda" if on_gpu else "cpu", "-c", os.devnull, "--rootdir", str(UNIT.parent)]  # fmt: skip
    command += ["-m", "interpreter"] if not on_gpu else []
    command += ["-k", options.k] if options.k else []
    command += ["-x"] if options.x else ["-r", "N"]
    quiet = None if options.x or options.tb != "no" else subprocess.DEVNULL
    return subprocess.Popen([*command, *map(str, paths)], env=environment, cwd=UNIT.parent, stdout=quiet)


def read(file: Path) -> list[dict[str, Any]]:
    """The rows of a file; a last line that was cut off is left out."""
    return [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]


def report(rows: dict[str, Any], options: argparse.Namespace) -> None:
    """Print the table, and what another run had passed that this one has not."""
    print(table(rows, options.reasons))
    if options.than:
        there = {row["test"] for row in read(Path(options.than)) if row["outcome"] == "passed"}
        here = {test for test, row in rows.items() if row["outcome"] == "passed"}
        print(f"passed in {options.than} and not here: {len(there - here)}; here and not there: {len(here - there)}")
        lost = Counter(test.split("::")[-1].split("[")[0] for test in there - here)
        print("\n".join(f"{count:5d}  {name}" for name, count in lost.most_common(options.reasons)))


def keep_figures(rows: dict[str, Any], options: argparse.Namespace, seconds: float) -> None:
    """With --keep: write the run into that file."""
    if options.keep:
        run = figures.run_of(rows, options.backend, options.device or platform.machine(), options.jobs, seconds)
        figures.keep(run, Path(options.keep))


def table(rows: dict[str, Any], reasons: int) -> str:
    """Counts per file, then the kinds of failure by how often they occur."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    seconds: Counter[str] = Counter()
    failures: dict[str, list[str]] = defaultdict(list)
    for test, row in rows.items():
        file = test.split("::")[0].rsplit("/", 1)[-1].removesuffix(".py")
        counts[file][row["outcome"]] += 1
        seconds[file] += row["seconds"]
        if row["outcome"] == "failed":
            function = test.split("::")[-1].split("[")[0]
            failures[f"{function}: {row.get('why', '')[:150]}"].append(test)
    lines = [f"{'file':<24}" + "".join(f"{o:>9}" for o in OUTCOMES) + f"{'seconds':>9}"]
    for file in sorted(counts):
        lines.append(f"{file:<24}" + "".join(f"{counts[file][o]:9d}" for o in OUTCOMES) + f"{seconds[file]:9.0f}")
    total: Counter[str] = sum(counts.values(), Counter())
    lines.append(f"{'all':<24}" + "".join(f"{total[o]:9d}" for o in OUTCOMES) + f"{sum(seconds.values()):9.0f}")
    for reason, tests in sorted(failures.items(), key=lambda pair: -len(pair[1]))[:reasons]:
        lines.append(f"{len(tests):5d}  {reason}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
