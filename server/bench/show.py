"""A Report with its samples, and a Life, in a terminal: tables, and histograms of latencies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from server.bench.client import Record
from server.bench.life import Life
from server.bench.load import Load
from server.bench.report import PERCENTILES, Report, Samples, binned

BINS = 12
WIDTH = 40
"""Characters of the longest bar."""
BUSY = 0.8
"""From here on the client itself may be what is slow."""
LATE_MS = 20.0
"""What a timer of a machine that is not overloaded keeps to, and so much more that noise is not told."""


def print_report(console: Console, report: Report, samples: Samples) -> None:
    """Everything that `--json` says, and the histograms."""
    counts = f"{report.completed} of {report.requests} requests completed in {report.seconds:.2f} s"
    told = "" if report.tokens_told else " (events counted: the server does not say how many tokens)"
    console.print(f"{counts}: {report.requests_per_s:.2f} requests/s")
    console.print(f"{report.output_tokens_per_s:.1f} output tokens/s; {report.prompt_tokens} tokens in, ", end="")
    console.print(f"{report.output_tokens} out{told}")
    if report.goodput is not None:
        good = report.goodput
        asked = {"TTFT": good.slo.ttft_ms, "token": good.slo.itl_ms, "end to end": good.slo.e2e_ms}
        limits = " and ".join(f"{name} <= {limit:g} ms" for name, limit in asked.items() if limit is not None)
        console.print(f"goodput ({limits}): {good.requests_per_s:.2f} requests/s, {good.share:.1%} of all")
    if report.client_busy > BUSY:
        console.print(f"this client's processor was busy {report.client_busy:.0%} of the time: it may be what is slow")
    if report.client_late_ms is not None and report.client_late_ms.p99 > LATE_MS:
        console.print(f"this client began requests up to {report.client_late_ms.max:.0f} ms late, which they include")
    if report.errors:
        table = Table("error", "requests", "the first one")
        for kind, errors in report.errors.items():
            table.add_row(kind, str(errors.count), errors.example)
        console.print(table)
    found = (report.ttft_ms, report.itl_ms, report.per_token_ms, report.e2e_ms)
    table = Table("ms", "mean", *(f"p{percent}" for percent in PERCENTILES), "max")
    for name, one in zip(samples.named, found, strict=True):
        if one is not None:
            values = (one.mean, one.p50, one.p90, one.p95, one.p99, one.max)
            table.add_row(name, *(f"{value:.2f}" for value in values))
    if report.completed:
        console.print(table)
    for name, values in samples.named.items():
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
    """Lines of bars, each with the lower edge of its bin and its count."""
    edges, counts = binned(values, BINS)
    longest = max(counts)
    bars = ("█" * math.ceil(WIDTH * count / longest) for count in counts)
    return [f"{edge:10.2f} {bar} {count}" for edge, bar, count in zip(edges, bars, counts, strict=False)]


@contextmanager
def progress(console: Console, load: Load) -> Iterator[Callable[[Record], None]]:
    """What to call with each record: a bar on a terminal, elsewhere nothing."""
    if not console.is_terminal:
        yield lambda record: None
        return
    columns = ("{task.description}", BarColumn(), TextColumn("{task.completed:.0f} over"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("requests", total=load.requests if math.isfinite(load.requests) else None)
        failed = 0

        def ended(record: Record) -> None:
            nonlocal failed
            failed += record.error is not None
            bar.update(task, advance=1, description=f"requests, {failed} failed" if failed else "requests")

        yield ended
