"""Launch lists that are recorded once per key and replayed in one call: on a CPU rtriton's own list, on a GPU a CUDA
graph.

On a GPU the first run of a key launches eagerly before it is recorded, since no module can be loaded during a capture;
on a CPU recording compiles what it needs. What is launched must be idempotent and allocate nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import rtriton
from rtriton.recording import Graph, Launch


@dataclass(frozen=True)
class Recording:
    """A list that can be replayed, and what is in it."""

    graph: Graph
    launches: tuple[Launch, ...]


class Recorded:
    """One function family: `run(key, launches)` does what `launches()` does."""

    def __init__(self, device: str, enabled: bool = True) -> None:
        self.device = device
        self.enabled = enabled
        self.replays = 0
        self.recording: Callable[[], AbstractContextManager[None]] = nullcontext
        """Entered around each recording: whoever wants to know what it takes."""
        self.recordings: dict[Hashable, Recording] = {}

    def run(self, key: Hashable, launches: Callable[[], object]) -> None:
        if not self.enabled:
            launches()
            return
        if key not in self.recordings:
            if self.device != "cpu":
                launches()
            self.recordings[key] = self._record(launches)
        self.recordings[key].graph.replay()
        self.replays += 1

    def _record(self, launches: Callable[[], object]) -> Recording:
        with self.recording(), rtriton.trace() as seen, rtriton.capture(self.device) as graph:
            launches()
        return Recording(graph, tuple(seen))
