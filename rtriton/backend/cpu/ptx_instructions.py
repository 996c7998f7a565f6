"""What PTX instructions do, in ops of tile IR: arithmetic, bits, comparisons, conversions, moves.

A rule reads its operands from the registers and writes its results; `Unknown` says that it has no such form.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rtriton.backend.ptx.emulate.program import Group, Instruction, Literal, Pair
from rtriton.ir import Value
from rtriton.types import BY_SHORT, DType, element_of, float32, int1

if TYPE_CHECKING:
    from rtriton.backend.cpu.assembly import Registers

Rule = Callable[["Registers", Instruction], None]
INSTRUCTIONS: dict[str, Rule] = {}
TYPES: dict[str, DType] = {
    "pred": int1, **{f"{letter}{n}": BY_SHORT[f"{'i' if letter == 's' else 'u'}{n}"]
                     for letter in "bsu" for n in (8, 16, 32, 64)},
    **{name: BY_SHORT[name] for name in ("f16", "bf16", "f32", "f64")}, "e4m3": BY_SHORT["f8e4"],
    "e5m2": BY_SHORT["f8e5"]}  # fmt: skip
ROUNDINGS = frozenset(("rz", "rm", "rp", "rna", "rs"))
U32, U64 = BY_SHORT["u32"], BY_SHORT["u64"]


class Unknown(Exception):
    """An instruction, or a form of one, that is not translated."""


def instruction(*names: str) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        INSTRUCTIONS.update(dict.fromkeys(names, rule))
        return rule

    return add


# -- floats and integers ----------------------------------------------------------------------------------------------

UNARY = {"neg": "neg", "abs": "abs", "sqrt": "sqrt", "rsqrt": "rsqrt", "ex2": "exp2", "lg2": "log2", "sin": "sin",
         "cos": "cos", "tanh": "tanh"}  # fmt: skip
BINARY = {"add": "add", "sub": "sub", "min": "minimum", "max": "maximum", "div": "div", "rem": "rem", "and": "and",
          "or": "or", "xor": "xor"}  # fmt: skip


def _finished(r: Registers, inst: Instruction, x: Value) -> Value:
    """Flushed and saturated as the instruction says."""
    element = element_of(x.type)
    if element.kind != "f":
        if "sat" in inst.parts:
            raise Unknown("saturating integers")
        return x
    if not ROUNDINGS.isdisjoint(inst.parts):
        raise Unknown("rounds otherwise than to nearest")
    assert isinstance(element, DType)
    if "ftz" in inst.parts:
        x = _flushed(r, x, element)
    if "sat" in inst.parts:
        x = r.one("minimum", r.one("maximum", x, r.const(0.0, element)), r.const(1.0, element))
    return x


def _flushed(r: Registers, x: Value, element: DType) -> Value:
    """Numbers below the smallest normal one as zeros of their sign."""
    tiny = r.one("lt", r.one("abs", x), r.const(2.0 ** (1 - element.exponent_bias), element))
    return r.one("where", tiny, r.one("mul", x, r.const(0.0, element)), x)


def _sources(r: Registers, inst: Instruction, type: str) -> list[Value]:
    found = [r.read(o, type) for o in inst.operands[1:]]
    element = TYPES[type]
    return [_flushed(r, x, element) for x in found] if "ftz" in inst.parts and element.kind == "f" else found


def _each_half(r: Registers, inst: Instruction, work: Callable[[list[Value], str], Value]) -> None:
    """An instruction on two 16-bit numbers in a register does the same to both."""
    type = inst.parts[-1].removesuffix("x2")
    halves: list[list[Value]] = [[], []]
    for operand in inst.operands[1:]:
        whole = r.read(operand, "b32")
        for k in range(2):
            part = r.cast(r.one("shr", whole, r.const(16 * k, U32)) if k else whole, BY_SHORT["u16"])
            halves[k].append(r.seen_as(part, TYPES[type]))
    low, high = (work(half, type) for half in halves)
    r.write(inst.operands[0], joined(r, [low, high], U32))


def joined(r: Registers, parts: Sequence[Value], to: DType) -> Value:
    """Values side by side in one of type `to`, the first in the lowest bits."""
    total: Value | None = None
    at = 0
    for part in parts:
        raw = r.raw(part)
        wide = r.cast(raw, to)
        if at:
            wide = r.one("shl", wide, r.const(at, to))
        total = wide if total is None else r.one("or", total, wide)
        at += element_of(raw.type).bits
    assert total is not None
    return total


def _apply(r: Registers, inst: Instruction, work: Callable[[list[Value], str], Value]) -> None:
    type = inst.parts[-1]
    if type.endswith("x2"):
        _each_half(r, inst, lambda xs, t: _finished(r, inst, work(xs, t)))
        return
    r.write(inst.operands[0], _finished(r, inst, work(_sources(r, inst, type), type)))


@instruction(*UNARY)
def _unary(r: Registers, inst: Instruction) -> None:
    kind = UNARY[inst.parts[0]]
    if kind == "sqrt" and "rn" in inst.parts:
        kind = "sqrt_rn"

    def work(xs: list[Value], type: str) -> Value:
        narrow = element_of(xs[0].type).bits < 32 and kind not in ("neg", "abs")
        done = r.one(kind, r.cast(xs[0], float32) if narrow else xs[0])
        return r.cast(done, TYPES[type])

    _apply(r, inst, work)


@instruction("rcp")
def _rcp(r: Registers, inst: Instruction) -> None:
    _apply(r, inst, lambda xs, t: r.one("div_rn" if "rn" in inst.parts else "div", r.const(1.0, TYPES[t]), xs[0]))


@instruction("not")
def _not(r: Registers, inst: Instruction) -> None:
    def work(xs: list[Value], type: str) -> Value:
        element = TYPES[type]
        ones = r.const(True, int1) if element == int1 else r.const(element.get_int_max_value(), element)
        return r.one("xor", xs[0], ones)

    _apply(r, inst, work)


@instruction(*BINARY)
def _binary(r: Registers, inst: Instruction) -> None:
    kind = BINARY[inst.parts[0]]
    if "cc" in inst.parts or "xorsign" in inst.parts:
        raise Unknown("with carry or .xorsign")
    if kind in ("minimum", "maximum") and "NaN" in inst.parts:
        kind += "_nan"
    if kind == "div" and "rn" in inst.parts:
        kind = "div_rn"
    _apply(r, inst, lambda xs, t: r.one(kind, *xs))


@instruction("mul", "mad", "fma")
def _multiply(r: Registers, inst: Instruction) -> None:
    type = inst.parts[-1]
    if TYPES.get(type.removesuffix("x2"), U32).kind == "f":
        _apply(r, inst, lambda xs, t: r.one("fma" if len(xs) == 3 else "mul", *xs))
        return
    if "cc" in inst.parts or "sat" in inst.parts:
        raise Unknown("with carry or saturation")
    x, y = (r.read(o, type) for o in inst.operands[1:3])
    element = TYPES[type]
    if "lo" in inst.parts:
        product = r.one("mul", x, y)
    elif element.bits == 64:
        raise Unknown("the upper half of a 64-bit product")
    else:
        wide = BY_SHORT[f"{element.short[0]}{2 * element.bits}"]
        product = r.one("mul", r.cast(x, wide), r.cast(y, wide))
        if "hi" in inst.parts:
            product = r.cast(r.one("shr", product, r.const(element.bits, wide)), element)
    if inst.parts[0] == "mad":
        third = element_of(product.type)
        name = next(n for n, t in TYPES.items() if t == third and n[0] in "su")
        product = r.one("add", product, r.read(inst.operands[3], name))
    r.write(inst.operands[0], product)


# -- bits --------------------------------------------------------------------------------------------------------------


def shifted(r: Registers, kind: str, x: Value, count: Value) -> Value:
    """PTX shifts by as much as asked: beyond the width zeros, or the sign, are left."""
    element = element_of(x.type)
    assert isinstance(element, DType)
    bits = element.bits
    beyond = r.one("ge", count, r.const(bits, U32))
    if element.kind == "i" and kind == "shr":
        most = r.one("where", beyond, r.const(bits - 1, U32), count)
        return r.one("shr", x, r.cast(most, element))
    within = r.cast(r.one("and", count, r.const(bits - 1, U32)), element)
    return r.one("where", beyond, r.const(0, element), r.one(kind, x, within))


@instruction("shl", "shr")
def _shift(r: Registers, inst: Instruction) -> None:
    x, count = r.read(inst.operands[1], inst.parts[-1]), r.read(inst.operands[2], "u32")
    r.write(inst.operands[0], shifted(r, inst.parts[0], x, count))


@instruction("shf")
def _funnel(r: Registers, inst: Instruction) -> None:
    """A pair of words shifted; the upper word of the left shift, the lower of the right."""
    low, high, count = (r.read(o, "u32") for o in inst.operands[1:4])
    if "wrap" in inst.parts:
        count = r.one("and", count, r.const(31, U32))
    else:
        count = r.one("minimum", count, r.const(32, U32))
    pair = joined(r, [low, high], U64)
    wide = r.cast(count, U64)
    if "l" in inst.parts:
        r.write(inst.operands[0], r.cast(r.one("shr", r.one("shl", pair, wide), r.const(32, U64)), U32))
    else:
        r.write(inst.operands[0], r.cast(r.one("shr", pair, wide), U32))


@instruction("lop3")
def _lop3(r: Registers, inst: Instruction) -> None:
    """Any function of three bits, by its table: bit 4a + 2b + c of the last operand."""
    xs = [r.read(o, "b32") for o in inst.operands[1:4]]
    table = inst.operands[4]
    if not isinstance(table, Literal):
        raise Unknown("without a literal table")
    ones = r.const(0xFFFFFFFF, U32)
    total = r.const(0, U32)
    for row in range(8):
        if table.value >> row & 1:
            terms = [x if row >> (2 - k) & 1 else r.one("xor", x, ones) for k, x in enumerate(xs)]
            total = r.one("or", total, r.one("and", r.one("and", terms[0], terms[1]), terms[2]))
    r.write(inst.operands[0], total)


@instruction("prmt")
def _prmt(r: Registers, inst: Instruction) -> None:
    """Four of the eight bytes of two words; bit 3 of a selector spreads the byte's sign instead."""
    if len(inst.parts) > 2:
        raise Unknown("with a mode")
    a, b, selector = (r.read(o, "b32") for o in inst.operands[1:4])
    pair, total = joined(r, [a, b], U64), r.const(0, U32)
    for k in range(4):
        chosen = r.one("shr", selector, r.const(4 * k, U32))
        at = r.one("shl", r.one("and", chosen, r.const(7, U32)), r.const(3, U32))
        byte = r.one("and", r.cast(r.one("shr", pair, r.cast(at, U64)), U32), r.const(255, U32))
        sign = r.one("mul", r.one("shr", byte, r.const(7, U32)), r.const(255, U32))
        spread = r.one("ne", r.one("and", chosen, r.const(8, U32)), r.const(0, U32))
        total = r.one("or", total, r.one("shl", r.one("where", spread, sign, byte), r.const(8 * k, U32)))
    r.write(inst.operands[0], total)


