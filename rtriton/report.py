"""`perf_report`: a function measured over a range of sizes, as a table, a CSV file and, with matplotlib, a plot.

    @rtriton.testing.perf_report(rtriton.testing.Benchmark(x_names=["n"], x_vals=[1024, 2048], line_arg="provider",
        line_vals=["rtriton", "numpy"], line_names=["rtriton", "NumPy"], ylabel="ms", plot_name="add", args={}))
    def bench(n, provider): return milliseconds          # or (middle, low, high)

    bench.run(print_data=True, save_path="results")
"""
from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rtriton.guards import is_list


@dataclass
class Benchmark:
    """What to measure: the function is called for every x (all of x_names take it, or the parts of a tuple) and every
    value of line_arg, with `args` besides. The rest is about the plot; a Benchmark without plot_name has none."""

    x_names: Sequence[str]
    x_vals: Sequence[Any]
    line_arg: str
    line_vals: Sequence[Any]
    line_names: Sequence[str]
    plot_name: str
    args: dict[str, Any]
    xlabel: str = ""
    ylabel: str = ""
    x_log: bool = False
    y_log: bool = False
    styles: Sequence[tuple[str, str]] | None = None


@dataclass
class Table:
    """What was measured: a column per x name and line. `low` and `high` belong to the lines, None where not given."""

    columns: list[str]
    rows: list[list[Any]]
    low: list[list[float | None]] = field(default_factory=list[list[float | None]])
    high: list[list[float | None]] = field(default_factory=list[list[float | None]])

    def __str__(self) -> str:
        shown = [self.columns, *([f"{x:.6g}" if isinstance(x, float) else str(x) for x in row] for row in self.rows)]
        widths = [max(len(row[i]) for row in shown) for i in range(len(self.columns))]
        return "\n".join("  ".join(x.rjust(w) for x, w in zip(row, widths, strict=True)) for row in shown)

    def to_csv(self, precision: int = 6) -> str:
        """As text with commas, floats with so many digits."""
        made = io.StringIO()
        writer = csv.writer(made, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([f"{x:.{precision}f}" if isinstance(x, float) else x for x in row] for row in self.rows)
        return made.getvalue()

    def to_pandas(self) -> Any:
        """As a pandas DataFrame; ImportError without pandas."""
        return import_module("pandas").DataFrame(self.rows, columns=self.columns)


class Mark:
    """A function with its benchmarks; `run` measures them."""

    def __init__(self, fn: Callable[..., Any], benchmarks: Benchmark | Iterable[Benchmark]) -> None:
        self.fn = fn
        self.benchmarks = benchmarks if isinstance(benchmarks, Benchmark) else list(benchmarks)

    def run(self, show_plots: bool = False, print_data: bool = False, save_path: str = "", return_df: bool = False,
            diff_col: bool = False, save_precision: int = 6, **kwargs: Any) -> Any:
        """Measure, and print, save or plot. save_path: a folder for NAME.csv, and NAME.png where matplotlib is there.
        return_df: the results as pandas DataFrames (one, or a list as the benchmarks were), where pandas is there, else
        as Tables. diff_col adds the second of two lines less the first. Other keywords go to the function.

        ImportError if show_plots is asked for without matplotlib."""
        if show_plots and not _has("matplotlib"):
            raise ImportError("show_plots needs matplotlib, which is not installed")
        made: list[Table] = []
        for bench in [self.benchmarks] if isinstance(self.benchmarks, Benchmark) else self.benchmarks:
            table = self._measure(bench, kwargs)
            if bench.plot_name and (show_plots or save_path) and _has("matplotlib"):
                _plot(bench, table, show_plots, save_path)
            if diff_col and len(bench.line_names) == 2:
                table.columns.append("Diff")
                table.rows = [[*row, row[-1] - row[-2]] for row in table.rows]
            if print_data:
                print(f"{bench.plot_name}:\n{table}")
            if save_path:
                _save(bench, table, save_path, save_precision)
            made.append(table)
        if not return_df:
            return None
        found = [table.to_pandas() if _has("pandas") else table for table in made]
        return found[0] if isinstance(self.benchmarks, Benchmark) else found

    def _measure(self, bench: Benchmark, kwargs: dict[str, Any]) -> Table:
        unit = f" ({bench.ylabel})" if bench.ylabel else ""
        table = Table([*bench.x_names, *(f"{name}{unit}" for name in bench.line_names)], [])
        for x in bench.x_vals:
            given = list(x) if is_list(x) else [x] * len(bench.x_names)
            if len(given) != len(bench.x_names):
                raise ValueError(f"{bench.plot_name}: expected {len(bench.x_names)} values, got {given}")
            sizes = dict(zip(bench.x_names, given, strict=True))
            found = [_three(self.fn(**sizes, **{bench.line_arg: y}, **bench.args, **kwargs)) for y in bench.line_vals]
            table.rows.append([*given, *(middle for middle, _, _ in found)])
            table.low.append([low for _, low, _ in found])
            table.high.append([high for _, _, high in found])
        return table


def _three(result: Any) -> tuple[Any, Any, Any]:
    if is_list(result):
        middle, low, high = result
        return middle, low, high
    return result, None, None


def _has(module: str) -> bool:
    return find_spec(module) is not None


def _save(bench: Benchmark, table: Table, folder: str, precision: int) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, f"{bench.plot_name or 'benchmark'}.csv").write_text(table.to_csv(precision), encoding="utf-8")


def _plot(bench: Benchmark, table: Table, show: bool, folder: str) -> None:
    pyplot = import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots()
    xs, first = [row[0] for row in table.rows], len(bench.x_names)
    for i, name in enumerate(table.columns[first:]):
        colour, line = bench.styles[i] if bench.styles else (None, None)
        axes.plot(xs, [row[first + i] for row in table.rows], label=name, color=colour, ls=line)
        low, high = [row[i] for row in table.low], [row[i] for row in table.high]
        if None not in low and None not in high:
            axes.fill_between(xs, low, high, alpha=0.15, color=colour)
    axes.legend()
    axes.set_xlabel(bench.xlabel or bench.x_names[0])
    axes.set_ylabel(bench.ylabel)
    axes.set_xscale("log" if bench.x_log else "linear")
    axes.set_yscale("log" if bench.y_log else "linear")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(folder, f"{bench.plot_name}.png"))
    if show:
        pyplot.show()
    pyplot.close(figure)


def perf_report(benchmarks: Benchmark | Iterable[Benchmark]) -> Callable[[Callable[..., Any]], Mark]:
    """Decorate a function that measures: `.run()` calls it for every point of the benchmarks."""
    return lambda fn: Mark(fn, benchmarks)
