"""Public shape functions: `tl.arange`, `tl.full`, `x[:, None]`, `tl.reshape`, `tl.trans`, `tl.join` ..."""
from __future__ import annotations

from typing import Any

from rtriton.guards import is_list, is_slice
from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.values import Context, public, unwrap
from rtriton.types import Pointer, check_shape, dtype_of, element_of, int1, shape_of, show_type


@public()
def program_id(b: Context, axis: Any) -> Value:
    """Which program this is along `axis` (0, 1 or 2), as int32."""
    return b.build.one("program_id", axis=_grid_axis(axis))


@public()
def num_programs(b: Context, axis: Any) -> Value:
    """How many programs there are along `axis`, as int32."""
    return b.build.one("num_programs", axis=_grid_axis(axis))


def _grid_axis(axis: Any) -> int:
    number = s.constant_int(axis, "the axis of the grid")
    if number not in (0, 1, 2):
        raise ValueError(f"program_id axis must be 0, 1, or 2 but got {number}")
    return number


@public()
def arange(b: Context, start: Any, end: Any) -> Value:
    """start, start + 1, ... end - 1 as int32; the length is a power of two."""
    return b.build.one("arange", start=s.constant_int(start, "arange's start"), end=s.constant_int(end, "arange's end"))


@public()
def full(b: Context, shape: Any, value: Any, dtype: Any) -> Value:
    """A tile of `shape` that holds `value` everywhere."""
    sizes, wanted, number = check_shape(s.shape_argument(shape)), s.need_dtype(dtype, "full"), unwrap(value)
    if isinstance(number, s.Number):
        number = float(number) if wanted.is_floating() else int(number)
        scalar = b.build.const(bool(number) if wanted == int1 else number, wanted)
    else:
        scalar = s.cast(b, s.to_value(b, number), wanted)
    return b.build.one("splat", scalar, shape=sizes) if sizes else scalar


@public()
def broadcast(b: Context, input: Any, other: Any) -> tuple[Value, Value]:
    """Both stretched to one shape."""
    return s.broadcast_pair(b, s.to_value(b, input), s.to_value(b, other))


@public(method=True)
def broadcast_to(b: Context, input: Any, *shape: Any) -> Value:
    """`input` stretched to `shape`."""
    return s.broadcast_to(b, s.to_value(b, input), check_shape(s.sizes_from(shape)))


@public(method=True)
def expand_dims(b: Context, input: Any, axis: Any) -> Value:
    """New axes of size 1 at `axis` (a number or several)."""
    value = s.to_value(b, input)
    axes = unwrap(axis)
    axes = list(s.shape_argument(axes)) if is_list(axes) else [s.constant_int(axes, "expand_dims: the axis")]
    rank = len(shape_of(value.type)) + len(axes)
    wanted = sorted(a % rank if -rank <= a < rank else _bad_axis(a, rank) for a in axes)
    if len(set(wanted)) != len(wanted):
        raise ValueError(f"expand_dims: duplicate axes, normalized axes = {wanted}")
    for a in wanted:
        value = _new_axis(b, value, a)
    return value


def _new_axis(b: Context, value: Value, axis: int) -> Value:
    """An axis of size 1; a scalar becomes a tile of one element."""
    if not shape_of(value.type):
        return b.build.one("splat", value, shape=(1,))
    return b.build.one("expand_dims", value, axis=axis)


def _bad_axis(axis: int, rank: int) -> int:
    raise ValueError(f"expand_dims: invalid axis {axis}, the result has {rank} axes: {-rank} <= axis < {rank}")


@public(method=True)
def reshape(b: Context, input: Any, *shape: Any, can_reorder: Any = False) -> Value:
    """The same elements in another shape, row-major."""
    return s.retile(b, s.to_value(b, input), s.sizes_from(shape))


@public(method=True)
def view(b: Context, input: Any, *shape: Any) -> Value:
    """The same as reshape (Triton's older name)."""
    return s.retile(b, s.to_value(b, input), s.sizes_from(shape))