@instruction("bfe")
def _bfe(r: Registers, inst: Instruction) -> None:
    """A field of bits, literal place and length, extended."""
    element = TYPES[inst.parts[-1]]
    start, length = (o.value & 255 if isinstance(o, Literal) else -1 for o in inst.operands[2:4])
    if start < 0 or length < 1 or start + length > element.bits:
        raise Unknown("but for a literal field inside the register")
    x = r.read(inst.operands[1], inst.parts[-1])
    up = r.one("shl", x, r.const(element.bits - start - length, element))
    r.write(inst.operands[0], r.one("shr", up, r.const(element.bits - length, element)))


@instruction("bfi")
def _bfi(r: Registers, inst: Instruction) -> None:
    """The low bits of one put into a literal field of another."""
    element = TYPES[inst.parts[-1]]
    start, length = (o.value & 255 if isinstance(o, Literal) else -1 for o in inst.operands[3:5])
    if start < 0 or length < 1 or start + length > element.bits:
        raise Unknown("but for a literal field inside the register")
    mask = ((1 << length) - 1) << start
    field, base = (r.read(o, inst.parts[-1]) for o in inst.operands[1:3])
    moved = r.one("and", r.one("shl", field, r.const(start, element)), r.const(mask, element))
    kept = r.one("and", base, r.const(mask ^ element.get_int_max_value(), element))
    r.write(inst.operands[0], r.one("or", moved, kept))


