"""`tl.sort`, `tl.topk` and `tl.bitonic_merge`, written in the language: bitonic networks of the op `order`.

A network only compares and exchanges, so it is the same in every execution. It works on integers: numbers as integers
of the same order, NaNs above all others, so that no element is lost to a comparison that is false both ways, and
-0.0 comes before 0.0. What comes back are the elements themselves, bit by bit (a NaN as some NaN).
"""
from __future__ import annotations

from rtriton.language.derived import PUBLIC, device_maximum, extreme_type
from rtriton.language.math import cast, where
from rtriton.language.reduce import reduce
from rtriton.language.shape import full, order, permute, reshape
from rtriton.language.values import constexpr, constexpr_function, derived, static_range
from rtriton.types import BY_NAME, DType

static_assert = PUBLIC["static_assert"]


@constexpr_function
def _axis(rank: int, dim: int | None) -> int:
    """A non-negative axis; the last by default."""
    axis = rank - 1 if dim is None else dim
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is not an axis of a tile of rank {rank}")
    return axis % rank


@constexpr_function
def _is_float(dtype: DType) -> bool:
    return dtype.is_floating()


@constexpr_function
def _bits_type(dtype: DType) -> DType:
    """Floats as integers of their size."""
    return BY_NAME[f"int{dtype.bits}"]


@constexpr_function
def _key_type(dtype: DType) -> DType:
    """What is compared and moved: nothing below a machine's word, which GPUs would make of it at every step."""
    if dtype.is_floating() or dtype.bits < 32:
        return BY_NAME[f"int{max(32, dtype.bits)}"]
    return dtype


@constexpr_function
def _largest(dtype: DType) -> int:
    return _bits_type(dtype).get_int_max_value()


@constexpr_function
def log2(n: int) -> int:
    """The exponent of a power of two."""
    return n.bit_length() - 1


@constexpr_function
def is_power_of_two(n: int) -> bool:
    return n > 0 and n & (n - 1) == 0


@constexpr_function
def _swapped(rank: int, axis: int) -> tuple[int, ...]:
    """The order of axes with `axis` and the last exchanged."""
    order = list(range(rank))
    order[axis], order[-1] = order[-1], order[axis]
    return tuple(order)


@constexpr_function
def _with_last(shape: tuple[int, ...], *last: int) -> tuple[int, ...]:
    return (*shape[:-1], *last)


@derived()
def _folded(bits, largest: constexpr):
    """Bits of floats as integers in their order, and back: negative ones count down."""
    return where(bits < 0, bits ^ largest, bits)


@derived()
def _to_keys(x):
    """Integers in the order of x."""
    if _is_float(x.dtype):
        bits = cast(cast(x, _bits_type(x.dtype), bitcast=True), _key_type(x.dtype))
        return where(x == x, _folded(bits, _largest(x.dtype)), full(x.shape, _largest(x.dtype), _key_type(x.dtype)))
    else:
        return cast(x, _key_type(x.dtype))


@derived()
def _from_keys(keys, dtype: constexpr):
    if _is_float(dtype):
        return cast(cast(_folded(keys, _largest(dtype)), _bits_type(dtype)), dtype, bitcast=True)
    else:
        return cast(keys, dtype)


@derived()
def _merge(keys, axis: constexpr, size: constexpr, block: constexpr, descending: constexpr):
    """Each bitonic run of `size` elements sorted, up or down as the bit `block` of its place says."""
    for step in static_range(log2(size)):
        keys = order(keys, axis, size >> (step + 1), block, descending)
    return keys


@derived()
def _sort_runs(keys, axis: constexpr, size: constexpr, descending: constexpr):
    """Runs of `size` elements sorted, up and down in turn."""
    for stage in static_range(1, log2(size) + 1):
        keys = _merge(keys, axis, 1 << stage, 1 << stage, descending)
    return keys


@derived(method=True)
def sort(x, dim: constexpr = None, descending: constexpr = False):
    """The elements along `dim` (default the last) in ascending order, or `descending`; NaNs count as the largest."""
    axis: constexpr = _axis(len(x.shape), dim)
    return _from_keys(_sort_runs(_to_keys(x), axis, x.shape[axis], descending), x.dtype)


@derived()
def topk(x, k: constexpr, dim: constexpr = None):
    """The k largest along `dim` (default the last), largest first; k is a power of two. Half floats come back as fp32
    and small integers as int32, if k is less than there are."""
    axis: constexpr = _axis(len(x.shape), dim)
    static_assert(0 < k <= x.shape[axis] and is_power_of_two(k), "topk: k is a power of two, at most the axis's size")
    if k == x.shape[axis]:
        return sort(x, axis, True)
    else:
        keys = permute(_to_keys(x), _swapped(len(x.shape), axis))
        best = permute(_largest_runs(keys, k), _swapped(len(x.shape), axis))
        return cast(_from_keys(best, x.dtype), extreme_type(x.dtype))


@derived()
def _largest_runs(keys, k: constexpr):
    """The k largest of the last axis: of two sorted runs, one up and one down, the larger of each pair."""
    last: constexpr = len(keys.shape) - 1
    runs = _sort_runs(keys, last, k, True)
    for _halving in static_range(log2(keys.shape[-1]) - log2(k)):
        pairs = reshape(runs, _with_last(runs.shape, runs.shape[-1] // (2 * k), 2, k))
        best = reduce(pairs, last + 1, _larger)
        runs = _merge(reshape(best, _with_last(runs.shape, runs.shape[-1] // 2)), last, k, k, True)
    return runs


@derived()
def _larger(a, b):
    return device_maximum(a, b)


@derived()
def bitonic_merge(x, dim: constexpr = None, descending: constexpr = False):
    """A bitonic sequence along `dim` (first rising, then falling, or the other way) put in order."""
    axis: constexpr = _axis(len(x.shape), dim)
    return _from_keys(_merge(_to_keys(x), axis, x.shape[axis], 0, descending), x.dtype)
