"""Elementwise ops: one instruction (or a few) for each register of the tile.

The op table's `ptx` column spells the plain ones.  bf16 is computed with as such where the GPU does (`BRAIN`), else in
f32 and rounded back, as the oracle does and as fp8 always is: the results are the same.  i8 and u8 live in 16-bit
registers, extended, and are brought back into range after what may leave it; i1 is a predicate.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from rtriton import layout as L
from rtriton.backend.ptx.emit import Emitter, arith_type, bits_type, is_dtype, lowering
from rtriton.backend.ptx.emit_cast import cast_reg, normalise
from rtriton.backend.ptx.emit_math import MATH
from rtriton.backend.ptx.emit_pack import in_pairs
from rtriton.backend.ptx.operands import Reg
from rtriton.errors import KernelError
from rtriton.ir import Op, Value
from rtriton.language.table import OPS
from rtriton.types import BY_SHORT, DType, Pointer, Scalar, Tile, element_of, float32, show_type

COMPARE = ("eq", "ne", "lt", "le", "gt", "ge")
LOGIC = {"and": "and", "or": "or", "xor": "xor", "add": "xor", "maximum": "or", "mul": "and", "minimum": "and",
         "sub": "xor"}  # fmt: skip
BRAIN = ("fma", "neg", "abs", "minimum", "maximum", "minimum_nan", "maximum_nan")  # of bf16, on every GPU
BRAIN_ARITHMETIC = ("add", "sub", "mul", *COMPARE)  # of bf16, where the target has it
PACKED = ("add", "sub", "mul", *BRAIN)  # of two f16 or bf16 at once
STAYS_IN_RANGE = ("and", "or", "xor", "minimum", "maximum", "shr", "rem")


@lowering("const")
def _const(e: Emitter, op: Op) -> None:
    reg = e.const(op.attrs["value"], element_of(op.result.type))
    e.put(op, [reg] * count(e, op.result))


def count(e: Emitter, value: Value) -> int:
    """How many registers hold a value."""
    return e.layout(value).registers if isinstance(value.type, Tile) else 1


def elementwise(e: Emitter, op: Op) -> None:
    """The op on each register; equal operands are computed once, and so are results known to be equal."""
    operands = [e.regs(v) for v in op.operands]
    if isinstance(op.result.type, Tile):
        equal = leaders(e, op.result)
        operands = [[regs[r] for r in equal] for regs in operands]
    opcode = packed_opcode(e, op)
    if opcode is not None and (pairs := in_pairs(e, opcode, operands)) is not None:
        e.put(op, pairs)
        return
    done: dict[tuple[Reg, ...], Reg] = {}
    out: list[Reg] = []
    for given in zip(*operands, strict=True):
        if given not in done:
            done[given] = apply(e, op, given)
        out.append(done[given])
    e.put(op, out)


def packed_opcode(e: Emitter, op: Op) -> str | None:
    """The instruction that does the op on two elements of 16 bits at once, if there is one."""
    type = element_of(op.result.type)
    if op.kind not in PACKED or type.kind != "f" or type.bits != 16 or not computes(e, op.kind, type):
        return None
    return _rounded(e, op, spelling(op, type), type) + "x2"


def leaders(e: Emitter, value: Value) -> list[int]:
    """For each register the first one whose element is known to be equal, by the value's constancy."""
    layout, constancy = e.layout(value), e.info[value].constancy
    same = 0
    for k, basis in enumerate(layout["register"]):
        axis = L.axis_of(layout, basis)
        if axis is None or basis // prod(layout.shape[axis + 1 :]) < constancy[axis]:
            same |= 1 << k
    return [r & ~same for r in range(layout.registers)]


def apply(e: Emitter, op: Op, args: tuple[Reg, ...]) -> Reg:
    """One element of an elementwise op."""
    first = op.operands[0]
    assert first is not None
    type = element_of(first.type)
    if op.kind in COMPARE:
        return compare(e, op.kind, type, args[0], args[1])
    if op.kind in SPECIAL:
        return SPECIAL[op.kind](e, op, type, args)
    if type.kind == "b":
        return _logic(e, op, args)
    if not computes(e, op.kind, type):
        return _through_f32(e, op, is_dtype(type), args)
    return arithmetic(e, op, type, args)


