"""Elements that meet others of their axis: exchange, and `order`, the step of a sorting network.

Where the partner is follows from the layout: another register (nothing moves), another lane (a shuffle), or another
warp (shared memory: all write, all read). A pair in two registers of one thread is ordered there by a minimum and a
maximum, or exchanged if a comparison says so; else both places compare, and each keeps its half.
"""
from __future__ import annotations

from dataclasses import dataclass
from math import prod

from rtriton import layout as L
from rtriton.backend.ptx.emit import Emitter, arith_type, lowering
from rtriton.backend.ptx.emit_convert import shuffle
from rtriton.backend.ptx.emit_elementwise import select
from rtriton.backend.ptx.emit_shared import itemsize_of, load_shared, store_shared
from rtriton.backend.ptx.operands import Reg
from rtriton.ir import Op
from rtriton.layout import Layout
from rtriton.types import Scalar, element_of


@dataclass(frozen=True)
class Bits:
    """The bits of register, lane and warp that walk over given element bits."""

    register: int = 0
    lane: int = 0
    warp: int = 0


def bits_of(layout: Layout, axis: int, mask: int) -> Bits:
    """Where the bits of an index along `axis` lie, those that the axis has."""
    wanted = (mask & (layout.shape[axis] - 1)) * prod(layout.shape[axis + 1 :])
    return Bits(*(sum(1 << k for k, b in enumerate(layout[d]) if b & wanted) for d in ("register", "lane", "warp")))


def partners(e: Emitter, op: Op, mask: int) -> list[Reg]:
    """For each register the element whose index along the op's axis differs in the bits of `mask`."""
    (x,) = op.operands
    assert x is not None
    layout, type, regs = e.layout(x), element_of(x.type), e.regs(x)
    where = bits_of(layout, op.attrs["axis"], mask)
    picked = [regs[r ^ where.register] for r in range(layout.registers)]
    if where.warp:
        return _through_shared(e, picked, type, layout, layout.flat(lane=where.lane, warp=where.warp), op)
    return [shuffle(e, "bfly", r, where.lane, type) for r in picked] if where.lane else picked


def _through_shared(e: Emitter, regs: list[Reg], type: Scalar, layout: Layout, turned: int, op: Op) -> list[Reg]:
    """Each place reads where the one whose element differs in the bits `turned` wrote."""
    shared, offset = L.scratch(layout, layout, itemsize_of(type)), op.attrs["scratch"]
    store_shared(e, regs, type, layout, shared, e.shared, offset)
    e.barrier()
    return load_shared(e, type, layout, shared, e.shared, offset, turned)


@lowering("exchange")
def _exchange(e: Emitter, op: Op) -> None:
    e.put(op, partners(e, op, op.attrs["mask"]))


@lowering("order")
def _order(e: Emitter, op: Op) -> None:
    (x,) = op.operands
    assert x is not None
    layout, axis, type = e.layout(x), op.attrs["axis"], element_of(x.type)
    apart, block = bits_of(layout, axis, op.attrs["distance"]), bits_of(layout, axis, op.attrs["block"])
    if apart.register:
        e.put(op, _in_registers(e, op, e.regs(x), type, apart.register, block))
        return
    upper = _is_set(e, apart)
    out: list[Reg] = []
    for r, (mine, other) in enumerate(zip(e.regs(x), partners(e, op, op.attrs["distance"]), strict=True)):
        turned = _turned(e, op, block, r)
        smaller = e.pure("not.pred", upper) if turned is False else upper if turned is True else e.pure(
            "xor.pred", e.pure("not.pred", upper), turned)
        out.append(select(e, type, _less(e, type, mine, other, smaller), mine, other))
    e.put(op, out)


def _less(e: Emitter, type: Scalar, x: Reg, y: Reg, wanted: Reg) -> Reg:
    """Whether (x < y) is as wanted."""
    return e.pure(f"setp.ge.xor.{arith_type(type)}", x, y, wanted)


def _in_registers(e: Emitter, op: Op, regs: list[Reg], type: Scalar, bit: int, block: Bits) -> list[Reg]:
    out = list(regs)
    for r in range(len(regs)):
        if r & bit:
            continue
        x, y, turned = regs[r], regs[r | bit], _turned(e, op, block, r)
        if isinstance(turned, bool):
            pair = _both(e, type, x, y)
            out[r], out[r | bit] = pair[::-1] if turned else pair
        else:
            swap = _less(e, type, x, y, turned)
            out[r], out[r | bit] = select(e, type, swap, y, x), select(e, type, swap, x, y)
    return out


def _both(e: Emitter, type: Scalar, x: Reg, y: Reg) -> tuple[Reg, Reg]:
    return e.pure(f"min.{arith_type(type)}", x, y), e.pure(f"max.{arith_type(type)}", x, y)


def _turned(e: Emitter, op: Op, block: Bits, register: int) -> Reg | bool:
    """Whether the larger element of a pair comes first."""
    descending = bool(op.attrs.get("descending", False))
    if block.lane or block.warp:
        turned = _is_set(e, block)
        return e.pure("not.pred", turned) if descending else turned
    return bool(register & block.register) != descending


def _is_set(e: Emitter, bits: Bits) -> Reg:
    """Whether this thread has the bit, which is one of lane or warp."""
    source, bit = (e.lane, bits.lane) if bits.lane else (e.warp, bits.warp)
    return e.pure("setp.ne.u32", e.pure("and.b32", source, bit), 0)
