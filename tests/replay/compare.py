"""Two records beside each other: which kernels are the same, changed, new, gone; and how much."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

Record = dict[str, dict[str, str]]
STAGES = ("tir", "ptx", "llvm")


@dataclass(frozen=True)
class Comparison:
    """Names of kernels by what became of them; of changed ones the stages that did."""

    same: tuple[str, ...]
    changed: dict[str, tuple[str, ...]]
    new: tuple[str, ...]
    gone: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return not (self.changed or self.new or self.gone)


def compare(before: Record, after: Record) -> Comparison:
    """Compare by name and stage."""
    both = sorted(before.keys() & after.keys())
    changed = {name: tuple(s for s in STAGES if before[name].get(s) != after[name].get(s)) for name in both}
    return Comparison(tuple(name for name in both if not changed[name]),
                      {name: stages for name, stages in changed.items() if stages},
                      tuple(sorted(after.keys() - before.keys())), tuple(sorted(before.keys() - after.keys())))


def summary(before: Record, after: Record, found: Comparison) -> Iterator[str]:
    """A line for each kernel that is not the same, then the counts."""
    for name, stages in found.changed.items():
        sizes = instructions(before[name]["ptx"]), instructions(after[name]["ptx"])
        grown = f", {sizes[0]} -> {sizes[1]} instructions" if sizes[0] != sizes[1] else ""
        yield f"changed  {name}\n           {', '.join(stages)}{grown}"
    yield from (f"new      {name}" for name in found.new)
    yield from (f"gone     {name}" for name in found.gone)
    counts = {"identical": found.same, "changed": found.changed, "new": found.new, "gone": found.gone}
    yield ", ".join(f"{len(names)} {word}" for word, names in counts.items())


def instructions(ptx: str) -> int:
    """Lines of PTX that are instructions."""
    return sum(line.startswith("    ") and not line.lstrip().startswith((".", "//")) for line in ptx.splitlines())


def shown(before: Record, after: Record, found: Comparison, pattern: str) -> Iterator[str]:
    """Unified diffs of the texts of changed kernels whose name holds `pattern`."""
    for name, stages in found.changed.items():
        if pattern in name:
            for stage in stages:
                old, new = (record[name][stage].splitlines() for record in (before, after))
                yield from difflib.unified_diff(old, new, f"a: {name} {stage}", f"b: {name} {stage}", lineterm="")
