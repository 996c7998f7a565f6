"""LLVM values as text, their constants, and what is folded when an instruction's operands are known.

constant(1.5, "float", 16)     V("float", 16, "splat (float 0x3FF8000000000000)", const=1.5)
fold("add", x, zero)           x
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

BITS = {"i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "float": 32, "double": 64, "half": 16, "ptr": 64}


@dataclass(frozen=True, slots=True)
class V:
    """An LLVM value: `lanes` 0 for a scalar. `level` is the depth of its region, `const` a known number."""

    element: str
    lanes: int
    text: str
    level: int = 0
    const: int | float | None = None

    @property
    def type(self) -> str:
        return vector_type(self.element, self.lanes)

    @property
    def operand(self) -> str:
        return f"{vector_type(self.element, self.lanes)} {self.text}"

    @property
    def is_float(self) -> bool:
        return self.element in ("float", "double", "half")

    @property
    def bits(self) -> int:
        return BITS[self.element]


@cache
def vector_type(element: str, lanes: int) -> str:
    return f"<{lanes} x {element}>" if lanes else element


@cache
def suffix_of(element: str, lanes: int) -> str:
    """The part of an intrinsic's name that says its type."""
    name = {"float": "f32", "double": "f64", "half": "f16", "ptr": "p0"}.get(element, element)
    return f"v{lanes}{name}" if lanes else name


def unsigned(value: int, bits: int) -> int:
    return value & ((1 << bits) - 1)


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) and bits > 1 else value


@cache
def constant(value: int | float, element: str, lanes: int) -> V:
    if element in BITS and element.startswith("i"):
        value = signed(int(value), BITS[element])
    shown = literal(value, element)
    if not lanes:
        return V(element, 0, shown, 0, value)
    return V(element, lanes, f"splat ({element} {shown})", 0, value)


def literal(value: int | float, element: str) -> str:
    if element == "i1":
        return "true" if value else "false"
    if element.startswith("i"):
        return str(signed(int(value), BITS[element]))
    number = float(value)
    if element == "float":
        try:
            number = struct.unpack("f", struct.pack("f", number))[0]
        except OverflowError:  # a double beyond float's range rounds to infinity
            number = float("inf") if number > 0 else float("-inf")
    (bits,) = struct.unpack("Q", struct.pack("d", number))
    return f"0x{bits:016X}"


def compare(how: str, x: V, y: V) -> bool:
    assert isinstance(x.const, int) and isinstance(y.const, int)
    a, b = x.const, y.const
    if how[0] == "u":
        a, b = unsigned(a, x.bits), unsigned(b, x.bits)
    return {"eq": a == b, "ne": a != b, "lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b}[
        how if how in ("eq", "ne") else how[1:]
    ]


_EXACT: dict[str, Callable[[int, int], int]] = {
    "add": int.__add__, "sub": int.__sub__, "mul": int.__mul__, "and": int.__and__, "or": int.__or__,
    "xor": int.__xor__, "shl": int.__lshift__,
}  # fmt: skip


def fold(opcode: str, x: V, y: V) -> V | None:
    """Integer identities and constants; floats are left as they are."""
    name = opcode.split()[0]
    if x.is_float or name not in _EXACT:
        return None
    if isinstance(x.const, int) and isinstance(y.const, int):
        return (
            constant(_EXACT[name](x.const, y.const), x.element, x.lanes)
            if name != "shl" or 0 <= y.const < x.bits
            else None
        )
    if name in ("add", "or", "xor", "sub", "shl") and y.const == 0:
        return x
    if name in ("add", "or", "xor") and x.const == 0:
        return y
    if name == "mul" and (x.const == 1 or y.const == 1):
        return y if x.const == 1 else x
    if name in ("mul", "and") and (x.const == 0 or y.const == 0):
        return x if x.const == 0 else y
    if name == "and" and x.element == "i1" and True in (bool(x.const), bool(y.const)):
        return y if x.const is not None else x
    return None
