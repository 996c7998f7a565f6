"""Integer instructions in the emulator against Python's unbounded integers."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.backend.ptx.exactly import signed
from tests.backend.ptx.one_opcode import compute

COUNT = 250
TYPES = ["s16", "u16", "s32", "u32", "s64", "u64"]


def numbers(type: str, seed: int, count: int = COUNT) -> tuple[np.ndarray, list[int]]:
    """Random bits with the ends among them, as an array and as Python integers of the type."""
    bits = int(type[1:])
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 1 << 63, count, np.uint64) * np.uint64(2) + rng.integers(0, 2, count, np.uint64)
    values = np.where(rng.random(count) < 0.3, values % np.uint64(40), values)
    top = 1 << (bits - 1)
    values[:8] = np.asarray([0, 1, 2, (1 << 64) - 1, (1 << 64) - 2, top, top - 1, 3], np.uint64)
    rng.shuffle(values)
    array = values.astype(f"u{bits // 8}")
    return array, [signed(int(x), bits) if type[0] == "s" else int(x) for x in array]


def check(opcode: str, types: list[str], want: Callable[..., int], nonzero: int = -1) -> None:
    columns = [numbers(type, seed) for seed, type in enumerate(types)]
    arrays = [array.copy() for array, _ in columns]
    if nonzero >= 0:
        arrays[nonzero][arrays[nonzero] == 0] = 7
        type = types[nonzero]
        values = [signed(int(x), int(type[1:])) if type[0] == "s" else int(x) for x in arrays[nonzero]]
        columns[nonzero] = (arrays[nonzero], values)
    got = compute(opcode, *arrays)
    mask = (1 << 8 * got.dtype.itemsize) - 1
    assert got.tolist() == [want(*row) & mask for row in zip(*(values for _, values in columns), strict=True)]


def truncated(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


@pytest.mark.parametrize("type", TYPES)
def test_arithmetic(type: str) -> None:
    bits = int(type[1:])
    check(f"add.{type}", [type] * 2, lambda a, b: a + b)
    check(f"sub.{type}", [type] * 2, lambda a, b: a - b)
    check(f"min.{type}", [type] * 2, min)
    check(f"max.{type}", [type] * 2, max)
    check(f"mul.lo.{type}", [type] * 2, lambda a, b: a * b)
    check(f"mul.hi.{type}", [type] * 2, lambda a, b: a * b >> bits)
    check(f"mad.lo.{type}", [type] * 3, lambda a, b, c: a * b + c)
    check(f"mad.hi.{type}", [type] * 3, lambda a, b, c: (a * b >> bits) + c)
    check(f"div.{type}", [type] * 2, truncated, nonzero=1)
    check(f"rem.{type}", [type] * 2, lambda a, b: a - truncated(a, b) * b, nonzero=1)
    check(f"sad.{type}", [type] * 3, lambda a, b, c: abs(a - b) + c)


@pytest.mark.parametrize("type", ["s16", "u16", "s32", "u32"])
def test_wide_products(type: str) -> None:
    check(f"mul.wide.{type}", [type] * 2, lambda a, b: a * b)
    check(f"mad.wide.{type}", [type, type, f"{type[0]}{2 * int(type[1:])}"], lambda a, b, c: a * b + c)


@pytest.mark.parametrize("type", ["s16", "s32", "s64"])
def test_signs(type: str) -> None:
    check(f"abs.{type}", [type], abs)
    check(f"neg.{type}", [type], lambda a: -a)


def test_saturating_sums() -> None:
    ends = -(1 << 31), (1 << 31) - 1
    check("add.sat.s32", ["s32"] * 2, lambda a, b: min(max(a + b, ends[0]), ends[1]))
    check("sub.sat.s32", ["s32"] * 2, lambda a, b: min(max(a - b, ends[0]), ends[1]))


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_logic_and_shifts(bits: int) -> None:
    unsigned = f"u{bits}"
    check(f"and.b{bits}", [unsigned] * 2, lambda a, b: a & b)
    check(f"or.b{bits}", [unsigned] * 2, lambda a, b: a | b)
    check(f"xor.b{bits}", [unsigned] * 2, lambda a, b: a ^ b)
    check(f"not.b{bits}", [unsigned], lambda a: ~a)
    check(f"shl.b{bits}", [unsigned, "u32"], lambda a, by: a << by if by < bits else 0)
    check(f"shr.u{bits}", [unsigned, "u32"], lambda a, by: a >> min(by, bits))
    check(f"shr.s{bits}", [f"s{bits}", "u32"], lambda a, by: a >> min(by, bits))


@pytest.mark.parametrize("bits", [32, 64])
def test_bit_counts_and_order(bits: int) -> None:
    check(f"popc.b{bits}", [f"u{bits}"], lambda a: bin(a).count("1"))
    check(f"clz.b{bits}", [f"u{bits}"], lambda a: bits - a.bit_length())
    check(f"brev.b{bits}", [f"u{bits}"], lambda a: int(f"{a:0{bits}b}"[::-1], 2))
    check(f"bfind.u{bits}", [f"u{bits}"], lambda a: a.bit_length() - 1)
    check(f"bfind.shiftamt.u{bits}", [f"u{bits}"], lambda a: bits - a.bit_length() if a else -1)
    check(f"bfind.s{bits}", [f"s{bits}"], lambda a: (a if a >= 0 else ~a).bit_length() - 1)


@pytest.mark.parametrize("type", ["s32", "u32", "s64", "u64"])
def test_bit_fields(type: str) -> None:
    """As PTX ISA writes bfe and bfi: bit by bit."""
    bits = int(type[1:])

    def extract(a: int, position: int, length: int) -> int:
        position, length, raw = position & 255, length & 255, a & ((1 << bits) - 1)
        sign = 0 if type[0] == "u" or length == 0 else raw >> min(position + length - 1, bits - 1) & 1
        inside = range(min(length, max(bits - position, 0)))
        return sum((raw >> (i + position) & 1 if i in inside else sign) << i for i in range(bits))

    def insert(a: int, b: int, position: int, length: int) -> int:
        for i in range(min(length & 255, bits)):
            if i + (position & 255) < bits:
                b = b & ~(1 << i + (position & 255)) | (a >> i & 1) << i + (position & 255)
        return b

    check(f"bfe.{type}", [type, "u32", "u32"], extract)
    if type[0] == "u":
        check(f"bfi.b{bits}", [type, type, "u32", "u32"], insert)


def test_permuted_bytes() -> None:
    def permute(a: int, b: int, selector: int) -> int:
        source = [(a | b << 32) >> 8 * i & 255 for i in range(8)]
        picked = [source[selector >> 4 * i & 7] for i in range(4)]
        return sum((byte if not selector >> 4 * i & 8 else 255 * (byte >> 7)) << 8 * i for i, byte in enumerate(picked))

    check("prmt.b32", ["u32"] * 3, permute)
    a, b, control = np.asarray([0x03020100] * 4, np.uint32), np.asarray([0x07060504] * 4, np.uint32), np.arange(4)
    got = {mode: [f"{x:08x}" for x in compute(f"prmt.b32.{mode}", a, b, control.astype(np.uint32))]
           for mode in ("f4e", "b4e", "rc8", "ecl", "ecr", "rc16")}
    assert got == {"f4e": ["03020100", "04030201", "05040302", "06050403"],
                   "b4e": ["05060700", "06070001", "07000102", "00010203"],
                   "rc8": ["00000000", "01010101", "02020202", "03030303"],
                   "ecl": ["03020100", "03020101", "03020202", "03030303"],
                   "ecr": ["00000000", "01010100", "02020100", "03020100"],
                   "rc16": ["01000100", "03020302", "01000100", "03020302"]}


def test_funnel_shifts_and_truth_tables() -> None:
    mask = (1 << 32) - 1
    check("shf.l.wrap.b32", ["u32"] * 3, lambda low, high, by: (high << 32 | low) << (by & 31) >> 32 & mask)
    check("shf.r.wrap.b32", ["u32"] * 3, lambda low, high, by: (high << 32 | low) >> (by & 31) & mask)
    check("shf.l.clamp.b32", ["u32"] * 3, lambda low, high, by: (high << 32 | low) << min(by, 32) >> 32 & mask)
    check("shf.r.clamp.b32", ["u32"] * 3, lambda low, high, by: (high << 32 | low) >> min(by, 32) & mask)
    a, b, c = (numbers("u32", seed)[0] for seed in range(3))
    assert np.array_equal(compute("lop3.b32", a, b, c, 0xE8), (a & b) | (a & c) | (b & c))
    assert np.array_equal(compute("lop3.b32", a, b, c, 0x96), a ^ b ^ c)


def test_dot_products_of_bytes() -> None:
    def parts(x: int, is_signed: bool) -> list[int]:
        return [signed(x >> 8 * i, 8) if is_signed else x >> 8 * i & 255 for i in range(4)]

    for a_type in ("s32", "u32"):
        for b_type in ("s32", "u32"):
            check(f"dp4a.{a_type}.{b_type}", ["u32"] * 3, lambda a, b, c, x=a_type, y=b_type: c + sum(
                p * q for p, q in zip(parts(a, x == "s32"), parts(b, y == "s32"), strict=True)))


def test_packed_sums() -> None:
    check("add.u16x2", ["u32"] * 2, lambda a, b: (a + b & 0xFFFF) | ((a >> 16) + (b >> 16) & 0xFFFF) << 16)


@pytest.mark.parametrize("type", TYPES)
def test_comparisons_and_selections(type: str) -> None:
    check(f"setp.lt.{type}", [type] * 2, lambda a, b: a < b)
    check(f"setp.ge.{type}", [type] * 2, lambda a, b: a >= b)
    check(f"setp.ne.{type}", [type] * 2, lambda a, b: a != b)
    a, b = numbers(type, 0)[0], numbers(type, 1)[0]
    which = np.random.default_rng(2).random(COUNT) < 0.5
    assert np.array_equal(compute(f"selp.{type}", a, b, which), np.where(which, a, b))
    sign = numbers("s32", 3)[0]
    assert np.array_equal(compute(f"slct.{type}.s32", a, b, sign), np.where(sign.view(np.int32) >= 0, a, b))
    joined = compute(f"setp.eq.xor.{type}", a, b, which)
    assert np.array_equal(joined.astype(bool), (a == b) ^ which)


@pytest.mark.parametrize("to", ["s8", "u8", *TYPES])
def test_conversions_between_integers(to: str) -> None:
    bits = int(to[1:])
    ends = (-(1 << bits - 1), (1 << bits - 1) - 1) if to[0] == "s" else (0, (1 << bits) - 1)
    for source in TYPES:
        check(f"cvt.{to}.{source}", [source], lambda a: signed(a, bits) if to[0] == "s" else a & (1 << bits) - 1)
        if not (source[0] == to[0] and bits >= int(source[1:])) and not (to[0] == "s" and bits > int(source[1:])):
            check(f"cvt.sat.{to}.{source}", [source], lambda a: min(max(a, ends[0]), ends[1]))
