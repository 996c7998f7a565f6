"""What there is to say of a kernel, by source line, as plain data: `asdict(report)` is what `--json` prints.

    report = explain(built)
    report.lines[0].findings[0].hints
"""
from __future__ import annotations

import linecache
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from rtriton.explain.access import Access, access_of, pointer_of
from rtriton.explain.build import Built, places_of
from rtriton.explain.hints import Assumptions, access_hints, product_hint, shared_hints
from rtriton.explain.loops import LOOPS, Loop, loops_of
from rtriton.explain.resources import Resources, barriers_in, resource_hints, resources_of
from rtriton.explain.shared import Use, use_of
from rtriton.errors import outside
from rtriton.ir import Op, Span, Value, walk
from rtriton.layout import Layout
from rtriton.layout.core import show_shape
from rtriton.layout.plan import axis_of, contiguous
from rtriton.types import Pointer, Tile, element_of, show_type

READS = ("load", "async_copy")


@dataclass(frozen=True)
class Finding:
    """One op: what it is, in words; its traffic in global memory in one program and per time it is done (`bytes`, and
    per thread `instructions` of `width` bytes; a request of a warp touches `sectors` where `ideal` would do); its use
    of shared memory (`conflicts`: accesses for one, at worst); `times` it is done (None: that is not known)."""

    op: str
    says: str
    layout: str = ""
    bytes: int = 0
    width: int = 0
    instructions: int = 0
    sectors: int = 0
    ideal: int = 0
    shared_bytes: int = 0
    conflicts: int = 0
    barriers: int = 0
    times: int | None = 1
    copies: int = 1  # equal ops on this line
    hints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A line of the source: the layouts of what it computes, and its findings."""

    file: str
    line: int
    source: str
    layouts: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class LoopFinding:
    file: str
    line: int
    turns: int | None
    stages: int  # 0: not pipelined
    reason: str


@dataclass(frozen=True)
class Traffic:
    """Bytes of global memory that a program reads and writes where it is known how often; and for each loop whose turns
    are not known, by its line, what one turn moves, without that of such loops inside it."""

    read: int
    written: int
    per_turn: Mapping[int, int] = field(default_factory=dict[int, int])


@dataclass(frozen=True)
class Report:
    kernel: str
    file: str
    line: int
    signature: str
    origin: str
    target: str
    options: Mapping[str, Any]
    assembler: str
    resources: Resources
    traffic: Traffic
    layouts: Mapping[str, str]
    lines: tuple[Line, ...]
    loops: tuple[LoopFinding, ...]
    hints: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class _At:
    """An op in its place: the loops around it, and how often it is done."""

    op: Op
    place: tuple[str, int]
    loops: tuple[Loop, ...]

    @property
    def times(self) -> int | None:
        turns = [loop.turns for loop in self.loops]
        return None if None in turns else prod(t for t in turns if t is not None)


def explain(built: Built, signature: str = "", origin: str = "") -> Report:
    """Everything there is to say."""
    kernel, fn = built.kernel, built.source.fn
    assume = Assumptions(kernel)
    accesses = {op: access for op, insts in built.made.items()
                if (access := access_of(op, insts, assume.known, built.module.num_warps)) is not None}  # fmt: skip
    loops = {loop.op: loop for loop in loops_of(kernel, assume.known, built.unpipelined)}
    ops = [at for at in _placed(built, loops) if not _is_prologue(at, loops)]
    findings: dict[tuple[str, int], list[Finding]] = {}
    layouts: dict[tuple[str, int], dict[Layout, None]] = {}
    for at in ops:
        if (finding := _finding(at, built, accesses.get(at.op), assume)) is not None:
            findings.setdefault(at.place, []).append(finding)
        for layout in filter(None, map(layout_in, at.op.results)):
            layouts.setdefault(at.place, {})[layout] = None
    places = sorted({*findings, *layouts}, key=lambda place: (place[0] != fn.source.file, place))
    lines = tuple(Line(file, line, linecache.getline(file, line).rstrip("\n"),
                       tuple(built.layouts[layout] for layout in _largest(layouts.get((file, line), ()))),
                       tuple(_merged(findings.get((file, line), [])))) for file, line in places)
    resources = resources_of(built)
    told = {name: describe(layout) for layout, name in built.layouts.items() if _is_used(name, lines)}
    return Report(kernel.name, fn.source.file, fn.source.first_line, signature, origin, built.target.name,
                  {"num_warps": built.options["num_warps"], "num_stages": built.options["num_stages"]},
                  built.assembler, resources, _traffic(ops, accesses), told, lines,
                  tuple(_loop(loop, fn.source.file) for loop in loops.values()),
                  tuple(resource_hints(resources, any(at.op.kind == "mma" for at in ops))),
                  built.problems)


def _largest(layouts: Iterable[Layout]) -> list[Layout]:
    """The layouts of a line's largest tiles: what is brought to their shape on the way says little."""
    most = max((prod(layout.shape) for layout in layouts), default=0)
    return [layout for layout in layouts if prod(layout.shape) == most]


def _is_used(name: str, lines: Sequence[Line]) -> bool:
    return any(name in line.layouts or any(f.layout == name for f in line.findings) for line in lines)


def _placed(built: Built, loops: Mapping[Op, Loop]) -> Iterator[_At]:
    def block(ops: Sequence[Op], around: tuple[Loop, ...]) -> Iterator[_At]:
        for op in ops:
            yield _At(op, user_place(op.span), around)
            inside = (*around, loops[op]) if op.kind in LOOPS else around
            for region in op.regions:
                if op.kind not in ("reduce", "scan"):
                    yield from block(region.ops, inside)

    return block(built.kernel.body.ops, ())


