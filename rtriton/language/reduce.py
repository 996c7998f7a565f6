"""`tl.reduce` and `tl.associative_scan` with a combine function, over one tile or a tuple of tiles."""
from __future__ import annotations

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
    """Combine the elements along `axis` (None: all) with `combine_fn(*left, *right)`; a tuple gives a tuple."""
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
