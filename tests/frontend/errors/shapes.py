"""Shapes, indices and axes."""
from __future__ import annotations

import rtriton.language as tl
from rtriton.source import KernelFunction as kernel


@kernel
def not_a_power_of_two(x, n):
    y = tl.arange(0, 100)  # ERROR 9: arange's range must be a power of 2


@kernel
def empty_range(x, n):
    y = tl.arange(4, 4)  # ERROR 9: arange needs end > start, got 4 and 4


@kernel
def run_time_size(x, n):
    y = tl.arange(0, n)  # ERROR 9: arange's end must be known when compiling (an integer or a constexpr), got i32


@kernel
def full_of_three(x, n):
    y = tl.full((4, 3), 0.0, tl.float32)  # ERROR 9: Shape element 1 must be a power of 2


@kernel
def zeros_of_a_value(x, n):
    y = tl.zeros((n,), tl.float32)  # ERROR 9: a tile's size must be known when compiling (an integer or a constexpr)


@kernel
def zeros_of_a_text(x, n):
    y = tl.zeros((4,), "float32")  # ERROR 9: full wants a dtype such as tl.float32, got str 'float32'


@kernel
def too_many_elements(x, n):
    y = tl.zeros((2048, 1024), tl.float32)  # ERROR 9: a tile has at most 1048576 elements, got 2097152 in (2048, 1024)


@kernel
def too_many_by_broadcast(x, n):
    a = tl.arange(0, 2048)
    y = a[:, None] + a  # ERROR 9: a tile has at most 1048576 elements, got 4194304 in (2048, 2048)


@kernel
def shapes_do_not_fit(x, n):
    a, b = tl.arange(0, 16), tl.arange(0, 32)
    y = a + b  # ERROR 9: shapes do not fit together: 16 and 32


@kernel
def ranks_do_not_fit(x, n):
    a = tl.zeros((4, 8), tl.int32)
    y = a + tl.arange(0, 4)  # ERROR 9: shapes do not fit together: 4x8 and 4


@kernel
def broadcast_to_smaller(x, n):
    y = tl.broadcast_to(tl.arange(0, 8), 4)  # ERROR 9: cannot broadcast (8,) to (4,)


@kernel
def reshape_to_another_count(x, n):
    y = tl.arange(0, 8).reshape(4, 4)  # ERROR 9: reshape keeps the number of elements, got (8,) to (4, 4)


@kernel
def reshape_to_three(x, n):
    y = tl.arange(0, 8).reshape(3, 2)  # ERROR 9: reshape keeps the number of elements, got (8,) to (3, 2)


@kernel
def trans_of_a_vector(x, n):
    y = tl.arange(0, 8).T  # ERROR 9: trans needs at least two axes, got 8xi32


@kernel
def permute_twice_one_axis(x, n):
    y = tl.zeros((4, 8), tl.int32).permute(0, 0)  # ERROR 9: trans needs a permutation of 2 axes, got (0, 0)


@kernel
def expand_dims_outside(x, n):
    y = tl.expand_dims(tl.arange(0, 8), 3)  # ERROR 9: expand_dims: invalid axis 3, the result has 2 axes: -2 <= axis <


@kernel
def expand_dims_of_none(x, n):
    y = tl.expand_dims(None, -1)  # ERROR 9: wanted a number, a scalar or a tile, got None


@kernel
def split_of_four(x, n):
    a, b = tl.zeros((4, 4), tl.int32).split()  # ERROR 12: split needs a last axis of size 2, got 4x4xi32


@kernel
def join_of_two_shapes(x, n):
    y = tl.join(tl.arange(0, 4), tl.arange(0, 8))  # ERROR 9: shapes do not fit together: 4 and 8


@kernel
def cat_of_matrices(x, n):
    a = tl.zeros((4, 4), tl.int32)
    y = tl.cat(a, a, can_reorder=True)  # ERROR 9: cat needs two 1-d tiles of one type, got 4x4xi32 and 4x4xi32


@kernel
def indexed_by_a_value(x, n):
    y = tl.arange(0, 4)[n]  # ERROR 9: a tile is indexed by what is known when compiling, got i32: use tl.gather(x


@kernel
def index_outside(x, n):
    y = tl.arange(0, 4)[4]  # ERROR 9: index 4 is outside an axis of size 4


@kernel
def slice_of_three(x, n):
    y = tl.arange(0, 8)[2:5]  # ERROR 9: a slice keeps a power of two of a tile's places, got 3 of 8


@kernel
def too_many_indices(x, n):
    y = tl.arange(0, 8)[:, 0]  # ERROR 9: unsupported tensor index: 8xi32 has 1 axis, got 2 indices


@kernel
def scalar_indexed(x, n):
    y = n[0]  # ERROR 9: unsupported tensor index: i32 has no axes, got 1 index


@kernel
def pointer_indexed(x, n):
    y = x[0]  # ERROR 9: unsupported tensor index: *f32 has no axes, got 1 index: memory is read with tl.load(pointer +


@kernel
def sum_over_a_missing_axis(x, n):
    y = tl.sum(tl.zeros((4, 4), tl.float32), axis=2)  # ERROR 9: reduce: axis 2 is not an axis of 4x4xf32


@kernel
def sum_over_a_value(x, n):
    y = tl.sum(tl.zeros((4, 4), tl.float32), axis=n)  # ERROR 9: reduce: the axis must be known when compiling (an


@kernel
def argmax_of_a_scalar(x, n):
    y = tl.argmax(n, 0)  # ERROR 9: axis 0 is not an axis of a value with 0 axes


@kernel
def combine_by_a_python_function(x, n):
    y = tl.reduce(tl.arange(0, 4), 0, max)  # ERROR 9: the combine function must be a function under @jit, got


@kernel
def pair(a, b):
    return a, b


@kernel
def combine_gives_two(x, n):
    y = tl.reduce(tl.arange(0, 4), 0, pair)  # ERROR 9: pair combines 1 value, so it must return as many, not 2


@kernel
def scan_over_a_missing_axis(x, n):
    y = tl.cumsum(tl.arange(0, 4), axis=1)  # ERROR 9: associative_scan: axis 1 is not an axis of 4xi32


@kernel
def histogram_of_floats(x, n):
    y = tl.histogram(tl.zeros((8,), tl.float32), 4)  # ERROR 9: histogram needs a 1-d tile of integers, got 8xf32


@kernel
def gather_by_floats(x, n):
    y = tl.gather(tl.arange(0, 4), tl.zeros((4,), tl.float32), 0)  # ERROR 9: gather needs integer indices, got 4xf32


@kernel
def gather_of_other_rank(x, n):
    y = tl.gather(tl.zeros((4, 4), tl.float32), tl.arange(0, 4), 0)  # ERROR 9: gather needs shapes that agree but
