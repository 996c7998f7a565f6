"""Proves that a refactor changes nothing, or shows what it changes.

    python -m tests.replay record OUT.json          # this checkout
    python -m tests.replay diff main HEAD           # commits; `.` is this checkout as it is, OUT.json a record
    python -m tests.replay diff main . --show softmax --only ops

A commit is unpacked into a folder of its own and recorded there, by the recorder of this checkout. The exit status is
0 where all kernels are identical, 1 where some are not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

from tests.replay.compare import Record, compare, shown, summary

ROOT = Path(__file__).parents[2]
RECORDER = Path(__file__).with_name("record.py")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.replay", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="write down what this checkout makes of every kernel")
    record.add_argument("out")
    diff = commands.add_parser("diff", help="compare two commits, checkouts or records")
    diff.add_argument("before")
    diff.add_argument("after")
    diff.add_argument("--show", metavar="NAME", help="print what changed in kernels called like this ('' for all)")
    for command in (record, diff):
        command.add_argument("--only", default="", metavar="NAME", help="record only groups or cases called like this")
    given = parser.parse_args(arguments)
    if given.command == "record":
        return recorder(ROOT, Path(given.out), given.only).wait()
    before, after = records([given.before, given.after], given.only)
    found = compare(before, after)
    print("\n".join(summary(before, after, found)))
    if given.show is not None:
        print("\n".join(shown(before, after, found, given.show)))
    return 0 if found.equal else 1


def records(names: list[str], only: str) -> list[Record]:
    """The records of commits, of this checkout (`.`), or out of files; those to be made are made side by side."""
    with tempfile.TemporaryDirectory() as folder:
        places: list[Path] = []
        running: list[tuple[str, subprocess.Popen[bytes]]] = []
        for i, name in enumerate(names):
            if name.endswith(".json"):
                places.append(Path(name))
                continue
            places.append(Path(folder) / f"{i}.json")
            root = ROOT if name == "." else unpacked(name, Path(folder) / f"tree{i}")
            running.append((name, recorder(root, places[i], only)))
        failed = [name for name, process in running if process.wait()]
        if failed:
            raise SystemExit(f"could not record {' and '.join(failed)}: see above")
        return [json.loads(place.read_text()) for place in places]


def unpacked(commit: str, folder: Path) -> Path:
    """A commit's files in a folder."""
    made = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
    if made.returncode:
        raise SystemExit(f"{commit} is no commit of this repository: {made.stderr.decode().strip()}")
    with tarfile.open(fileobj=BytesIO(made.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def recorder(root: Path, out: Path, only: str) -> subprocess.Popen[bytes]:
    """A process that records the checkout at `root`."""
    return subprocess.Popen([sys.executable, str(RECORDER), str(out.absolute()), only], cwd=root,
                            env={**os.environ, "PYTHONPATH": str(root)})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
