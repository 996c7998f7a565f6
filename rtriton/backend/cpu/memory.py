"""Loads, stores and atomics: addresses as a scalar base and neighbouring lanes wherever the facts allow it.

An address is kept as a sum of terms, each at the loop depth it needs, so the innermost loop adds at most one of them.
Offsets are computed in 64 bits: a 32-bit index that overflows on its way to an address is the program's fault, as in
Triton. Where a mask is false memory is not touched: vector predicates where the target has them, else a branch that
tries the whole vector first.
"""

from __future__ import annotations

from rtriton.backend.cpu import numbers
from rtriton.backend.cpu.facts import HINTS, pointee_size
from rtriton.backend.cpu.llvm import V
from rtriton.backend.cpu.lower import Lowering, lazy, now
from rtriton.backend.cpu.place import Place
from rtriton.backend.cpu.shape import source_place
from rtriton.ir import Op, Value
from rtriton.types import Scalar, element_of, shape_of

SHAPES = ("splat", "expand_dims", "broadcast", "trans", "reshape")
ZEROS = "@zeros"


# -- addresses -------------------------------------------------------------------------------------------------------


def index_terms(low: Lowering, value: Value, place: Place) -> list[V]:
    """An integer at a place without lanes, as 64-bit terms to be added."""
    b = low.b
    value = low.facts.same.get(value, value)
    element = element_of(value.type)
    if not shape_of(value.type):
        return [_extended(low, low.scalars[value], element)]
    op = low.facts.definition.get(value)
    if op is None or value in low.held:
        return [_extended(low, low.at(value, place), element)]
    if op.kind == "arange":
        return [place.coords[0], low.index(op.attrs["start"])]
    if op.kind in SHAPES and (source := source_place(low, op, place)) is not None:
        return index_terms(low, low.operand(op, 0), source)
    if op.kind in HINTS:
        return index_terms(low, low.operand(op, 0), place)
    if element.kind == "i" or element.bits == 64:
        if op.kind == "add":
            return index_terms(low, low.operand(op, 0), place) + index_terms(low, low.operand(op, 1), place)
        if op.kind == "sub":
            taken = index_terms(low, low.operand(op, 1), place)
            return index_terms(low, low.operand(op, 0), place) + [b.op("sub", low.index(0), t) for t in taken]
        if op.kind == "mul":
            return _product_terms(low, op, place)
        if op.kind == "shl" and isinstance(count := low.facts.constant(low.operand(op, 1)), int) and 0 <= count < 32:
            terms = index_terms(low, low.operand(op, 0), place)
            return [b.op("mul", t, low.index(1 << count)) for t in terms]
        if op.kind == "cast" and element_of(low.operand(op, 0).type).kind == "i":
            source = low.operand(op, 0)
            if element_of(source.type).bits <= element.bits:
                return index_terms(low, source, place)
    return [_extended(low, low.at(value, place), element)]


def _product_terms(low: Lowering, op: Op, place: Place) -> list[V]:
    """(a + b) * s = a * s + b * s for a factor that is one scalar for the whole tile."""
    x, y = low.operand(op, 0), low.operand(op, 1)
    if low.facts.scalar_of(y) is None and low.facts.constant(y) is None:
        x, y = y, x
    factor = low.sum(index_terms(low, y, place))
    if low.facts.scalar_of(y) is None and low.facts.constant(y) is None:
        return [low.b.op("mul", low.sum(index_terms(low, x, place)), factor)]
    return [low.b.op("mul", term, factor) for term in index_terms(low, x, place)]


def _extended(low: Lowering, x: V, element: Scalar) -> V:
    if x.element == "ptr":
        return low.b.cast("ptrtoint", x, "i64")
    return low.b.cast("sext" if element.kind == "i" else "zext", x, "i64")


