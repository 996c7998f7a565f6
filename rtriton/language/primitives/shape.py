"""Ops that move elements: shapes, joins, gathers and the exchanges that sorts are made of."""
from __future__ import annotations

import math

from rtriton.language.table import Const, Operand, op, tile
from rtriton.types import Tile, Type, check_shape, element_of, shape_of, show_type, show_types, with_shape


@op("splat")
def splat(x: Operand, *, shape: Const) -> Type:
    """A tile that holds the scalar x everywhere."""
    if isinstance(x, Tile):
        raise TypeError(f"splat takes a scalar, got {show_type(x)}")
    return with_shape(x, check_shape(shape))


@op("expand_dims")
def expand_dims(x: Operand, *, axis: Const) -> Type:
    """A new axis of size 1 at `axis`."""
    shape = tile("expand_dims", x).shape
    return with_shape(x, shape[:axis] + (1,) + shape[axis:])


@op("broadcast")
def broadcast(x: Operand, *, shape: Const) -> Type:
    """Axes of size 1 repeated to `shape` (equal rank)."""
    source = tile("broadcast", x).shape
    if len(source) != len(shape) or any(a != b and a != 1 for a, b in zip(source, shape, strict=True)):
        raise ValueError(f"cannot broadcast {source} to {tuple(shape)}")
    return with_shape(x, check_shape(shape))


@op("reshape")
def reshape(x: Operand, *, shape: Const) -> Type:
    """The same elements in row-major order, in another shape."""
    if tile("reshape", x).numel != math.prod(shape):
        raise ValueError(f"reshape keeps the number of elements, got {x.shape} to {tuple(shape)}")
    return with_shape(x, check_shape(shape))


@op("trans")
def trans(x: Operand, *, order: Const) -> Type:
    """The axes in another order: result axis i is axis order[i] of x."""
    shape = tile("trans", x).shape
    axes: tuple[int, ...] = tuple(order)
    if sorted(axes) != list(range(len(shape))):
        raise ValueError(f"trans needs a permutation of {len(shape)} axes, got {axes}")
    return with_shape(x, tuple(shape[i] for i in axes))


@op("join")
def join(x: Operand, y: Operand) -> Type:
    """x and y side by side in a new last axis of size 2."""
    if x != y:
        raise TypeError(f"join needs two of one type, got {show_types((x, y), ' and ')}")
    return with_shape(x, shape_of(x) + (2,))


@op("split")
def split(x: Operand) -> tuple[Type, ...]:
    """The two halves along the last axis, which has size 2."""
    shape = tile("split", x).shape
    if shape[-1] != 2:
        raise ValueError(f"split needs a last axis of size 2, got {show_type(x)}")
    half = with_shape(x, shape[:-1])
    return half, half


@op("cat")
def cat(x: Operand, y: Operand) -> Type:
    """x then y along the only axis."""
    if x != y or tile("cat", x).rank != 1:
        raise TypeError(f"cat needs two 1-d tiles of one type, got {show_types((x, y), ' and ')}")
    return with_shape(x, (2 * x.shape[0],))


@op("gather")
def gather(x: Operand, index: Operand, *, axis: Const, start: Const = None) -> Type:
    """x[..., index[...], ...] along `axis`; the other axes agree. With `start` index is known to be start,
    start + 1 ... along the axis, start being a multiple of how many."""
    a, b = tile("gather", x), tile("gather", index)
    if element_of(b).kind not in "iu":
        raise TypeError(f"gather needs integer indices, got {show_type(index)}")
    if a.rank != b.rank or any(m != n for d, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)) if d != axis):
        raise ValueError(f"gather needs shapes that agree but along axis {axis}, got {show_types((x, index), ' and ')}")
    return with_shape(x, b.shape)


@op("exchange")
def exchange(x: Operand, *, axis: Const, mask: Const) -> Type:
    """The element whose index along `axis` differs in the bits of `mask`: all of them reverse the axis."""
    _index_bits("exchange", x, axis, mask)
    return x


@op("order")
def order(x: Operand, *, axis: Const, distance: Const, block: Const, descending: Const = False) -> Type:
    """Pairs of integers `distance` apart along `axis`, put in order: ascending where the index has the bit `block`
    zero, else descending; `descending` turns both. One step of a sorting network."""
    _index_bits("order", x, axis, distance)
    if element_of(x).kind not in "iu":
        raise TypeError(f"order needs integers, got {show_type(x)}")
    if distance & (distance - 1) or block & (block - 1) or 0 < block <= distance:
        raise ValueError(f"order needs powers of two, distance below block, got {distance} and {block}")
    return x


def _index_bits(name: str, x: Type, axis: int, mask: int) -> None:
    shape = tile(name, x).shape
    if not 0 <= axis < len(shape) or not 0 < mask < shape[axis]:
        raise ValueError(f"{name}: {mask} has no bits of an index along axis {axis} of {show_type(x)}")
