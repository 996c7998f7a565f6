"""Types of operands."""
from __future__ import annotations

import rtriton.language as tl
from rtriton.source import KernelFunction as kernel


@kernel
def exp_of_half(x, n):
    y = tl.exp(tl.zeros((4,), tl.float16))  # ERROR 9: tl.exp needs f32 or f64, got 4xf16: cast it with .to(tl.float32)


@kernel
def sqrt_of_integers(x, n):
    y = tl.sqrt(tl.arange(0, 4))  # ERROR 9: tl.sqrt needs f32 or f64, got 4xi32: cast it with .to(tl.float32)


@kernel
def negative_meets_unsigned(x, n):
    y = tl.zeros((4,), tl.uint8) + -1  # ERROR 9: the negative number -1 meets the unsigned type u8


@kernel
def number_out_of_range(x, n):
    y = tl.zeros((4,), tl.int8) + 300  # ERROR 9: the number 300 is out of range for i8


@kernel
def number_of_no_type(x, n):
    y = n + 2 ** 70  # ERROR 9: the integer 1180591620717411303424 fits no 64-bit type


@kernel
def fp8_and_a_number(x, n):
    y = tl.zeros((4,), tl.float8e5) + 1.5  # ERROR 9: a Python number does not mix with f8e5: cast the tile first


@kernel
def fp8_and_integers(x, n):
    y = tl.zeros((4,), tl.float8e5) + n  # ERROR 9: f8e5 and i32 do not mix: cast one of them


@kernel
def mixed_signs(x, n):
    y = n // n.to(tl.uint32)  # ERROR 9: Cannot use /, // or % with i32 and u32 because they have different signedness


@kernel
def floor_division_of_floats(x, n):
    y = tl.load(x) // 2  # ERROR 9: // needs integers, got f32 and int 2: use tl.floor(x / y)


@kernel
def bits_of_floats(x, n):
    y = tl.load(x) & 1.5  # ERROR 9: invalid operands of type f32 and float 1.5: bitwise operations need integers


@kernel
def shift_of_floats(x, n):
    y = tl.load(x) << 2  # ERROR 9: invalid operands of type f32 and int 2: bitwise operations need integers


@kernel
def inverse_of_floats(x, n):
    y = ~tl.load(x)  # ERROR 9: ~ needs integers, got f32


@kernel
def pointer_to_float(x, n):
    y = x.to(tl.float32)  # ERROR 9: a pointer converts to i64 or u64, not to f32


@kernel
def pointers_added(x, n):
    y = x + x  # ERROR 9: two pointers cannot be added


@kernel
def pointer_multiplied(x, n):
    y = x * 2  # ERROR 9: wanted numbers, got *f32 and int 2


@kernel
def pointer_plus_float(x, n):
    y = x + 1.5  # ERROR 9: a pointer moves by integers, got f32


@kernel
def pointer_negated(x, n):
    y = -x  # ERROR 9: a pointer cannot be negated


@kernel
def bitcast_of_other_width(x, n):
    y = n.to(tl.float16, bitcast=True)  # ERROR 9: bitcast needs equal widths, got i32 (32 bits) to f16 (16 bits)


@kernel
def cast_to_a_text(x, n):
    y = n.to("float16")  # ERROR 9: cast wants a dtype such as tl.float32, got str 'float16'


@kernel
def rounding_unknown(x, n):
    y = tl.load(x).to(tl.float16, fp_downcast_rounding="up")  # ERROR 9: rounding is 'rtne' or 'rtz', got 'up'


@kernel
def text_plus_number(x, n):
    y = 1 + "a"  # ERROR 9: unsupported operand type(s) for +: 'int' and 'str': int 1 and str 'a'


@kernel
def text_plus_value(x, n):
    y = n + "a"  # ERROR 9: wanted a number, a scalar or a tile, got str 'a'


@kernel
def none_plus_value(x, n):
    y = None
    z = n + y  # ERROR 9: wanted a number, a scalar or a tile, got None


@kernel
def none_compared(x, n):
    y = n < None  # ERROR 9: wanted a number, a scalar or a tile, got None


@kernel
def division_by_zero_when_compiling(x, n):
    y = n + 1 // 0  # ERROR 13: integer division or modulo by zero


@kernel
def where_of_pointers_and_numbers(x, n):
    y = tl.where(n > 1, x, 1)  # ERROR 9: where needs two values of one type, got *f32 and i32


@kernel
def umulhi_of_floats(x, n):
    y = tl.umulhi(tl.load(x), tl.load(x))  # ERROR 9: tl.umulhi needs i32 or i64 or u32 or u64, got f32: cast it with


@kernel
def device_print_without_text(x, n):
    tl.device_print(n)  # ERROR 5: device_print's first argument is a text, got i32


@kernel
def membership_of_a_value(x, n):
    y = n in (1, 2)  # ERROR 9: 'in' needs a value and a tuple that are known when compiling


@kernel
def unhashable_operator(x, n):
    y = tl.float32 + 1  # ERROR 9: unsupported operand type(s) for +: 'DType' and 'int': the type f32 and int 1
