"""gather and histogram: through shared memory, since which place holds an element is known only when running (of a
slice it may be known when compiling)."""
from __future__ import annotations

from math import prod

from rtriton.backend.ptx.emit import Emitter, lowering
from rtriton.backend.ptx.emit_cast import cast_reg
from rtriton.backend.ptx.emit_pack import word_type
from rtriton.backend.ptx.emit_shape import index_base
from rtriton.backend.ptx.emit_shared import load_shared, store_shared
from rtriton.backend.ptx.operands import Mem, Reg
from rtriton.ir import Op
from rtriton.layout import linear_shared, log2
from rtriton.passes.analysis.scratch import kept_registers
from rtriton.types import BY_SHORT, Tile, element_of, int32, shape_of


@lowering("gather")
def _gather(e: Emitter, op: Op) -> None:
    """Store x row-major, then each thread reads where its index points: its own coordinates but along `axis`.
    A slice that threads hold already is so many of their registers."""
    x, index = op.operands
    assert x is not None and index is not None
    kept = kept_registers(op)
    if kept is not None:
        e.put(op, [e.regs(x)[r] for r in kept])
        return
    axis: int = op.attrs["axis"]
    type = element_of(x.type)
    source, held = shape_of(x.type), e.layout(index)
    store_shared(e, e.regs(x), type, e.layout(x), linear_shared(source), e.shared, op.attrs["scratch"])
    e.barrier()
    inner, size = prod(source[axis + 1 :]), max(8, type.bits) // 8
    low, above = log2(inner), log2(inner * held.shape[axis])
    out: list[Reg] = []
    for r, wanted in enumerate(e.regs(index)):
        element = e.plus(index_base(e, held), held.flat(register=r))
        within = e.pure("and.b32", element, inner - 1)
        outside = e.pure("shr.u32", element, above)
        at = e.pure("mad.lo.s32", outside, source[axis], cast_reg(e, wanted, element_of(index.type), int32))
        at = e.pure("or.b32", e.pure("shl.b32", at, low), within)
        address = e.pure("mad.lo.s32", at, size, e.shared)
        (word, _) = word_type(type, 1)
        out.append(e.from_memory(e.m(f"ld.shared.{word}", Mem(address, op.attrs["scratch"])), type))
    e.put(op, out)


@lowering("histogram")
def _histogram(e: Emitter, op: Op) -> None:
    """Clear the bins, count with shared atomics, read the bins. What is not counted goes to a bin more: an atomic that
    only some lanes do is a branch around it."""
    x, mask = (*op.operands, None)[:2]
    assert x is not None and isinstance(x.type, Tile)
    bins, held, offset = op.attrs["bins"], e.layout(op.result), op.attrs["scratch"]
    zero = e.const(0, int32)
    shared = linear_shared((bins,))
    store_shared(e, [zero] * held.registers, int32, held, shared, e.shared, offset)
    e.m.do("st.shared.b32", e.shared_at(offset + 4 * bins), zero, pred=e.pure("setp.eq.u32", e.tid, 0))
    e.barrier()
    owner = e.owner(e.layout(x))
    for r, reg in enumerate(e.regs(x)):
        number = e.pure("min.u32", cast_reg(e, reg, element_of(x.type), BY_SHORT["u32"]), bins)
        counted = e.both(owner, e.regs(mask)[r] if mask is not None else None)
        place = number if counted is None else e.pure("selp.b32", number, bins, counted)
        e.m.do("red.shared.add.u32", Mem(e.pure("mad.lo.s32", place, 4, e.shared), offset), 1)
    e.barrier()
    e.put(op, load_shared(e, int32, held, shared, e.shared, offset))
