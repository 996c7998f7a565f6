"""A pytest plugin under which Triton's own tests run against rtriton; tests.peers.triton_units loads it.

It makes `import triton` mean rtriton, keeps one shard of the collected tests, and writes one JSON line per finished
test to the file that TRITON_UNITS_OUT names, so that a run that is cut short keeps what it had.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rtriton import compat

PEERS = Path(os.environ.get("RTRITON_PEERS") or Path(__file__).parents[2] / ".peers").resolve()
TRITON = PEERS / "triton" / "python"
# the parts of Triton's package that serve its tests: read from where its tests were fetched to
NAMES = ("triton._internal_testing", "triton.tools.mxfp")
HELPERS = {name: TRITON / (name.replace(".", "/") + ".py") for name in NAMES}

compat.install({name: path for name, path in HELPERS.items() if path.is_file()})

_started: dict[str, float] = {}
_out = open(os.environ.get("TRITON_UNITS_OUT", os.devnull), "a")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep this shard, or a sample drawn from a seed, of what -m and -k leave."""
    items.sort(key=lambda item: item.nodeid)  # sets in parametrize make the order differ between processes
    sample = int(os.environ.get("TRITON_UNITS_SAMPLE", "0"))
    if sample and sample < len(items):
        items[:] = random.Random(int(os.environ.get("TRITON_UNITS_SEED", "0"))).sample(items, sample)
    shard, shards = map(int, os.environ.get("TRITON_UNITS_SHARD", "0/1").split("/"))
    items[:] = items[shard::shards]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: Any) -> Any:
    _started[item.nodeid] = time.perf_counter()
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One line per test: what became of it, in how many seconds, and why not."""
    if not (report.when == "call" or report.outcome != "passed" and report.when == "setup"):
        return
    outcome = "xfailed" if hasattr(report, "wasxfail") else report.outcome
    row: dict[str, Any] = {"test": report.nodeid, "outcome": outcome}
    row["seconds"] = round(time.perf_counter() - _started.get(report.nodeid, time.perf_counter()), 3)
    if report.outcome == "failed":
        row["why"] = _last_line(report)
    _out.write(json.dumps(row) + "\n")
    _out.flush()


def _last_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    where = f"{Path(crash.path).name}:{crash.lineno}: " if crash is not None else ""
    return where + " | ".join(line for line in text.strip().splitlines()[:4])[:400]


def pytest_sessionfinish() -> None:
    _out.flush()
    sys.stdout.flush()
