"""Loads, stores, atomics, and the barrier."""
from __future__ import annotations

from rtriton.language.table import BARRIER, READS, WRITES, Const, Operand, check_mask, op, pointee, same_shape
from rtriton.types import Type, element_of, show_type, with_element


@op("load", effects=READS)
def load(pointer: Operand, mask: Operand = None, other: Operand = None, *, cache: Const = "", evict: Const = "",
         volatile: Const = False) -> Type:
    """Read what `pointer` points at; where `mask` is false give `other` (undefined without) and touch no memory."""
    result = with_element(pointer, pointee(pointer))
    check_mask("load", mask)
    same_shape("load", pointer, mask, other)
    if other is not None and other != result:
        raise TypeError(f"load: other is {show_type(other)}, the loaded value {show_type(result)}")
    return result


@op("store", effects=WRITES)
def store(pointer: Operand, value: Operand, mask: Operand = None, *, cache: Const = "",
          evict: Const = "") -> tuple[Type, ...]:
    """Write `value` where `mask` is true."""
    check_mask("store", mask)
    same_shape("store", pointer, value, mask)
    if element_of(value) != pointee(pointer):
        raise TypeError(f"store: the value is {show_type(value)}, the pointer {show_type(pointer)}")
    return ()


@op("atomic_rmw", effects=READS | WRITES)
def atomic_rmw(pointer: Operand, value: Operand, mask: Operand = None, *, how: Const, sem: Const = "acq_rel",
               scope: Const = "gpu") -> Type:
    """Replace what is there by add, max, min, and, or, xor, xchg with `value`, atomically; the old value."""
    check_mask("atomic", mask)
    same_shape("atomic", pointer, value, mask)
    if how not in ("add", "max", "min", "and", "or", "xor", "xchg"):
        raise ValueError(f"there is no atomic {how!r}")
    return with_element(pointer, pointee(pointer))


@op("atomic_cas", effects=READS | WRITES)
def atomic_cas(pointer: Operand, compare: Operand, value: Operand, *, sem: Const = "acq_rel",
               scope: Const = "gpu") -> Type:
    """Write `value` where the old value equals `compare`, atomically; the old value."""
    same_shape("atomic_cas", pointer, compare, value)
    return with_element(pointer, pointee(pointer))


@op("barrier", effects=BARRIER | READS | WRITES)
def barrier() -> tuple[Type, ...]:
    """Every thread of the program waits here for the others; memory accesses stay on their side."""
    return ()
