"""Ops that go element by element.

Rows take operands of one type (the public layer has promoted them already). `meaning` works on NumPy arrays: i1 as
bool, ints and f16/f32/f64 as themselves, bf16 and fp8 as float32 values that the interpreter rounds after every op.
Integer division and remainder truncate as in C; shifts by the width or more are undefined.
"""
from __future__ import annotations

import numpy as np

from rtriton import numerics
from rtriton.language.table import (
    ANY, FLOAT, INTEGER, WIDE_FLOAT, WIDE_INTEGER, Const, Operand, check_mask, elementwise, op, pointee, same_shape,
)
from rtriton.types import Pointer, Type, element_of, int1, show_type, show_types, with_element

elementwise("add", "x + y.", meaning=np.add, ptx="add", llvm={"f": "fadd", "i": "add"}, commutative=True, unit=0,
            exact=True)
elementwise("sub", "x - y.", meaning=np.subtract, ptx="sub", llvm={"f": "fsub", "i": "sub"}, unit=0, exact=True)
elementwise("mul", "x * y.", meaning=np.multiply, ptx={"f": "mul", "i": "mul.lo"}, llvm={"f": "fmul", "i": "mul"},
            commutative=True, unit=1, exact=True)
elementwise("div", "x / y: floats divided (2 ulp allowed in f32), ints truncated as in C.", meaning=numerics.divide,
            ptx={"f32": "div.full.f32", "i": "div"}, llvm={"f": "fdiv", "i": "sdiv", "u": "udiv"}, unit=1)
elementwise("div_rn", "x / y rounded to nearest even.", types=FLOAT, wanted="floats", meaning=np.divide,
            ptx="div.rn", llvm={"f": "fdiv"}, unit=1)
elementwise("rem", "The remainder of the truncated division, with the sign of x (floats: fmod).",
            meaning=numerics.remainder, ptx={"i": "rem"}, llvm={"f": "frem", "i": "srem", "u": "urem"})
elementwise("fma", "x * y + z rounded once.", arity=3, types=FLOAT, wanted="floats", meaning=numerics.fma, ptx="fma.rn",
            llvm="llvm.fma")
elementwise("neg", "-x.", arity=1, meaning=np.negative, ptx="neg", llvm={"f": "fneg"}, exact=True)
elementwise("abs", "|x|.", arity=1, meaning=np.abs, ptx="abs", llvm={"f": "llvm.fabs", "i": "llvm.abs"}, exact=True)
elementwise("minimum", "The smaller; of a NaN and a number the number.", meaning=numerics.minimum, ptx="min",
            llvm={"f": "llvm.minnum", "i": "llvm.smin", "u": "llvm.umin"}, commutative=True, exact=True)
elementwise("maximum", "The larger; of a NaN and a number the number.", meaning=numerics.maximum, ptx="max",
            llvm={"f": "llvm.maxnum", "i": "llvm.smax", "u": "llvm.umax"}, commutative=True, exact=True)
elementwise("minimum_nan", "The smaller; NaN if either is.", types=FLOAT, wanted="floats", meaning=np.minimum,
            ptx="min.NaN", llvm={"f": "llvm.minimum"}, commutative=True, exact=True)
elementwise("maximum_nan", "The larger; NaN if either is.", types=FLOAT, wanted="floats", meaning=np.maximum,
            ptx="max.NaN", llvm={"f": "llvm.maximum"}, commutative=True, exact=True)
elementwise("umulhi", "The upper half of the full product of two integers, taken as unsigned.", types=WIDE_INTEGER,
            wanted="integers of 32 or 64 bits", meaning=numerics.umulhi, ptx="mul.hi", commutative=True, exact=True)
elementwise("and", "x & y, bit by bit.", types=INTEGER, wanted="integers", meaning=np.bitwise_and, ptx="and",
            llvm="and", commutative=True, exact=True)
elementwise("or", "x | y, bit by bit.", types=INTEGER, wanted="integers", meaning=np.bitwise_or, ptx="or", llvm="or",
            commutative=True, unit=0, exact=True)
