"""Shape ops: with layouts in place they rename registers and emit nothing, but for ranges, which are made of lane
and warp."""
from __future__ import annotations

from collections.abc import Sequence
from math import prod

from rtriton import layout as L
from rtriton.backend.ptx.emit import Emitter, lowering
from rtriton.backend.ptx.operands import Reg, Special
from rtriton.ir import Op, Value
from rtriton.layout import Layout
from rtriton.types import int32, shape_of

AXES = ("x", "y", "z")


@lowering("program_id")
def _program_id(e: Emitter, op: Op) -> None:
    e.put(op, [e.pure("mov.u32", Special(f"ctaid.{AXES[op.attrs['axis']]}"))])


@lowering("num_programs")
def _num_programs(e: Emitter, op: Op) -> None:
    e.put(op, [e.pure("mov.u32", Special(f"nctaid.{AXES[op.attrs['axis']]}"))])


@lowering("clock")
def _clock(e: Emitter, op: Op) -> None:
    e.put(op, [e.m("mov.u64", Special("globaltimer"))])      # read anew each time


@lowering("arange")
def _arange(e: Emitter, op: Op) -> None:
    """start + the element's index: one run-time part for lane and warp, a constant for each register."""
    layout = e.layout(op.result)
    base = index_base(e, layout)
    e.put(op, [e.plus(base, layout.flat(register=r) + op.attrs["start"]) for r in range(layout.registers)])


def index_base(e: Emitter, layout: Layout) -> Reg:
    """The packed element that register 0 of this thread holds."""
    base = e.linear({"lane": layout["lane"], "warp": layout["warp"]})
    return base if base is not None else e.const(0, int32)


@lowering("splat")
def _splat(e: Emitter, op: Op) -> None:
    e.put(op, [e.one(op.operands[0])] * e.layout(op.result).registers)


@lowering("expand_dims", "broadcast", "reshape", "trans", "multiple_of", "max_contiguous", "max_constancy")
def _rename(e: Emitter, op: Op) -> None:
    """Each register of the result is the source register of the same element."""
    source = op.operands[0]
    if not isinstance(op.result.type, type(getattr(source, "type", None))) or not shape_of(op.result.type):
        e.put(op, e.regs(source))
        return
    take = registers_of(e, source, op.result, _coordinates(op))
    e.put(op, [e.regs(source)[r] for r in take])


def _coordinates(op: Op) -> Sequence[int]:
    """For each element bit of the result, the packed element bit of the source (0 where broadcast)."""
    assert op.operands[0] is not None
    source, result = shape_of(op.operands[0].type), shape_of(op.result.type)
    if op.kind == "broadcast":
        return _bits(result, [(d, source[d] > 1) for d in range(len(result))], source)
    if op.kind == "trans":
        return _bits(result, [(d, True) for d in op.attrs["order"]], source)
    return [1 << k for k in range(L.log2(prod(result)))]


def _bits(shape: Sequence[int], axes: Sequence[tuple[int, bool]], source: Sequence[int]) -> list[int]:
    """Bits of the result, lowest first, as bits of the source: its axis d is the source's axes[d], if kept."""
    out: list[int] = []
    for axis in reversed(range(len(shape))):
        origin, kept = axes[axis]
        stride = prod(source[origin + 1 :])
        out += [stride << k if kept else 0 for k in range(L.log2(shape[axis]))]
    return out


def registers_of(e: Emitter, source: Value | None, result: Value, bits: Sequence[int]) -> list[int]:
    """For each register of `result` the register of `source` with the element that `bits` maps to."""
    from_layout, to_layout = e.layout(source), e.layout(result)
    where = {b: 1 << k for k, b in enumerate(from_layout["register"])}
    columns: list[int] = []
    for b in to_layout["register"]:
        moved = bits[b.bit_length() - 1]
        columns.append(where[moved] if moved else 0)
    return [L.xor_of(columns, r) for r in range(to_layout.registers)]


@lowering("join")
def _join(e: Emitter, op: Op) -> None:
    """The new last axis is register basis 1 of the result."""
    x, y = op.operands
    layout = e.layout(op.result)
    half = e.layout(x)
    out: list[Reg] = []
    for r in range(layout.registers):
        element = layout.flat(register=r)
        out.append(e.regs(y if element & 1 else x)[half.find(element >> 1)["register"]])
    e.put(op, out)


@lowering("split")
def _split(e: Emitter, op: Op) -> None:
    (x,) = op.operands
    layout, half = e.layout(x), e.layout(op.results[0])
    parts = [
        [e.regs(x)[layout.find(half.flat(register=r) << 1 | side)["register"]] for r in range(half.registers)]
        for side in (0, 1)
    ]
    e.put(op, *parts)


@lowering("cat")
def _cat(e: Emitter, op: Op) -> None:
    """The first half of the elements is x, the second y; their common bit is a register basis of the result."""
    x, y = op.operands
    layout, half = e.layout(op.result), e.layout(x)
    size = layout.shape[0] // 2
    out: list[Reg] = []
    for r in range(layout.registers):
        element = layout.flat(register=r)
        out.append(e.regs(y if element & size else x)[half.find(element & (size - 1))["register"]])
    e.put(op, out)
