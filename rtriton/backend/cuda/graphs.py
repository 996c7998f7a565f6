"""CUDA graphs: launches made inside `capture_graph()` are recorded on a stream of our own and replayed in one call."""
from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from rtriton.backend.cuda import current, driver


class CudaGraph:
    """A captured graph. `replay()` launches it on the caller's current stream."""

    def __init__(self) -> None:
        self.executable: Any = None
        self.graph: Any = None
        self.replays = 0

    def replay(self) -> None:
        if self.executable is None:
            raise RuntimeError("this graph is still being captured")
        driver.call("cuGraphLaunch", self.executable, current.stream(), what="replaying a graph")
        self.replays += 1

    @property
    def nodes(self) -> int:
        """How many launches the graph holds."""
        _, count = driver.call("cuGraphGetNodes", self.graph, 0)
        return int(count)

    def __del__(self) -> None:
        if self.executable is not None:
            driver.bindings().cuGraphExecDestroy(self.executable)
            driver.bindings().cuGraphDestroy(self.graph)


@contextmanager
def capture_graph() -> Generator[CudaGraph]:
    """Record the launches made inside; kernels must be compiled already (loading a module cannot be captured)."""
    driver.ensure_context()
    cuda = driver.bindings()
    stream = driver.call("cuStreamCreate", cuda.CUstream_flags.CU_STREAM_NON_BLOCKING)
    graph = CudaGraph()
    driver.synchronize()
    # relaxed: memory or an older graph that is dropped meanwhile may be freed without breaking this capture
    driver.call("cuStreamBeginCapture", stream, cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED)
    before = current.set_stream(int(stream))
    try:
        yield graph
    finally:
        current.set_stream(before)
        status, captured = cuda.cuStreamEndCapture(stream)
        cuda.cuStreamDestroy(stream)
    if int(status) != 0:
        raise RuntimeError(f"capturing a graph failed: {driver.explain(cuda, status)}")
    graph.graph = captured
    graph.executable = driver.call("cuGraphInstantiate", captured, 0, what="instantiating a graph")
