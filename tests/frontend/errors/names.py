"""Names, calls and returns."""
from __future__ import annotations

import numpy as np

import rtriton.language as tl
from rtriton.source import KernelFunction as kernel

PLAIN = 4
LIST = [1, 2]


@tl.constexpr_function
def positive(v):
    if v < 0:
        raise ValueError(f"{v} is negative")
    return v


@kernel
def two(a, b, BLOCK: tl.constexpr = 4):
    return a + b


@kernel
def of_two_types(a):
    if a > 3:
        return a
    return tl.arange(0, 4)


@kernel
def forever(a):
    return forever(a + 1)


@kernel
def undefined(x, n):
    y = missing + 1  # ERROR 9: missing is not defined


@kernel
def undefined_in_place(x, n):
    y += 1  # ERROR 5: y is not defined


@kernel
def plain_global(x, n):
    y = n + PLAIN  # ERROR 13: Cannot access global variable PLAIN from within a kernel: it is a plain int of the


@kernel
def list_global(x, n):
    y = LIST[0]  # ERROR 9: Cannot access global variable LIST from within a kernel: it is a plain list of the module


@kernel
def set_in_one_branch(x, n):
    if n > 3:
        y = 1
    tl.store(x, y)  # ERROR 17: y is not defined here: it is set only in one branch of the if at line 59; give it a


@kernel
def set_in_the_loop(x, n):
    for i in range(n):
        y = i
    tl.store(x, y)  # ERROR 17: y is not defined here: it is set only inside the loop at line 66; give it a value


@kernel
def index_after_its_loop(x, n):
    for i in range(n):
        pass
    tl.store(x, i)  # ERROR 17: i is not defined here: it is set only inside the loop at line 73; give it a value


@kernel
def unknown_tl(x, n):
    y = tl.lode(x)  # ERROR 9: the kernel language has no tl.lode


@kernel
def unknown_method(x, n):
    y = n.foo  # ERROR 9: a value of type i32 has no attribute foo


@kernel
def nearly_a_method(x, n):
    y = tl.arange(0, 8).cumsums(0)  # ERROR 9: a value of type 8xi32 has no attribute cumsums, did you mean 'cumsum'?


@kernel
def function_of_another_library(x, n):
    y = np.sin(n)  # ERROR 9: sin works on what is known when compiling, got a value of type i32: use tl.sin


@kernel
def unknown_attribute(x, n):
    y = tl.float32.mantissa  # ERROR 9: the type f32 has no attribute mantissa


@kernel
def too_many_arguments(x, n):
    y = two(n, n, 4, 5)  # ERROR 9: two() takes 3 arguments but 4 were given


@kernel
def too_few_arguments(x, n):
    y = two(n)  # ERROR 9: two() missing a required argument: 'b'


@kernel
def argument_given_twice(x, n):
    y = two(n, n, a=1)  # ERROR 9: two() got multiple values for argument 'a'


@kernel
def unknown_argument(x, n):
    y = two(n, n, WIDTH=1)  # ERROR 9: two() got an unexpected keyword argument 'WIDTH'


@kernel
def unexpected_argument(x, n):
    y = tl.load(x, maks=n > 1)  # ERROR 9: tl.load: got an unexpected keyword argument 'maks'


@kernel
def too_few_for_tl(x, n):
    y = tl.arange(4)  # ERROR 9: tl.arange: missing a required argument: 'end'


@kernel
def returns_of_two_types(x, n):
    y = of_two_types(n)  # ERROR 9: Inconsistent return types: i32 in one branch and 4xi32 in the other


@kernel
def recursion(x, n):
    y = forever(n)  # ERROR 9: calls are more than 64 deep at forever: kernel functions are inlined, so a recursion


@kernel
def constexpr_function_raises(x, n):
    y = positive(-3)  # ERROR 9: -3 is negative


@kernel
def constexpr_function_of_a_value(x, n):
    y = positive(n)  # ERROR 9: positive works on what is known when compiling, got a value of type i32


@kernel
def called_number(x, n):
    y = n(3)  # ERROR 9: i32 cannot be called in a kernel


@kernel
def constexpr_of_value(x, n):
    y: tl.constexpr = n + 1  # ERROR 5: a constexpr must be known when compiling, got a run-time value


@kernel
def constexpr_twice(x, n):
    y: tl.constexpr = 1
    y: tl.constexpr = 2  # ERROR 5: y is already defined: a constexpr cannot be reassigned


@kernel
def tuple_lengths(x, n):
    a, b = (1, 2, n)  # ERROR 5: 2 names cannot be assigned from tuple (1, 2, i32)


@kernel
def tuple_from_a_number(x, n):
    a, b = n  # ERROR 5: 2 names cannot be assigned from i32


@kernel
def index_outside_a_tuple(x, n):
    y = (1, 2)[2]  # ERROR 9: tuple index out of range


@kernel
def tuple_indexed_by_a_value(x, n):
    y = (1, n)[n]  # ERROR 9: a tuple is indexed by a number known when compiling


@kernel
def len_of_a_scalar(x, n):
    y = len(n)  # ERROR 9: len needs a tile or a tuple, got a scalar of type i32


@kernel
def static_assertion(x, n):
    tl.static_assert(1 == 2, "sizes")  # ERROR 5: static assertion failed: sizes


@kernel
def static_assertion_of_a_value(x, n):
    tl.static_assert(n > 2)  # ERROR 5: static_assert needs a condition known when compiling; use tl.device_assert for


@kernel
def used_inside_a_library_call(x, n):
    y = tl.softmax(n)  # ERROR 9: reduce needs a tile, got i32
