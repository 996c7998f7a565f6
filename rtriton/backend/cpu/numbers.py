"""Number formats on vectors: what registers hold, what memory holds, and every conversion between them.

In registers bf16, f16 and fp8 numbers are f32 values that the format can hold (every op rounds its result), so they
need no conversion on their way through arithmetic. Memory holds their bits. All conversions are exact bit arithmetic,
or single instructions where the target has them; the formats of 8 bits are those of rtriton/fp8.py.
"""

from __future__ import annotations

import math

from rtriton import fp8
from rtriton.backend.cpu.llvm import V
from rtriton.backend.cpu.vector_math import Math
from rtriton.types import DType, Scalar, float16

_FLOAT_REGISTER = {"fp64": "double"}


def register(type: Scalar, tile: bool = True) -> str:
    """The LLVM element that carries a value: pointers in tiles are integers."""
    if type.kind == "p":
        return "i64" if tile else "ptr"
    assert isinstance(type, DType)
    return _FLOAT_REGISTER.get(type.name, "float") if type.kind == "f" else f"i{type.bits}"


def memory(type: Scalar) -> str:
    """The LLVM element of a value's bytes in memory."""
    if type.kind == "p":
        return "i64"
    assert isinstance(type, DType)
    if type.kind == "f":
        return {32: "float", 64: "double", 16: "i16", 8: "i8"}[type.bits]
    return "i8" if type.kind == "b" else f"i{type.bits}"


def decode(m: Math, raw: V, type: Scalar) -> V:
    """The register form of what memory holds."""
    if type.kind == "b":
        return m.b.cmp("icmp ne", raw, m.b.zero(raw.element, raw.lanes))
    if not isinstance(type, DType) or type.kind != "f" or type.bits >= 32:
        return raw
    if type.name == "fp16" and m.target.has_f16c:
        return m.b.cast("fpext", m.b.bitcast(raw, "half"), "float")
    wide = m.b.cast("zext", raw, "i32")
    if type.name == "bf16":
        return m.b.bitcast(m.b.op("shl", wide, _int(m, wide, 16)), "float")
    return _decode_small(m, wide, type)


def encode(m: Math, x: V, type: Scalar) -> V:
    """What memory holds of a register value (which the format can hold already)."""
    if type.kind == "b":
        return m.b.cast("zext", x, "i8")
    if not isinstance(type, DType) or type.kind != "f" or type.bits >= 32:
        return x
    if type.name == "fp16" and m.target.has_f16c:
        return m.b.bitcast(m.b.cast("fptrunc", x, "half"), "i16")
    bits = m.b.bitcast(x, "i32")
    if type.name == "bf16":
        return m.b.cast("trunc", m.b.op("lshr", bits, _int(m, bits, 16)), "i16")
    return _encode_small(m, x, type)


def rounded(m: Math, x: V, type: Scalar, rounding: str = "rtne") -> V:
    """A float or double as the nearest number of the format (or the next towards zero), in its register form."""
    if not isinstance(type, DType) or type.kind != "f" or type.name == "fp64":
        return m.b.cast("fpext", x, "double") if x.element == "float" else x
    if x.element == "double":
        x = _narrow(m, x, "rtne" if type.name == "fp32" and rounding == "rtne" else rounding, type.name != "fp32")
    if type.name == "fp32":
        return x
    if type.name == "bf16":
        return _round_bf16(m, x, rounding)
    if type.name == "fp16" and m.target.has_f16c and rounding == "rtne":
        return m.b.cast("fpext", m.b.cast("fptrunc", x, "half"), "float")
    return _round_small(m, x, type, rounding)


def convert(m: Math, x: V, source: Scalar, to: Scalar, rounding: str = "rtne") -> V:
    """The `cast` op on register values."""
    b = m.b
    if source == to:
        return x
    if source.kind == "p" or to.kind == "p":
        if x.element == "ptr" and to.kind != "p":
            return b.cast("ptrtoint", x, "i64")
        return b.cast("inttoptr", x, "ptr") if to.kind == "p" and not x.lanes and x.element != "ptr" else x
    if to.kind == "b":
        zero = b.zero(x.element, x.lanes)
        return b.cmp("fcmp une" if x.is_float else "icmp ne", x, zero)
    if source.kind == "f" and to.kind == "f":
        return rounded(m, x, to, rounding)
    if to.kind == "f":
        return _int_to_float(m, x, source, to, rounding)
    if source.kind == "f":
        return _float_to_int(m, x, to)
    assert isinstance(to, DType)
    wider = to.bits > source.bits
    return b.cast(("sext" if source.kind == "i" else "zext") if wider else "trunc", x, f"i{to.bits}")


def _int(m: Math, like: V, value: int) -> V:
    return m.b.const(value, like.element, like.lanes)


