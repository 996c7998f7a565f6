"""Atomics. A tile's copies are done by their owner alone; a scalar by thread 0, between barriers, and handed to all.

What the hardware lacks is a loop of compare-and-swap (max and min of 16-bit floats, bf16 sums before sm_90) or, for
max and min of wider floats, signed and unsigned integer extremes, whose order is that of floats of each sign.
"""
from __future__ import annotations

from rtriton.backend.ptx.emit import Emitter, lowering
from rtriton.backend.ptx.emit_cast import cast_reg
from rtriton.backend.ptx.emit_elementwise import select
from rtriton.backend.ptx.emit_memory import groups, share_scalar, vector_bits
from rtriton.backend.ptx.emit_shared import load_shared, store_shared
from rtriton.backend.ptx.operands import Reg
from rtriton.errors import KernelError
from rtriton.ir import Op
from rtriton.layout import linear_shared
from rtriton.passes.analysis.atomics import adds_vectors
from rtriton.types import DType, Pointer, Scalar, Tile, element_of, float32


@lowering("atomic_rmw")
def _rmw(e: Emitter, op: Op) -> None:
    pointer, value, mask = (*op.operands, None)[:3]
    assert pointer is not None
    if not isinstance(pointer.type, Tile):
        _scalar(e, op, [e.one(value)], e.one(mask) if mask is not None else None)
        return
    layout = e.layout(pointer)
    owner = e.owner(layout)
    vector = vector_bits(e, pointer, mask, layout) if adds_vectors(op, e.target) else []
    out = list(e.regs(value))
    for group in groups(layout.registers, vector):
        guard = e.both(owner, e.regs(mask)[group[0]] if mask is not None else None)
        add = [e.regs(value)[r] for r in group]
        place = e.regs(pointer)[group[0]]
        old = [_one(e, op, place, add, guard)] if len(group) == 1 else _add_vector(e, op, place, add, guard)
        for r, reg in zip(group, old, strict=True):
            out[r] = reg
    _tile_result(e, op, out)


@lowering("atomic_cas")
def _cas(e: Emitter, op: Op) -> None:
    pointer, expected, value = op.operands
    assert pointer is not None
    if not isinstance(pointer.type, Tile):
        _scalar(e, op, [e.one(expected), e.one(value)], None)
        return
    owner = e.owner(e.layout(pointer))
    triples = zip(e.regs(pointer), e.regs(expected), e.regs(value), strict=True)
    _tile_result(e, op, [_one(e, op, p, [c, v], owner) for p, c, v in triples])


def _scalar(e: Emitter, op: Op, values: list[Reg], mask: Reg | None) -> None:
    """The barrier before makes the other threads' writes part of what a release hands over."""
    first = e.pure("setp.eq.u32", e.tid, 0)
    e.barrier()
    old = _one(e, op, e.one(op.operands[0]), values, e.both(first, mask))
    if e.is_used(op):
        old = share_scalar(e, op, old, element_of(op.result.type), first)
    else:
        e.barrier()
    e.put(op, [old])


def _tile_result(e: Emitter, op: Op, out: list[Reg]) -> None:
    """Copies get the old values from their owner."""
    layout = e.layout(op.result)
    if e.is_used(op) and (layout.copies("lane") or layout.copies("warp")):
        type, shared = element_of(op.result.type), linear_shared(layout.shape)
        store_shared(e, out, type, layout, shared, e.shared, op.attrs["scratch"])
        e.barrier()
        out = load_shared(e, type, layout, shared, e.shared, op.attrs["scratch"])
    e.put(op, out)


def _one(e: Emitter, op: Op, pointer: Reg, values: list[Reg], guard: Reg | None) -> Reg:
    """One atomic under a guard; elsewhere the result is 0."""
    element = element_of(op.result.type)
    if isinstance(element, Pointer):
        raise KernelError("atomics work on numbers, not on pointers", op.span)
    how = "cas" if op.kind == "atomic_cas" else op.attrs["how"]
    if how == "cas":
        return _atom(e, op, "cas", _bits(element, op), pointer, values, guard)
    (value,) = values
    if element.kind == "f" and element.bits == 16 and not _has_narrow(e, how, element):
        return _swap_until(e, op, how, element, pointer, value, guard)
    if how in ("max", "min") and element.kind == "f":
        return _float_extreme(e, op, how, element, pointer, value, guard)
    name, type = _spelling(e, op, how, element)
    return _atom(e, op, name, type, pointer, [value], guard)


