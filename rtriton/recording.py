"""Recording launches: the same `with capture() as graph` on a CPU (a launch list) and on a GPU (a CUDA graph).

    with rtriton.capture("cpu") as graph:     # nothing runs: launches are written down
        kernel[grid](x, y)
    graph.replay()                            # all of them, in one call

Arrays are remembered by address: keep them alive and change them in place between replays.
"""
from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from rtriton import knobs


class Graph(Protocol):
    """A recorded list of launches."""

    def replay(self) -> None: ...


@dataclass(frozen=True)
class Launch:
    """One launch, as hooks and traces see it."""

    kernel: str
    grid: tuple[int, int, int]
    backend: str


class _Local(threading.local):
    recording: Any = None


_local = _Local()
_hooks: list[Callable[[Launch], None]] = []
observers: list[Any] = []       # captures and traces under way, in any thread: while there are, no launch is cut short


def recording() -> Any:
    """The recorder that launches of this thread go to, or None."""
    return _local.recording


@contextmanager
def observing(observer: Any) -> Generator[None]:
    """While inside, every launch takes the long road, on which it is announced and recorded."""
    observers.append(observer)
    try:
        yield
    finally:
        observers.remove(observer)


@contextmanager
def capture(device: str = "cpu") -> Generator[Any]:
    """Write down the launches made inside, for `device` "cpu" or "cuda"; RuntimeError when already capturing."""
    if _local.recording is not None:
        raise RuntimeError("this thread is capturing already: captures do not nest")
    if device == "cpu":
        from rtriton.backend.cpu.launch import LaunchList

        opened: Any = nullcontext(LaunchList())
    else:
        from rtriton.backend.cuda.graphs import capture_graph

        opened = capture_graph()
    with opened as graph, observing(graph):
        _local.recording = graph
        try:
            yield graph
        finally:
            _local.recording = None


@contextmanager
def trace() -> Generator[list[Launch]]:
    """The launches made inside, recorded ones too, as a list that fills up."""
    seen: list[Launch] = []
    _hooks.append(seen.append)
    try:
        with observing(seen.append):
            yield seen
    finally:
        _hooks.remove(seen.append)


def announces() -> bool:
    """Is somebody to be told of launches: a capture, a trace, launch hooks, RTRITON_TRACE?"""
    return bool(observers) or knobs.launch_state() is None


def announce(kernel: str, grid: tuple[int, int, int], backend: str) -> None:
    """Tell hooks of a launch."""
    if not _hooks and not knobs.launch_trace():
        return
    launch = Launch(kernel, grid, backend)
    for hook in _hooks:
        hook(launch)
    if knobs.launch_trace():
        print(f"launch {kernel}{grid} on {backend}", file=sys.stderr)