elementwise("xor", "x ^ y, bit by bit.", types=INTEGER, wanted="integers", meaning=np.bitwise_xor, ptx="xor",
            llvm="xor", commutative=True, unit=0, exact=True)
elementwise("shl", "x << y.", types=INTEGER, wanted="integers", meaning=np.left_shift, ptx="shl", llvm="shl", unit=0,
            exact=True)
elementwise("shr", "x >> y: arithmetic for signed x, logical for unsigned.", types=INTEGER, wanted="integers",
            meaning=np.right_shift, ptx="shr", llvm={"i": "ashr", "u": "lshr"}, unit=0, exact=True)

for _name, _doc, _meaning in (("eq", "x == y.", np.equal), ("ne", "x != y (true if either is NaN).", np.not_equal),
                              ("lt", "x < y.", np.less), ("le", "x <= y.", np.less_equal), ("gt", "x > y.", np.greater),
                              ("ge", "x >= y.", np.greater_equal)):
    elementwise(_name, _doc, types=ANY, result=int1, meaning=_meaning, ptx=f"setp.{_name}", exact=True,
                commutative=_name in ("eq", "ne"))

for _name, _doc, _meaning in (
        ("exp", "e to the power x.", np.exp), ("exp2", "2 to the power x.", np.exp2),
        ("log", "The natural logarithm.", np.log), ("log2", "The logarithm to base 2.", np.log2),
        ("sin", "The sine.", np.sin), ("cos", "The cosine.", np.cos),
        ("sqrt", "The square root (2 ulp allowed in f32).", np.sqrt),
        ("sqrt_rn", "The square root, rounded to nearest.", np.sqrt),
        ("rsqrt", "1 / sqrt(x).", numerics.rsqrt), ("erf", "The error function.", numerics.erf),
        ("tanh", "The hyperbolic tangent.", np.tanh)):
    elementwise(_name, _doc, arity=1, types=WIDE_FLOAT, wanted="f32 or f64", meaning=_meaning)

elementwise("floor", "The largest integer not above x.", arity=1, types=FLOAT, wanted="floats", meaning=np.floor,
            llvm="llvm.floor", exact=True)
elementwise("ceil", "The smallest integer not below x.", arity=1, types=FLOAT, wanted="floats", meaning=np.ceil,
            llvm="llvm.ceil", exact=True)


@op("where", elementwise=True, meaning=np.where, exact=True)
def where(condition: Operand, x: Operand, y: Operand) -> Type:
    """x where the condition is true, else y."""
    check_mask("where", condition)
    if x != y:
        raise TypeError(f"where needs two values of one type, got {show_types((x, y), ' and ')}")
    same_shape("where", condition, x)
    return x


@op("cast", elementwise=True)
def cast(x: Operand, *, to: Const, rounding: Const = "rtne") -> Type:
    """x as numbers of type `to`: float to int truncates, to i1 is != 0, to a narrower float rounds (rtne or rtz)."""
    source = element_of(x)
    either = isinstance(source, Pointer) or isinstance(to, Pointer)
    if either and {source.kind, to.kind} != {"p"} and {source.bits, to.bits} != {64}:
        raise TypeError(f"a pointer converts only to and from 64-bit integers, got {show_types((source, to), ' to ')}")
    if rounding not in ("rtne", "rtz"):
        raise ValueError(f"rounding is 'rtne' or 'rtz', got {rounding!r}")
    return with_element(x, to)


@op("bitcast", elementwise=True)
def bitcast(x: Operand, *, to: Const) -> Type:
    """The same bits read as type `to` of equal width."""
    source = element_of(x)
    if source.bits != to.bits:
        raise ValueError(f"bitcast needs equal widths, got {show_type(source)} ({source.bits} bits) "
                         f"to {show_type(to)} ({to.bits} bits)")
    return with_element(x, to)


@op("addptr", elementwise=True)
def addptr(pointer: Operand, offset: Operand) -> Type:
    """`pointer` moved by `offset` elements."""
    pointee(pointer)
    if element_of(offset).kind not in "iu":
        raise TypeError(f"a pointer moves by integers, got {show_type(offset)}")
    same_shape("addptr", pointer, offset)
    return pointer
