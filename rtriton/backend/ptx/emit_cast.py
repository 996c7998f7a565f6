"""Casts among all element types.

f32 is the hub: bf16 and fp8 go through it, except where one instruction does better.  e4m3 and e5m2 are converted by
cvt where the GPU has it (sm_89), by integer arithmetic where not, as are the other formats of rtriton/fp8.py.  i8 and
u8 are kept extended in 16 bits.
"""
from __future__ import annotations

from rtriton import fp8
from rtriton.backend.ptx.emit import Emitter, arith_type
from rtriton.backend.ptx.operands import Reg
from rtriton.errors import KernelError
from rtriton.types import BY_SHORT, DType, Pointer, Scalar, float16, float32

RND = {"rtne": "rn", "rtz": "rz"}
HARDWARE = ("f16", "f32", "f64")
CVT = {"f8e4": "e4m3", "f8e5": "e5m2"}  # the formats that cvt knows


def cast_reg(e: Emitter, x: Reg, src: Scalar, dst: Scalar, rounding: str = "rtne") -> Reg:
    """One element of type `src` as one of type `dst`."""
    if src == dst:
        return x
    if isinstance(src, Pointer) or isinstance(dst, Pointer):
        return x
    if dst.kind == "b":
        return _truth(e, x, src)
    if src.kind == "b":
        return cast_reg(e, e.pure("selp.u32", 1, 0, x), BY_SHORT["u32"], dst)
    if src.kind != "f" and dst.kind != "f":
        return _integer(e, x, src, dst)
    if src.kind != "f":
        return _from_integer(e, x, src, dst)
    if dst.kind != "f":
        return _to_integer(e, x, src, dst)
    return _float(e, x, src, dst, rounding)


def normalise(e: Emitter, x: Reg, type: Scalar) -> Reg:
    """Bring a byte that arithmetic may have carried out of range back, extended to 16 bits."""
    if type.kind not in "iu" or type.bits != 8:
        return x
    return e.pure("cvt.s16.s8" if type.kind == "i" else "cvt.u16.u8", x)


def _truth(e: Emitter, x: Reg, src: DType) -> Reg:
    if src.kind != "f":
        return e.pure(f"setp.ne.{arith_type(src)}", x, 0)
    wide = src if src.short in ("f32", "f64") else float32
    return e.pure(f"setp.neu.{wide.short}", _float(e, x, src, wide, "rtne"), 0.0)


def _integer(e: Emitter, x: Reg, src: DType, dst: DType) -> Reg:
    if dst.bits > src.bits:
        if max(16, src.bits) == max(16, dst.bits):
            return x  # i8 -> i16: extended already
        base, constant = e.split_affine(x)
        if constant and src.kind == "i" and dst.bits == 64:  # offsets do not wrap
            return e.plus(e.pure("cvt.s64.s32", base), constant)
        return e.pure(f"cvt.{arith_type(dst)}.{arith_type(src)}", x)
    if dst.bits == 8:
        if src.bits <= 16:
            return normalise(e, x, dst)
        return e.pure(f"cvt.{dst.kind.replace('i', 's')}8.{arith_type(src)}", x)
    return x if dst.bits == src.bits else e.pure(f"cvt.u{dst.bits}.u{max(16, src.bits)}", x)


def _from_integer(e: Emitter, x: Reg, src: DType, dst: DType) -> Reg:
    if dst.short in HARDWARE:
        return e.pure(f"cvt.rn.{dst.short}.{arith_type(src)}", x)
    return _float(e, e.pure(f"cvt.rn.f32.{arith_type(src)}", x), float32, dst, "rtne")


def _to_integer(e: Emitter, x: Reg, src: DType, dst: DType) -> Reg:
    if src.short not in HARDWARE:
        x, src = _float(e, x, src, float32, "rtne"), float32
    whole = e.pure(f"cvt.rzi.{dst.kind.replace('i', 's')}{dst.bits}.{src.short}", x)
    if src.bits < 64 and dst.bits < 64:
        return whole
    nan = e.pure(f"setp.nan.{src.short}", x, x)  # which cvt makes 0 unless a 64-bit type takes part
    return e.pure(f"selp.b{max(16, dst.bits)}", e.const(0, dst), whole, nan)


def _float(e: Emitter, x: Reg, src: DType, dst: DType, rounding: str) -> Reg:
    if src == dst:
        return x
    if rounding not in RND:
        raise KernelError(f"a cast rounds rtne or rtz, not {rounding!r}")
    rnd = RND[rounding]
    if src.is_fp8() and not fp8.FORMATS[src.name].negative_zero:
        return _float(e, _unsigned_zero_to_f32(e, x, src), float32, dst, rounding)
    if src.is_fp8():
        half = _fp8_to_f16(e, x, src)
        return half if dst == float16 else _float(e, _float(e, half, float16, float32, "rtne"), float32, dst, rounding)
    if src.short == "bf16":
        wide = e.pure("mov.b32", (e.const(0, BY_SHORT["u16"]), x))
        return _float(e, wide, float32, dst, rounding)
    if dst.short in HARDWARE:
        exact = dst.bits > src.bits
        return e.pure(f"cvt.{dst.short}.{src.short}" if exact else f"cvt.{rnd}.{dst.short}.{src.short}", x)
    if src != float32:
        return _float(e, _float(e, x, src, float32, rounding), float32, dst, rounding)
    if dst.short == "bf16":
        return e.pure(f"cvt.{rnd}.bf16.f32", x)
    return _f32_to_fp8(e, x, dst, rounding)


