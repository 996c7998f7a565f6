"""A report for a terminal: the source with what is known of each line below it. In colour on a terminal if rich is
there, as plain text otherwise."""
from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from rtriton.explain.report import Finding, Line, LoopFinding, Report

Styled = list[tuple[str, str]]  # pieces of a line with rich's styles
HINT, DIM, GOOD, BOLD, CODE = "yellow", "dim", "green", "bold", ""


def print_report(report: Report, grid: int = 0) -> None:
    """Print to standard output."""
    lines = list(_lines(report, grid))
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.text import Text
        except ModuleNotFoundError:
            pass
        else:
            console = Console(highlight=False, soft_wrap=True)
            for line in lines:
                console.print(Text.assemble(*line))
            return
    for line in lines:
        print("".join(text for text, _ in line).rstrip())


def _lines(report: Report, grid: int) -> Iterator[Styled]:
    options = ", ".join(f"{name} {value}" for name, value in report.options.items())
    yield [(report.kernel, BOLD), (f"  {Path(report.file).name}:{report.line}", DIM), (f"  for {report.target}", "")]
    yield [(f"  {report.signature}", CODE), (f"  ({report.origin})" if report.origin else "", DIM)]
    yield [(f"  {options}", DIM)]
    yield []
    yield from _resources(report, grid)
    for loop in report.loops:
        yield from _loop(loop)
    for hint in report.hints:
        yield _hint(hint, "  ")
    for problem in report.problems:
        yield [(f"  not known: {problem}", HINT)]
    file = report.file
    for line in report.lines:
        if line.file != file:
            file = line.file
            yield from ([], [(f"  {file}", DIM)])
        yield from _line(line)
    if report.layouts:
        yield []
        for name, text in report.layouts.items():
            yield [(f"  {name:>4}", BOLD), (f"  {text}", DIM)]


def _resources(report: Report, grid: int) -> Iterator[Styled]:
    resources, traffic = report.resources, report.traffic
    if resources.registers is not None:
        spills = f"{resources.spills} bytes spilled" if resources.spills else "no spills"
        yield [(f"  {resources.registers} registers a thread, {spills}", HINT if resources.spills else ""),
               (f"  ({report.assembler})", DIM)]
    barriers = f"{resources.barriers} barrier{'' if resources.barriers == 1 else 's'}"
    held = f"  {resources.threads} threads, {size(resources.shared)} of shared memory, {barriers}"
    if resources.programs is not None:
        fit = "program fits" if resources.programs == 1 else "programs fit"
        held += f"; {resources.programs} {fit} on an SM (limit: {resources.limit})"
    yield [(held, "")]
    turns = ", ".join(f"{size(n)} (line {line})" for line, n in traffic.per_turn.items())
    yield [(f"  a program reads {size(traffic.read)} and writes {size(traffic.written)}", ""),
           (f", and moves in each turn of its loops {turns}" if turns else "", "")]
    if grid:
        rest = ", without the loops whose turns are not known" if turns else ""
        total = f"read {size(traffic.read * grid)} and write {size(traffic.written * grid)}"
        yield [(f"  {grid:,} programs {total}{rest}", "")]


def _loop(loop: LoopFinding) -> Iterator[Styled]:
    turns = f" ({loop.turns} turns)" if loop.turns is not None else ""
    if loop.stages:
        yield [(f"  the loop of line {loop.line}{turns} is pipelined: its loads are copied ahead, into "
                f"{'one buffer' if loop.stages == 1 else f'{loop.stages} buffers'} each", GOOD)]
    else:
        yield [(f"  the loop of line {loop.line}{turns} is not pipelined: {loop.reason}", "")]


def _line(line: Line) -> Iterator[Styled]:
    names = " ".join(line.layouts)
    yield [(f"{line.line:5d} | ", DIM), (line.source, BOLD if line.findings else CODE), (f"    {names}", DIM)]
    for finding in line.findings:
        yield [("      |     ", DIM), (in_words(finding), "")]
        for hint in finding.hints:
            yield _hint(hint, "      |       ")


def _hint(text: str, indent: str) -> Styled:
    return [(indent, DIM), (f"! {text}", HINT)]


def in_words(f: Finding) -> str:
    """A finding as one line."""
    parts = [f.says or f.op]
    if f.copies > 1:
        parts[0] += f" ({f.copies} times)"
    if f.bytes:
        parts.append(f"{size(f.bytes)} by {f.instructions} x {f.width} bytes a thread")
        if f.sectors > 1:
            parts.append(f"{f.sectors} sectors a request, {f.ideal / f.sectors:.0%} of it wanted")
    if f.shared_bytes:
        parts.append(f"{size(f.shared_bytes)} shared")
    if f.conflicts:
        parts.append("no bank conflicts" if f.conflicts == 1 else f"{f.conflicts}-way bank conflicts")
    if f.barriers and f.op != "barrier":
        parts.append("a barrier" if f.barriers == 1 else f"{f.barriers} barriers")
    if f.times is None:
        parts.append("each turn")
    elif f.times != 1:
        parts.append(f"{f.times} times")
    return ", ".join(parts)


def size(n: int) -> str:
    """Bytes in a unit that suits them."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n >= factor:
            return f"{n / factor:.4g} {unit}"
    return f"{n} bytes"
