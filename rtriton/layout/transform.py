"""What the shape ops do to a layout: each function gives the layout of the result, no data moving.

`reshape` and `expand` keep every basis, `transpose` permutes the bits, `drop` forgets an axis (a reduced tile is
held by every lane and warp that took part), `widen` is broadcast (each thread holds all of the new axis), `squash` is
what broadcast asks of its source.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from rtriton.layout.core import Coord, Layout, LayoutError, log2, pack, show_shape, unpack


def remap(layout: Layout, shape: Sequence[int], move: Callable[[Coord], Coord]) -> Layout:
    """The layout whose bases are `move` of the old ones; registers that would become copies are left out."""
    shape = tuple(shape)
    out: list[tuple[str, tuple[int, ...]]] = []
    for dim, columns in layout.bases:
        moved = [pack(move(unpack(b, layout.shape)), shape) for b in columns]
        out.append((dim, tuple(b for b in moved if b or dim != "register")))
    return Layout(shape, tuple(out))


def reshape(layout: Layout, shape: Sequence[int]) -> Layout:
    if prod(shape) != prod(layout.shape):
        raise LayoutError(f"reshape of {show_shape(layout.shape)} to {show_shape(shape)} changes the size")
    return Layout(tuple(shape), layout.bases)


def expand(layout: Layout, axis: int) -> Layout:
    """A new axis of size 1 before `axis`."""
    return reshape(layout, (*layout.shape[:axis], 1, *layout.shape[axis:]))


def transpose(layout: Layout, order: Sequence[int]) -> Layout:
    """Axis i of the result is axis order[i] of the tile."""
    if sorted(order) != list(range(layout.rank)):
        raise LayoutError(f"{tuple(order)} is no order of {layout.rank} axes")
    return remap(layout, [layout.shape[a] for a in order], lambda c: tuple(c[a] for a in order))


def drop(layout: Layout, axis: int) -> Layout:
    """The layout of a reduction along `axis`."""
    shape = layout.shape[:axis] + layout.shape[axis + 1 :]
    return remap(layout, shape, lambda c: c[:axis] + c[axis + 1 :])


def squash(layout: Layout, axis: int) -> Layout:
    """The layout with `axis` made 1: what a broadcast along `axis` to `layout` reads without moving data."""
    shape = (*layout.shape[:axis], 1, *layout.shape[axis + 1 :])
    return remap(layout, shape, lambda c: (*c[:axis], 0, *c[axis + 1 :]))


def broadcast_source(layout: Layout, shape: Sequence[int]) -> Layout:
    """The layout of `shape` from which a broadcast to `layout` moves nothing."""
    for axis, (have, want) in enumerate(zip(shape, layout.shape, strict=True)):
        if have != want:
            if have != 1:
                raise LayoutError(f"{show_shape(shape)} does not broadcast to {show_shape(layout.shape)}")
            layout = squash(layout, axis)
    return layout


def widen(layout: Layout, shape: Sequence[int]) -> Layout:
    """The layout of a broadcast to `shape`: every thread holds all of each new axis in registers."""
    out = layout
    for axis, (have, want) in enumerate(zip(layout.shape, shape, strict=True)):
        if have == want:
            continue
        if have != 1:
            raise LayoutError(f"{show_shape(layout.shape)} does not broadcast to {show_shape(shape)}")
        wide = (*out.shape[:axis], want, *out.shape[axis + 1 :])
        out = remap(out, wide, lambda c: c)
        out = with_registers(out, [(1 << k) * prod(wide[axis + 1 :]) for k in range(log2(want))])
    return out


def with_registers(layout: Layout, columns: Sequence[int]) -> Layout:
    """`layout` with more register bases, after those it has."""
    return Layout(
        layout.shape, tuple((d, (*bs, *columns) if d == "register" else bs) for d, bs in layout.bases)
    )


def join(layout: Layout) -> Layout:
    """The layout of join(a, b): the new last axis of 2 picks the first or the second half of the registers."""
    out = remap(layout, (*layout.shape, 2), lambda c: (*c, 0))
    return with_registers(out, [1])


def split_source(layout: Layout) -> Layout:
    """The layout of x for which split(x) with results laid out as `layout` only picks registers."""
    return join(layout)


def split(layout: Layout) -> Layout:
    """The layout of both results of split(x); the last axis of 2 must lie in registers."""
    if layout.shape[-1:] != (2,) or 1 not in layout["register"]:
        raise LayoutError(f"split needs a last axis of 2 that lies in registers, got {layout}")
    return drop(layout, layout.rank - 1)
