"""`tl.reduce` and `tl.associative_scan` with a combine function, over one tile or a tuple of tiles, and
`tl.map_elementwise` with a function of single elements."""
from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from rtriton.guards import is_tuple
from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.values import Context, public, unwrap
from rtriton.types import element_of, shape_of, show_type


def _tiles(b: Context, input: Any, what: str) -> tuple[list[Value], bool]:
    several = is_tuple(input)
    tiles = [s.need_tile(x, what) for x in (input if several else (input,))]
    shape = s.broadcast_shape(*(t.type for t in tiles))
    return [s.broadcast_to(b, t, shape) for t in tiles], several


@public(method=True)
def reduce(b: Context, input: Any, axis: Any, combine_fn: Any, keep_dims: Any = False) -> Any:
    """Combine the elements along `axis` (None: all) with `combine_fn(*left, *right)`; a tuple gives a tuple.

    The function must be associative and commutative: the order is the machine's choice."""
    tiles, several = _tiles(b, input, "reduce")
    rank = len(shape_of(tiles[0].type))
    every = unwrap(axis) is None
    if every:
        count = 1
        for n in shape_of(tiles[0].type):
            count *= n
        tiles = [s.retile(b, t, (count,)) for t in tiles]
    where = 0 if every else s.axis_of(tiles[0], axis, "reduce")
    region = b.region(combine_fn, [element_of(t.type) for t in tiles])
    results = b.build.op("reduce", *tiles, regions=[region], axis=where)
    if unwrap(keep_dims):
        results = tuple(_keep(b, r, rank, every, where) for r in results)
    return tuple(results) if several else results[0]


def _keep(b: Context, value: Value, rank: int, every: bool, axis: int) -> Value:
    if every or not shape_of(value.type):
        return b.build.one("splat", value, shape=(1,) * rank)
    return b.build.one("expand_dims", value, axis=axis)


@public(method=True)
def associative_scan(b: Context, input: Any, axis: Any, combine_fn: Any, reverse: Any = False) -> Any:
    """Running combination along `axis`; a tuple gives a tuple."""
    tiles, several = _tiles(b, input, "associative_scan")
    where = s.axis_of(tiles[0], axis, "associative_scan")
    region = b.region(combine_fn, [element_of(t.type) for t in tiles])
    results = b.build.op("scan", *tiles, regions=[region], axis=where, reverse=bool(unwrap(reverse)))
    return tuple(results) if several else results[0]


def only_element(b: Context, x: Value) -> Value:
    """The scalar in a tile of one element."""
    tile = s.need_tile(x, "item")
    if any(n != 1 for n in shape_of(tile.type)):
        raise ValueError(f"item needs a tile of one element, got {show_type(tile.type)}")
    flat = s.retile(b, tile, (1,))
    element = element_of(flat.type)
    left, right = Value(element, "a"), Value(element, "b")
    return b.build.one("reduce", flat, regions=[b.build.block([left, right], lambda _: [left])], axis=0)


@public(method=True)
def item(b: Context, x: Any) -> Value:
    """The scalar in a tile of one element."""
    return only_element(b, x)


@public()
def map_elementwise(b: Context, scalar_fn: Any, *args: Any, pack: Any = 1) -> Any:
    """`scalar_fn` called on each element by itself, so that it may branch and loop; it gives one scalar or several.

    With `pack` = 2, 4 ... it is called on so many neighbouring elements of each argument at once: it takes all of the
    first argument's, then all of the second's, and gives as many of each result."""
    count = s.constant_int(pack, "pack")
    if count < 1 or count & (count - 1):
        raise ValueError(f"map_elementwise: pack is a power of two, got {count}")
    if not args:
        raise TypeError("map_elementwise needs a tile")
    values = [s.to_value(b, x) for x in args]
    shape = s.broadcast_shape(*(v.type for v in values))
    tiles = [s.broadcast_to(b, v, shape) if shape else s.retile(b, v, (1,)) for v in values]
    if count > 1:
        rows, left = divmod(prod(shape), count)
        if left:
            raise ValueError(f"map_elementwise: {show_type(tiles[0].type)} has no {count} neighbours")
        tiles = [part for t in tiles for part in strided(b, s.retile(b, t, (rows, count)))]
    region = b.scalar_region(scalar_fn, [element_of(t.type) for t in tiles])
    if len(region.yielded) % count:
        raise TypeError(f"map_elementwise: the function must return {count} of each result, got {len(region.yielded)}")
    made = b.build.op("map", *tiles, regions=[region])
    results = [_shaped(b, interleaved(b, made[i : i + count]), shape) for i in range(0, len(made), count)]
    return tuple(results) if len(results) > 1 else results[0]


def strided(b: Context, x: Value) -> list[Value]:
    """The columns of a tile of two axes."""
    rows, columns = shape_of(x.type)
    if columns == 1:
        return [s.retile(b, x, (rows,))]
    even, odd = b.build.op("split", s.retile(b, x, (rows, columns // 2, 2)))
    return [v for pair in zip(strided(b, even), strided(b, odd), strict=True) for v in pair]


def interleaved(b: Context, columns: Sequence[Value]) -> Value:
    """The tile that has these columns, elements in row-major order."""
    if len(columns) == 1:
        return columns[0]
    even, odd = interleaved(b, columns[::2]), interleaved(b, columns[1::2])
    return b.build.one("join", even, odd)


def _shaped(b: Context, x: Value, shape: tuple[int, ...]) -> Value:
    return s.retile(b, x, shape) if shape else only_element(b, x)
