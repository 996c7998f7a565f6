"""Elements of 8 and 16 bits in 32-bit words, as vector memory accesses and mma want them.

What is unpacked and packed again unchanged is the word it came from: `remember` says so, and the moves between are
dropped.
"""
from __future__ import annotations

from collections.abc import Sequence

from rtriton.backend.ptx.emit import Emitter
from rtriton.backend.ptx.operands import Reg
from rtriton.types import Scalar

LARGEST = 16  # bytes of one access


def word_type(type: Scalar, n: int) -> tuple[str, int]:
    """The PTX type and how many of it move `n` elements of `type` in one access."""
    size = max(8, type.bits) // 8
    total = size * n
    if total > LARGEST:
        raise ValueError(f"one access moves at most {LARGEST} bytes, not {n} elements of {type}")
    if n == 1:
        return _single(type), 1
    word = 8 if size == 8 else min(4, total)
    return f"b{word * 8}", total // word


def _single(type: Scalar) -> str:
    if type.kind in "iu" and type.bits == 8:
        return "s8" if type.kind == "i" else "u8"  # extends into 16 bits
    return f"b{max(8, type.bits)}" if type.bits > 8 else "u8"


def unpack_words(e: Emitter, type: Scalar, words: Sequence[Reg], n: int) -> list[Reg]:
    """The elements in words that one access moved."""
    if len(words) == n:
        return [e.from_memory(w, type) for w in words]
    if type.bits == 16:
        return [half for w in words for half in unpack_halves(e, w)]
    return [element for w in words for element in unpack_bytes(e, type, w)][:n]


def pack_words(e: Emitter, type: Scalar, regs: Sequence[Reg], n: int) -> list[Reg]:
    """Elements as the words that one access moves."""
    if n == 1 or type.bits >= 32:
        return [e.to_memory(r, type) for r in regs]
    if type.bits == 16:
        return [pack_halves(e, regs[i], regs[i + 1]) for i in range(0, n, 2)]
    raw = [e.to_memory(r, type) for r in regs]
    if n == 2:
        return [_pair(e, raw[0], raw[1])]
    return [pack_bytes(e, raw[i : i + 4]) for i in range(0, n, 4)]


def unpack_halves(e: Emitter, word: Reg) -> tuple[Reg, Reg]:
    low, high = e.m.unpack(word, 2)
    e.remember(word, "mov.b32", (low, high))
    return low, high


def pack_halves(e: Emitter, low: Reg, high: Reg) -> Reg:
    return e.pure("mov.b32", (low, high))


def in_pairs(e: Emitter, opcode: str, operands: Sequence[Sequence[Reg]]) -> list[Reg] | None:
    """An instruction on pairs of elements of 16 bits, where they lie in pairs already: as they were loaded, or as such
    an instruction left them."""
    count = len(operands[0])
    bits = (1 << k for k in range(count.bit_length() - 1))
    together = next((b for b in bits if any(e.known("mov.b32", (regs[0], regs[b])) for regs in operands)), None)
    if together is None:
        return None
    out = list(operands[0])
    for r in range(count):
        if not r & together:
            words = [pack_halves(e, regs[r], regs[r | together]) for regs in operands]
            out[r], out[r | together] = unpack_halves(e, e.pure(opcode, *words))
    return out


def unpack_bytes(e: Emitter, type: Scalar, word: Reg) -> list[Reg]:
    """The bytes of a 16 or 32-bit word, extended as their type is."""
    halves = unpack_halves(e, word) if word.type == "b32" else (word,)
    signed = type.kind == "i"
    out: list[Reg] = []
    for half in halves:
        out.append(e.pure("cvt.s16.s8", half) if signed else e.pure("and.b16", half, 0xFF))
        out.append(e.pure("shr.s16" if signed else "shr.u16", half, 8))
    if word.type == "b32":
        e.remember(word, "bytes", tuple(out))
    return [e.from_memory(b, type) for b in out]


def pack_bytes(e: Emitter, regs: Sequence[Reg]) -> Reg:
    """Four bytes as one word."""
    key = tuple(regs)
    for scope in reversed(e.scopes):
        if ("bytes", key) in scope:
            return scope["bytes", key]
    word = e.pure("prmt.b32", pack_halves(e, *regs[:2]), pack_halves(e, *regs[2:]), 0x6420)
    e.remember(word, "bytes", key)
    return word


def _pair(e: Emitter, low: Reg, high: Reg) -> Reg:
    return e.pure("or.b16", e.pure("and.b16", low, 0xFF), e.pure("shl.b16", high, 8))
