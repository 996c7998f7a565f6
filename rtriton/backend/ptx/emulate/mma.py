"""Warp-wide matrix instructions: ldmatrix, stmatrix and mma.sync, with the fragment layouts of the PTX ISA.

Lane = 4 * g + t. With e elements in a 32-bit register, register r of A holds row g + 8 * (r odd) and columns
t * e + i + 4 * e * (r // 2); register r of B holds rows t * e + i + 4 * e * r of column g; the accumulator's register r
holds row g + 8 * (r // 2) and column 2 * t + (r odd). These three say every shape here (an f64 register counts as one
element of 64 bits, f16 accumulators come in pairs).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from rtriton.backend.ptx.emulate.decode import Decoder, Getter, family
from rtriton.backend.ptx.emulate.formats import decode
from rtriton.backend.ptx.emulate.program import Instruction
from rtriton.backend.ptx.emulate.race import READ, WRITE
from rtriton.backend.ptx.emulate.state import ALL, LANES, Array, Index, Machine, Step

ELEMENT_BITS = {"f64": 64, "tf32": 32, "f32": 32, "s32": 32, "f16": 16, "bf16": 16, "s8": 8, "u8": 8, "e4m3": 8,
                "e5m2": 8}
RAW: dict[str, Any] = {"f64": np.float64, "tf32": np.uint32, "f32": np.float32, "s32": np.int32, "f16": np.float16,
                       "bf16": np.uint16, "s8": np.int8, "u8": np.uint8, "e4m3": np.uint8, "e5m2": np.uint8}


@cache
def operand_a(rows: int, columns: int, per_register: int) -> Array:
    """For each element of A, row by row, its place in [lane, register, element]."""
    return _places(rows, columns, lambda row, column: (
        row % 8 * 4 + column // per_register % 4,
        row // 8 + column // (4 * per_register) * (rows // 8),
        column % per_register), per_register)


@cache
def operand_b(rows: int, columns: int, per_register: int) -> Array:
    """For each element of B, row by row, its place in [lane, register, element]."""
    return _places(rows, columns, lambda row, column: (
        column * 4 + row // per_register % 4, row // (4 * per_register), row % per_register), per_register)


@cache
def accumulator(rows: int, columns: int, per_register: int) -> Array:
    """For each element of the accumulator, row by row, its place in [lane, register, element]."""
    return _places(rows, columns, lambda row, column: (
        row % 8 * 4 + column // 2,
        row // 8 * (2 // per_register) + column % 2 // per_register,
        column % 2 % per_register), per_register)


def _places(rows: int, columns: int, place: Callable[[int, int], tuple[int, int, int]], per_register: int) -> Array:
    registers = rows * columns // (LANES * per_register)
    found = np.zeros((rows, columns), np.intp)
    for row in range(rows):
        for column in range(columns):
            lane, register, element = place(row, column)
            found[row, column] = (lane * registers + register) * per_register + element
    return found


@dataclass(frozen=True)
class Shape:
    """The sizes and types of an mma."""

    m: int
    n: int
    k: int
    result: str
    a: str
    b: str

    @staticmethod
    def of(inst: Instruction) -> "Shape":
        """Read from the opcode."""
        found = re.fullmatch(r"m(\d+)n(\d+)k(\d+)", next(part for part in inst.parts if re.match(r"m\d+n", part)))
        assert found is not None
        result, a, b, _ = inst.parts[-4:]
        return Shape(int(found[1]), int(found[2]), int(found[3]), result, a, b)


def full_warps(machine: Machine, index: Index, what: str) -> int:
    """How many whole warps execute; a warp in part is a fault."""
    threads = machine.numbers(index)
    if index is not ALL and (len(threads) % LANES or (threads[::LANES] % LANES).any() or
                             (threads.reshape(-1, LANES)[:, -1] - threads[::LANES] != LANES - 1).any()):
        raise machine.fault(f"{what} is executed by a part of a warp", index, np.zeros(1, np.intp))
    return len(threads) // LANES


def fragment(machine: Machine, gets: list[Getter], index: Index, type: str, places: Array) -> Array:
    """A matrix per warp, [warps, rows, columns], from the lanes' registers."""
    registers = np.stack([machine.each(index, get(index)) for get in gets], axis=1)
    elements = registers.view(RAW[type]).reshape(len(registers) // LANES, -1)
    return elements[:, places]


@family("mma")
def mma(d: Decoder, inst: Instruction) -> Step:
    """D = A * B + C, one matrix per warp."""
    shape, machine = Shape.of(inst), d.machine
    word = "b64" if shape.result == "f64" else "b32"
    bits = 64 if word == "b64" else 32
    puts, (a, b, c) = d.puts(inst.operands[0], word), (d.gets(operand, word) for operand in inst.operands[1:4])
    where_a = operand_a(shape.m, shape.k, bits // ELEMENT_BITS[shape.a])
    where_b = operand_b(shape.k, shape.n, bits // ELEMENT_BITS[shape.b])
    where_c = accumulator(shape.m, shape.n, bits // ELEMENT_BITS[shape.result])
    inverse = np.argsort(where_c.reshape(-1))
    clamp = "satfinite" in inst.parts

    def run(index: Index) -> None:
        warps = full_warps(machine, index, inst.opcode)
        left = decode(fragment(machine, a, index, shape.a, where_a), shape.a).astype(np.float64)
        right = decode(fragment(machine, b, index, shape.b, where_b), shape.b).astype(np.float64)
        add = fragment(machine, c, index, shape.result, where_c).astype(np.float64)
        total = _rounded(left @ right + add, shape.result, clamp)
        elements = total.reshape(warps, -1)[:, inverse]
        words = np.ascontiguousarray(elements).view(np.uint64 if bits == 64 else np.uint32)
        registers = words.reshape(warps * LANES, -1)
        for i, put in enumerate(puts):
            put(index, registers[:, i].copy())

    return run


def _rounded(total: Array, type: str, clamp: bool) -> Array:
    if type != "s32":
        return total.astype(RAW[type])
    if clamp:
        total = np.clip(total, -(2.0 ** 31), 2.0 ** 31 - 1)
    return total.astype(np.int64).astype(np.int32)


@family("ldmatrix")
def ldmatrix(d: Decoder, inst: Instruction) -> Step:
    """Load 8x8 matrices of 16-bit elements; lanes 8j to 8j + 7 hold the addresses of matrix j's rows."""
    machine, transposed = d.machine, "trans" in inst.parts
    puts, address = d.puts(inst.operands[0], "b32"), d.address(inst.operands[1])

    def run(index: Index) -> None:
        warps = full_warps(machine, index, inst.opcode)
        flat = _rows(d, index, address, len(puts), READ)
        raw = d.shared.views[2][flat[:, None] // 2 + np.arange(8)].reshape(warps, len(puts), 8, 8)
        matrices = np.ascontiguousarray(raw.swapaxes(2, 3) if transposed else raw)
        lanes = matrices.view(np.uint32).reshape(warps, len(puts), LANES)
        for i, put in enumerate(puts):
            put(index, lanes[:, i].reshape(-1).copy())

    return run


@family("stmatrix")
def stmatrix(d: Decoder, inst: Instruction) -> Step:
    """The inverse of ldmatrix."""
    machine, transposed = d.machine, "trans" in inst.parts
    gets, address = d.gets(inst.operands[1], "b32"), d.address(inst.operands[0])

    def run(index: Index) -> None:
        warps = full_warps(machine, index, inst.opcode)
        values = np.stack([machine.each(index, get(index)).reshape(warps, LANES) for get in gets], axis=1)
        matrices = np.ascontiguousarray(values).view(np.uint16).reshape(warps, len(gets), 8, 8)
        rows = (matrices.swapaxes(2, 3) if transposed else matrices).reshape(-1, 8)
        flat = _rows(d, index, address, len(gets), WRITE)
        d.shared.views[2][flat[:, None] // 2 + np.arange(8)] = rows

    return run


def _rows(d: Decoder, index: Index, address: Getter, count: int, kind: int) -> Array:
    """Where in shared memory the 16-byte rows lie, of the lanes whose addresses count."""
    machine = d.machine
    threads = machine.numbers(index).reshape(-1, LANES)[:, : 8 * count].reshape(-1)
    addresses = machine.each(index, address(index)).reshape(-1, LANES)[:, : 8 * count].reshape(-1)
    using: Index = ALL if len(threads) == machine.threads else threads
    flat = d.shared.place(using, addresses, 16)
    d.shared.touch(using, flat, 16, kind)
    return flat
