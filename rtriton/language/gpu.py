"""Ops born in GPU passes: no kernel is written in them.

`convert_layout` moves a tile to another layout, `mma` multiplies fragments on tensor cores, the `shared_*` and
`async_*` ops are tiles in shared memory made visible.  Any op whose lowering needs scratch in shared memory gets an
attribute `scratch`, its offset in bytes, from the pass `allocate`.
"""
from __future__ import annotations

from typing import Any

from rtriton.language.table import READS, WRITES, Const, Operand, check_mask, op, pointee, same_shape, tile
from rtriton.types import Shared, Tile, Type, element_of, int1, show_type, show_types


@op("convert_layout")
def convert_layout(x: Operand) -> Type:
    """The same tile, held by other places: the result's type says which."""
    return tile("convert_layout", x)


@op("mma")
def mma(a: Operand, b: Operand, acc: Operand, *, warps: Const, atom: Const, limit: Const = None) -> Type:
    """acc + a @ b on tensor cores: `atom` names the element type that mma.sync multiplies, `warps` are those along
    M and N, `limit` how many products at most are summed before an f32 addition adds them to acc (None: all).
    a and b are tiles in operand layouts."""
    x, y, z = tile("mma", a), tile("mma", b), tile("mma", acc)
    if x.shape[-1] != y.shape[-2] or z.shape != x.shape[:-1] + y.shape[-1:]:
        raise ValueError(f"mma: {show_types((a, b), ' times ')} does not give {show_type(acc)}")
    return acc


@op("shared_alloc", effects=WRITES)
def shared_alloc(*, type: Const, offset: Const = None) -> Type:
    """A buffer in shared memory; `offset` is where, in bytes, once `allocate` has run."""
    if not isinstance(type, Shared):
        raise TypeError(f"shared_alloc makes a shared buffer, got {show_type(type)}")
    return type


@op("shared_store", effects=WRITES)
def shared_store(buffer: Operand, x: Operand, stage: Operand = None) -> tuple[Type, ...]:
    """Write a tile into a buffer (into one of its stages)."""
    _fits("shared_store", buffer, x)
    return ()


@op("shared_load", effects=READS)
def shared_load(buffer: Operand, stage: Operand = None) -> Type:
    """Read a buffer (one of its stages) into registers; the result's type says which."""
    if not isinstance(buffer, Shared):
        raise TypeError(f"shared_load reads a shared buffer, got {show_type(buffer)}")
    return Tile(buffer.shape, buffer.element)


@op("async_copy", effects=READS | WRITES)
def async_copy(
    buffer: Operand, pointer: Operand, mask: Operand = None, stage: Operand = None, turn: Operand = None, *,
    cache: Const = "", vector: Const = 1
) -> tuple[Type, ...]:
    """Start copying what `pointer` points at into a buffer, zeros where `mask` is false (cp.async); `vector`
    elements of one access are consecutive.  Done when `async_wait` says so.  Where the scalar `turn` is false no memory
    is read, and nobody may read what the buffer then holds."""
    _fits("async_copy", buffer, Tile(tile("async_copy", pointer).shape, pointee(pointer)))
    check_mask("async_copy", mask)
    check_mask("async_copy", turn)
    same_shape("async_copy", pointer, mask)
    return ()


@op("async_commit", effects=WRITES)
def async_commit() -> tuple[Type, ...]:
    """Ends a group of async copies."""
    return ()


@op("async_wait", effects=WRITES)
def async_wait(*, pending: Const) -> tuple[Type, ...]:
    """Wait until at most `pending` groups of this thread are still under way; a barrier must follow before others
    read."""
    return ()


def _fits(name: str, buffer: Any, x: Any) -> None:
    if not isinstance(buffer, Shared):
        raise TypeError(f"{name} needs a shared buffer, got {show_type(buffer)}")
    value = tile(name, x)
    if value.shape != buffer.shape or (element_of(value) != buffer.element and element_of(value) != int1):
        raise TypeError(f"{name}: the buffer holds {show_type(buffer)}, the tile is {show_type(value)}")


__all__ = ["async_commit", "async_copy", "async_wait", "convert_layout", "mma", "shared_alloc",
           "shared_load", "shared_store"]