def user_place(span: Span) -> tuple[str, int]:
    """The file and line of the user's code that led to an op."""
    place = outside(span)
    return place.file, place.line


def _is_prologue(at: _At, loops: Mapping[Op, Loop]) -> bool:
    """A copy that a pipelined loop starts before its first turn: the loop's copies stand for it."""
    if at.op.kind not in ("async_copy", "async_commit"):
        return False
    inside = {inner.span for loop in loops for inner in walk(loop.regions[-1]) if inner.kind == at.op.kind}
    return not at.loops and at.op.span in inside


def _finding(at: _At, built: Built, access: Access | None, assume: Assumptions) -> Finding | None:
    op, insts = at.op, built.made.get(at.op, ())
    use = use_of(op, built.target)
    barriers = barriers_in(insts)
    hints = [*(access_hints(access, assume) if access else ()), *(shared_hints(op, use, bool(at.loops)) if use else ())]
    if op.kind == "dot":
        hints.append(product_hint(op))
    says = _says(op, access, use)
    if not says and not barriers:
        return None
    return Finding(op.kind, says, _layout_name(op, built.layouts), access.bytes if access else 0,
                   access.width if access else 0, access.instructions if access else 0,
                   access.sectors if access else 0, access.ideal if access else 0, use.bytes if use else 0,
                   use.conflicts if use else 0, barriers, at.times, 1, tuple(hints))


def _layout_name(op: Op, layouts: Mapping[Layout, str]) -> str:
    """The layout of an op's result, or of what it stores."""
    held = filter(None, map(layout_in, (*op.results, *reversed(op.operands))))
    return next((layouts[layout] for layout in held if layout in layouts), "")


def layout_in(value: Value | None) -> Layout | None:
    """The layout of a tile; None for other values."""
    return value.type.layout if value is not None and isinstance(value.type, Tile) else None


WORDS = {"load": "loads {}", "store": "stores {}", "async_copy": "copies {} to shared memory, ahead of use",
         "atomic_rmw": "updates {} atomically", "atomic_cas": "compares and swaps {}"}  # fmt: skip


def _says(op: Op, access: Access | None, use: Use | None) -> str:
    """An op in words; "" for those that cost nothing worth a line."""
    if access is not None:
        pointer = pointer_of(op).type
        element = element_of(pointer)
        assert isinstance(element, Pointer)
        shown = show_type(Tile(pointer.shape, element.element) if isinstance(pointer, Tile) else element.element)
        return WORDS[op.kind].format(shown)
    if op.kind in ("mma", "dot"):
        shapes = " by ".join(show_shape(v.type.shape) for v in op.operands[:2] if v and isinstance(v.type, Tile))
        return f"multiplies {shapes} on {'tensor cores' if op.kind == 'mma' else 'ordinary cores'}"
    if op.kind == "barrier":
        return "a barrier"
    if use is not None and op.kind in ("convert_layout", "shared_load", "shared_store", "shared_alloc"):
        return use.how
    return f"{op.kind} {use.how}" if use is not None else ""


def _merged(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Equal findings once, counted."""
    for finding, copies in Counter(findings).items():
        yield replace(finding, copies=copies)


def _traffic(ops: Sequence[_At], accesses: Mapping[Op, Access]) -> Traffic:
    read = written = 0
    per_turn: dict[int, int] = {}
    for at in ops:
        access = accesses.get(at.op)
        if access is None:
            continue
        both = at.op.kind.startswith("atomic")
        if at.times is None:
            unknown = max(i for i, loop in enumerate(at.loops) if loop.turns is None)
            inner = prod(loop.turns or 1 for loop in at.loops[unknown + 1 :])
            line = user_place(at.loops[unknown].op.span)[1]
            per_turn[line] = per_turn.get(line, 0) + access.bytes * inner * (2 if both else 1)
            continue
        read += access.bytes * at.times if at.op.kind in READS or both else 0
        written += access.bytes * at.times if at.op.kind not in READS else 0
    return Traffic(read, written, per_turn)


def _loop(loop: Loop, file: str) -> LoopFinding:
    place = next((p for p in reversed(places_of(loop.op.span)) if p[0] == file), user_place(loop.op.span))
    return LoopFinding(place[0], place[1], loop.turns, loop.stages, loop.reason)


def describe(layout: Layout) -> str:
    """A layout in words: how many elements a thread, the lanes and the warps hold along each axis."""
    def along(dim: str) -> str:
        sizes = [1] * layout.rank
        for basis in layout[dim]:
            axis = axis_of(layout, basis)
            if axis is not None:
                sizes[axis] *= 2
        return show_shape(sizes)

    runs = [contiguous(layout, axis) for axis in range(layout.rank)]
    axis = max(range(layout.rank), key=lambda d: (runs[d], d)) if runs else 0
    run = f" in runs of {runs[axis]} along axis {axis}" if runs and runs[axis] > 1 else ""
    held = [f"{dim}s" for dim in ("lane", "warp") if layout.copies(dim)]
    copies = [f"copies in {' and '.join(held)}"] if held else []
    parts = [f"thread {along('register')}{run}", f"lanes {along('lane')}", f"warps {along('warp')}", *copies]
    return f"{show_shape(layout.shape)}: {', '.join(parts)}"
