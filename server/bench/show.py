"""A Report with its samples, and a Life, in a terminal: tables, and histograms of latencies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from server.bench.life import Life
from server.bench.report import Report, Samples

BINS = 12
WIDTH = 40
"""Characters of the longest bar."""
BUSY = 0.8
"""From here on the client itself may be what is slow."""


def print_report(console: Console, report: Report, samples: Samples) -> None:
    """Everything that `--json` says, and the histograms."""
    counts = f"{report.completed} of {report.requests} requests completed in {report.seconds:.2f} s"
    told = "" if report.tokens_told else " (events counted: the server does not say how many tokens)"
    console.print(f"{counts}: {report.requests_per_s:.2f} requests/s")
    console.print(f"{report.output_tokens_per_s:.1f} output tokens/s; {report.prompt_tokens} tokens in, ", end="")
    console.print(f"{report.output_tokens} out{told}")
    if report.goodput is not None:
        good = report.goodput
        asked = {"TTFT": good.slo.ttft_ms, "token": good.slo.itl_ms}
        limits = " and ".join(f"{name} <= {limit:g} ms" for name, limit in asked.items() if limit is not None)
        console.print(f"goodput ({limits}): {good.requests_per_s:.2f} requests/s, {good.share:.1%} of all")
    if report.client_busy > BUSY:
        console.print(f"this client's processor was busy {report.client_busy:.0%} of the time: it may be what is slow")
    if report.errors:
        table = Table("error", "requests", "the first one")
        for kind, errors in report.errors.items():
            table.add_row(kind, str(errors.count), errors.example)
        console.print(table)
    rows = {
        "time to first token": (report.ttft_ms, samples.ttft),
        "between events": (report.itl_ms, samples.itl),
        "per token after the first": (report.per_token_ms, samples.per_token),
        "end to end": (report.e2e_ms, samples.e2e),
    }
    table = Table("ms", *("mean", "p50", "p90", "p99", "max"))
    for name, (found, _) in rows.items():
        if found is not None:
            values = (found.mean, found.p50, found.p90, found.p99, found.max)
            table.add_row(name, *(f"{value:.2f}" for value in values))
    if report.completed:
        console.print(table)
    for name, (_, values) in rows.items():
        if len(values) > 1:
            console.print(f"\n{name}, ms")
            console.print("\n".join(histogram(values)))


def print_life(console: Console, life: Life) -> None:
    """The phases of a server's life."""
    count = len(life.records)
    phases = {
        "launch to ready": life.ready,
        "to the first token": life.first_token,
        f"to the end of the last of {count} requests": life.requests,
        f"from SIGTERM to the end, status {life.status}": life.shut_down,
    }
    table = Table("phase", "seconds", "of all")
    total = sum(phases.values())
    for name, seconds in phases.items():
        table.add_row(name, f"{seconds:.3f}", f"{seconds / total:.1%}")
    console.print(table)
    if failed := [record for record in life.records if record.error is not None]:
        console.print(f"{len(failed)} of {count} requests failed; the first one: {failed[0].error}: {failed[0].detail}")


def histogram(values: Sequence[float]) -> list[str]:
    """Lines of bars; each bin is wider than the one before by the same factor, since latencies have long tails."""
    low, high = max(min(values), 1e-3), max(max(values), 2e-3)
    edges = np.geomspace(low, max(high, low * 1.01), BINS + 1)
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    longest = max(counts)
    return [
        f"{edge:10.2f} {'█' * int(np.ceil(WIDTH * count / longest))} {count}"
        for edge, count in zip(edges, counts, strict=False)
    ]
