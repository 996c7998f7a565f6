"""The section of docs/benchmarks.md about servers, from what `benchmarks.serving` measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

PEER = "llama.cpp"
OWN_LOAD = 3
"""The load average that a server of two threads and its client come to."""
PHASES = {
    "launch to ready": "ready",
    "to the first token": "first_token",
    "to the end of the last request": "requests",
    "from SIGTERM to the end": "shut_down",
}
FIGURES: dict[str, Callable[[dict[str, Any]], float]] = {
    "time to first token, p50 (ms)": lambda r: r["ttft_ms"]["p50"],
    "time to first token, p99 (ms)": lambda r: r["ttft_ms"]["p99"],
    "per token after the first, p50 (ms)": lambda r: r["per_token_ms"]["p50"],
    "per token after the first, p99 (ms)": lambda r: r["per_token_ms"]["p99"],
    "end to end, p50 (ms)": lambda r: r["e2e_ms"]["p50"],
    "end to end, p99 (ms)": lambda r: r["e2e_ms"]["p99"],
    "output tokens/s": lambda r: r["output_tokens_per_s"],
    "within the SLO (% of requests)": lambda r: 100 * r["goodput"]["share"],
}
Table = Callable[[list[str], list[list[str]]], str]


def serving_section(kept: dict[str, Any], table: Table) -> list[str]:
    """Paragraphs and tables; `table` makes one of a head and rows."""
    asked, slo = kept["asked"], kept["asked"]["slo"]
    loads = [r["load_average"] for part in ("life", "closed", "open") for r in kept[part]]
    return [
        "## Serving",
        f"`rtriton serve` beside llama.cpp's Python server (llama-cpp-python {kept['llama_cpp_python']}, built on this "
        f"machine), both with {kept['model']} and {kept['threads']} threads on {kept['processor']}, loaded by `rtriton "
        f"bench`, which shares the machine with them. Prompts are {asked['words']} random words, other ones for each "
        f"run, and answers {asked['tokens']} tokens; that they were so many is checked. Rounds alternate between the "
        "servers; the tables have medians over rounds, and in brackets the lowest and the highest.",
        f"The machine's load average was {min(loads):.1f} to {max(loads):.1f}; what is above {OWN_LOAD}, as much as a "
        "server and its client make, was other work. "
        "`python -m benchmarks.serving MODEL.gguf --peer PYTHON --json benchmarks/results/serving.json`",
        "### A server's life",
        f"As `rtriton bench lifecycle` tells it, with {asked['lived']} requests, one after the other; seconds. "
        "Compiled kernels and Python's bytecode lie on disk, as they do from the second launch on.",
        table(["phase", "rtriton", PEER], _lives(kept["life"])),
        "### Closed loop",
        "One client, which is what the peer serves at a time, and several of ours. The SLO is "
        f"{slo['ttft_ms']:g} ms to the first token and {slo['itl_ms']:g} ms for each one after it.",
        _closed(kept["closed"], table),
        "### Open loop",
        f"{asked['open']} requests that come as a Poisson process; their times count from when they were due. The peer "
        "lets those wait that come while it answers one (`--interrupt_requests false`: otherwise it would break the "
        "answer off).",
        table(
            ["requests/s", "server", *("TTFT p50 (ms)", "TTFT p99 (ms)", "per token p50 (ms)", "e2e p99 (ms)")]
            + ["tokens/s", "within the SLO"],
            [_at_rate(r) for r in kept["open"]],
        ),
    ]


def _lives(lives: Sequence[dict[str, Any]]) -> list[list[str]]:
    def cell(name: str, server: str) -> str:
        return _spread([life[name] for life in lives if life["server"] == server], 2)

    rows = [[said, cell(name, "rtriton"), cell(name, PEER)] for said, name in PHASES.items()]
    whole = [{**life, "whole": sum(life[name] for name in PHASES.values())} for life in lives]
    totals = [_spread([life["whole"] for life in whole if life["server"] == server], 2) for server in ("rtriton", PEER)]
    return [*rows, ["all of it", *totals]]


def _closed(runs: Sequence[dict[str, Any]], table: Table) -> str:
    columns = sorted({(r["server"] == PEER, r["concurrency"]) for r in runs}, key=lambda c: (c[1], c[0]))
    heads = [f"{PEER if peer else 'rtriton'}, {n} client{'s' * (n > 1)}" for peer, n in columns]
    rows = [
        [
            said,
            *(
                _spread([of(r) for r in runs if (r["server"] == PEER, r["concurrency"]) == column], 1)
                for column in columns
            ),
        ]
        for said, of in FIGURES.items()
    ]
    return table(["", *heads], rows)


def _at_rate(r: dict[str, Any]) -> list[str]:
    times = (r["ttft_ms"]["p50"], r["ttft_ms"]["p99"], r["per_token_ms"]["p50"], r["e2e_ms"]["p99"])
    speed = f"{r['output_tokens_per_s']:.0f}"
    return [f"{r['rate']:g}", r["server"], *(f"{time:.0f}" for time in times), speed, f"{r['goodput']['share']:.0%}"]


def _spread(values: Sequence[float], digits: int) -> str:
    """The median, and between what it lies."""
    low, middle, high = (f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"
