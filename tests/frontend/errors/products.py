"""Products."""
from __future__ import annotations

import rtriton.language as tl
from rtriton.source import KernelFunction as kernel


@kernel
def inner_sizes(x, n):
    a, b = tl.zeros((16, 32), tl.float16), tl.zeros((64, 16), tl.float16)
    y = tl.dot(a, b)  # ERROR 9: dot needs equal inner sizes, got 16x32 and 64x16


@kernel
def loaded_operands(h, n):
    rows, columns = tl.arange(0, 16), tl.arange(0, 32)
    a = tl.load(h + rows[:, None] * 32 + columns)
    b = tl.load(h + rows[:, None] * 16 + rows)
    acc = tl.zeros((16, 16), tl.float32)
    for k in range(n):
        acc = tl.dot(a, b, acc)  # ERROR 15: dot needs equal inner sizes, got 16x32 and 16x16


@kernel
def two_types(x, n):
    a, b = tl.zeros((16, 16), tl.float16), tl.zeros((16, 16), tl.float32)
    y = tl.dot(a, b)  # ERROR 9: dot needs operands of one type, got 16x16xf16 and 16x16xf32


@kernel
def vectors(x, n):
    y = tl.dot(tl.arange(0, 16), tl.arange(0, 16))  # ERROR 9: dot needs two tiles of equal rank, 2 or more, got 16xi32


@kernel
def two_ranks(x, n):
    y = tl.dot(tl.zeros((2, 16, 16), tl.float16), tl.zeros((16, 16), tl.float16))  # ERROR 9: dot needs two tiles of


@kernel
def batches(x, n):
    y = tl.dot(tl.zeros((2, 16, 16), tl.float16), tl.zeros((4, 16, 16), tl.float16))  # ERROR 9: dot needs equal batch


@kernel
def accumulator_shape(x, n):
    a = tl.zeros((16, 16), tl.float16)
    y = tl.dot(a, a, tl.zeros((16, 32), tl.float32))  # ERROR 9: dot: acc must be 16x16xf32, got 16x32xf32 (out_dtype


@kernel
def accumulator_type(x, n):
    a = tl.zeros((16, 16), tl.float16)
    y = tl.dot(a, a, tl.zeros((16, 16), tl.int32))  # ERROR 9: dot: acc must be 16x16xf32, got 16x16xi32 (out_dtype


@kernel
def unknown_precision(x, n):
    a = tl.zeros((16, 16), tl.float32)
    y = tl.dot(a, a, input_precision="tf16")  # ERROR 9: input_precision must be one of ieee, tf32, tf32x3, bf16x3


@kernel
def bf16_result(x, n):
    a = tl.zeros((16, 16), tl.bfloat16)
    y = tl.dot(a, a, out_dtype=tl.bfloat16)  # ERROR 9: out_dtype=bfloat16 is unsupported. Please use


@kernel
def of_a_number(x, n):
    y = tl.dot(n, n)  # ERROR 9: dot needs a tile, got i32


@kernel
def scaled_unknown_format(x, n):
    a = tl.zeros((32, 64), tl.uint8)
    b = tl.zeros((64, 32), tl.uint8)
    y = tl.dot_scaled(a, None, "e9m9", b, None, "e5m2")  # ERROR 9: dot_scaled: lhs_format is one of e2m1, e4m3, e5m2