def computes(e: Emitter, kind: str, type: Scalar) -> bool:
    """Whether the GPU computes an op on elements of this type, not on f32 made of them."""
    if type.kind != "f" or type.bits >= 32 or is_dtype(type).short == "f16":
        return True
    brain = is_dtype(type).short == "bf16"
    return brain and (kind in BRAIN or (kind in BRAIN_ARITHMETIC and e.target.bf16_arithmetic))


def arithmetic(e: Emitter, op: Op, type: Scalar, args: tuple[Reg, ...]) -> Reg:
    """The op on elements of a type the hardware computes with."""
    if op.kind in MATH:
        return MATH[op.kind](e, is_dtype(type), args)
    result = e.pure(_rounded(e, op, spelling(op, type), type), *args)
    return result if op.kind in STAYS_IN_RANGE else normalise(e, result, type)


def _rounded(e: Emitter, op: Op, opcode: str, type: Scalar) -> str:
    """With `.rn` where the kernel forbids fusion: without it ptxas makes an fma of a product and a sum."""
    if type.kind != "f" or op.kind not in ("add", "sub", "mul") or e.kernel.attrs.get("fp_fusion", True):
        return opcode
    return opcode.replace(op.kind, f"{op.kind}.rn", 1)


def spelling(op: Op, type: Scalar) -> str:
    """The instruction of a plain op, by the op table's `ptx` column."""
    column = OPS[op.kind].ptx
    if isinstance(column, Mapping):
        dtype = is_dtype(type)
        found = column.get(dtype.short) or column.get(dtype.kind) or (column.get("i") if dtype.kind == "u" else None)
    else:
        found = column
    if found is None:
        raise KernelError(f"the PTX backend cannot compute {op.kind} of {show_type(type)}", op.span)
    suffix = arith_type(type)
    if op.kind in ("and", "or", "xor", "shl"):
        suffix = bits_type(type)
    return found if found.endswith(f".{suffix}") else f"{found}.{suffix}"


def _through_f32(e: Emitter, op: Op, type: DType, args: tuple[Reg, ...]) -> Reg:
    wide = tuple(cast_reg(e, a, type, float32) for a in args)
    return cast_reg(e, arithmetic(e, op, float32, wide), float32, type)


def _logic(e: Emitter, op: Op, args: tuple[Reg, ...]) -> Reg:
    """i1, modulo 2: + and - are xor, max is or, * and min are and, -x is x."""
    if op.kind == "neg":
        return args[0]
    if op.kind not in LOGIC:
        raise KernelError(f"the PTX backend cannot compute {op.kind} of i1", op.span)
    return e.pure(f"{LOGIC[op.kind]}.pred", *args)


def compare(e: Emitter, kind: str, type: Scalar, a: Reg, b: Reg) -> Reg:
    if type.kind == "b":
        return _compare_masks(e, kind, a, b)
    if not computes(e, kind, type):
        a, b, type = cast_reg(e, a, type, float32), cast_reg(e, b, type, float32), float32
    word = "neu" if kind == "ne" and type.kind == "f" else kind
    return e.pure(f"setp.{word}.{arith_type(type)}", a, b)


def _compare_masks(e: Emitter, kind: str, a: Reg, b: Reg) -> Reg:
    """i1 compared as 0 and 1."""
    if kind in ("ne", "eq"):
        differ = e.pure("xor.pred", a, b)
        return differ if kind == "ne" else e.pure("not.pred", differ)
    if kind in ("gt", "ge"):
        a, b = b, a
    return e.pure("and.pred" if kind in ("lt", "gt") else "or.pred", e.pure("not.pred", a), b)


# -- ops with a lowering of their own ----------------------------------------------------------------------------------


def _add(e: Emitter, op: Op, type: Scalar, args: tuple[Reg, ...]) -> Reg:
    """Constants are kept apart, so that addresses can fold them."""
    if type.kind not in "iu" or type.bits < 32:
        return _plain(e, op, type, args)
    (a, ca), (b, cb) = (e.split_affine(x) for x in args)
    for x, cx, y, cy in ((a, ca, b, cb), (b, cb, a, ca)):
        if y in e.constants and op.kind == "add":
            return e.plus(x, cx + cy + _signed(e.constants[y], type.bits))
    if op.kind == "sub" and b in e.constants:
        return e.plus(a, ca - cb - _signed(e.constants[b], type.bits))
    if not ca and not cb:
        return _plain(e, op, type, args)
    base = e.pure(f"{op.kind}.{arith_type(type)}", a, b)
    return e.plus(base, ca + cb if op.kind == "add" else ca - cb)


