"""Which ops need scratch in shared memory while they run, and how many bytes: asked by `allocate` and by the emitter.

The scratch of an op holds nothing before it and nothing after it.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from rtriton import layout as L
from rtriton.ir import Op, Value
from rtriton.layout import Layout, log2
from rtriton.layout.exchange import route
from rtriton.types import Tile, element_of, shape_of

ALIGN = 16


def scratch_bytes(op: Op, used: bool = True) -> int:
    """Bytes of shared memory that `op` needs; `used` says whether anyone reads its results."""
    if op.kind == "convert_layout":
        source = operand(op, 0)
        if route(layout_of(source), layout_of(op.result), itemsize(source)) != "shared":
            return 0
        return tile_bytes(source)
    if op.kind == "reduce":
        return _reduce(op)
    if op.kind == "scan":
        return _scan(op)
    if op.kind in ("atomic_rmw", "atomic_cas"):
        return _atomic(op) if used else 0
    if op.kind == "load" and op.attrs.get("volatile") and not isinstance(op.result.type, Tile):
        return ALIGN
    if op.kind == "dot":
        return tile_bytes(operand(op, 0)) + tile_bytes(operand(op, 1))
    if op.kind == "gather":
        return tile_bytes(operand(op, 0)) if kept_registers(op) is None else 0
    if op.kind in ("exchange", "order"):
        return tile_bytes(operand(op, 0)) if _crosses_warps(op) else 0
    if op.kind == "histogram":
        return tile_bytes(op.result) + ALIGN  # the bin for what is not counted
    return 0


def _reduce(op: Op) -> int:
    source = layout_of(operand(op, 0))
    axis: int = op.attrs["axis"]
    plan = L.reduction_plan(source, axis)
    if not plan.warp:
        return 0
    left = prod(source.shape) // source.shape[axis]
    return sum(aligned((left << len(plan.warp)) * itemsize(value)) for value in op.operands if value is not None)


@dataclass(frozen=True)
class ScanStep:
    """The bit of register, lane or warp that is bit `axis_bit` of the index along the axis of a scan."""

    dim: str
    bit: int
    axis_bit: int


def scan_steps(layout: Layout, axis: int) -> list[ScanStep]:
    """All bits of a scan's axis, nearest elements first."""
    stride, plan = prod(layout.shape[axis + 1 :]), L.reduction_plan(layout, axis)
    found = [(layout[dim][k], dim, k) for dim, bits in (("register", plan.register), ("lane", plan.lane),
                                                        ("warp", plan.warp)) for k in bits]  # fmt: skip
    return [ScanStep(dim, k, log2(basis // stride)) for basis, dim, k in sorted(found)]


def steps_inside(steps: Sequence[ScanStep]) -> tuple[list[ScanStep], list[ScanStep]]:
    """The steps that stay in a warp, and those from the first on that does not."""
    first = next((n for n, step in enumerate(steps) if step.dim == "warp"), len(steps))
    return list(steps[:first]), list(steps[first:])


def scan_slot(shape: Sequence[int], axis: int, number: int, element: int) -> int:
    """Where the total of an element's run of 2**number places lies: runs of one line side by side."""
    inner, size = prod(shape[axis + 1 :]), shape[axis]
    outer, rest = divmod(element, size * inner)
    place, low = divmod(rest, inner)
    return (outer * inner + low) * (size >> number) + (place >> number)


def _scan(op: Op) -> int:
    layout = layout_of(operand(op, 0))
    _, across = steps_inside(scan_steps(layout, op.attrs["axis"]))
    if not across:
        return 0
    runs = prod(layout.shape) >> across[0].axis_bit
    return sum(aligned(runs * itemsize(v)) for v in op.operands if v is not None)


def _crosses_warps(op: Op) -> bool:
    """Whether an element's partner may be in another warp."""
    layout, axis = layout_of(operand(op, 0)), op.attrs["axis"]
    mask = op.attrs["mask" if op.kind == "exchange" else "distance"] * prod(layout.shape[axis + 1 :])
    return any(b & mask for b in layout["warp"])


def _atomic(op: Op) -> int:
    if not isinstance(op.result.type, Tile):
        return ALIGN
    held = layout_of(op.result)
    return tile_bytes(op.result) if held.copies("lane") or held.copies("warp") else 0


def sliced(source: Layout, axis: int, count: int) -> Layout | None:
    """How an aligned run of `count` places along `axis` lies where it is held; None where registers alone do not
    tell it from other runs."""
    inner, size = prod(source.shape[axis + 1 :]), source.shape[axis]
    fixed = (size - count) * inner  # the bits of a packed element that are equal in all of the run
    if any(b & fixed for dim in ("lane", "warp") for b in source[dim]):
        return None
    if any(b & fixed and b & (b - 1) for b in source["register"]):
        return None

    def renamed(bases: Sequence[int]) -> list[int]:
        low = count * inner - 1
        return [b & low | b // (size * inner) * count * inner for b in bases if not b & fixed]

    shape = (*source.shape[:axis], count, *source.shape[axis + 1 :])
    return L.make(shape, renamed(source["register"]), renamed(source["lane"]), renamed(source["warp"]))


def kept_registers(op: Op) -> list[int] | None:
    """For each register of a slice the register of the tile that it is; None where data moves."""
    if "start" not in op.attrs:
        return None
    axis: int = op.attrs["axis"]
    source, count = layout_of(operand(op, 0)), shape_of(op.result.type)[axis]
    if sliced(source, axis, count) != layout_of(op.result):
        return None
    inner = prod(source.shape[axis + 1 :])
    fixed, begin = (source.shape[axis] - count) * inner, int(op.attrs["start"]) * inner
    return [r for r in range(source.registers) if source.flat(register=r) & fixed == begin]


def tile_bytes(value: Value) -> int:
    return aligned(prod(shape_of(value.type)) * itemsize(value))


def itemsize(value: Value) -> int:
    return element_of(value.type).itemsize


def aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def operand(op: Op, i: int) -> Value:
    value = op.operands[i]
    assert value is not None
    return value


def layout_of(value: Value) -> Layout:
    """The layout of a laid-out tile."""
    layout = value.type.layout if isinstance(value.type, Tile) else None
    if layout is None:
        raise TypeError(f"{value} has no layout: run the layout passes first")
    return layout