@public(method=True)
def ravel(b: Context, x: Any, can_reorder: Any = False) -> Value:
    """All elements along one axis."""
    value = s.need_tile(x, "ravel")
    count = 1
    for n in shape_of(value.type):
        count *= n
    return s.retile(b, value, (count,))


@public(method=True)
def trans(b: Context, input: Any, *dims: Any) -> Value:
    """The axes in the order `dims`; without it the last two swapped."""
    value = s.need_tile(input, "trans")
    rank = len(shape_of(value.type))
    if not dims:
        if rank < 2:
            raise ValueError(f"trans needs at least two axes, got {show_type(value.type)}")
        return b.build.one("trans", value, order=(*range(rank - 2), rank - 1, rank - 2))
    return permute_axes(b, value, dims)


@public(method=True)
def permute(b: Context, input: Any, *dims: Any) -> Value:
    """The axes in the order `dims`."""
    return permute_axes(b, s.need_tile(input, "permute"), dims)


def permute_axes(b: Context, value: Value, dims: tuple[Any, ...]) -> Value:
    rank = len(shape_of(value.type))
    order = tuple(d % rank for d in s.sizes_from(dims))
    return b.build.one("trans", value, order=order)


@public()
def join(context: Context, a: Any, b: Any) -> Value:
    """a and b side by side along a new last axis of size 2."""
    left, right = s.broadcast_pair(context, s.to_value(context, a), s.to_value(context, b))
    wanted = s.computation_type(dtype_of(left.type), False, dtype_of(right.type), False, False)
    left, right = s.cast(context, left, wanted), s.cast(context, right, wanted)
    if shape_of(left.type):
        return context.build.one("join", left, right)
    one = [context.build.one("splat", v, shape=(1,)) for v in (left, right)]
    return s.retile(context, context.build.one("join", *one), (2,))


@public(method=True)
def split(b: Context, a: Any) -> tuple[Value, Value]:
    """The two halves along the last axis, which has size 2."""
    value = s.need_tile(a, "split")
    if shape_of(value.type) == (2,):
        left, right = b.build.op("split", s.retile(b, value, (1, 2)))
        return item(b, left), item(b, right)
    left, right = b.build.op("split", value)
    return left, right


def item(b: Context, x: Value) -> Value:
    """The only element of a tile, as a scalar."""
    from rtriton.language.reduce import only_element

    return only_element(b, x)


@public()
def cat(b: Context, input: Any, other: Any, can_reorder: Any = False) -> Value:
    """`input` followed by `other` (1-d)."""
    return b.build.one("cat", s.need_tile(input, "cat"), s.need_tile(other, "cat"))


@public(method=True)
def gather(b: Context, src: Any, index: Any, axis: Any) -> Value:
    """src[..., index[...], ...] along `axis`."""
    value = s.need_tile(src, "gather")
    return b.build.one("gather", value, s.need_tile(index, "gather"), axis=s.axis_of(value, axis, "gather"))


@public(name="_exchange")
def exchange(b: Context, x: Any, axis: Any, mask: Any) -> Value:
    """x[i ^ mask] along `axis`; x itself for a mask of 0."""
    value = s.need_tile(x, "exchange")
    bits = s.constant_int(mask, "the mask")
    return b.build.one("exchange", value, axis=s.axis_of(value, axis, "exchange"), mask=bits) if bits else value


@public(name="_order")
def order(b: Context, x: Any, axis: Any, distance: Any, block: Any, descending: Any) -> Value:
    """One step of a sorting network on integers: see the op."""
    value = s.need_tile(x, "order")
    apart, size = s.constant_int(distance, "the distance"), s.constant_int(block, "the block")
    where, down = s.axis_of(value, axis, "order"), bool(unwrap(descending))
    return b.build.one("order", value, axis=where, distance=apart, block=size, descending=down)


@public(method=True)
def histogram(b: Context, input: Any, num_bins: Any, mask: Any = None) -> Value:
    """How often each of 0 ... num_bins - 1 occurs in a 1-d tile, as int32."""
    value = s.need_tile(input, "histogram")
    test = unwrap(mask)
    if test is not None:
        test = s.broadcast_to(b, s.truth(b, test), shape_of(value.type))
    return b.build.one("histogram", value, test, bins=s.constant_int(num_bins, "num_bins"))


