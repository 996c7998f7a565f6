"""Memory-bound kernels from one source, compiled by rtriton and by Triton.

    python -m benchmarks.kernels --static [--rows softmax,"layer norm"]     # no GPU: resources and instructions
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks import kernel_static
from benchmarks.kernel_rows import ROWS, Row


def chosen(names: str) -> list[Row]:
    """The rows whose label begins with one of the names, which commas part; all of them for none."""
    wished = [n.strip() for n in names.split(",") if n.strip()]
    found = [r for r in ROWS if not wished or any(r.label.startswith(w) for w in wished)]
    if not found:
        raise SystemExit(f"no row begins with {names}; there are {', '.join(r.label for r in ROWS)}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="")
    parser.add_argument("--static", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = chosen(given.rows)
    if given.static:
        made = kernel_static.table(rows, {"rtriton": kernel_static.ours, "triton": kernel_static.theirs})
    if given.json is not None:
        given.json.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
