"""`rtriton serve` as a process, and what the system says of it and of its engine core."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.make_model import write_model
from tests.server.conftest import launched

NAME = "tiny-load"


@dataclass(frozen=True)
class Usage:
    """Of one process."""

    kilobytes: int
    """Resident memory."""
    descriptors: int


def core_of(server: int) -> int:
    """The engine core of a server's process. All processes are looked at: not every kernel lists those of one."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == server and b"engine.core_process" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    [core] = found
    return core


@dataclass(frozen=True)
class Serving:
    """A running server."""

    port: int
    pid: int
    model: Path

    @property
    def core_pid(self) -> int:
        """The engine core that runs now."""
        return core_of(self.pid)

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
    options = ["--kv-cache-mb", "1", "--swap-mb", "1", "--log-level", "error"]
    with launched(model, *options) as (url, process):
        yield Serving(int(url.rsplit(":", 1)[1]), process.pid, model)


def _usage(pid: int) -> Usage:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return Usage(int(line.split()[1]), len(os.listdir(f"/proc/{pid}/fd")))