def subscript(b: Context, value: Value, index: tuple[Any, ...]) -> Value:
    """x[:, None]: a full slice keeps an axis, None adds one of size 1, a number takes one place away, and a slice known
    when compiling keeps some places. Axes that are not named are kept; `...` stands for those in the middle. As in
    Triton, ':' may name axes that are not there, if they come last: `scalar[None, :]` has one axis."""
    index = _without_surplus(index, len(shape_of(value.type)))
    rank, named = len(shape_of(value.type)), sum(part is not None and part is not Ellipsis for part in index)
    if named > rank:
        read = ": memory is read with tl.load(pointer + i)" if isinstance(element_of(value.type), Pointer) else ""
        raise TypeError(f"unsupported tensor index: {show_type(value.type)} has {_count(rank, 'axis', 'axes')}, "
                        f"got {_count(named, 'index', 'indices')}{read}")
    if index.count(Ellipsis) > 1:
        raise TypeError("an index has '...' once at most")
    axis = 0
    for part in index:
        if part is None:
            value = _new_axis(b, value, axis)
        elif part is Ellipsis:
            axis += rank - named
            continue
        elif is_slice(part):
            value = _some_places(b, value, axis, part)
        else:
            value = _one_place(b, value, axis, part)
            continue
        axis += 1
    return value


def _without_surplus(index: tuple[Any, ...], rank: int) -> tuple[Any, ...]:
    """The index without full slices at its end for which there is no axis."""
    while index and index[-1] == slice(None) and sum(part is not None for part in index) > rank:
        index = index[:-1]
    return index


def _count(n: int, one: str, many: str) -> str:
    return f"{n or 'no'} {one if n == 1 else many}"


def _place(x: Any) -> int | None:
    """A bound of a slice."""
    if isinstance(x, Value):
        raise TypeError(f"a tile is indexed by what is known when compiling, got {s.describe(x)}: "
                        "use tl.gather(x, index, axis) for places known at run time")
    return None if unwrap(x) is None else s.constant_int(x, "a tile's index")


def _some_places(b: Context, value: Value, axis: int, part: slice[Any, Any, Any]) -> Value:
    size = shape_of(value.type)[axis]
    places = range(size)[slice(_place(part.start), _place(part.stop), _place(part.step))]
    if not places or len(places) & (len(places) - 1):
        raise ValueError(f"a slice keeps a power of two of a tile's places, got {len(places)} of {size}")
    return _taken(b, value, axis, places)


def _one_place(b: Context, value: Value, axis: int, part: Any) -> Value:
    shape, place = shape_of(value.type), _place(part)
    if place is None or not -shape[axis] <= place < shape[axis]:
        raise IndexError(f"index {place} is outside an axis of size {shape[axis]}")
    taken = _taken(b, value, axis, range(place % shape[axis], place % shape[axis] + 1))
    rest = shape[:axis] + shape[axis + 1:]
    return s.retile(b, taken, rest) if rest else item(b, taken)


def _taken(b: Context, value: Value, axis: int, places: range) -> Value:
    """The given places along an axis."""
    shape = shape_of(value.type)
    if len(places) == shape[axis] and places.step == 1:
        return value
    wanted = (*shape[:axis], len(places), *shape[axis + 1:])
    index = b.build.one("arange", start=0, end=len(places))
    index = s.add(b, s.binary(b, "mul", index, places.step), places.start)
    index = s.broadcast_to(b, s.retile(b, index, [n if a == axis else 1 for a, n in enumerate(wanted)]), wanted)
    if places.step == 1 and places.start % len(places) == 0:
        return b.build.one("gather", value, index, axis=axis, start=places.start)
    return b.build.one("gather", value, index, axis=axis)


def numel(value: Value) -> int:
    count = 1
    for n in shape_of(value.type):
        count *= n
    return count


