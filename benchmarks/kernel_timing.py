"""Times a row's kernel as several sides make it, on a GPU, and checks what they wrote in the run that was timed.

A side is a function that launches its kernel on one set of arguments. The launches of a side are captured in a CUDA
graph over several sets of buffers, which together exceed the L2 four times, so that each launch finds its data in
memory. A round replays each side's graph in turn, timed by events behind a replay that is not; ratios are of one round,
figures are medians over the rounds. Before the last timed replay outputs are overwritten with what no kernel writes.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.kernel_rows import In, Out, Row

ROUNDS, L2, REPLAY_SECONDS, MOST_LAUNCHES = 9, 60 << 20, 2.5e-3, 400
TYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "i32": "int32", "i64": "int64"}

Side = Callable[[Sequence[Any]], Any]


@dataclass
class Timed:
    """One side: medians, and the largest relative error of its outputs (None where it returns its own)."""

    rate: float  # in the row's unit
    microseconds: float
    error: float | None
    rounds: list[float] = field(repr=False)


def kernel_side(module: Any, row: Row) -> Side:
    """Launches the row's kernel out of a module that either compiler reads; gives the compiled kernel."""
    function = getattr(module, row.kernel)[row.grid]
    options = {**row.constants, "num_warps": row.warps, "num_stages": row.stages}
    return lambda arguments: function(*arguments, **options)


def torch_side(torch: Any, row: Row) -> Side | None:
    by_torch = row.torch
    if by_torch is None:
        return None
    reads = [isinstance(a, In) for a in row.arguments]
    return lambda arguments: by_torch(torch, *(a for a, read in zip(arguments, reads, strict=True) if read))


def arguments(torch: Any, row: Row) -> list[Any]:
    """One set: fresh random inputs, outputs not yet written."""

    def one(a: Any) -> Any:
        if isinstance(a, Out):
            return torch.empty(a.shape, dtype=getattr(torch, TYPES[a.dtype]), device="cuda")
        if not isinstance(a, In):
            return a
        dtype = getattr(torch, TYPES[a.dtype])
        if a.below:
            return torch.randint(a.below, a.shape, device="cuda").to(dtype)
        return torch.randn(a.shape, device="cuda").to(dtype)

    return [one(a) for a in row.arguments]


def error(torch: Any, row: Row, given: Sequence[Any]) -> float:
    """The largest relative error of the outputs, beside the reference in float64; NaN where one is not written."""
    pairs = list(zip(row.arguments, given, strict=True))
    inputs = [x.double() if x.is_floating_point() else x.long() for a, x in pairs if isinstance(a, In)]
    outputs = [x for a, x in pairs if isinstance(a, Out)]
    errors: list[float] = []
    for out, wanted in zip(outputs, row.reference(torch, *inputs), strict=True):
        errors.append(float((out.double() - wanted).norm() / wanted.double().norm()))
    return worst(errors)


def worst(errors: Iterable[float]) -> float:
    """The largest; NaN is larger than all."""
    return max(errors, key=lambda e: (e != e, e))


def poison(row: Row, given: Sequence[Any]) -> None:
    for a, x in zip(row.arguments, given, strict=True):
        if isinstance(a, Out):
            x.fill_(float("nan") if x.is_floating_point() else -77)


def record(torch: Any, side: Side, sets: Sequence[Sequence[Any]], launches: int) -> Any:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(launches):
            side(sets[i % len(sets)])
    return graph


def replay(torch: Any, graph: Any, between: Callable[[], None] | None = None) -> float:
    """Seconds of a replay, behind one that keeps the GPU busy while the host prepares."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    graph.replay()
    if between is not None:
        between()
    begin.record()
    graph.replay()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


def measure(torch: Any, row: Row, sides: dict[str, Side], rounds: int = ROUNDS) -> dict[str, Timed]:
    """All sides of a row. "torch" is the one whose outputs are its own."""
    sets = [arguments(torch, row) for _ in range(max(2, -(-4 * L2 // row.bytes)))]
    for side in sides.values():  # compiled and loaded before the capture
        side(sets[0])
    torch.cuda.synchronize()
    guess = max(row.bytes / 3e12, row.flops / 4e14)  # seconds of a launch
    turns = max(1, round(min(REPLAY_SECONDS / guess, MOST_LAUNCHES) / len(sets)))
    launches = turns * len(sets)
    graphs = {name: record(torch, side, sets, launches) for name, side in sides.items()}
    times: dict[str, list[float]] = {name: [] for name in sides}
    errors: dict[str, float | None] = dict.fromkeys(sides)
    for i in range(rounds):
        last = i == rounds - 1
        for name in sides if i % 2 else reversed(sides):
            checked = last and name != "torch"
            between = (lambda: [poison(row, s) for s in sets]) if checked else None
            times[name].append(replay(torch, graphs[name], between) / launches)
            if checked:
                errors[name] = worst(error(torch, row, s) for s in (sets[0], sets[-1]))
    return {name: Timed(row.work / statistics.median(t), statistics.median(t) * 1e6, errors[name], t)
            for name, t in times.items()}


def ratios(timed: dict[str, Timed], of: str, to: str) -> list[float]:
    """How much faster one side is than another, round by round, in order."""
    return sorted(b / a for a, b in zip(timed[of].rounds, timed[to].rounds, strict=True))


def ceilings(torch: Any) -> dict[str, float]:
    """What the GPU does at most: "copy", GB/s of a large copy by a kernel of torch's (bytes read and written; a graph's
    own copying is far slower); "memory", GB/s by the memory's clock and width; "matmul", TFLOP/s of torch's product."""
    from rtriton.backend.cuda import driver

    def best(launch: Side, given: Sequence[Any]) -> float:
        graph = record(torch, launch, [given], 2)
        return min(replay(torch, graph) for _ in range(ROUNDS)) / 2

    x = torch.randn(1 << 29, device="cuda")
    y = torch.empty_like(x)
    copy = 2 * x.nbytes / best(lambda pair: torch.neg(pair[0], out=pair[1]), (x, y)) / 1e9
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.float16) for _ in range(2))
    out = torch.mm(a, b)
    matmul = 2 * 8192**3 / best(lambda pair: torch.mm(*pair, out=out), (a, b)) / 1e12
    ordinal = driver.current_device().ordinal
    clock, width = (driver.attribute(ordinal, n) for n in ("MEMORY_CLOCK_RATE", "GLOBAL_MEMORY_BUS_WIDTH"))
    return {"copy": copy, "memory": 2 * clock * 1e3 * width / 8 / 1e9, "matmul": matmul}