def _signed(value: int, bits: int) -> int:
    value %= 1 << bits
    return value - (1 << bits) if value >> (bits - 1) else value


def _plain(e: Emitter, op: Op, type: Scalar, args: tuple[Reg, ...]) -> Reg:
    if type.kind == "b":
        return _logic(e, op, args)
    if not computes(e, op.kind, type):
        return _through_f32(e, op, is_dtype(type), args)
    return arithmetic(e, op, type, args)


def _mul(e: Emitter, op: Op, type: Scalar, args: tuple[Reg, ...]) -> Reg:
    if type.kind not in "iu" or type.bits < 32:
        return _plain(e, op, type, args)
    for x, y in (args, args[::-1]):
        base, constant = e.split_affine(x)
        if y in e.constants:
            by = _signed(e.constants[y], type.bits)
            if by == 1:
                return x
            if constant:
                return e.plus(_times(e, base, by, type), constant * by)
            return _times(e, x, by, type)
    return _plain(e, op, type, args)


def _times(e: Emitter, x: Reg, by: int, type: Scalar) -> Reg:
    if by > 0 and by & (by - 1) == 0:
        return e.pure(f"shl.b{type.bits}", x, by.bit_length() - 1)
    return e.pure(f"mul.lo.s{type.bits}", x, by)


def _shift(e: Emitter, op: Op, type: Scalar, args: tuple[Reg, ...]) -> Reg:
    amount = args[1]
    if type.kind == "b":                     # one bit, by 0 or 1
        return e.pure("and.pred", args[0], e.pure("not.pred", amount))
    if amount in e.constants:
        distance = e.constants[amount]
        if op.kind == "shl" and type.kind in "iu" and type.bits >= 32 and 0 <= distance < type.bits - 1:
            base, constant = e.split_affine(args[0])
            return e.plus(e.pure(f"shl.b{type.bits}", base, distance), constant << distance)
        shifted = e.pure(spelling(op, type), args[0], max(0, min(distance, 255)))
        return normalise(e, shifted, type) if op.kind == "shl" else shifted
    if type.bits <= 16:
        amount = e.pure("cvt.u32.u16", amount)
    elif type.bits == 64:
        amount = e.pure("cvt.u32.u64", amount)
    result = e.pure(spelling(op, type), args[0], amount)
    return normalise(e, result, type) if op.kind == "shl" else result


def _div(e: Emitter, op: Op, type: Scalar, args: tuple[Reg, ...]) -> Reg:
    if type.kind != "f":
        return _plain(e, op, type, args)
    dtype = is_dtype(type)
    if dtype.short == "f64":
        return e.pure("div.rn.f64", *args)
    how = "div.full.f32" if op.kind == "div" else "div.rn.f32"
    wide = [cast_reg(e, a, dtype, float32) for a in args]
    return cast_reg(e, e.pure(how, *wide), float32, dtype)


def _rem(e: Emitter, op: Op, type: Scalar, args: tuple[Reg, ...]) -> Reg:
    """Floats: x - trunc(x / y) * y, with the sign of x."""
    if type.kind != "f":
        return _plain(e, op, type, args)
    dtype = is_dtype(type)
    wide = dtype if dtype.bits >= 32 else float32
    x, y = (cast_reg(e, a, dtype, wide) for a in args)
    t = wide.short
    whole = e.pure(f"cvt.rzi.{t}.{t}", e.pure(f"div.rn.{t}", x, y))
    rest = e.pure(f"fma.rn.{t}", e.pure(f"neg.{t}", whole), y, x)
    return cast_reg(e, rest, wide, dtype)


def _neg(e: Emitter, op: Op, type: Scalar, args: tuple[Reg, ...]) -> Reg:
    if type.kind in "iu":
        negative = e.pure(f"neg.s{max(16, type.bits)}", args[0])
        return normalise(e, negative, type)
    return _plain(e, op, type, args)


def _abs(e: Emitter, op: Op, type: Scalar, args: tuple[Reg, ...]) -> Reg:
    return args[0] if type.kind in "ub" else _plain(e, op, type, args)


