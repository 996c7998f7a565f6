"""The command that `tests.fuzz` describes: splits its minutes over targets and processes, and tells what came of it."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.limits import Finding, check
from tests.fuzz.target import CORPUS, NAMES, load
from tests.fuzz.worker import has_atheris

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".fuzz"
LEAST = 1.0
"""Seconds that are worth starting a process for."""


@dataclass
class Told:
    """What became of one target."""

    name: str
    executions: int = 0
    seconds: float = 0.0
    ends: list[str] = field(default_factory=list)
    """How its process ended before its time, each time that it did."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where nothing was found."""
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "target", nargs="*", choices=[[], *NAMES], default=[], help="; ".join(f"{k}: {v}" for k, v in NAMES.items())
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of the processor's time, over all targets")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where inputs are kept from one run to the next")
    parser.add_argument("--input", type=Path, help="try this one file only, and show what it raises")
    parser.add_argument("--without-atheris", action="store_true", help="make inputs by hypothesis")
    options = parser.parse_args(arguments)
    names = options.target or list(NAMES)
    if options.input is not None:
        return _try(options.input, names)
    options.folder.mkdir(exist_ok=True, parents=True)
    seconds = 60 * options.minutes / len(names)
    print(f"{seconds:.0f} s for each of {len(names)} targets, inputs by {_maker(options.without_atheris)}", flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        told = list(pool.map(lambda name: _fuzz(name, seconds, options.folder, options.without_atheris), names))
    return _tell(told, options.folder)


def _maker(without: bool) -> str:
    return "hypothesis" if without or not has_atheris() else "atheris"


def _try(file: Path, names: Sequence[str]) -> int:
    for name in names:
        try:
            check(load(name), file.read_bytes())
        except Finding as finding:
            print(f"{name}: {finding}", file=sys.stderr)
            raise
        print(f"{name}: nothing is wrong with {file}")
    return 0


def _fuzz(name: str, seconds: float, folder: Path, without: bool) -> Told:
    """Worker after worker, until the time is used: one that was ended leaves the input that did it."""
    told = Told(name)
    while (left := seconds - told.seconds) >= LEAST:
        _report(folder, name).unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.fuzz.worker", name, "--seconds", str(left), "--folder", str(folder)]
        started, log = time.monotonic(), folder / f"{name}.log"
        with log.open("ab") as file:
            ended = subprocess.run(
                [*command, *["--without-atheris"] * without], cwd=ROOT, stderr=file, stdout=file, check=False
            )
        if _report(folder, name).exists():
            said = json.loads(_report(folder, name).read_text())
            told.executions += said["executions"]
            told.seconds += said["seconds"]
            if ended.returncode == 0:
                continue
        else:
            told.seconds += time.monotonic() - started
            told.executions += int.from_bytes((folder / f"{name}.now").read_bytes()[8:16], "little")
        told.ends.append(f"status {ended.returncode}, see {log}")
        if not _rescued(folder, name) or len(told.ends) > 5:
            break
    return told


def _report(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _rescued(folder: Path, name: str) -> bool:
    """Keep the input that ended a worker; whether there was one."""
    raw = (folder / f"{name}.now").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    if size == 0:
        return False
    found = folder / f"{name}.found"
    found.mkdir(exist_ok=True)
    data = raw[16 : 16 + size]
    (found / f"ended-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)
    return True


def _tell(told: Sequence[Told], folder: Path) -> int:
    wrong = 0
    for one in told:
        found = sorted((folder / f"{one.name}.found").glob("*"))
        wrong += len(found) + len(one.ends)
        inputs = len(list((folder / one.name).glob("*"))) if (folder / one.name).is_dir() else 0
        print(f"{one.name:12}{one.executions:9} inputs tried{one.seconds:7.0f} s{inputs:7} kept{len(found):4} findings")
        for path in found:
            print(f"    python -m tests.fuzz --input {path} {one.name}")
        for end in one.ends:
            print(f"    its process ended: {end}")
    inputs, minutes = sum(one.executions for one in told), sum(one.seconds for one in told) / 60
    print(f"{inputs} inputs, {minutes:.1f} minutes of the processor, {wrong} findings")
    if wrong:
        print(f"fix each, and keep its input in {CORPUS.relative_to(ROOT)}/TARGET/ under a name that says what it was")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
