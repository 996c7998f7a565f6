"""Makes docs/language.md: the kernel language for people who write kernels.

    python -m tests.language.make_page        # writes the page; tests/language/test_page.py keeps it true

Prose is in page_prose.py, functions come from the registries (page_functions.py), ops and types from the op table and
the backends (page_matrix.py), figures from benchmarks/results/triton-units.json (tests/peers/figures.py writes it).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.language import page_functions, page_matrix, page_prose as prose
from tests.language.page_functions import table

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "language.md"
FIGURES = ROOT / "benchmarks" / "results" / "triton-units.json"
BACKENDS = {"cuda": "GPU", "cpu": "CPU backend", "interpret": "interpreter", "emulate": "emulator"}


def page() -> str:
    parts = [
        "# The kernel language",
        prose.HEAD,
        prose.RUNNING,
        prose.WRITING,
        "## Functions",
        *page_functions.sections(),
        prose.TYPES_HEAD,
        page_matrix.types(),
        prose.OPS_HEAD,
        page_matrix.matrix(),
        prose.DIFFERENCES_HEAD,
        table(("about", "what", "here"), prose.DIFFERENCES),
        "## What was tried",
        "Made from `benchmarks/results/triton-units.json`, which the commands below write.",
        *figures(json.loads(FIGURES.read_text())),
    ]
    return "\n\n".join(parts) + "\n"


def figures(kept: dict[str, Any]) -> list[str]:
    """Triton's own tests and kernels of public projects, as they were kept."""
    parts = [
        "### Triton's own tests",
        "The nine test files of Triton 3.6 for its language and autotuner, unchanged, through `import triton`. "
        "`python -m tests.peers.triton_units` reruns them and says where to put the files (they are not in this "
        "repository); on CPUs those run that Triton marks for its interpreter.",
        table(("on", "device", "passed", "failed", "skipped", "seconds", "processes"),
              [(BACKENDS[run["backend"]], run["device"], *(_number(run[k]) for k in (
                  "passed", "failed", "skipped", "seconds", "jobs"))) for run in kept["runs"]]),
    ]  # fmt: skip
    for run in kept["runs"]:
        if run["failures"]:
            parts.append(f"What failed on the {BACKENDS[run['backend']]} ({run['device']}):")
            rows = [(f"`{f['test']}`", str(f["count"]), _said(f["reason"])) for f in run["failures"]]
            parts.append(table(("test", "cases", "why"), rows))
    kernels = kept.get("kernels", [])
    if kernels:
        parts += [
            "### Kernels of public projects",
            "Chosen before any of them was run, unmodified, against torch (`tests/peers/test_thirdparty.py`); "
            "`python -m tests.peers.figures FILE DEVICE` writes what became of them. At the first try five ran "
            "right, and three waited only for the test's stand-ins for what they import; RMS norm and cross entropy "
            "needed `tl.extra.libdevice`, which was written for them and for others.",
            table(("kernel", "project", "commit", "file", "on", ""),
                  [(k["kernel"].replace("_", " "), k["project"], f"`{k['commit'][:12]}`", f"`{k['path']}`", k["device"],
                    k["outcome"]) for k in kernels]),
        ]  # fmt: skip
    return parts


def _number(n: int) -> str:
    return f"{n:,}"


def _said(reason: str) -> str:
    """A cause in words as it is; a line of a failure as code."""
    from tests.peers.figures import REASONS

    words = {text for *_, text in REASONS}
    return reason if reason in words else "`" + reason.replace("`", "'").replace("\n", " ") + "`"


if __name__ == "__main__":
    PAGE.write_text(page())