def _popcount(r: Registers, x: Value) -> Value:
    """Set bits of a 32-bit word: sums of neighbours of 1, 2 and 4 bits, then of the bytes."""
    def field(value: Value, by: int, mask: int) -> Value:
        return r.one("and", r.one("shr", value, r.const(by, U32)) if by else value, r.const(mask, U32))

    x = r.one("sub", x, field(x, 1, 0x55555555))
    x = r.one("add", field(x, 0, 0x33333333), field(x, 2, 0x33333333))
    x = r.one("and", r.one("add", x, r.one("shr", x, r.const(4, U32))), r.const(0x0F0F0F0F, U32))
    return r.one("shr", r.one("mul", x, r.const(0x01010101, U32)), r.const(24, U32))


@instruction("popc", "clz", "brev")
def _counted(r: Registers, inst: Instruction) -> None:
    if inst.parts[-1] != "b32":
        raise Unknown("but for 32 bits")
    x = r.read(inst.operands[1], "b32")
    if inst.parts[0] == "popc":
        x = _popcount(r, x)
    elif inst.parts[0] == "clz":
        for by in (1, 2, 4, 8, 16):
            x = r.one("or", x, r.one("shr", x, r.const(by, U32)))
        x = r.one("sub", r.const(32, U32), _popcount(r, x))
    else:
        for by, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF), (16, 0x0000FFFF)):
            low = r.one("shl", r.one("and", x, r.const(mask, U32)), r.const(by, U32))
            x = r.one("or", low, r.one("and", r.one("shr", x, r.const(by, U32)), r.const(mask, U32)))
    r.write(inst.operands[0], x)


