"""The engine core's own process: a plain loop around `Engine.step`, a private socket on one side.

    python -m engine.core_process ADDRESS CONFIG_JSON

Each turn reads what commands have come (blocking on the socket while there is nothing to do, so an idle core costs no
CPU), steps once and sends one frame of events. Started by `engine.core_client`, never by hand.

It never outlives its parent: standard input is a pipe whose other end only the parent holds, so the end of that pipe
is the end of the parent, however it died; a thread waits for it. On Linux the kernel is asked for the same. It also
removes the directory of the socket as soon as it is connected, which needs no name then: nobody else could do that
after a parent that was killed.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec
import zmq

from engine import heap
from engine.config import ConfigError, EngineConfig
from engine.logs import configure_as_told
from engine.messages import (
    Abort,
    Command,
    Event,
    Fatal,
    Ping,
    Pong,
    Ready,
    RequestFailed,
    Shutdown,
    Submit,
    decode_commands,
    encode,
)
from engine.startup import BEGINNING, Stopwatch
from engine.weights.errors import ModelFileError

if TYPE_CHECKING:
    from engine.engine import Engine

log = logging.getLogger(__name__)
PR_SET_PDEATHSIG = 1
FLUSH_MILLISECONDS = 2000
CONNECT_MILLISECONDS = 10_000


class Core:
    """The loop's state: the engine, the socket, and whether it is on its way out."""

    def __init__(self, engine: Engine, socket: zmq.Socket[bytes]) -> None:
        self.engine = engine
        self.socket = socket
        self.leaving = False
        self.draining = False

    def run(self) -> None:
        """Turn until told to leave."""
        while True:
            events: list[Event] = []
            for frame in self._frames():
                for command in decode_commands(frame):
                    self._obey(command, events)
            if self.leaving and not (self.draining and self.engine.busy):
                self._send(events)
                return
            if self.engine.busy:
                events += self.engine.step()
            self._send(events)

    def _frames(self) -> list[bytes]:
        """What has come; waits for the first frame if the engine has nothing to do."""
        frames: list[bytes] = []
        if not self.engine.busy and not self.leaving:
            frames.append(self.socket.recv())
        while True:
            try:
                frames.append(self.socket.recv(zmq.NOBLOCK))
            except zmq.Again:
                return frames

    def _obey(self, command: Command, events: list[Event]) -> None:
        match command:
            case Submit() if self.leaving:
                message = "the engine is shutting down"
                events.append(RequestFailed(command.request_id, command.choice, "stopping", message))
            case Submit():
                self.engine.submit(command)
            case Abort():
                self.engine.abort(command.request_id)
            case Ping():
                events.append(Pong(command.number))
            case Shutdown():
                self.leaving, self.draining = True, command.drain

    def _send(self, events: list[Event]) -> None:
        if events:
            self.socket.send(encode(events))


def main(arguments: list[str]) -> int:
    """Load, say `Ready`, serve; what goes wrong is sent as `Fatal` and is the exit status."""
    watch = Stopwatch.of_process()
    address, config_json = arguments
    directory = address.removeprefix("ipc://").rpartition("/")[0]
    threading.Thread(target=_exit_at_end_of_stdin, args=[directory], name="parent-watch", daemon=True).start()
    # Ctrl-C and a supervisor's SIGTERM reach the whole group; the parent decides, and tells us to drain
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    configure_as_told("core")
    context = zmq.Context()
    socket: zmq.Socket[Any] = context.socket(zmq.PAIR)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    _connect(socket, address)
    shutil.rmtree(directory, ignore_errors=True)
    # not before: a process that is killed cleans nothing up
    _be_killed_with_parent()
    try:
        _serve(EngineConfig.from_json(config_json), socket, watch)
        status = 0
    except (ConfigError, ModelFileError) as error:
        # the parent says it, in one sentence
        socket.send(encode([Fatal(str(error))]))
        status = 1
    except Exception as error:
        log.exception("the engine core failed")
        socket.send(encode([Fatal(f"{type(error).__name__}: {error}")]))
        status = 1
    socket.close(linger=FLUSH_MILLISECONDS)
    context.term()
    return status


def _serve(config: EngineConfig, socket: zmq.Socket[bytes], watch: Stopwatch) -> None:
    heap.growing()
    with watch.phase(BEGINNING):
        # here: the parent is watched by now, and no garbage is looked for in what they make
        from engine.admission import Policy
        from engine.engine import Engine
        from engine.runner import find_runner

        make = find_runner(config)
    started = time.perf_counter()
    engine = Engine(make(config), Policy.of(config))
    try:
        seconds = time.perf_counter() - started
        info = msgspec.structs.replace(engine.info, load_seconds=seconds, startup=watch.around(engine.info.startup))
        socket.send(encode([Ready(info)]))
        heap.grown()
        Core(engine, socket).run()
    finally:
        engine.close()


def _connect(socket: zmq.Socket[Any], address: str) -> None:
    """Connect, and wait until it is done."""
    monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    socket.connect(address)
    monitor.poll(CONNECT_MILLISECONDS)
    socket.disable_monitor()


def _be_killed_with_parent() -> None:
    if sys.platform == "linux" and os.environ.get("RTRITON_CORE_PDEATHSIG") == "1":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _exit_at_end_of_stdin(directory: str) -> None:
    while os.read(0, 4096):
        pass
    shutil.rmtree(directory, ignore_errors=True)
    # not sys.exit: the main thread may be deep in a kernel
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