def _int_to_float(m: Math, x: V, source: Scalar, to: Scalar, rounding: str) -> V:
    opcode = "sitofp" if source.kind == "i" else "uitofp"
    if opcode == "uitofp" and source.bits < 32:  # a signed conversion is one instruction everywhere
        x, opcode = m.b.cast("zext", x, "i32"), "sitofp"
    wide = to.name == "fp64" or (to.bits < 32 and source.bits >= 32) if isinstance(to, DType) else False
    return rounded(m, m.b.cast(opcode, x, "double" if wide else "float"), to, rounding)


def _float_to_int(m: Math, x: V, to: Scalar) -> V:
    """Truncation that saturates, NaN to 0, as cvt.rzi does."""
    whole = f"i{max(to.bits, 32)}"
    signed = "s" if to.kind == "i" else "u"
    name = f"llvm.fpto{signed}i.sat"
    shape = f"v{x.lanes}" if x.lanes else ""
    suffix = f"{shape}{whole}.{shape}{'f32' if x.element == 'float' else 'f64'}"
    value = m.b.call(name, whole, x.lanes, x, suffix=suffix)
    if to.bits == 32 or to.bits == 64:
        return value
    low, high = (-1 << (to.bits - 1), (1 << (to.bits - 1)) - 1) if to.kind == "i" else (0, (1 << to.bits) - 1)
    if low:
        value = m.b.select(m.b.cmp("icmp slt", value, _int(m, value, low)), _int(m, value, low), value)
    beyond = m.b.cmp(f"icmp {signed}gt", value, _int(m, value, high))
    return m.b.cast("trunc", m.b.select(beyond, _int(m, value, high), value), f"i{to.bits}")


def _magnitude_bits(m: Math, x: V) -> tuple[V, V]:
    """|x| and the sign bit of x, as integers."""
    bits = m.b.bitcast(x, "i32")
    return m.b.op("and", bits, _int(m, bits, 0x7FFFFFFF)), m.b.op("and", bits, _int(m, bits, -(1 << 31)))


def _is_nan(m: Math, x: V) -> V:
    return m.b.cmp("fcmp uno", x, x)


def _narrow(m: Math, x: V, rounding: str, odd: bool) -> V:
    """double -> float, to nearest, towards zero, or (for a second rounding to follow) to odd."""
    b = m.b
    near = b.cast("fptrunc", x, "float")
    if rounding == "rtne" and not odd:
        return near
    back = b.cast("fpext", near, "double")
    bits = b.bitcast(near, "i32")
    over = b.cmp("fcmp ogt", m.magnitude(back), m.magnitude(x))
    cut = b.select(over, b.op("sub", bits, _int(m, bits, 1)), bits)
    if odd:
        inexact = b.cmp("fcmp one", back, x)
        cut = b.select(inexact, b.op("or", cut, _int(m, cut, 1)), cut)
    return b.bitcast(cut, "float")


def _nearest_bits(m: Math, bits: V, dropped: int) -> V:
    """Round away the low `dropped` bits to nearest even."""
    b = m.b
    odd = b.op("and", b.op("lshr", bits, _int(m, bits, dropped)), _int(m, bits, 1))
    raised = b.op("add", b.op("add", bits, _int(m, bits, (1 << (dropped - 1)) - 1)), odd)
    return b.op("and", raised, _int(m, bits, -1 << dropped))


def _round_bf16(m: Math, x: V, rounding: str) -> V:
    b = m.b
    bits = b.bitcast(x, "i32")
    mask = _int(m, bits, -1 << 16)
    quiet = b.op("and", b.op("or", bits, _int(m, bits, 0x400000)), mask)
    kept = _nearest_bits(m, bits, 16) if rounding == "rtne" else b.op("and", bits, mask)
    return b.bitcast(b.select(_is_nan(m, x), quiet, kept), "float")


def _round_small(m: Math, x: V, type: DType, rounding: str) -> V:
    """f16 and fp8: the normal numbers by their bits, the denormal ones by adding and taking away a big number."""
    if fp8.is_scaled_half(type):
        return _round_scaled_half(m, x, type)
    b = m.b
    mantissa, tiny = type.fp_mantissa_width, 2.0 ** (1 - type.exponent_bias)
    magnitude, sign = _magnitude_bits(m, x)
    size = b.bitcast(magnitude, "float")
    if rounding == "rtne":
        normal = b.bitcast(_nearest_bits(m, magnitude, 23 - mantissa), "float")
        magic = m.like(size, 2.0 ** (24 - type.exponent_bias - mantissa))
        small = m.exact("fsub", m.exact("fadd", size, magic), magic)
    else:
        normal = b.bitcast(b.op("and", magnitude, _int(m, magnitude, -1 << (23 - mantissa))), "float")
        step = tiny * 2.0**-mantissa
        count = b.cast("fptosi", m.exact("fmul", size, m.like(size, 1 / step)), "i32")
        small = m.exact("fmul", b.cast("sitofp", count, "float"), m.like(size, step))
    value = b.select(b.cmp("fcmp olt", size, m.like(size, tiny)), small, normal)
    value = b.select(b.cmp("fcmp ogt", value, m.like(size, _largest(type))), _beyond(m, size, type, rounding), value)
    value = b.select(_is_nan(m, x), m.like(size, math.nan), value)
    result = b.bitcast(b.op("or", b.bitcast(value, "i32"), sign), "float")
    return result if _form(type).negative_zero else m.exact("fadd", result, m.like(result, 0.0))