# -- comparisons and moves --------------------------------------------------------------------------------------------

COMPARISONS = {"eq": "eq", "ne": "ne", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge", "lo": "lt", "ls": "le",
               "hi": "gt", "hs": "ge"}  # fmt: skip
UNORDERED = {"equ": "ne", "neu": "eq", "ltu": "ge", "leu": "gt", "gtu": "le", "geu": "lt"}  # each by its opposite


def _negated(r: Registers, x: Value) -> Value:
    return r.one("xor", x, r.const(True, int1))


def _compared(r: Registers, how: str, x: Value, y: Value) -> Value:
    if how in ("num", "nan"):
        numbers = r.one("and", r.one("eq", x, x), r.one("eq", y, y))
        return numbers if how == "num" else _negated(r, numbers)
    if how in UNORDERED:
        if how == "neu":
            return r.one("ne", x, y)
        ordered = r.one(UNORDERED[how], x, y)
        return r.one("or", r.one("eq", x, y), _compared(r, "nan", x, y)) if how == "equ" else _negated(r, ordered)
    if how == "ne" and element_of(x.type).kind == "f":
        return r.one("and", r.one("ne", x, y), _compared(r, "num", x, y))
    return r.one(COMPARISONS[how], x, y)


@instruction("setp")
def _setp(r: Registers, inst: Instruction) -> None:
    x, y = (r.read(o, inst.parts[-1]) for o in inst.operands[1:3])
    found = _compared(r, inst.parts[1], x, y)
    other = _negated(r, found)
    join = next((p for p in inst.parts[2:-1] if p in ("and", "or", "xor")), None)
    if join is not None:
        third = r.read(inst.operands[3], "pred")
        found, other = r.one(join, found, third), r.one(join, other, third)
    first = inst.operands[0]
    if isinstance(first, Pair):
        r.write(first.second, other)
        first = first.first
    r.write(first, found)


@instruction("selp")
def _selp(r: Registers, inst: Instruction) -> None:
    x, y = (r.read(o, inst.parts[-1]) for o in inst.operands[1:3])
    r.write(inst.operands[0], r.one("where", r.read(inst.operands[3], "pred"), x, y))


