"""Ops that combine elements of a tile: products, reductions, scans, functions over elements, histograms."""
from __future__ import annotations

from collections.abc import Sequence

from rtriton import ir
from rtriton.language.table import Const, Operand, op, same_shape, tile, types_of
from rtriton.types import Tile, Type, check_shape, element_of, int32, show_type, show_types, with_element, with_shape

# -- linear algebra --------------------------------------------------------------------------------------------------

PRECISIONS = ("ieee", "tf32", "tf32x3", "bf16x3", "bf16x6")


@op("dot")
def dot(a: Operand, b: Operand, acc: Operand, *, precision: Const = "tf32", limit: Const = None) -> Type:
    """acc + a @ b, a MxK and b KxN (or both with one batch axis in front), K reduced in the accumulator's type.
    Where tensor cores round sums worse than `add` does, they sum at most `limit` products, which `add` adds to acc."""
    x, y, z = tile("dot", a), tile("dot", b), tile("dot", acc)
    if not (x.rank == y.rank == z.rank) or x.rank not in (2, 3):
        raise TypeError(f"dot needs tiles of rank 2 or 3, got {show_types((a, b, acc))}")
    if x.shape[-1] != y.shape[-2]:
        sizes = ["x".join(map(str, t.shape)) for t in (x, y)]
        raise ValueError(f"dot needs equal inner sizes, got {' and '.join(sizes)}")
    if z.shape != x.shape[:-1] + y.shape[-1:] or x.shape[:-2] != y.shape[:-2]:
        raise ValueError(f"dot: {show_types((a, b), ' times ')} does not give {show_type(acc)}")
    if precision not in PRECISIONS:
        raise ValueError(f"dot's precision is one of {', '.join(PRECISIONS)}, got {precision!r}")
    return acc


# -- reductions and scans --------------------------------------------------------------------------------------------

def _combined(name: str, xs: Sequence[Type], axis: int, regions: Sequence[ir.Block]) -> tuple[int, ...]:
    shape = same_shape(name, *(tile(name, x) for x in xs))
    if not 0 <= axis < len(shape):
        raise ValueError(f"{name}: axis {axis} is not an axis of {show_type(xs[0])}")
    elements = [element_of(x) for x in xs]
    (region,) = regions
    if [v.type for v in region.params] != elements * 2:
        raise TypeError(f"{name}: the combine function takes {show_types(elements * 2)}")
    if [v.type for v in region.yielded] != elements:
        raise TypeError(f"{name}: the combine function must return {show_types(elements)}, "
                        f"got {show_types(types_of(region.yielded))}")
    return shape


@op("reduce")
def reduce(*xs: Operand, axis: Const, regions: Sequence[ir.Block] = ()) -> tuple[Type, ...]:
    """Combine all elements along `axis` with the region, in an order of the machine's choice; that axis goes away."""
    shape = _combined("reduce", xs, axis, regions)
    return tuple(with_shape(x, shape[:axis] + shape[axis + 1:]) for x in xs)


@op("scan")
def scan(*xs: Operand, axis: Const, reverse: Const = False, regions: Sequence[ir.Block] = ()) -> tuple[Type, ...]:
    """Running combination along `axis`, the element itself included, from the other end if `reverse`."""
    _combined("scan", xs, axis, regions)
    return tuple(xs)


@op("map")
def map_(*xs: Operand, regions: Sequence[ir.Block] = ()) -> tuple[Type, ...]:
    """The region applied to each element by itself: its parameters are scalars, as are the values it yields."""
    same_shape("map", *(tile("map", x) for x in xs))
    (region,) = regions
    elements = [element_of(x) for x in xs]
    if [v.type for v in region.params] != elements or any(isinstance(v.type, Tile) for v in region.yielded):
        raise TypeError(f"map: the function takes {show_types(elements)} and gives scalars, "
                        f"got {show_types(types_of(region.params))} to {show_types(types_of(region.yielded))}")
    return tuple(with_element(xs[0], element_of(v.type)) for v in region.yielded)


@op("histogram")
def histogram(x: Operand, mask: Operand = None, *, bins: Const) -> Type:
    """How often each of 0 ... bins - 1 occurs in x where `mask` is true; values outside are not counted."""
    if tile("histogram", x).rank != 1 or element_of(x).kind not in "iu":
        raise TypeError(f"histogram needs a 1-d tile of integers, got {show_type(x)}")
    return Tile(check_shape((bins,)), int32)