_HALF = fp8.Format(65504.0, 0x7E00, infinity=0x7C00)


def _form(type: DType) -> fp8.Format:
    return _HALF if type.name == "fp16" else fp8.FORMATS[type.name]


def is_symmetric(type: DType) -> bool:
    """Is -x a number of the format with every x, and rounded to itself? Not without -0.0, nor beyond `largest`."""
    return not type.is_fp8() or (_form(type).negative_zero and not fp8.is_scaled_half(type))


def _largest(type: DType) -> float:
    return _form(type).largest


def _beyond(m: Math, size: V, type: DType, rounding: str) -> V:
    """What becomes of a magnitude above the largest: f16 to nearest is infinite, an infinity rounded towards zero stays
    where the format has one, the rest is the largest."""
    top, infinity = m.like(size, _largest(type)), m.like(size, math.inf)
    if _form(type).infinity is None:
        return top
    if rounding == "rtz":
        return m.b.select(m.b.cmp("fcmp oeq", size, infinity), infinity, top)
    return infinity if type.name == "fp16" else top


def _round_scaled_half(m: Math, x: V, type: DType) -> V:
    """By the bits of fp16, at most 1.75, halves away from zero (rtriton/fp8.py says why)."""
    half = m.b.cast("zext", encode(m, rounded(m, x, float16, "rtz"), float16), "i32")
    size, top = m.b.op("and", half, _int(m, half, 0x7FFF)), _int(m, half, 0x3F00)
    size = m.b.select(m.b.cmp("icmp ult", size, top), size, top)
    near = m.b.op("and", m.b.op("add", size, _int(m, half, 0x40)), _int(m, half, 0x3F80))
    bits = m.b.op("or", near, m.b.op("and", half, _int(m, half, 0x8000)))
    bits = m.b.select(_is_nan(m, x), top, bits)
    return decode(m, m.b.cast("trunc", bits, "i16"), float16)


def _decode_small(m: Math, code: V, type: DType) -> V:
    """Shift the bits to a float's place, where a power of two makes the exponent right, denormals included."""
    b, form = m.b, _form(type)
    mantissa, width = type.fp_mantissa_width, type.bits
    magnitude = b.op("and", code, _int(m, code, (1 << (width - 1)) - 1))
    shifted = b.op("shl", magnitude, _int(m, code, 23 - mantissa))
    value = m.exact(
        "fmul", b.bitcast(shifted, "float"), m.like(b.bitcast(shifted, "float"), 2.0 ** (127 - type.exponent_bias))
    )
    sign = b.op("shl", b.op("and", code, _int(m, code, 1 << (width - 1))), _int(m, code, 32 - width))
    bits = b.op("or", b.bitcast(value, "i32"), sign)
    quiet = _int(m, code, 0x7FC00000)
    if form.nan is None:
        return b.bitcast(bits, "float")
    if not form.negative_zero:
        return b.bitcast(b.select(b.cmp("icmp eq", code, _int(m, code, form.nan)), quiet, bits), "float")
    if form.infinity is None:
        special, ends = b.cmp("icmp eq", magnitude, _int(m, code, form.nan)), quiet
    else:
        special = b.cmp("icmp uge", magnitude, _int(m, code, form.infinity))
        ends = b.op("or", shifted, _int(m, code, 0x7F800000))
    return b.bitcast(b.select(special, b.op("or", ends, sign), bits), "float")


def _encode_small(m: Math, x: V, type: DType) -> V:
    b, form = m.b, _form(type)
    mantissa, width = type.fp_mantissa_width, type.bits
    magnitude, sign = _magnitude_bits(m, x)
    size = b.bitcast(magnitude, "float")
    moved = b.op("sub", b.op("lshr", magnitude, _int(m, magnitude, 23 - mantissa)),
                 _int(m, magnitude, (127 - type.exponent_bias) << mantissa))  # fmt: skip
    steps = m.exact("fmul", size, m.like(size, 2.0 ** (type.exponent_bias - 1 + mantissa)))
    tiny = b.cmp("fcmp olt", size, m.like(size, 2.0 ** (1 - type.exponent_bias)))
    code = b.select(tiny, b.cast("fptosi", steps, "i32"), moved)
    if form.infinity is not None:
        code = b.select(b.cmp("fcmp oeq", size, m.like(size, math.inf)), _int(m, code, form.infinity), code)
    if form.nan is not None:
        code = b.select(_is_nan(m, x), _int(m, code, form.nan), code)
    code = b.op("or", code, b.op("lshr", sign, _int(m, code, 32 - width)))
    return b.cast("trunc", code, f"i{width}")
