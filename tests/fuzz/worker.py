"""The process that tries inputs on one target until its time is up; `__main__` starts it, and starts it again.

    python -m tests.fuzz.worker gguf --seconds 60 --folder .fuzz

What it tries is in `FOLDER/NAME.now` before it is tried (its length, how many came before, itself), so that an input
which ends this process is not lost: a crash in C, a loop that never comes back from C (the kernel ends it after `STUCK`
seconds of the processor's time), memory beyond `SPACE`. How many it tried is in `FOLDER/NAME.json`. Inputs that reach
new lines go to `FOLDER/NAME/`, findings to `FOLDER/NAME.found/`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import mmap
import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import NoReturn

from tests.fuzz import minimise
from tests.fuzz.inputs import beginnings, inputs
from tests.fuzz.limits import Finding, check
from tests.fuzz.target import LARGEST, Target, load

STUCK = 20
"""Seconds of the processor, for one input, after which no one waits for C to come back."""
SPACE = 8 << 30
"""Bytes of address space: far above what any of this needs, far below what would hurt the machine."""
MOST_FINDINGS = 20


class Trial:
    """Tries inputs, counts them, and keeps what they found."""

    def __init__(self, name: str, target: Target, seconds: float, folder: Path) -> None:
        self.target, self.seconds = target, seconds
        self.told, self.found = folder / f"{name}.json", folder / f"{name}.found"
        self.executions = 0
        for data in target.seeds():
            with suppress(Exception):
                target.run(data)  # what is imported and remembered at first is nobody's input
        self.marks: set[str] = set()
        with (folder / f"{name}.now").open("w+b") as file:
            file.truncate(16 + 4 * LARGEST)
            self._now = mmap.mmap(file.fileno(), 0)

    def __call__(self, data: bytes) -> None:
        """Try one; ends the process when the time is up."""
        self._now[:16] = len(data).to_bytes(8, "little") + self.executions.to_bytes(8, "little")
        self._now[16 : 16 + len(data)] = data
        spent = _allowed(STUCK)
        self.executions += 1
        try:
            check(self.target, data)
        except Finding as finding:
            self.keep(data, finding)
        if spent > self.seconds or len(self.marks) >= MOST_FINDINGS:
            self.end()

    def keep(self, data: bytes, finding: Finding) -> None:
        """One input for each mistake: the first."""
        if finding.mark in self.marks:
            return
        self.marks.add(finding.mark)
        self.found.mkdir(exist_ok=True)
        _allowed(STUCK + minimise.SECONDS)
        data = minimise.minimised(self.target, data, finding.mark)
        path = self.found / hashlib.sha256(data).hexdigest()[:16]
        path.write_bytes(data)
        print(f"FOUND {path}\n  {finding.mark}\n  {finding}", file=sys.stderr, flush=True)

    def end(self) -> NoReturn:
        """At once: atheris has no other way to be told that this is enough."""
        self.told.write_text(json.dumps({"executions": self.executions, "seconds": time.process_time()}))
        self._now[:8] = bytes(8)
        sys.stderr.flush()
        os._exit(0)


def _allowed(seconds: float) -> float:
    """From now on so much of the processor's time, before the kernel ends this process; what it has had until now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = used.ru_utime + used.ru_stime
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent + seconds), resource.RLIM_INFINITY))
    return spent


def main() -> None:
    """The command above."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--without-atheris", action="store_true")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (SPACE, SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    fuzz = _atheris if not options.without_atheris and has_atheris() else _hypothesis
    fuzz(options.name, options.seconds, options.folder)


def has_atheris() -> bool:
    """Whether inputs are led by the lines that they reach."""
    try:
        import atheris  # noqa: F401
    except ImportError:
        return False
    return True


def _atheris(name: str, seconds: float, folder: Path) -> None:
    import atheris

    # what the kernel language's own functions are made of is data to it, which must stay as it is
    with atheris.instrument_imports(include=["engine", "server", "rtriton", "jinja2"], enable_loader_override=False):
        target = load(name)
    trial = Trial(name, target, seconds, folder)
    own = folder / name
    own.mkdir(exist_ok=True)
    for data in beginnings(name, target):
        (own / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)

    def mutate(data: bytes, largest: int, seed: int) -> bytes:
        rng = Random(seed)
        if rng.randint(0, 7) == 0:
            return atheris.Mutate(data, largest)
        return target.mutate(data, rng)[:largest]

    # its own limits are only nets: time here is a clock's, which a busy machine turns too
    options = [
        f"-max_len={LARGEST}",
        "-timeout=300",
        "-rss_limit_mb=0",
        "-detect_leaks=0",
        "-verbosity=0",
        "-len_control=0",
    ]
    atheris.Setup([f"fuzz-{name}", *options, f"-artifact_prefix={folder}/", str(own)], trial, custom_mutator=mutate)
    atheris.Fuzz()


def _hypothesis(name: str, seconds: float, folder: Path) -> None:
    from hypothesis import HealthCheck, Phase, given, settings

    target = load(name)
    trial = Trial(name, target, seconds, folder)
    known = beginnings(name, target)
    for data in known:
        trial(data)

    @settings(
        max_examples=200, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(inputs(target, known))
    def some(data: bytes) -> None:
        trial(data)

    while True:
        some()


if __name__ == "__main__":
    main()
