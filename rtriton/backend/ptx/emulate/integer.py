"""Integer arithmetic and bit instructions, and moves."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rtriton import numerics
from rtriton.backend.ptx.emulate.decode import DTYPES, Decoder, family
from rtriton.backend.ptx.emulate.program import Group, Instruction
from rtriton.backend.ptx.emulate.state import STORAGE, Array, Index, Step, where

Function = Callable[..., Any]
Unary = Callable[[Any], Any]
Binary = Callable[[Any, Any], Any]


def apply(d: Decoder, inst: Instruction, function: Function, result: str, *types: str) -> Step:
    """A step that computes one result from operands of these types; `function` gives a fresh array."""
    put = d.put(inst.operands[0], result)
    gets = [d.get(operand, type) for operand, type in zip(inst.operands[1:], types, strict=True)]
    match gets:
        case [a]:
            return lambda index: put(index, function(a(index)))
        case [a, b]:
            return lambda index: put(index, function(a(index), b(index)))
        case [a, b, c]:
            return lambda index: put(index, function(a(index), b(index), c(index)))
        case _:
            return lambda index: put(index, function(*(get(index) for get in gets)))


def saturating(function: Function) -> Function:
    """s32 arithmetic that stays at its ends."""
    low, high = np.iinfo(np.int32).min, np.iinfo(np.int32).max

    def run(a: Any, b: Any) -> Any:
        return np.clip(function(a.astype(np.int64), b.astype(np.int64)), low, high).astype(np.int32)

    return run


def high_product(a: Any, b: Any) -> Any:
    """The upper half of a product."""
    if a.dtype.itemsize < 8:
        wide = np.dtype(f"{a.dtype.kind}{2 * a.dtype.itemsize}")
        product = np.multiply(a, b, dtype=wide)
        return (product >> wide.type(8 * a.dtype.itemsize)).astype(a.dtype)
    high = numerics.umulhi(np.atleast_1d(a), np.atleast_1d(b))
    if a.dtype.kind == "i":  # from the unsigned product: take off b where a is negative, and a where b is
        high = high - where(np.atleast_1d(a) < 0, b, 0) - where(np.atleast_1d(b) < 0, a, 0)
    return high


def quotient(a: Any, b: Any) -> Any:
    """Division toward zero; by zero all bits are set, as the hardware's sequence gives."""
    return where(b == 0, np.asarray(-1).astype(a.dtype), numerics.divide(*np.broadcast_arrays(a, b)))


def remainder(a: Any, b: Any) -> Any:
    """What `quotient` leaves; by zero the dividend."""
    return where(b == 0, a, numerics.remainder(*np.broadcast_arrays(a, b)))


INTEGERS: dict[str, Function] = {
    "add": np.add, "sub": np.subtract, "min": np.minimum, "max": np.maximum, "div": quotient, "rem": remainder,
    "abs": np.abs, "neg": np.negative,
}


def distance(a: Any, b: Any, c: Any) -> Any:
    """sad: how far a and b are apart, added to c."""
    return c + where(a > b, a - b, b - a)


def integers(d: Decoder, inst: Instruction) -> Step:
    """add, sub, min, max, div, rem, abs, neg and sad on integer types, also packed 16-bit ones."""
    name, type = inst.parts[0], inst.parts[-1]
    function = distance if name == "sad" else INTEGERS[name]
    if "sat" in inst.parts:
        function = saturating(function)
    if type in ("u16x2", "s16x2"):
        function = _in_halves(function, DTYPES[type[:3]])
    return apply(d, inst, function, type, *[type] * (len(inst.operands) - 1))


def _in_halves(function: Function, dtype: Any) -> Function:
    def run(*values: Any) -> Any:
        return function(*(halves(value, dtype) for value in values)).view(np.uint32)

    return run


def halves(value: Any, dtype: Any) -> Array:
    """A 32-bit register as its two 16-bit parts, twice as many elements."""
    return np.atleast_1d(np.ascontiguousarray(value)).view(dtype)