def pointer(low: Lowering, value: Value, place: Place) -> V:
    """The address of one element."""
    base, terms = _pointer_terms(low, value, place)
    size = pointee_size(value)
    levels = sorted({t.level for t in terms if t.const is None})
    for level in levels:
        base = low.b.gep(base, low.sum([t for t in terms if t.const is None and t.level == level]), size)
    return low.b.gep(base, low.sum([t for t in terms if t.const is not None]), size)


def _pointer_terms(low: Lowering, value: Value, place: Place) -> tuple[V, list[V]]:
    if not shape_of(value.type):
        return low.scalars[value], []
    op = low.facts.definition.get(value)
    if op is not None and value not in low.held:
        if op.kind == "addptr":
            base, terms = _pointer_terms(low, low.operand(op, 0), place)
            return base, terms + index_terms(low, low.operand(op, 1), place)
        if op.kind in SHAPES and (source := source_place(low, op, place)) is not None:
            return _pointer_terms(low, low.operand(op, 0), source)
        if op.kind in HINTS:
            return _pointer_terms(low, low.operand(op, 0), place)
    return low.b.cast("inttoptr", low.at(value, place), "ptr"), []


def pointers(low: Lowering, value: Value, place: Place) -> V:
    """The addresses of the lanes of a place, as a vector: one base and varying offsets where there is one base."""
    op = low.facts.definition.get(value)
    if op is not None and value not in low.held and op.kind == "addptr":
        base, offset = low.operand(op, 0), low.operand(op, 1)
        if low.facts.uniform(base, place.axis, place.lanes):
            moved = _extended(low, low.at(offset, place), element_of(offset.type))
            return low.b.gep(pointer(low, base, place.first), moved, pointee_size(value))
    return low.b.cast("inttoptr", low.at(value, place), "ptr")


@lazy("addptr")
def _addptr(low: Lowering, op: Op, value: Value, place: Place) -> V:
    """A scalar pointer, or in a tile the address as an integer."""
    b = low.b
    base, offset = low.operand(op, 0), low.operand(op, 1)
    if not shape_of(value.type):
        moved = _extended(low, low.scalars[offset], element_of(offset.type))
        return b.gep(low.scalars[base], moved, pointee_size(value))
    if not place.lanes:
        return b.cast("ptrtoint", pointer(low, value, place), "i64")
    moved = _extended(low, low.at(offset, place), element_of(offset.type))
    return b.op("add", low.at(base, place), b.op("mul", moved, b.int(pointee_size(value), "i64", place.lanes)))


# -- loads -----------------------------------------------------------------------------------------------------------


@lazy("load")
def _load(low: Lowering, op: Op, value: Value, place: Place) -> V:
    """In registers' form; in the region of the op, or deeper where its address needs it."""
    mask = _mask(low, low.optional(op, 1), place)
    raw = _raw_load(low, op, value, place, mask)
    loaded = numbers.decode(low.m, raw, element_of(value.type))
    default = low.optional(op, 2)
    if mask is None or default is None:
        return loaded
    other = low.at(default, place)
    if other.lanes < loaded.lanes:
        other = low.b.splat(other, loaded.lanes)
    if other.const == 0 and not _is_negative_zero(other) and loaded.element != "ptr":
        return loaded  # what a masked load gives anyway
    return low.b.select(mask, loaded, other)


def _is_negative_zero(x: V) -> bool:
    return x.is_float and str(x.const).startswith("-")


def _mask(low: Lowering, mask: Value | None, place: Place) -> V | None:
    """A scalar mask where the lanes agree, None where it is known to be true."""
    if mask is None or mask in low.assumed:
        return None
    agreed = not shape_of(mask.type) or low.facts.uniform(mask, place.axis, place.lanes)
    given = low.at(mask, place.first if agreed else place)
    return None if given.const == 1 else given


