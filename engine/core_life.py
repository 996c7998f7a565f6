"""One engine core's process from its start to its end, and how long to wait before the next one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import Any

import zmq

from engine.config import EngineConfig
from engine.logs import passed_on


class CoreDied(RuntimeError):
    """The engine core has ended; the message says why as far as it is known."""


@dataclass
class Backoff:
    """Seconds before the next restart: none to speak of after a long life, twice as many after each short one."""

    first: float = 0.1
    most: float = 30.0
    calm: float = 60.0
    """A core that has lived so long counts as a good one."""
    _next: float = 0.0

    def after(self, lived: float) -> float:
        """The pause after a core that was ready for `lived` seconds (0: it never was)."""
        pause = self.first if lived > self.calm or not self._next else self._next
        self._next = min(2 * pause, self.most)
        return pause


class CoreProcess:
    """One core's process, its private directory with the socket in it, and the pipe that ties it to us."""

    def __init__(self, config: EngineConfig) -> None:
        # mkdtemp makes it 0700: nobody else can reach the socket
        self.directory = tempfile.mkdtemp(prefix="rtriton-")
        self.address = f"ipc://{self.directory}/core"
        self._config = config
        self._popen: subprocess.Popen[bytes] | None = None

    def bind(self, socket: zmq.Socket[Any]) -> None:
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.LINGER, 0)
        socket.bind(self.address)

    def spawn(self) -> None:
        environment = dict(os.environ) | passed_on()
        environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
        # the kernel's parent-death signal goes by the thread that spawned, so it is only safe from the main one
        environment["RTRITON_CORE_PDEATHSIG"] = str(int(threading.current_thread() is threading.main_thread()))
        command = [sys.executable, "-m", "engine.core_process", self.address, self._config.to_json().decode()]
        self._popen = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    def died(self) -> CoreDied | None:
        """Why it is no longer there, or None while it is."""
        status = self._popen.poll() if self._popen else None
        return None if status is None else CoreDied(f"the engine core exited with status {status}")

    def kill(self) -> None:
        """At once, also where it is stopped or hangs in the driver; `died` tells of it."""
        if self._popen is not None:
            self._popen.kill()

    def end(self, seconds: float) -> None:
        """Wait for it to leave, kill it if it does not, clean up. May be called again."""
        if self._popen is not None:
            try:
                self._popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
            if self._popen.stdin is not None:
                self._popen.stdin.close()
        # the core has removed it once it was connected; one that never got so far has not
        shutil.rmtree(self.directory, ignore_errors=True)
