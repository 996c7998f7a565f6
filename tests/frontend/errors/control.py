"""Conditions, branches and loops."""
from __future__ import annotations

import rtriton.language as tl
from rtriton.source import KernelFunction as kernel


@kernel
def tile_condition(x, n):
    if tl.arange(0, 4) > 2:  # ERROR 8: a condition is a scalar, got 4xi1: reduce it, or use tl.where
        pass


@kernel
def tile_condition_of_while(x, n):
    while tl.arange(0, 4) > 2:  # ERROR 11: a condition is a scalar, got 4xi1: reduce it, or use tl.where
        pass


@kernel
def tile_condition_of_if_expression(x, n):
    y = 1 if tl.arange(0, 4) > 2 else 2  # ERROR 9: a condition is a scalar, got 4xi1: reduce it, or use tl.where


@kernel
def pointer_condition(x, n):
    if x:  # ERROR 8: a pointer has no truth value
        pass


@kernel
def loop_changes_type(x, n):
    acc = 0
    for i in range(n):  # ERROR 5: loop-carried variable acc has initial type i32 but is re-assigned to f32 in the
        acc = acc + 1.5


@kernel
def loop_changes_shape(x, n):
    acc = tl.zeros((4,), tl.float32)
    for i in range(n):  # ERROR 5: loop-carried variable acc has initial type 4xf32 but is re-assigned to 4x4xf32 in
        acc = acc[:, None] + acc


@kernel
def while_changes_type(x, n):
    acc = tl.load(x)
    while n > 0:  # ERROR 5: loop-carried variable acc has initial type f32 but is re-assigned to i1 in the loop: give
        n -= 1
        acc = acc > 0


@kernel
def loop_changes_a_tuple(x, n):
    pair = (n, n)
    for i in range(n):  # ERROR 5: loop-carried variable pair is a tuple of 2 but becomes one of 3
        pair = (n, n, n)


@kernel
def loop_changes_none(x, n):
    acc = None
    for i in range(n):  # ERROR 5: loop-carried variable acc is None before the loop and becomes f32 in it: give it a
        acc = tl.load(x)


@kernel
def loop_makes_a_text(x, n):
    acc = 1
    for i in range(n):  # ERROR 5: loop-carried variable acc has initial type i32 but becomes str 'text' in the loop
        acc = "text"


@kernel
def break_with_another_type(x, n):
    acc = 0
    for i in range(n):
        if i > 3:  # ERROR 9: Mismatched type for acc: f32 in one branch and i32 in the other
            acc = tl.load(x)
            break


@kernel
def branches_differ(x, n):
    if n > 1:  # ERROR 5: Mismatched type for y: f32 in one branch and 4xi32 in the other
        y = tl.load(x)
    else:
        y = tl.arange(0, 4)


@kernel
def branches_differ_in_a_tuple(x, n):
    if n > 1:  # ERROR 5: y is tuple (i32, i32) in one branch of an if and tuple (i32, i32, i32) in the other
        y = (n, n)
    else:
        y = (n, n, n)


@kernel
def branches_differ_in_what_is_known(x, n):
    if n > 1:  # ERROR 5: y is the type f32 in one branch of an if on a run-time value and the type f16 in the other
        y = tl.float32
    else:
        y = tl.float16


@kernel
def if_expression_of_two_types(x, n):
    y = tl.load(x) if n > 1 else tl.arange(0, 4)  # ERROR 9: Ternary expression with dynamic condition has inconsistent


@kernel
def loop_over_a_value(x, n):
    for i in n:  # ERROR 5: a for loop runs over range, tl.range, tl.static_range or a tuple, got i32
        pass


@kernel
def range_of_floats(x, n):
    for i in range(1.5):  # ERROR 5: a range's bounds are integer scalars, got float 1.5
        pass


@kernel
def range_of_pointers(x, n):
    for i in range(0, x):  # ERROR 5: a range's bounds are integer scalars, got *f32
        pass


@kernel
def range_of_tiles(x, n):
    for i in tl.range(tl.arange(0, 4)):  # ERROR 5: a range's bounds are integer scalars, got 4xi32
        pass


@kernel
def range_without_bounds(x, n):
    for i in range():  # ERROR 14: range takes (stop), (start, stop) or (start, stop, step); options such as num_stages
        pass


@kernel
def range_with_options(x, n):
    for i in range(n, num_stages=3):  # ERROR 14: range takes (stop), (start, stop) or (start, stop, step); options
        pass


@kernel
def step_of_zero(x, n):
    for i in range(0, n, 0):  # ERROR 5: a range's step must not be 0
        pass


@kernel
def static_range_of_a_value(x, n):
    for i in tl.static_range(n):  # ERROR 5: a bound of static_range must be known when compiling (an integer or a
        pass


@kernel
def num_stages_of_a_value(x, n):
    for i in tl.range(0, n, num_stages=n):  # ERROR 14: num_stages is an integer known when compiling, got i32
        pass


@kernel
def unroll_factor_of_a_float(x, n):
    for i in tl.range(0, n, loop_unroll_factor=1.5):  # ERROR 14: loop_unroll_factor is an integer known when
        pass


@kernel
def unknown_option_of_range(x, n):
    for i in tl.range(0, n, unroll=2):  # ERROR 14: tl.range: got an unexpected keyword argument 'unroll'
        pass


@kernel
def never_ends(x, n):
    while True:  # ERROR 11: this loop never ends: its condition is true and nothing in it breaks or returns
        n += 1


@kernel
def comprehension_over_a_value(x, n):
    y = [i for i in n]  # ERROR 9: wanted a tuple, got i32


@kernel
def comprehension_with_a_run_time_condition(x, n):
    y = [i for i in (1, 2) if n > i]  # ERROR 9: a comprehension's condition must be known when compiling, got i1
