"""Global memory: what each access of a kernel moves, how wide it is, and how many sectors a warp's request touches.

The width is read off the instructions that were made. Which addresses the lanes of a warp touch follows from layout and
axis info: runs of consecutive elements are known, where other rows lie is not, so that each row is taken to have
sectors of its own (at worst: rows may be neighbours).
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, prod

from rtriton.backend.ptx.module import Inst
from rtriton.backend.ptx.operands import Imm
from rtriton.ir import Op, Value
from rtriton.layout import Layout
from rtriton.layout.plan import contiguous
from rtriton.passes.analysis.axis_info import AxisInfo, Table
from rtriton.types import Pointer, Tile, element_of

KINDS = {"load": 0, "store": 0, "atomic_rmw": 0, "atomic_cas": 0, "async_copy": 1}
"""Ops that touch global memory: which operand is the pointer."""
SECTOR = 32
LANES = 32
WIDEST = 16


@dataclass(frozen=True)
class Access:
    """One op's traffic in one program, done once: `bytes` of distinct elements; per thread `instructions` of `width`
    bytes each; a warp's request touches `sectors` of 32 bytes where `ideal` would do."""

    op: Op
    bytes: int
    width: int
    instructions: int
    requests: int
    sectors: int
    ideal: int

    @property
    def efficiency(self) -> float:
        """Share of the bytes that are moved which were asked for."""
        return self.ideal / self.sectors if self.sectors else 1.0


def pointer_of(op: Op) -> Value:
    pointer = op.operands[KINDS[op.kind]]
    assert pointer is not None
    return pointer


def itemsize_of(pointer: Value) -> int:
    element = element_of(pointer.type)
    assert isinstance(element, Pointer)
    return element.element.itemsize


def mask_of(op: Op) -> Value | None:
    index = {"load": 1, "store": 2, "async_copy": 2, "atomic_rmw": 2}.get(op.kind)
    return op.operands[index] if index is not None and index < len(op.operands) else None


def access_of(op: Op, insts: Sequence[Inst], table: Table, warps: int) -> Access | None:
    """The traffic of an op; None for one without instructions that touch global memory."""
    widths = [w for inst in insts if (w := global_bytes(inst))]
    if op.kind not in KINDS or not widths:
        return None
    pointer, width = pointer_of(op), max(widths)
    size = itemsize_of(pointer)
    if not isinstance(pointer.type, Tile):
        return Access(op, size, width, len(widths), 1, 1, 1)
    layout, info = pointer.type.layout, table[pointer]
    assert layout is not None
    writes = op.kind not in ("load", "async_copy")
    once = writes or op.kind == "async_copy"  # of copies the owner's
    sectors, ideal = request(layout, info, size, width // size, once)
    busy = warps >> bin(layout.copies("warp")).count("1") if once else warps
    distinct = prod(n // c for n, c in zip(layout.shape, info.constancy, strict=True)) if not writes else None
    return Access(op, (distinct or prod(layout.shape)) * size, width, len(widths), len(widths) * busy, sectors, ideal)


def global_bytes(inst: Inst) -> int:
    """Bytes that a lane moves by an instruction to or from global memory; 0 for other instructions."""
    head, *rest = inst.opcode.split(".")
    if "global" not in rest:
        return 0
    if head == "cp":
        sizes = [src.value for src in inst.srcs if isinstance(src, Imm)]
        return int(sizes[0]) if sizes else 0
    if head not in ("ld", "st", "atom", "red"):
        return 0
    vector = next((int(part[1:]) for part in rest if part in ("v2", "v4", "v8")), 1)
    type = re.fullmatch(r"[a-z]+(\d+)(x2)?", rest[-1])
    assert type is not None, inst.opcode
    return vector * int(type[1]) * (2 if type[2] else 1) // 8


def fastest(info: AxisInfo) -> int:
    """The axis along which addresses rise by the longest runs."""
    return max(range(info.rank), key=lambda d: (info.contiguity[d], d))


def request(layout: Layout, info: AxisInfo, size: int, vector: int, once: bool) -> tuple[int, int]:
    """The sectors that one access of a warp touches at worst, and how few would hold its bytes. What is divisible by 16
    is taken to begin with a sector, as arrays and their padded rows do; other runs may begin anywhere in one."""
    axis = fastest(info)
    run, same = info.contiguity[axis], info.constancy
    copies = layout.copies("lane") if once else 0
    ranges: dict[tuple[int, ...], set[int]] = {}
    for lane in (lane for lane in range(LANES) if not lane & copies):
        at = list(layout.at(register=0, lane=lane, warp=0))
        place = at[axis] % run if run > 1 else 0
        at[axis] = at[axis] // (run if run > 1 else same[axis])
        key = tuple(c // same[d] if d != axis else c for d, c in enumerate(at))
        ranges.setdefault(key, set()).update(range(place * size, (place + max(1, vector)) * size))
    aligned = max(size, gcd(info.divisibility[axis], SECTOR))
    begins = range(0, SECTOR, aligned) if aligned < WIDEST else (0,)
    touched = sum(max(len({(byte + b) // SECTOR for byte in found}) for b in begins) for found in ranges.values())
    wanted = sum(map(len, ranges.values()))
    return touched, -(-wanted // SECTOR)


@dataclass(frozen=True)
class Width:
    """How many bytes of an access each thing allows along one axis."""

    axis: int
    neighbours: int  # elements that are neighbours in memory
    aligned: int  # what addresses are divisible by
    mask: int  # over how many elements the mask is the same
    held: int  # neighbours that one thread holds

    @property
    def most(self) -> int:
        return min(self.neighbours, self.aligned, self.mask, self.held)


def width_of(op: Op, table: Table) -> Width:
    """What limits the width of an access to a tile; the axis is the one that allows most."""
    pointer, mask = pointer_of(op), mask_of(op)
    assert isinstance(pointer.type, Tile)
    info, size, layout = table[pointer], itemsize_of(pointer), pointer.type.layout
    found: list[Width] = []
    for axis in range(info.rank):
        steady = table[mask].constancy[axis] if mask is not None and isinstance(mask.type, Tile) else 1 << 30
        held = contiguous(layout, axis) if layout is not None else 1 << 30
        aligned = max(size, gcd(info.divisibility[axis], 1 << 30)) if info.contiguity[axis] > 1 else size
        found.append(Width(axis, *(min(WIDEST, max(size, n)) for n in (
            info.contiguity[axis] * size, aligned, steady * size, held * size))))
    return max(found, key=lambda width: (width.most, min(width.neighbours, width.aligned), width.axis))