@family("mul", "mad")
def multiply(d: Decoder, inst: Instruction) -> Step:
    """mul and mad: low or high half, or the wide product; floats elsewhere."""
    from rtriton.backend.ptx.emulate import floating

    if inst.parts[-1][0] not in "su":
        return floating.arithmetic(d, inst)
    mode, type = inst.parts[1], inst.parts[2]
    result = f"{type[0]}{2 * int(type[1:])}" if mode == "wide" else type
    products: dict[str, Binary] = {"lo": np.multiply, "hi": high_product,
                                     "wide": lambda a, b: np.multiply(a, b, dtype=DTYPES[result])}
    product = products[mode]
    if inst.parts[0] == "mul":
        return apply(d, inst, product, result, type, type)

    def run(a: Any, b: Any, c: Any) -> Any:
        return product(a, b) + c

    return apply(d, inst, run, result, type, type, result)


@family("and", "or", "xor")
def bitwise(d: Decoder, inst: Instruction) -> Step:
    """and, or, xor on bits and predicates."""
    functions: dict[str, Function] = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}
    return apply(d, inst, functions[inst.parts[0]], inst.parts[1], inst.parts[1], inst.parts[1])


@family("not")
def invert(d: Decoder, inst: Instruction) -> Step:
    """not on bits and predicates."""
    return apply(d, inst, np.bitwise_not, inst.parts[1], inst.parts[1])


@family("shl", "shr")
def shift(d: Decoder, inst: Instruction) -> Step:
    """Shifts; by the width or more nothing is left, or the sign."""
    type = inst.parts[1]
    dtype = DTYPES[type]
    bits = 8 * dtype.itemsize
    signed = dtype.kind == "i"

    def left(a: Any, by: Any) -> Any:
        return where(by < bits, a << np.minimum(by, bits - 1).astype(dtype), dtype.type(0))

    def right(a: Any, by: Any) -> Any:
        moved = a >> np.minimum(by, bits - 1).astype(dtype)
        return moved if signed else where(by < bits, moved, dtype.type(0))

    return apply(d, inst, left if inst.parts[0] == "shl" else right, type, type, "u32")


@family("shf")
def funnel(d: Decoder, inst: Instruction) -> Step:
    """shf: 32 bits out of a shifted pair; the second operand is the upper half."""
    to_left, clamp = inst.parts[1] == "l", inst.parts[2] == "clamp"

    def run(low: Any, high: Any, by: Any) -> Any:
        by = (np.minimum(by, 32) if clamp else by & 31).astype(np.uint64)
        pair = high.astype(np.uint64) << np.uint64(32) | low.astype(np.uint64)
        moved = (pair << by) >> np.uint64(32) if to_left else pair >> by
        return (moved & np.uint64(0xFFFFFFFF)).astype(np.uint32)

    return apply(d, inst, run, "b32", "b32", "b32", "u32")


@family("lop3")
def lop3(d: Decoder, inst: Instruction) -> Step:
    """Any function of three bits, given by its truth table."""
    def run(a: Any, b: Any, c: Any, table: Any) -> Any:
        result = np.zeros_like(a & b & c)
        for case in range(8):
            if int(np.ravel(table)[0]) >> case & 1:
                result = result | ((a if case & 4 else ~a) & (b if case & 2 else ~b) & (c if case & 1 else ~c))
        return result

    return apply(d, inst, run, "b32", "b32", "b32", "b32", "b32")


