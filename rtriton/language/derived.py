"""Functions of `tl` written in the kernel language itself: everything here is inlined where a kernel calls it."""
from __future__ import annotations

from rtriton.language.math import PUBLIC, cast, fdiv, where
from rtriton.language.reduce import associative_scan, reduce
from rtriton.language.shape import arange, broadcast_to, exchange, full, join, ravel, reshape
from rtriton.language.values import constexpr, constexpr_function, derived
from rtriton.types import DType, bfloat16, float32, int32, uint32

exp, device_maximum, device_minimum = PUBLIC["exp"], PUBLIC["maximum"], PUBLIC["minimum"]


@constexpr_function
def _sum_type(dtype: DType, wanted: DType | None) -> DType:
    """Integers under 32 bits are summed in 32."""
    if wanted is not None:
        return wanted
    if dtype.is_int() and dtype.bits < 32:
        return int32 if dtype.is_int_signed() else uint32
    return dtype


@constexpr_function
def extreme_type(dtype: DType) -> DType:
    """max, min and topk look at narrow floats in fp32 and at small integers in int32."""
    if dtype.bits >= 32:
        return dtype
    return float32 if dtype.is_floating() else int32


@constexpr_function
def _ordered_type(dtype: DType) -> DType:
    """Extremes with their places, and products, keep the type, but for bf16."""
    return float32 if dtype == bfloat16 else dtype


@constexpr_function
def _scan_type(dtype: DType, wanted: DType | None) -> DType:
    return float32 if wanted is None and dtype == bfloat16 else _sum_type(dtype, wanted)


@constexpr_function
def _along(rank: int, axis: int, size: int) -> tuple[int, ...]:
    """The shape with `size` at `axis` and ones elsewhere."""
    return tuple(size if d == axis % rank else 1 for d in range(rank))


@constexpr_function
def _size(shape: tuple[int, ...], axis: int) -> int:
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis {axis} is not an axis of a value with {len(shape)} axes")
    return shape[axis]


@constexpr_function
def _is_none(x: object) -> bool:
    return x is None


@derived(method=True)
def cdiv(x, div):
    """x / div rounded up."""
    return (x + (div - 1)) // div


@derived()
def zeros(shape, dtype):
    """A tile of zeros."""
    return full(shape, 0, dtype)


@derived()
def zeros_like(input):
    """Zeros of the shape and type of `input`."""
    return full(input.shape, 0, input.dtype)


@derived(method=True)
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return 1 / (1 + exp(-x))


@derived()
def _add(a, b):
    return a + b


@derived()
def _mul(a, b):
    return a * b


@derived()
def _xor(a, b):
    return a ^ b


@derived()
def _or(a, b):
    return a | b


@derived()
def _max(a, b):
    return device_maximum(a, b)


@derived()
def _min(a, b):
    return device_minimum(a, b)


@derived()
def _argmax_left(value, index, other, other_index):
    better = (value > other) | ((value == other) & (index < other_index))
    return where(better, value, other), where(better, index, other_index)


@derived()
def _argmin_left(value, index, other, other_index):
    better = (value < other) | ((value == other) & (index < other_index))
    return where(better, value, other), where(better, index, other_index)


@derived()
def _argmax_any(value, index, other, other_index):
    better = value > other
    return where(better, value, other), where(better, index, other_index)


@derived()
def _argmin_any(value, index, other, other_index):
    better = value < other
    return where(better, value, other), where(better, index, other_index)


@derived(method=True)
def sum(input, axis=None, keep_dims: constexpr = False, dtype: constexpr = None):
    """The sum along `axis` (None: of everything); integers under 32 bits are summed as int32 or uint32."""
    return reduce(cast(input, _sum_type(input.dtype, dtype)), axis, _add, keep_dims)


@derived()
def _with_index(input, axis: constexpr, combine: constexpr, keep_dims: constexpr):
    if _is_none(axis):
        flat = ravel(input)
        return reduce((flat, arange(0, flat.shape[0])), 0, combine, keep_dims)
    else:
        size: constexpr = _size(input.shape, axis)
        line = reshape(arange(0, size), _along(len(input.shape), axis, size))
        return reduce((input, broadcast_to(line, input.shape)), axis, combine, keep_dims)