def _extreme_nan(e: Emitter, op: Op, type: Scalar, args: tuple[Reg, ...]) -> Reg:
    if is_dtype(type).short != "f64":
        return _plain(e, op, type, args)
    nan = e.pure("setp.nan.f64", *args)
    return e.pure("selp.f64", e.pure("add.f64", *args), e.pure(f"{op.kind[:3]}.f64", *args), nan)


def _umulhi(e: Emitter, op: Op, type: Scalar, args: tuple[Reg, ...]) -> Reg:
    if type.bits < 32:
        raise KernelError(f"umulhi needs 32 or 64-bit integers, got {show_type(type)}", op.span)
    return e.pure(f"mul.hi.u{type.bits}", *args)


def _rounding(mode: str) -> Callable[[Emitter, Op, Scalar, tuple[Reg, ...]], Reg]:
    def lower(e: Emitter, op: Op, type: Scalar, args: tuple[Reg, ...]) -> Reg:
        dtype = is_dtype(type)
        wide = dtype if dtype.short in ("f16", "f32", "f64") else float32
        x = cast_reg(e, args[0], dtype, wide)
        return cast_reg(e, e.pure(f"cvt.{mode}.{wide.short}.{wide.short}", x), wide, dtype)

    return lower


def _where(e: Emitter, op: Op, type: Scalar, args: tuple[Reg, ...]) -> Reg:
    return select(e, element_of(op.result.type), *args)


def select(e: Emitter, type: Scalar, condition: Reg, x: Reg, y: Reg) -> Reg:
    """x where `condition`, else y."""
    if x == y:
        return x
    if type.kind != "b":
        return e.pure(f"selp.{bits_type(type)}", x, y, condition)
    yes = e.pure("and.pred", condition, x)
    no = e.pure("and.pred", e.pure("not.pred", condition), y)
    return e.pure("or.pred", yes, no)


def _cast(e: Emitter, op: Op, type: Scalar, args: tuple[Reg, ...]) -> Reg:
    return cast_reg(e, args[0], type, op.attrs["to"], op.attrs.get("rounding", "rtne"))


def _bitcast(e: Emitter, op: Op, type: Scalar, args: tuple[Reg, ...]) -> Reg:
    """Registers are untyped; only the extension of bytes differs."""
    to = op.attrs["to"]
    if type.bits == 8:
        return normalise(e, args[0], to) if to.kind in "iu" else normalise(e, args[0], BY_SHORT["u8"])
    return args[0]


def _addptr(e: Emitter, op: Op, type: Scalar, args: tuple[Reg, ...]) -> Reg:
    """pointer + offset * size: offsets stay 32 bits wide up to here, their constants become the address's."""
    assert isinstance(type, Pointer)
    size = type.element.itemsize
    offset = op.operands[1]
    assert offset is not None
    kind = element_of(offset.type)
    (base, high), (index, low) = e.split_affine(args[0]), (args[1], 0)
    if kind.kind == "i" and kind.bits >= 32:
        index, low = e.split_affine(args[1])
    if index in e.constants and (kind.kind == "i" or low == 0):
        return e.plus(base, high + (e.constants[index] + low) * size)
    if kind.bits <= 16:
        index = e.pure(f"cvt.{'s' if kind.kind == 'i' else 'u'}32.{arith_type(kind)}", index)
    if kind.bits <= 32:
        moved = e.pure("add.s64", base, e.pure(f"mul.wide.{'s' if kind.kind == 'i' else 'u'}32", index, size))
    else:
        moved = e.pure("mad.lo.s64", index, size, base) if size > 1 else e.pure("add.s64", base, index)
    return e.plus(moved, high + low * size)


Special = Callable[[Emitter, Op, Scalar, tuple[Reg, ...]], Reg]
SPECIAL: dict[str, Special] = {
    "add": _add, "sub": _add, "mul": _mul, "shl": _shift, "shr": _shift, "div": _div, "div_rn": _div, "rem": _rem,
    "neg": _neg, "abs": _abs, "minimum_nan": _extreme_nan, "maximum_nan": _extreme_nan, "umulhi": _umulhi,
    "floor": _rounding("rmi"), "ceil": _rounding("rpi"), "where": _where, "cast": _cast, "bitcast": _bitcast,
    "addptr": _addptr,
}  # fmt: skip

for _name, _row in OPS.items():
    if _row.elementwise:
        lowering(_name)(elementwise)
