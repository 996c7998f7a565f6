"""`rtriton serve` as a process, and what the system says of it and of its engine core."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.make_model import write_model

ROOT = Path(__file__).parents[2]
NAME = "tiny-load"


@dataclass(frozen=True)
class Usage:
    """Of one process."""

    kilobytes: int
    """Resident memory."""
    descriptors: int


@dataclass(frozen=True)
class Serving:
    """A running server."""

    port: int
    pid: int
    model: Path

    @property
    def core_pid(self) -> int:
        """The engine core that runs now."""
        [child] = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return int(child)

    def usage(self) -> dict[str, Usage]:
        """Of the server and of its core."""
        return {"server": _usage(self.pid), "core": _usage(self.core_pid)}

    def metric(self, name: str) -> float:
        """The sum over a metric's labels."""
        page = httpx.get(f"http://127.0.0.1:{self.port}/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in page if line.replace("{", " ").split(" ")[0] == name)

    def ready(self) -> bool:
        """What /ready says."""
        return httpx.get(f"http://127.0.0.1:{self.port}/ready").status_code == 200


@contextmanager
def serving(folder: Path) -> Iterator[Serving]:
    """A server on a free port, with a cache that is too small for all that will be asked at once; some of what has to
    give way is swapped. It must end by itself, with status 0.
    """
    model = Path(write_model(folder / f"{NAME}.Q4_1.gguf"))
    command = [sys.executable, "-m", "server.cli", "serve", "--model", str(model), "--device", "cpu", "--port", "0"]
    command += ["--kv-cache-mb", "1", "--swap-mb", "1", "--log-level", "error"]
    environment = {**os.environ, "COLUMNS": "200"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        ready = next((line for line in lines if "serving at" in line), None)
        assert ready is not None, "the server ended before it was ready"
        # what else it says is read, so that it never waits for a full pipe
        threading.Thread(target=lambda: [*lines], daemon=True).start()
        try:
            yield Serving(int(ready.strip().rsplit(":", 1)[1]), process.pid, model)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()


def _usage(pid: int) -> Usage:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return Usage(int(line.split()[1]), len(os.listdir(f"/proc/{pid}/fd")))
