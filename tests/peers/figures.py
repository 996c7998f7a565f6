"""The figures of Triton's own tests that the repository keeps, and how the page of the language tells them.

    python -m tests.peers.triton_units --merge rows... --keep benchmarks/results/triton-units.json --device H100
    python -m tests.peers.figures benchmarks/results/triton-units.json H100      # the kernels of public projects

A run is kept per backend and device: a later one takes the place of the former. Failures are grouped by test function
and cause; REASONS says in words what a cause is where it is known, else the first line of the failure stands.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

REASONS = [
    ("test_call", r"assert '' != ''", "wants an error: a noinline function takes tiles here"),
    ("test_typeconvert_upcast|test_fp8_support", r"DID NOT RAISE",
     "wants an error: float8e4b8 and float8e5b16 work on every GPU here"),
    ("test_hooks", r"assert False is True",
     "wants a configuration of 100 stages to run out of shared memory: stages are lowered to what fits here"),
    ("test_override_arch", r"compute capability 8\.0", "compiles for a GPU before sm_80"),
    ("test_err_in_builtin", r"core\.py", "looks for a file of Triton's in the traceback"),
    ("test_unroll_attr|test_tl_range_option_none|test_poison_return", r"", "reads Triton's own IR"),
    ("", r"no stage '(ttir|ttgir|llir)'|'tt\.|arith\.constant|ttg\.|Triton's own IR is not read",
     "reads Triton's own IR"),
    ("", r"tensormap\.|cp\.async\.bulk", "looks for TMA instructions in PTX: descriptors are pointers and masks here"),
    ("", r"stmatrix|wgmma|cp\.async\.wait_group|add\.f32|ld\.global\.v", "looks for other instructions in PTX"),
]  # fmt: skip
"""(test functions, what the failure's text matches, its cause in words): the first that matches counts."""


def run_of(rows: dict[str, Any], backend: str, device: str, jobs: int, seconds: float) -> dict[str, Any]:
    """One run as it is kept: counts, counts per file, failures by test function and cause."""
    files: dict[str, Counter[str]] = defaultdict(Counter)
    failures: Counter[tuple[str, str]] = Counter()
    for test, row in rows.items():
        files[test.split("::")[0].rsplit("/", 1)[-1].removesuffix(".py")][row["outcome"]] += 1
        if row["outcome"] == "failed":
            function = test.split("::")[-1].split("[")[0]
            failures[function, cause(function, row.get("why", ""))] += 1
    total: Counter[str] = sum(files.values(), Counter())
    return {
        "backend": backend, "device": device,
        "passed": total["passed"], "failed": total["failed"], "skipped": total["skipped"] + total["xfailed"],
        "seconds": round(seconds), "jobs": jobs,
        "files": {name: dict(sorted(files[name].items())) for name in sorted(files)},
        "failures": [{"test": test, "count": count, "reason": reason}
                     for (test, reason), count in sorted(failures.items(), key=lambda item: (-item[1], item[0]))],
    }  # fmt: skip


def cause(function: str, why: str) -> str:
    """A failure's cause in words, or its first line without places and paths."""
    for functions, pattern, words in REASONS:
        if (not functions or re.fullmatch(functions, function)) and re.search(pattern, why):
            return words
    line = re.sub(r"^\S+\.py:\d+: ", "", why).split(" | ")[0]
    line = re.sub(r"\S*/(\w+\.py)(:\d+)*:?", r"\1", line)
    line = re.sub(r"0x[0-9a-f]+", "0x...", line)
    return line[:140].strip()


def keep(run: dict[str, Any], file: Path) -> None:
    """Write a run into the file, in place of an earlier one of that backend and device."""
    kept = json.loads(file.read_text())["runs"] if file.is_file() else []
    others = [r for r in kept if (r["backend"], r["device"]) != (run["backend"], run["device"])]
    runs = sorted([*others, run], key=lambda r: (r["backend"], r["device"]))
    rest = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**rest, "runs": runs}, indent=1) + "\n")


# -- kernels of public projects --------------------------------------------------------------------------------------


class _Outcomes:
    """A pytest plugin that notes what became of each test."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.of[report.nodeid.split("[")[-1].rstrip("]")] = report.outcome


def keep_kernels(file: Path, device: str) -> None:
    """Run tests/peers/test_thirdparty.py and write into the file what became of each kernel on this device."""
    import pytest

    noted = _Outcomes()
    pytest.main(["-q", "-p", "no:cacheprovider", str(Path(__file__).parent / "test_thirdparty.py")], plugins=[noted])
    from tests.peers.test_thirdparty import CASES

    kept = json.loads(file.read_text())
    mine = [{"kernel": name, "project": project, "commit": commit, "path": path, "device": device,
             "outcome": noted.of[name]} for name, (project, commit), path, *_ in CASES]  # fmt: skip
    kept["kernels"] = [*(k for k in kept.get("kernels", []) if k["device"] != device), *mine]
    file.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    keep_kernels(Path(sys.argv[1]), sys.argv[2])
