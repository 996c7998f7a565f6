"""Kernels that break one rule each. The comment `# ERROR column: text` marks the line that must be named."""
from __future__ import annotations

import rtriton.language as tl
from rtriton.source import KernelFunction as kernel

PLAIN = 4


def host_function(x):
    return x


@kernel
def lambda_(x, n):
    f = lambda a: a  # ERROR 9: the kernel language has no lambda: define a function under @jit and pass its name


@kernel
def try_(x, n):
    try:  # ERROR 5: the kernel language has no try: a kernel cannot catch errors
        pass
    except ValueError:
        pass


@kernel
def nested_function(x, n):
    def f():  # ERROR 5: the kernel language has no nested functions
        pass


@kernel
def import_(x, n):
    import math  # ERROR 5: the kernel language has no import: import at the top of the file


@kernel
def walrus(x, n):
    if (y := n) > 1:  # ERROR 9: the kernel language has no walrus assignments
        pass


@kernel
def dict_(x, n):
    y = {"a": n}  # ERROR 9: the kernel language has no dict and set displays: use a tuple


@kernel
def item_assignment(x, n):
    y = tl.arange(0, 4)
    y[0] = 1  # ERROR 5: only names can be assigned: tiles and tuples are values


@kernel
def matmul_operator(x, n):
    a = tl.zeros((16, 16), tl.float32)
    b = a @ a  # ERROR 9: the kernel language has no @: use tl.dot(a, b)


@kernel
def undefined(x, n):
    y = missing + 1  # ERROR 9: missing is not defined


@kernel
def plain_global(x, n):
    y = n + PLAIN  # ERROR 13: PLAIN is a plain int of the module: a kernel can only use globals that never change


@kernel
def python_function(x, n):
    y = host_function(n)  # ERROR 9: host_function is a plain Python function: a kernel can call functions under @jit


@kernel
def unknown_tl(x, n):
    y = tl.lode(x)  # ERROR 9: the kernel language has no tl.lode


@kernel
def unknown_method(x, n):
    y = n.foo  # ERROR 9: a value of type i32 has no attribute foo


@kernel
def not_a_power_of_two(x, n):
    y = tl.arange(0, 100)  # ERROR 9: a tile's sizes are powers of two, got 100


@kernel
def run_time_size(x, n):
    y = tl.arange(0, n)  # ERROR 9: arange's end must be known when compiling (an integer or a constexpr), got i32


@kernel
def shapes_do_not_fit(x, n):
    a, b = tl.arange(0, 16), tl.arange(0, 32)
    y = a + b  # ERROR 9: shapes do not fit together: 16 and 32


@kernel
def dot_inner_sizes(x, n):
    a, b = tl.zeros((16, 32), tl.float16), tl.zeros((64, 16), tl.float16)
    y = tl.dot(a, b)  # ERROR 9: dot needs equal inner sizes, got 16x32 and 64x16


@kernel
def dot_types(x, n):
    a, b = tl.zeros((16, 16), tl.float16), tl.zeros((16, 16), tl.float32)
    y = tl.dot(a, b)  # ERROR 9: dot needs operands of one type, got 16x16xf16 and 16x16xf32


@kernel
def load_of_a_number(x, n):
    y = tl.load(n)  # ERROR 9: tl.load needs a pointer or a tile of pointers, got i32


@kernel
def other_without_mask(x, n):
    y = tl.load(x, other=0.0)  # ERROR 9: `other` cannot be provided without `mask`


@kernel
def unknown_cache(x, n):
    y = tl.load(x, cache_modifier=".xx")  # ERROR 9: cache_modifier is one of '', '.ca', '.cg', '.cv', got '.xx'


@kernel
def unexpected_argument(x, n):
    y = tl.load(x, maks=n > 1)  # ERROR 9: tl.load: got an unexpected keyword argument 'maks'


@kernel
def tile_condition(x, n):
    if tl.arange(0, 4) > 2:  # ERROR 8: a condition is a scalar, got 4xi1: reduce it, or use tl.where
        pass


@kernel
def loop_changes_type(x, n):
    acc = 0
    for i in range(n):  # ERROR 5: loop-carried variable acc has initial type i32 but is re-assigned to f32 in the loop
        acc = acc + 1.5


@kernel
def branches_differ(x, n):
    if n > 1:  # ERROR 5: y has type f32 in one branch and 4xi32 in the other
        y = tl.load(x)
    else:
        y = tl.arange(0, 4)


@kernel
def exp_of_half(x, n):
    y = tl.exp(tl.zeros((4,), tl.float16))  # ERROR 9: tl.exp needs f32 or f64, got 4xf16


@kernel
def negative_meets_unsigned(x, n):
    y = tl.zeros((4,), tl.uint8) + -1  # ERROR 9: the negative number -1 meets the unsigned type u8


@kernel
def types_of_fp8(x, n):
    y = tl.zeros((4,), tl.float8e5) + 1.5  # ERROR 9: a Python number does not mix with f8e5: cast the tile first


@kernel
def mixed_signs(x, n):
    y = n // n.to(tl.uint32)  # ERROR 9: with i32 and u32 because they have different signedness: cast one of them


@kernel
def number_out_of_range(x, n):
    y = tl.zeros((4,), tl.int8) + 300  # ERROR 9: the number 300 is out of range for i8


@kernel
def pointer_to_float(x, n):
    y = x.to(tl.float32)  # ERROR 9: a pointer converts to i64 or u64, not to f32


@kernel
def load_of_a_type(x, n):
    y = tl.load(tl.float32)  # ERROR 9: tl.load needs a pointer or a tile of pointers, got the type f32


@kernel
def bits_of_floats(x, n):
    y = tl.load(x) & 1.5  # ERROR 9: invalid operands of type f32 and float 1.5: bitwise operations need integers


@kernel
def power(x, n):
    y = n ** 2  # ERROR 9: ** needs numbers known when compiling


@kernel
def static_assertion(x, n):
    tl.static_assert(1 == 2, "sizes")  # ERROR 5: static assertion failed: sizes


@kernel
def constexpr_of_value(x, n):
    y: tl.constexpr = n + 1  # ERROR 5: a constexpr must be known when compiling, got a run-time value


@kernel
def tuple_lengths(x, n):
    a, b = (1, 2, 3)  # ERROR 5: 2 names cannot be assigned from tuple (1, 2, 3)


@kernel
def indexed_tile(x, n):
    y = tl.arange(0, 4)[n]  # ERROR 9: a tile is indexed by what is known when compiling, got i32: use tl.gather


@kernel
def bad_axis(x, n):
    y = tl.sum(tl.zeros((4, 4), tl.float32), axis=2)  # ERROR 9: reduce: axis 2 is not an axis of 4x4xf32


@kernel
def loop_over_a_value(x, n):
    for i in n:  # ERROR 5: a for loop runs over range, tl.range, tl.static_range or a tuple, got i32
        pass
