"""The latencies of a run as a picture: four histograms with their percentiles and the SLO, by matplotlib.

    write(figure(report, Samples.of(run.records), "smollm2 at http://127.0.0.1:8000/v1"), Path("out.png"))

The bins are those of the terminal, only more of them. Nothing here needs a display, and no state of matplotlib's is
touched: the figure is no `pyplot` one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from server.bench.report import Distribution, Report, Samples, binned

INCHES = (12.0, 8.0)
DPI = 100
BINS = 48
BAR, LIMIT = "#4878a8", "#c03030"
MARKS = {"p50": "-", "p90": "--", "p99": ":"}
"""Percentiles that are drawn, and how."""


def figure(report: Report, samples: Samples, title: str) -> Figure:
    """One panel for each kind of latency; a panel without samples says so."""
    drawn = Figure(INCHES, dpi=DPI, layout="constrained")
    counts = f"{report.completed} of {report.requests} requests completed in {report.seconds:.1f} s"
    rates = f"{report.requests_per_s:.2f} requests/s, {report.output_tokens_per_s:.1f} output tokens/s"
    good = "" if report.goodput is None else f", {report.goodput.share:.1%} kept to the SLO"
    # as text: a $ in a model's name or an address begins no formula
    drawn.suptitle(f"{title}\n{counts}: {rates}{good}", parse_math=False)
    slo = None if report.goodput is None else report.goodput.slo
    found = (report.ttft_ms, report.itl_ms, report.per_token_ms, report.e2e_ms)
    limits = (None, None, None, None) if slo is None else (slo.ttft_ms, None, slo.itl_ms, slo.e2e_ms)
    for axes, (name, values), one, limit in zip(
        drawn.subplots(2, 2).flat, samples.named.items(), found, limits, strict=True
    ):
        axes.set_title(name)
        if one is None:
            axes.set_axis_off()
            axes.text(0.5, 0.5, "no samples", transform=axes.transAxes, ha="center", va="center")
        else:
            _panel(axes, values, one, limit)
    return drawn


def write(drawn: Figure, path: Path) -> None:
    """As a PNG file, whatever its name ends with. OSError where it cannot be written."""
    drawn.savefig(path, format="png")


def _panel(axes: Axes, values: Sequence[float], found: Distribution, limit: float | None) -> None:
    edges, counts = binned(values, BINS)
    # each bar is as wide as its bin, and the scale makes them look alike
    axes.stairs(counts, edges, fill=True, color=BAR, label=f"{found.count} samples, mean {found.mean:.2f}")
    for name, line in MARKS.items():
        value = getattr(found, name)
        axes.axvline(value, color="black", linestyle=line, linewidth=1, label=f"{name} {value:.2f}")
    if limit is not None:
        axes.axvline(limit, color=LIMIT, linewidth=1.5, label=f"SLO {limit:g}")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("ms")
    axes.set_ylabel("samples")
    axes.set_ylim(0, max(counts) * 1.05)
    axes.legend(fontsize="small")
