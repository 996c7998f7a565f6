"""Work that may end its process, or never end itself, is done in another one: asked by lines, killed when it is late.

    process = Process("engine/rendering.py")
    process.ask({"messages": []}, seconds=5.0)    # what it answers; `Ended` if it took too long, or died of it

The file that it runs calls `serve`. It gets the path of this process and nothing else of its environment, `MEMORY` of
address space, no file that it could write and no core dump. Once it has ended, being asked again starts it anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = str(Path(__file__).parents[1])
"""Where this package is, also for a process that found it in its working folder."""
MEMORY = 1 << 30
"""Bytes of address space."""
START_SECONDS = 25.0
"""For the interpreter's own start, on a busy machine."""


class Ended(Exception):
    """There is no answer, and the process that should give it has ended."""


class Failed(Exception):
    """What `serve` was told to say instead of an answer."""


class Process:
    """Runs `file` for as long as somebody asks it. One thread at a time may ask."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._process: subprocess.Popen[str] | None = None

    @property
    def running(self) -> bool:
        """Whether what it was told before is still known to it."""
        return self._process is not None and self._process.poll() is None

    def ask(self, question: Any, seconds: float) -> Any:
        """Its answer to what can be written as JSON. `Ended` where it gave none in time, `Failed` where it says why
        there is none."""
        line = json.dumps(question) + "\n"
        if not self.running:
            self._start()
        answer = self._exchange(line, seconds)
        if answer is None:
            raise Ended
        said = json.loads(answer)
        if "error" in said:
            raise Failed(said["error"])
        return said["value"]

    def _start(self) -> None:
        # no signal of this process' terminal
        self._process = subprocess.Popen(
            [sys.executable, "-P", self._file],
            env={"PYTHONPATH": os.pathsep.join([ROOT, *filter(None, sys.path)])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="ascii",
            start_new_session=True,
        )
        weakref.finalize(self, _end, self._process)
        if self._exchange("", START_SECONDS) is None:
            raise RuntimeError(f"{self._file} cannot be run in a process of its own")

    def _exchange(self, line: str, seconds: float) -> str | None:
        """The next line that it says after it was told `line`; None, and its end, where there is none in time."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        late = threading.Timer(seconds, process.kill)
        late.start()
        try:
            process.stdin.write(line)
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            late.cancel()
        if answer.endswith("\n"):
            return answer
        _end(process)
        return None


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # what was not written yet
                pipe.close()


def serve(answer: Callable[[Any], Any]) -> None:
    """Answer what the other process asks until it asks no more. A `Failed` that `answer` raises is told."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            said: dict[str, Any] = {"value": answer(json.loads(line))}
        except Failed as failed:
            said = {"error": str(failed)}
        print(json.dumps(said), flush=True)