def _atom(e: Emitter, op: Op, name: str, type: str, pointer: Reg, values: list[Reg], guard: Reg | None) -> Reg:
    sem, scope = op.attrs.get("sem") or "acq_rel", op.attrs.get("scope") or "gpu"
    order = f"{sem}.{scope}" if name == "cas" else f"{scope}.{sem}"      # as Triton writes them
    old = e.m.reg(type.removeprefix("noftz."))
    if guard is not None:
        e.m(f"mov.{old.type}", 0, dst=old)
    e.m(f"atom.global.{order}.{name}.{type}", e.address(pointer), *values, pred=guard, dst=old)
    return old


def _add_vector(e: Emitter, op: Op, pointer: Reg, values: list[Reg], guard: Reg | None) -> list[Reg]:
    """One instruction, with its fences, for several sums side by side."""
    sem, scope = op.attrs.get("sem") or "acq_rel", op.attrs.get("scope") or "gpu"
    old = [e.m.reg("b32") for _ in values]
    if guard is not None:
        for reg in old:
            e.m("mov.b32", 0, dst=reg)
    e.m.many(f"atom.global.{scope}.{sem}.add.v{len(values)}.f32", e.address(pointer), values, pred=guard, dst=old)
    return old


def _bits(element: DType, op: Op) -> str:
    if element.bits < 16:
        raise KernelError(f"compare-and-swap needs 16, 32 or 64 bits, got {element.short}", op.span)
    return f"b{element.bits}"


def _spelling(e: Emitter, op: Op, how: str, element: DType) -> tuple[str, str]:
    """The PTX name and type of an atomic."""
    if element.bits < 16 or (element.kind != "f" and element.bits < 32):
        raise KernelError(f"atomic {how} needs at least 32-bit integers or 16-bit floats, got {element.short}", op.span)
    if how == "xchg":
        if element.bits < 32:
            raise KernelError(f"atomic xchg needs 32 or 64 bits, got {element.short}", op.span)
        return "exch", f"b{element.bits}"
    if how in ("and", "or", "xor"):
        return how, f"b{element.bits}"
    if how in ("max", "min"):
        return how, f"{'s' if element.kind == 'i' else 'u'}{element.bits}"
    if element.kind == "f":
        return "add", f"noftz.{element.short}" if element.bits == 16 else element.short
    return "add", f"{'s' if element.kind == 'i' and element.bits == 32 else 'u'}{element.bits}"


def _has_narrow(e: Emitter, how: str, element: DType) -> bool:
    """Has the hardware this atomic on 16-bit floats?"""
    return how == "add" and (element.short == "f16" or e.target.bf16_arithmetic)


def _swap_until(e: Emitter, op: Op, how: str, element: DType, pointer: Reg, value: Reg, guard: Reg | None) -> Reg:
    """Compute in f32 and compare-and-swap, again until nobody came between."""
    if how not in ("add", "max", "min"):
        raise KernelError(f"atomic {how} does not work on {element.short}", op.span)
    sem, scope = op.attrs.get("sem") or "acq_rel", op.attrs.get("scope") or "gpu"
    place, wide = e.address(pointer), cast_reg(e, value, element, float32)
    old, again, end = e.m.reg("b16"), e.m.label("swap"), e.m.label("swapped")
    e.m("mov.b16", 0, dst=old)
    if guard is not None:
        e.m.bra(end, pred=~guard)
    e.m(f"ld.relaxed.{scope}.global.b16", place, dst=old)
    e.m.place(again)
    with e.scope():
        seen = e.m("mov.b16", old)
        made = e.m(f"{how}.f32", cast_reg(e, seen, element, float32), wide)
        e.m(f"atom.{sem}.{scope}.global.cas.b16", place, seen, cast_reg(e, made, float32, element), dst=old)
        e.m.bra(again, pred=e.m("setp.ne.b16", old, seen))
    e.m.place(end)
    return old


def _float_extreme(
    e: Emitter, op: Op, how: str, element: DType, pointer: Reg, value: Reg, guard: Reg | None
) -> Reg:
    """Floats of one sign order as integers do: the positive as signed, the negative as unsigned the other way round."""
    bits = element.bits
    if bits < 32:
        raise KernelError(f"atomic {how} of floats needs 32 or 64 bits, got {element.short}", op.span)
    negative = e.pure(f"setp.lt.s{bits}", value, 0)
    other = "min" if how == "max" else "max"
    up = _atom(e, op, how, f"s{bits}", pointer, [value], e.both(guard, e.pure("not.pred", negative)))
    down = _atom(e, op, other, f"u{bits}", pointer, [value], e.both(guard, negative))
    return select(e, _as_scalar(element), negative, down, up)


def _as_scalar(element: DType) -> Scalar:
    return element