def _fp8_to_f16(e: Emitter, x: Reg, src: DType) -> Reg:
    if e.target.fp8_convert and src.short in CVT:
        pair = e.pure(f"cvt.rn.f16x2.{CVT[src.short]}x2", x)
        low, high = e.m.reg("b16"), e.m.reg("b16")
        e.m.many("mov.b32", pair, dst=(low, high))
        return low
    if src.short == "f8e5":  # the upper half of an f16
        return e.pure("shl.b16", x, 8)
    sign = e.pure("shl.b16", e.pure("and.b16", x, 0x80), 8)
    magnitude = e.pure("shl.b16", e.pure("and.b16", x, 0x7F), 7)
    if fp8.is_scaled_half(src):
        return e.pure("or.b16", magnitude, sign)
    scaled = e.pure("mul.f16", magnitude, e.const(256.0, float16))  # the exponents are biased by 7 and by 15
    nan = e.pure("setp.eq.b16", magnitude, 0x3F80)
    return e.pure("or.b16", e.pure("selp.b16", e.const(0x7E00, BY_SHORT["u16"]), scaled, nan), sign)


def _unsigned_zero_to_f32(e: Emitter, x: Reg, src: DType) -> Reg:
    """The formats without -0.0: shifted to a float's place, where a power of two makes the exponent right."""
    code = e.pure("cvt.u32.u16", x)
    shifted = e.pure("shl.b32", e.pure("and.b32", code, 0x7F), 23 - src.fp_mantissa_width)
    value = e.pure("mul.f32", shifted, 2.0 ** (127 - src.exponent_bias))
    signed = e.pure("or.b32", value, e.pure("shl.b32", e.pure("and.b32", code, 0x80), 24))
    return e.pure("selp.b32", e.const(float("nan"), float32), signed, e.pure("setp.eq.u32", code, 0x80))


def _f32_to_fp8(e: Emitter, x: Reg, dst: DType, rounding: str) -> Reg:
    if fp8.is_scaled_half(dst):
        return _f32_to_scaled_half(e, x)
    if rounding == "rtz" and dst.short == "f8e5":  # keeps infinities, as f16 does
        return e.pure("shr.u16", e.pure("cvt.rz.f16.f32", x), 8)
    if rounding == "rtne" and e.target.fp8_convert and dst.short in CVT:
        pair = e.pure(f"cvt.rn.satfinite.{CVT[dst.short]}x2.f32", e.const(0.0, float32), x)
        return e.pure("and.b16", pair, 0xFF)
    return _f32_to_fp8_by_hand(e, x, dst, rounding)


def _f32_to_scaled_half(e: Emitter, x: Reg) -> Reg:
    """By the bits of fp16, at most 1.75, halves away from zero (rtriton/fp8.py says why)."""
    half = e.pure("cvt.rz.f16.f32", x)
    size = e.pure("min.u16", e.pure("and.b16", half, 0x7FFF), e.const(0x3F00, BY_SHORT["u16"]))
    code = e.pure("shr.u16", e.pure("add.u16", size, 0x40), 7)
    return e.pure("or.b16", code, e.pure("and.b16", e.pure("shr.u16", half, 8), 0x80))


def _f32_to_fp8_by_hand(e: Emitter, x: Reg, dst: DType, rounding: str) -> Reg:
    """Round the mantissa by adding to the bits; numbers below the smallest normal by adding a power of two to them."""
    mantissa, bias, form = dst.fp_mantissa_width, dst.exponent_bias, fp8.FORMATS[dst.name]
    drop = 23 - mantissa
    magnitude = e.pure("min.f32", e.pure("abs.f32", x), form.largest)
    odd = e.pure("and.b32", e.pure("shr.u32", magnitude, drop), 1)
    up = e.pure("add.u32", odd, (1 << (drop - 1)) - 1)
    rounded = e.pure("add.u32", magnitude, up) if rounding == "rtne" else magnitude
    normal = e.pure("sub.u32", e.pure("shr.u32", rounded, drop), (127 - bias) << mantissa)
    step = 2.0 ** (1 - bias - mantissa)  # between numbers below the smallest normal one
    how = "rni" if rounding == "rtne" else "rzi"
    tiny = e.pure(f"cvt.{how}.u32.f32", e.pure("mul.f32", magnitude, 1 / step))
    code = e.pure("selp.b32", tiny, normal, e.pure("setp.lt.f32", magnitude, 2.0 ** (1 - bias)))
    sign = e.pure("and.b32", e.pure("shr.u32", x, 24), 0x80)
    if not form.negative_zero:
        sign = e.pure("selp.b32", e.const(0, BY_SHORT["u32"]), sign, e.pure("setp.eq.u32", code, 0))
    signed = e.pure("or.b32", code, sign)
    assert form.nan is not None
    nan = e.pure("setp.nan.f32", x, x)
    return e.pure("cvt.u16.u32", e.pure("selp.b32", e.const(form.nan, BY_SHORT["u32"]), signed, nan))