@derived(method=True)
def max(input, axis=None, return_indices: constexpr = False, return_indices_tie_break_left: constexpr = True,
        keep_dims: constexpr = False):
    """The largest along `axis`; with its index if `return_indices`. Narrow floats come back as fp32 and small
    integers as int32, but with an index only bf16 does."""
    if return_indices:
        kept = cast(input, _ordered_type(input.dtype))
        return _with_index(kept, axis, _argmax_left if return_indices_tie_break_left else _argmax_any, keep_dims)
    else:
        return reduce(cast(input, extreme_type(input.dtype)), axis, _max, keep_dims)


@derived(method=True)
def min(input, axis=None, return_indices: constexpr = False, return_indices_tie_break_left: constexpr = True,
        keep_dims: constexpr = False):
    """The smallest along `axis`; with its index if `return_indices`. Narrow floats come back as fp32 and small
    integers as int32, but with an index only bf16 does."""
    if return_indices:
        kept = cast(input, _ordered_type(input.dtype))
        return _with_index(kept, axis, _argmin_left if return_indices_tie_break_left else _argmin_any, keep_dims)
    else:
        return reduce(cast(input, extreme_type(input.dtype)), axis, _min, keep_dims)


@derived(method=True)
def argmax(input, axis, tie_break_left: constexpr = True, keep_dims: constexpr = False):
    """Where the largest element along `axis` is; the first one if `tie_break_left`."""
    return max(input, axis, True, tie_break_left, keep_dims)[1]


@derived(method=True)
def argmin(input, axis, tie_break_left: constexpr = True, keep_dims: constexpr = False):
    """Where the smallest element along `axis` is; the first one if `tie_break_left`."""
    return min(input, axis, True, tie_break_left, keep_dims)[1]


@derived(method=True)
def xor_sum(input, axis=None, keep_dims: constexpr = False):
    """All elements along `axis` combined by xor."""
    return reduce(input, axis, _xor, keep_dims)


@derived(method=True)
def reduce_or(input, axis=None, keep_dims: constexpr = False):
    """All elements along `axis` combined by or."""
    return reduce(input, axis, _or, keep_dims)


@derived(method=True)
def cumsum(input, axis=0, reverse: constexpr = False, dtype: constexpr = None):
    """Running sums along `axis`."""
    return associative_scan(cast(input, _scan_type(input.dtype, dtype)), axis, _add, reverse)


@derived(method=True)
def cumprod(input, axis=0, reverse: constexpr = False):
    """Running products along `axis`."""
    return associative_scan(cast(input, float32 if input.dtype == bfloat16 else input.dtype), axis, _mul, reverse)


@derived(method=True)
def softmax(x, dim: constexpr = None, keep_dims: constexpr = False, ieee_rounding: constexpr = False):
    """exp(x) normalised along `dim` (default 0), computed from the largest element down. The result has the shape of x
    whatever `keep_dims` is: without the kept axis a square tile would be normalised along the wrong one."""
    weight = exp(x - max(x, 0 if _is_none(dim) else dim, keep_dims=True))
    return fdiv(weight, sum(weight, 0 if _is_none(dim) else dim, keep_dims=True), ieee_rounding)


@derived(method=True)
def flip(x, dim: constexpr = None):
    """The elements along `dim` (default the last) in reverse."""
    axis: constexpr = len(x.shape) - 1 if _is_none(dim) else dim
    return exchange(x, axis, x.shape[axis] - 1)


@derived()
def interleave(a, b):
    """Elements of a and b in turn along the last axis."""
    return _merge_last(join(a, b))


@constexpr_function
def _merged(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-2], shape[-2] * 2) if len(shape) > 1 else shape


@derived()
def _merge_last(x):
    return reshape(x, _merged(x.shape))


@derived()
def swizzle2d(i, j, size_i, size_j, size_g):
    """Row-major place (i, j) of a size_i x size_j grid moved so that groups of size_g rows go column by column."""
    flat = i * size_j + j
    group = flat // (size_g * size_j)
    first = group * size_g
    rows = device_minimum(size_i - first, size_g)
    inside = flat % (size_g * size_j)
    return first + inside % rows, inside // rows
