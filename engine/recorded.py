"""Launch lists that are recorded once per key and replayed in one call: on a CPU rtriton's own list, on a GPU a CUDA
graph.

The first run of a key launches eagerly (so that every kernel is compiled and the recording holds nothing else), then
records. What is launched must be idempotent and allocate nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

import rtriton


class Graph(Protocol):
    def replay(self) -> None: ...


class Recorded:
    """One function family: `run(key, launches)` does what `launches()` does."""

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self.replays = 0
        self._graphs: dict[Hashable, Graph] = {}

    @property
    def recordings(self) -> int:
        return len(self._graphs)

    def run(self, key: Hashable, launches: Callable[[], object]) -> None:
        if not self.enabled:
            launches()
            return
        graph = self._graphs.get(key)
        if graph is None:
            launches()
            with rtriton.capture() as graph:
                launches()
            self._graphs[key] = graph
        graph.replay()
        self.replays += 1