@instruction("mov")
def _mov(r: Registers, inst: Instruction) -> None:
    """A copy, or several registers to or from one."""
    to, source = inst.operands
    whole = TYPES[inst.parts[-1]]
    if isinstance(source, Group):
        width = f"b{whole.bits // len(source.items)}"
        r.write(to, joined(r, [r.read(o, width) for o in source.items], whole))
    elif isinstance(to, Group):
        width = whole.bits // len(to.items)
        value = r.read(source, inst.parts[-1])
        for k, item in enumerate(to.items):
            part = r.one("shr", value, r.const(k * width, whole)) if k else value
            r.write(item, r.cast(part, BY_SHORT[f"u{width}"]))
    else:
        r.write(to, r.read(source, inst.parts[-1]))


# -- conversions -------------------------------------------------------------------------------------------------------

TO_INTEGER = {"rzi": "", "rmi": "floor", "rpi": "ceil"}


@instruction("cvt")
def _cvt(r: Registers, inst: Instruction) -> None:
    to, source = inst.parts[-2:]
    if to.endswith("x2"):
        _packed(r, inst, to.removesuffix("x2"), source)
        return
    x, element = r.read(inst.operands[1], source), TYPES[to]
    mode = next((p for p in inst.parts[1:-2] if p in TO_INTEGER or p in ("rni", "rz", "rm", "rp")), "")
    if mode in ("rm", "rp") or "sat" in inst.parts:
        raise Unknown("in this rounding")
    if element_of(x.type).kind == "f" and (element.kind != "f" or mode in (*TO_INTEGER, "rni")):
        x = _whole_number(r, x, mode, element)
    if mode == "rz" and element.kind == "f":
        r.write(inst.operands[0], r.one("cast", x, to=element, rounding="rtz"))
        return
    r.write(inst.operands[0], r.cast(x, element))


def _whole_number(r: Registers, x: Value, mode: str, to: DType) -> Value:
    """A float rounded to a whole number; a cast to integers truncates by itself."""
    if mode == "rzi" and to.kind != "f":
        return x
    if mode == "rzi":
        source = element_of(x.type)
        assert isinstance(source, DType)
        below = r.one("lt", x, r.const(0.0, source))
        return r.one("where", below, r.one("ceil", x), r.one("floor", x))
    if mode in TO_INTEGER:
        return r.one(TO_INTEGER[mode], x)
    if mode != "rni":
        raise Unknown("without a rounding to whole numbers")
    element = element_of(x.type)
    assert isinstance(element, DType)
    down, half = r.one("floor", x), r.const(0.5, element)
    rest = r.one("sub", x, down)
    even = r.one("eq", r.one("mul", r.one("floor", r.one("mul", down, half)), r.const(2.0, element)), down)
    up = r.one("or", r.one("gt", rest, half), r.one("and", r.one("eq", rest, half), _negated(r, even)))
    return r.one("where", up, r.one("add", down, r.const(1.0, element)), down)


def _packed(r: Registers, inst: Instruction, to: str, source: str) -> None:
    """Two numbers converted into one register: the first operand goes into the upper half."""
    element = TYPES[to]
    rounding = {"rounding": "rtz"} if "rz" in inst.parts else {}
    if source.endswith("x2"):
        whole = r.raw(r.read(inst.operands[1], f"b{2 * TYPES[source.removesuffix('x2')].bits}"))
        width = element_of(whole.type).bits // 2
        word = element_of(whole.type)
        assert isinstance(word, DType)
        parts = [r.cast(r.one("shr", whole, r.const(width * k, word)) if k else whole, BY_SHORT[f"u{width}"])
                 for k in range(2)]
        numbers = [r.seen_as(p, TYPES[source.removesuffix("x2")]) for p in parts]
    else:
        numbers = [r.read(o, source) for o in reversed(inst.operands[1:3])]
    if "relu" in inst.parts:
        raise Unknown("with .relu")
    if element.is_fp8() and "satfinite" not in inst.parts:
        raise Unknown("without .satfinite")
    made = [r.one("cast", n, to=element, **rounding) if element_of(n.type) != element else n for n in numbers]
    r.write(inst.operands[0], joined(r, made, BY_SHORT[f"u{2 * element.bits}"]))