@family("bfe")
def extract(d: Decoder, inst: Instruction) -> Step:
    """A bit field; a signed one is extended by its last bit inside the register."""
    type = inst.parts[1]
    dtype, bits = DTYPES[type], 8 * DTYPES[type].itemsize
    unsigned: Any = np.dtype(STORAGE[bits])

    def run(a: Any, position: Any, length: Any) -> Any:
        start, count = (position & 255).astype(np.int64), (length & 255).astype(np.int64)
        mask = where(count >= bits, ~unsigned.type(0), _ones(np.minimum(count, bits - 1), unsigned))
        source = a.view(unsigned)
        field = where(start < bits, source >> np.minimum(start, bits - 1).astype(unsigned), unsigned.type(0)) & mask
        if dtype.kind == "i":
            last = np.minimum(start + count - 1, bits - 1)
            negative = (count > 0) & ((source >> np.maximum(last, 0).astype(unsigned)) & unsigned.type(1) == 1)
            inside = _ones(np.clip(np.minimum(count, bits - start), 0, bits - 1), unsigned)
            whole = (np.minimum(count, bits - start) >= bits)
            field = where(negative, where(whole, field, (field & inside) | ~inside), field)
        return field.astype(unsigned).view(dtype)

    return apply(d, inst, run, type, type, "u32", "u32")


def _ones(count: Any, dtype: Any) -> Any:
    return (dtype.type(1) << count.astype(dtype)) - dtype.type(1)


@family("bfi")
def insert(d: Decoder, inst: Instruction) -> Step:
    """Put the low bits of a into b at a position."""
    type = inst.parts[1]
    dtype, bits = DTYPES[type], 8 * DTYPES[type].itemsize

    def run(a: Any, b: Any, position: Any, length: Any) -> Any:
        start, count = (position & 255).astype(np.int64), (length & 255).astype(np.int64)
        field = where(count >= bits, ~dtype.type(0), _ones(np.minimum(count, bits - 1), dtype))
        by = np.minimum(start, bits - 1).astype(dtype)
        mask = where(start < bits, field << by, dtype.type(0))
        return (b & ~mask) | ((a << by) & mask)

    return apply(d, inst, run, type, type, type, "u32", "u32")


def population(a: Any) -> Any:
    """How many bits are set."""
    bits = np.unpackbits(np.atleast_1d(np.ascontiguousarray(a)).view(np.uint8).reshape(-1, a.dtype.itemsize), axis=1)
    return bits.sum(1).astype(np.uint32)


def leading_zeros(a: Any) -> Any:
    """Zeros above the highest set bit; the width for zero."""
    left, bits = np.atleast_1d(a), 8 * a.dtype.itemsize
    count = np.full(left.shape, bits, np.uint32)
    for step in (32, 16, 8, 4, 2, 1):
        if step < bits:
            high = left >> left.dtype.type(step)
            some = high != 0
            count = where(some, count - np.uint32(step), count)
            left = where(some, high, left)
    return count - (left != 0).astype(np.uint32)


def reversed_bits(a: Any) -> Any:
    """The bits in opposite order."""
    size = a.dtype.itemsize
    raw = np.atleast_1d(np.ascontiguousarray(a)).view(np.uint8).reshape(-1, size)[:, ::-1]
    turned = np.packbits(np.unpackbits(raw, axis=1, bitorder="little"), axis=1, bitorder="big")
    return np.ascontiguousarray(turned).view(a.dtype).reshape(-1)


@family("popc", "clz", "brev")
def count_bits(d: Decoder, inst: Instruction) -> Step:
    """popc, clz, brev."""
    name, type = inst.parts[0], inst.parts[1]
    functions: dict[str, Function] = {"popc": population, "clz": leading_zeros, "brev": reversed_bits}
    return apply(d, inst, functions[name], type if name == "brev" else "u32", type)


@family("bfind")
def find_highest(d: Decoder, inst: Instruction) -> Step:
    """The highest bit that differs from the sign; all ones if there is none."""
    type, shift_amount = inst.parts[-1], "shiftamt" in inst.parts
    bits = 8 * DTYPES[type].itemsize

    def run(a: Any) -> Any:
        value = (where(a < 0, ~a, a) if a.dtype.kind == "i" else a).astype(STORAGE[bits])
        zeros = leading_zeros(value)
        none = zeros == bits
        return where(none, np.uint32(0xFFFFFFFF), zeros if shift_amount else np.uint32(bits - 1) - zeros)

    return apply(d, inst, run, "u32", type)


