"""Loads and stores: vectors as wide as layout, axis info and mask allow, each under one predicate.

A masked load first moves `other` (zero without one) into its registers, then loads over them where the mask holds;
a store of a tile with copies is done by the owner alone.  i1 is a byte in memory.  A volatile scalar is read by one
thread and handed to all, so that what steers control flow is the same everywhere.
"""
from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from rtriton import layout as L
from rtriton.backend.ptx.emit import Emitter, lowering
from rtriton.backend.ptx.emit_pack import pack_words, unpack_words, word_type
from rtriton.backend.ptx.operands import Reg
from rtriton.ir import Op, Value
from rtriton.layout import Layout
from rtriton.types import BY_SHORT, Pointer, Scalar, Tile, element_of

LOAD_CACHE = {"": "", ".ca": ".ca", ".cg": ".cg", ".cs": ".cs", ".cv": ".cv"}
STORE_CACHE = {"": "", ".wb": ".wb", ".cg": ".cg", ".cs": ".cs", ".wt": ".wt"}
EVICT = {"": "", **{f"evict_{how}": f".L1::evict_{how}" for how in ("last", "first", "normal")}}


def vector_bits(e: Emitter, pointer: Value, mask: Value | None, layout: Layout) -> list[int]:
    """The register bits that one access may cover: the axis along which the most bytes go at once."""
    info = e.info[pointer]
    size = _pointee(pointer).itemsize
    best: list[int] = []
    for axis in range(layout.rank):
        width = min(gcd(info.contiguity[axis], max(1, info.divisibility[axis] // size)), 16 // size)
        if mask is not None and isinstance(mask.type, Tile):
            width = gcd(width, e.info[mask].constancy[axis])
        found = L.contiguous_bits(layout, axis)[: width.bit_length() - 1]
        best = found if len(found) > len(best) else best
    return best


def groups(registers: int, vector: Sequence[int]) -> list[list[int]]:
    """All registers, those that one access moves together in one list."""
    mask = sum(1 << k for k in vector)
    spread = [sum(1 << vector[k] for k in L.bits(j)) for j in range(1 << len(vector))]
    return [[r | s for s in spread] for r in range(registers) if not r & mask]


def _pointee(pointer: Value) -> Scalar:
    element = element_of(pointer.type)
    assert isinstance(element, Pointer)
    return element.element


@lowering("load")
def _load(e: Emitter, op: Op) -> None:
    pointer, mask, other = (*op.operands, None, None)[:3]
    assert pointer is not None
    if not isinstance(pointer.type, Tile):
        _load_scalar(e, op, pointer, mask, other)
        return
    layout = e.layout(pointer)
    out: list[Reg | None] = [None] * layout.registers
    seen: dict[tuple[object, ...], list[Reg]] = {}
    for group in groups(layout.registers, vector_bits(e, pointer, mask, layout)):
        guard = e.regs(mask)[group[0]] if mask is not None else None
        default = [e.regs(other)[r] for r in group] if other is not None else None
        key = (e.regs(pointer)[group[0]], guard, tuple(default or ()))
        if key not in seen or op.attrs.get("volatile"):
            seen[key] = load_vector(e, op, key[0], len(group), guard, default)
        for r, reg in zip(group, seen[key], strict=True):
            out[r] = reg
    e.put(op, [reg for reg in out if reg is not None])


def load_vector(e: Emitter, op: Op, pointer: Reg, n: int, guard: Reg | None, default: list[Reg] | None) -> list[Reg]:
    """`n` consecutive elements at `pointer`."""
    assert op.operands[0] is not None
    type = _pointee(op.operands[0])
    word, words = word_type(type, n)
    opcode = _load_opcode(op, word, words)
    address = e.address(pointer)
    if guard is None:
        loaded = e.m.many(opcode, address)
    else:
        start = pack_words(e, type, default, n) if default is not None else [zero(e, word)] * words
        loaded = [e.m(f"mov.{_move(word)}", reg) for reg in start]
        e.m.many(opcode, address, pred=guard, dst=loaded)
    return unpack_words(e, type, loaded, n)


def zero(e: Emitter, word: str) -> Reg:
    return e.const(0, BY_SHORT[f"u{max(16, int(word[1:]))}"])


def _move(word: str) -> str:
    return "b16" if word in ("b8", "u8", "s8") else f"b{word[1:]}"


def _load_opcode(op: Op, word: str, words: int) -> str:
    vector = f".v{words}" if words > 1 else ""
    if op.attrs.get("volatile"):
        return f"ld.volatile.global{vector}.{word}"
    cache, evict = LOAD_CACHE[op.attrs.get("cache", "")], EVICT[op.attrs.get("evict", "")]
    return f"ld.global{cache or evict}{vector}.{word}"


def _load_scalar(e: Emitter, op: Op, pointer: Value, mask: Value | None, other: Value | None) -> None:
    guard = e.one(mask) if mask is not None else None
    default = [e.one(other)] if other is not None else None
    if not op.attrs.get("volatile"):
        e.put(op, load_vector(e, op, e.one(pointer), 1, guard, default))
        return
    first = e.pure("setp.eq.u32", e.tid, 0)
    (loaded,) = load_vector(e, op, e.one(pointer), 1, e.both(first, guard), default)
    e.put(op, [share_scalar(e, op, loaded, element_of(op.result.type), first)])


def share_scalar(e: Emitter, op: Op, reg: Reg, type: Scalar, first: Reg) -> Reg:
    """What thread 0 holds, for all threads, through the op's scratch."""
    word = f"b{max(16, type.bits if type.kind != 'b' else 16)}"
    place = e.shared_at(op.attrs["scratch"])
    e.m.do(f"st.shared.{word}", place, e.to_memory(reg, type), pred=first)
    e.barrier()
    return e.from_memory(e.m(f"ld.shared.{word}", place), type)


@lowering("store")
def _store(e: Emitter, op: Op) -> None:
    pointer, value, mask = (*op.operands, None)[:3]
    assert pointer is not None
    type = _pointee(pointer)
    if not isinstance(pointer.type, Tile):
        first = e.pure("setp.eq.u32", e.tid, 0)
        guard = e.both(first, e.one(mask) if mask is not None else None)
        store_vector(e, op, type, e.one(pointer), [e.one(value)], guard)
        return
    layout = e.layout(pointer)
    owner = e.owner(layout)
    for group in groups(layout.registers, vector_bits(e, pointer, mask, layout)):
        guard = e.both(owner, e.regs(mask)[group[0]] if mask is not None else None)
        store_vector(e, op, type, e.regs(pointer)[group[0]], [e.regs(value)[r] for r in group], guard)


def store_vector(e: Emitter, op: Op, type: Scalar, pointer: Reg, regs: list[Reg], guard: Reg | None) -> None:
    word, words = word_type(type, len(regs))
    cache, evict = STORE_CACHE[op.attrs.get("cache", "")], EVICT[op.attrs.get("evict", "")]
    vector = f".v{words}" if words > 1 else ""
    packed = pack_words(e, type, regs, len(regs))
    value = packed[0] if words == 1 else packed
    e.m.do(f"st.global{cache or evict}{vector}.{word}", e.address(pointer), value, pred=guard)
