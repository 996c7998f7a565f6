"""Loads, stores and atomics."""
from __future__ import annotations

import rtriton.language as tl
from rtriton.source import KernelFunction as kernel


@kernel
def load_of_a_number(x, n):
    y = tl.load(n)  # ERROR 9: tl.load needs a pointer or a tile of pointers, got i32


@kernel
def load_of_a_type(x, n):
    y = tl.load(tl.float32)  # ERROR 9: tl.load needs a pointer or a tile of pointers, got the type f32


@kernel
def other_without_mask(x, n):
    y = tl.load(x, other=0.0)  # ERROR 9: `other` cannot be provided without `mask`


@kernel
def mask_of_another_shape(x, n):
    y = tl.load(x + tl.arange(0, 8), mask=tl.arange(0, 4) < n)  # ERROR 9: shapes do not fit together: 8 and 4


@kernel
def tile_mask_of_a_scalar(x, n):
    y = tl.load(x, mask=tl.arange(0, 4) < n)  # ERROR 9: load: a scalar pointer takes a scalar mask, got 4xi1


@kernel
def unknown_cache(x, n):
    y = tl.load(x, cache_modifier=".xx")  # ERROR 9: cache_modifier is one of '', '.ca', '.cg', '.cv', got '.xx'


@kernel
def unknown_eviction(x, n):
    y = tl.load(x, eviction_policy="evict_never")  # ERROR 9: eviction_policy is one of '', 'evict_last'


@kernel
def padding_of_a_plain_pointer(x, n):
    y = tl.load(x, padding_option="nan")  # ERROR 9: padding_option is for block pointers; give `other` with a mask


@kernel
def boundary_of_a_plain_pointer(x, n):
    y = tl.load(x, boundary_check=(0,))  # ERROR 9: boundary_check is for block pointers; give a mask to a tile of


@kernel
def store_to_a_number(x, n):
    tl.store(n, 1)  # ERROR 5: tl.store needs a pointer or a tile of pointers, got i32


@kernel
def store_of_a_larger_tile(x, n):
    tl.store(x + tl.arange(0, 4), tl.zeros((8,), tl.float32))  # ERROR 5: cannot broadcast (8,) to (4,)


@kernel
def store_of_a_tile_to_a_scalar(x, n):
    tl.store(x, tl.zeros((8,), tl.float32))  # ERROR 5: store: a scalar pointer takes a scalar value, got 8xf32


@kernel
def store_of_a_pointer(x, n):
    tl.store(x, x)  # ERROR 5: a pointer converts only to and from 64-bit integers, got *f32 to f32


@kernel
def store_of_nothing(x, n):
    tl.store(x, None)  # ERROR 5: wanted a number, a scalar or a tile, got None


@kernel
def store_through_const(c, n):
    tl.store(c, 1.0)  # ERROR 5: Cannot store to a constant pointer: *const f32 is only read


@kernel
def atomic_through_const(c, n):
    tl.atomic_add(c, 1.0)  # ERROR 5: Cannot store to a constant pointer: *const f32 is only read


@kernel
def atomic_of_a_number(x, n):
    tl.atomic_add(n, 1)  # ERROR 5: tl.atomic_add needs a pointer or a tile of pointers, got i32


@kernel
def atomic_bits_of_floats(x, n):
    tl.atomic_and(x, 1)  # ERROR 5: atomic_and needs integers, got f32


@kernel
def atomic_of_small_integers(b, n):
    tl.atomic_add(b, 1)  # ERROR 5: atomic_add does not support i8


@kernel
def atomic_max_of_halves(h, n):
    tl.atomic_max(h, 1.0)  # ERROR 5: atomic_max does not support f16


@kernel
def unknown_sem(x, n):
    tl.atomic_add(x, 1.0, sem="loose")  # ERROR 5: sem is one of 'acquire', 'release', 'acq_rel', 'relaxed', got 'loose'


@kernel
def unknown_scope(x, n):
    tl.atomic_add(x, 1.0, scope="world")  # ERROR 5: scope is one of 'gpu', 'cta', 'sys', got 'world'


@kernel
def program_id_of_a_fourth_axis(x, n):
    y = tl.program_id(3)  # ERROR 9: program_id axis must be 0, 1, or 2 but got 3


@kernel
def block_pointer_of_three(x, n):
    y = tl.make_block_ptr(x, (n,), (1,), (0,), (3,), (0,))  # ERROR 9: Shape element 0 must be a power of 2


@kernel
def block_pointer_of_two_ranks(x, n):
    y = tl.make_block_ptr(x, (n, n), (n, 1), (0,), (4, 4), (1, 0))  # ERROR 9: make_block_ptr: block_shape has 2 axes


@kernel
def descriptor_with_a_stride(x, n):
    y = tl.make_tensor_descriptor(x, shape=(n, n), strides=(n, 2), block_shape=(8, 8))  # ERROR 9: make_tensor_descripto