SELECTORS: dict[str, list[int]] = {  # for each low bits of the control, the four byte numbers; PTX ISA, prmt
    "f4e": [0x3210, 0x4321, 0x5432, 0x6543], "b4e": [0x5670, 0x6701, 0x7012, 0x0123],
    "rc8": [0x0000, 0x1111, 0x2222, 0x3333], "ecl": [0x3210, 0x3211, 0x3222, 0x3333],
    "ecr": [0x0000, 0x1110, 0x2210, 0x3210], "rc16": [0x1010, 0x3232, 0x1010, 0x3232],
}


@family("prmt")
def permute(d: Decoder, inst: Instruction) -> Step:
    """Pick four of eight bytes; bit 3 of a selector spreads the byte's sign."""
    table = np.asarray(SELECTORS[inst.parts[2]], np.uint32) if len(inst.parts) > 2 else None

    def run(a: Any, b: Any, control: Any) -> Any:
        selector = control if table is None else table[control & np.uint32(3)]
        pair = a.astype(np.uint64) | b.astype(np.uint64) << np.uint64(32)
        result = np.zeros(np.broadcast(a, b, selector).shape, np.uint32)
        for i in range(4):
            nibble = (selector >> np.uint32(4 * i)) & np.uint32(15)
            byte = ((pair >> ((nibble & 7) * 8).astype(np.uint64)) & np.uint64(255)).astype(np.uint32)
            sign = where(byte & 128, np.uint32(255), np.uint32(0))
            result = result | where(nibble & 8, sign, byte) << np.uint32(8 * i)
        return result

    return apply(d, inst, run, "b32", "b32", "b32", "b32")


@family("dp4a")
def dot4(d: Decoder, inst: Instruction) -> Step:
    """Four byte products added to a 32-bit number."""
    types = [np.dtype(np.int8 if part == "s32" else np.uint8) for part in inst.parts[1:3]]

    def run(a: Any, b: Any, c: Any) -> Any:
        total = c.astype(np.int64)
        for i in range(4):
            byte = [(value >> np.uint32(8 * i)).astype(np.uint8).view(type) for value, type in
                    zip((a, b), types, strict=True)]
            total = total + byte[0].astype(np.int64) * byte[1].astype(np.int64)
        return total.astype(np.uint32)

    return apply(d, inst, run, "b32", "b32", "b32", "b32")


@family("mov")
def move(d: Decoder, inst: Instruction) -> Step:
    """mov, and packing and unpacking where one side is a vector."""
    result, source, type = inst.operands[0], inst.operands[1], inst.parts[-1]
    if isinstance(source, Group) and not isinstance(result, Group):
        return _pack(d, inst, source, type)
    if isinstance(result, Group):
        return _unpack(d, inst, result, type)
    get, put = d.get(source, type), d.put(result, type)
    return lambda index: put(index, np.array(get(index)))  # a copy: two registers never share an array


def _pack(d: Decoder, inst: Instruction, source: Group, type: str) -> Step:
    bits = 8 * DTYPES[type].itemsize // len(source.items)
    gets, put = d.gets(source, f"b{bits}"), d.put(inst.operands[0], f"b{8 * DTYPES[type].itemsize}")
    wide = DTYPES[f"b{8 * DTYPES[type].itemsize}"]

    def run(index: Index) -> None:
        value: Any = gets[0](index).astype(wide)
        for i, get in enumerate(gets[1:], 1):
            value = value | get(index).astype(wide) << wide.type(i * bits)
        put(index, value)

    return run


def _unpack(d: Decoder, inst: Instruction, result: Group, type: str) -> Step:
    whole = f"b{8 * DTYPES[type].itemsize}"
    bits = 8 * DTYPES[type].itemsize // len(result.items)
    get, puts = d.get(inst.operands[1], whole), d.puts(result, f"b{bits}")
    wide, part = DTYPES[whole], DTYPES[f"b{bits}"]

    def run(index: Index) -> None:
        value = get(index).copy()  # a result may be the source
        for i, put in enumerate(puts):
            put(index, (value >> wide.type(i * bits)).astype(part))

    return run
