"""mma: products of fragments by mma.sync m16n8kK, K = 32 bytes of elements (f64: 8 elements, on sm_80 by m8n8k4).

Which register holds which element is read off the layouts, so tiles smaller than an instruction (copies in lanes)
and any split over warps need no code of their own.
"""
from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

from rtriton import layout as L
from rtriton.backend.ptx.emit import Emitter, lowering
from rtriton.backend.ptx.emit_pack import pack_bytes, pack_halves, unpack_halves
from rtriton.backend.ptx.operands import Reg
from rtriton.ir import Op, Value
from rtriton.types import BY_SHORT, DType, dtype_of, shape_of

CORNERS = ((0, 0), (0, 1), (8, 0), (8, 1))  # of an accumulator, from its first element
NAMES = {"f16": "f16", "bf16": "bf16", "f32": "tf32", "f64": "f64", "i8": "s8", "u8": "u8", "f8e4": "e4m3",
         "f8e5": "e5m2"}  # fmt: skip


class Fragments:
    """The registers of a tile, found by the coordinates that registers move along."""

    def __init__(self, e: Emitter, value: Value) -> None:
        self.layout = e.layout(value)
        self.regs = e.regs(value)
        self.shape = shape_of(value.type)
        self.where = {b: 1 << k for k, b in enumerate(self.layout["register"])}

    def at(self, *coord: int) -> Reg:
        """The register of the element `coord` away from this thread's first; beyond a small tile it is a copy."""
        wrapped = [c % n for c, n in zip(coord, self.shape, strict=True)]
        packed = L.pack(wrapped, self.shape)
        return self.regs[sum(self.where[1 << k] for k in L.bits(packed))]

    def steps(self, axis: int, inside: Sequence[int]) -> list[int]:
        """Distances along `axis` from one instruction to the next: all that registers reach but the bits `inside`
        one."""
        stride = prod(self.shape[axis + 1 :])
        bases = [b // stride for b in self.layout["register"] if L.axis_of(self.layout, b) == axis]
        outer = [b for b in bases if b not in inside]
        return [sum(outer[k] for k in L.bits(i)) for i in range(1 << len(outer))]


@lowering("mma")
def _mma(e: Emitter, op: Op) -> None:
    a, b, acc = op.operands
    assert a is not None and b is not None and acc is not None
    atom = BY_SHORT[op.attrs["atom"]]
    word = max(1, 4 // atom.itemsize)
    left, right, total = Fragments(e, a), Fragments(e, b), Fragments(e, acc)
    m, n = len(total.shape) - 2, len(total.shape) - 1
    multiply = _multiply_by_quarters if atom.bits == 64 and e.target.number < 90 else _multiply
    opcode = _opcode(dtype_of(a.type), dtype_of(b.type), dtype_of(acc.type), word)
    inside = [1 << k for k in range(L.log2(word))] + [4 * word]
    sums = dict(enumerate(total.regs))
    type = dtype_of(acc.type)
    for batch in product(*(total.steps(axis, ()) for axis in range(m))):
        tiles = list(product(total.steps(m, (8,)), total.steps(n, (1,))))
        held = {t: _packed_acc(e, [total.at(*batch, t[0] + i, t[1] + j) for i, j in CORNERS], type) for t in tiles}
        for turns in _turns(left.steps(n, inside), op.attrs.get("limit"), 8 * word):
            before, held = held, held if "limit" not in op.attrs else {t: [e.pure("mov.f32", 0.0)] * 4 for t in tiles}
            for k, (row, column) in product(turns, tiles):  # k outermost: products in a row do not wait for each other
                one = [_word(e, left, batch, row + i, k + j, word, atom, False) for j in (0, 4 * word) for i in (0, 8)]
                two = [_word(e, right, batch, k + j, column, word, atom, True) for j in (0, 4 * word)]
                held[row, column] = multiply(e, opcode, one, two, held[row, column])
            if held is not before:
                held = {t: [e.m("add.f32", x, y) for x, y in zip(before[t], held[t], strict=True)] for t in tiles}
        for (row, column), now in held.items():
            _unpack_acc(e, sums, total, batch, row, column, now, type)
    e.put(op, [sums[r] for r in range(len(sums))])


def _turns(steps: list[int], limit: int | None, depth: int) -> list[list[int]]:
    """The steps along K, of `depth` products each, in runs of at most `limit` products (of one step at least)."""
    count = len(steps) if limit is None else max(1, limit // depth)
    return [steps[i : i + count] for i in range(0, len(steps), count)]


def _opcode(a: DType, b: DType, acc: DType, word: int) -> str:
    result = {"f64": "f64", "f32": "f32", "f16": "f16", "i32": "satfinite.s32", "u32": "satfinite.s32"}[acc.short]
    last = result.removeprefix("satfinite.")
    return f"mma.sync.aligned.m16n8k{8 * word}.row.col.{result}.{NAMES[a.short]}.{NAMES[b.short]}.{last}"


def _multiply(e: Emitter, opcode: str, one: list[Reg], two: list[Reg], sums: list[Reg]) -> list[Reg]:
    return list(e.m.many(opcode, one, two, sums))


def _multiply_by_quarters(e: Emitter, opcode: str, one: list[Reg], two: list[Reg], sums: list[Reg]) -> list[Reg]:
    """m16n8k8 of f64 where there is only m8n8k4: both halves of the rows, one half of K after the other."""
    quarter = opcode.replace("m16n8k8", "m8n8k4")
    for k, right in enumerate(two):
        upper = e.m.many(quarter, [one[2 * k]], [right], sums[:2])
        lower = e.m.many(quarter, [one[2 * k + 1]], [right], sums[2:])
        sums = [*upper, *lower]
    return sums


def _word(
    e: Emitter, tile: Fragments, batch: Sequence[int], first: int, second: int, word: int, atom: DType, transposed: bool
) -> Reg:
    """The 32-bit register of `word` elements that are consecutive along K."""
    steps = [(first + i, second) if transposed else (first, second + i) for i in range(word)]
    regs = [tile.at(*batch, *step) for step in steps]
    if word == 4:
        return pack_bytes(e, regs)
    if word == 2:
        return pack_halves(e, regs[0], regs[1])
    return e.pure("cvt.rna.tf32.f32", regs[0]) if atom.short == "f32" else regs[0]


def _packed_acc(e: Emitter, held: list[Reg], type: DType) -> list[Reg]:
    if type.bits != 16:
        return held
    return [pack_halves(e, held[0], held[1]), pack_halves(e, held[2], held[3])]


def _unpack_acc(
    e: Emitter, sums: dict[int, Reg], total: Fragments, batch: Sequence[int], row: int, column: int, now: list[Reg],
    type: DType,
) -> None:  # fmt: skip
    """Put the four sums of an instruction into the registers of the result tile."""
    if type.bits == 16:
        now = [half for w in now for half in unpack_halves(e, w)]
    for reg, (i, j) in zip(now, CORNERS, strict=True):
        place = [c % n for c, n in zip((*batch, row + i, column + j), total.shape, strict=True)]
        packed = L.pack(place, total.shape)
        sums[sum(total.where[1 << k] for k in L.bits(packed))] = reg