def _raw_load(low: Lowering, op: Op, value: Value, place: Place, mask: V | None) -> V:
    b = low.b
    source = low.operand(op, 0)
    element, size = numbers.memory(element_of(value.type)), element_of(value.type).itemsize
    level = low.level_of[value]
    stride = low.facts.chunk(source, place.axis, place.lanes).stride
    if place.lanes and stride != 1:
        everywhere = b.int(1, "i1", place.lanes)
        lanes_mask = everywhere if mask is None else b.splat(mask, place.lanes)
        return b.masked_gather(pointers(low, source, place), lanes_mask, b.zero(element, place.lanes), size, level)
    address = pointer(low, source, place.first)
    if mask is None:
        return b.load(address, element, place.lanes, size, level)
    if not mask.lanes:  # all or nothing: read zeros instead
        low.needs_zeros = True
        chosen = b.select(mask, address, V("ptr", 0, ZEROS))
        return b.load(chosen, element, place.lanes, size, level)
    other = b.zero(element, place.lanes)
    if _native_mask(low, size):
        return b.masked_load(address, mask, other, size, level)
    return b.guarded_load(address, mask, other, size, level)


def _native_mask(low: Lowering, size: int) -> bool:
    return low.target.has_masked and (size >= 4 or low.target.vector_bits == 512)


# -- stores ----------------------------------------------------------------------------------------------------------


@now("store")
def _store(low: Lowering, op: Op) -> None:
    target, value = low.operand(op, 0), low.operand(op, 1)
    shape = shape_of(target.type)
    if not shape:
        _store_at(low, op, Place(()))
        return
    axis = low.axis_for([target, target, value])
    lanes = low.lanes_for(shape, axis)
    if lanes and low.facts.uniform(target, axis, lanes):
        axis, lanes = -1, 0  # every lane writes the same place: in order

    def fill() -> list[V]:
        nest = low.open(shape, axis if lanes else -1, lanes)
        for place in nest.places:
            low.at(value, place)
        for place in nest.places:
            _store_at(low, op, place)
        return low.close(nest)

    low.versioned([target, value, low.optional(op, 2)], axis, lanes, fill)


def _store_at(low: Lowering, op: Op, place: Place) -> None:
    b = low.b
    target, value = low.operand(op, 0), low.operand(op, 1)
    element = element_of(value.type)
    mask = _mask(low, low.optional(op, 2), place)
    raw = low.at(value, place)
    if raw.element == "ptr":
        raw = b.cast("ptrtoint", raw, "i64")
    raw = numbers.encode(low.m, raw, element)
    if mask is not None and not mask.lanes:
        address = pointers(low, target, place) if place.lanes and not _neighbours(low, target, place) else None
        first = pointer(low, target, place.first) if address is None else address
        b.open_branch()
        _plain_store(low, raw, first, place, element.itemsize)
        b.close_branch(mask, (b.end_arm(), None))
    elif place.lanes and not _neighbours(low, target, place):
        where = mask if mask is not None else b.int(1, "i1", place.lanes)
        b.masked_scatter(raw, pointers(low, target, place), where, element.itemsize)
    elif mask is None:
        b.store(raw, pointer(low, target, place.first), element.itemsize)
    else:
        _masked_store(low, raw, pointer(low, target, place.first), mask, element.itemsize)


def _neighbours(low: Lowering, target: Value, place: Place) -> bool:
    return low.facts.chunk(target, place.axis, place.lanes).stride == 1


def _plain_store(low: Lowering, raw: V, address: V, place: Place, size: int) -> None:
    if address.lanes:
        low.b.masked_scatter(raw, address, low.b.int(1, "i1", place.lanes), size)
    else:
        low.b.store(raw, address, size)


def _masked_store(low: Lowering, raw: V, address: V, mask: V, size: int) -> None:
    b = low.b
    if _native_mask(low, size):
        b.masked_store(raw, address, mask, size)
        return
    whole = b.call("llvm.vector.reduce.and", "i1", 0, mask, suffix=f"v{mask.lanes}i1")
    b.open_branch()
    b.store(raw, address, size)
    then = b.end_arm()
    b.open_branch()
    b.masked_store(raw, address, mask, size)
    b.close_branch(whole, (then, b.end_arm()))
