"""dot by multiply-adds: f32 at ieee precision, f64, and what the tensor cores do not take.

Both operands go to shared memory, the left one column by column.  Then, for one k after the other, a thread reads
the rows and columns that its accumulators need (by vectors, swizzled against bank conflicts) and adds their products:
few registers whatever K is, and one order of summation for every tile size.
"""
from __future__ import annotations

from collections.abc import Sequence

from rtriton import layout as L
from rtriton.backend.ptx.emit import Emitter, arith_type, lowering
from rtriton.backend.ptx.emit_cast import cast_reg
from rtriton.backend.ptx.emit_memory import groups
from rtriton.backend.ptx.emit_pack import unpack_words, word_type
from rtriton.backend.ptx.emit_shared import Addresses, addresses, itemsize_of, store_shared
from rtriton.backend.ptx.operands import Reg
from rtriton.errors import KernelError
from rtriton.ir import Op, Value
from rtriton.layout import Layout
from rtriton.layout.matrix import operand_shared
from rtriton.passes.analysis.scratch import tile_bytes
from rtriton.types import DType, dtype_of, float32, shape_of


@lowering("dot")
def _dot(e: Emitter, op: Op) -> None:
    a, b, acc = op.operands
    assert a is not None and b is not None and acc is not None
    type = dtype_of(acc.type)
    wide = type if type.bits >= 32 else float32
    if (wide.kind == "f" and wide.short not in ("f32", "f64")) or wide.kind == "b":
        raise KernelError(f"dot cannot accumulate in {type.short}", op.span)
    layout = e.layout(acc)
    left = _Operand(e, a, L.fma_operand(layout, "a", 1), wide, op.attrs["scratch"], along=-1)
    right = _Operand(e, b, L.fma_operand(layout, "b", 1), wide, op.attrs["scratch"] + tile_bytes(a), along=-2)
    e.barrier()
    fma = f"fma.rn.{wide.short}" if wide.kind == "f" else f"mad.lo.{arith_type(wide)}"
    sums = [cast_reg(e, reg, type, wide) for reg in e.regs(acc)]
    places = [layout.at(register=r) for r in range(layout.registers)]
    for k in range(shape_of(a.type)[-1]):
        with e.scope():
            x, y = left.read(k), right.read(k)
            sums = [
                e.m(fma, x[*batch, row, 0], y[*batch, 0, column], total)
                for total, (*batch, row, column) in zip(sums, places, strict=True)
            ]
    e.put(op, [cast_reg(e, total, wide, type) for total in sums])


class _Operand:
    """An operand in shared memory, read one k at a time: `slice_` is where a thread holds the elements of k = 0."""

    def __init__(self, e: Emitter, value: Value, slice_: Layout, wide: DType, offset: int, along: int) -> None:
        self.e, self.slice, self.type, self.wide = e, slice_, dtype_of(value.type), wide
        shape = shape_of(value.type)
        rank = len(shape)
        order = (rank - 2, rank - 1) if along == -1 else (rank - 1, rank - 2)
        self.size = itemsize_of(self.type)
        self.shared = operand_shared(shape, self.size, (*order, *reversed(range(rank - 2))))
        self.whole = _placed(slice_, shape, along)
        self.step = shape[-1] if along == -2 else 1  # of the packed element from one k to the next
        store_shared(e, e.regs(value), self.type, e.layout(value), self.shared, e.shared, offset)
        self.where: Addresses = addresses(e, self.whole, self.shared, self.size, e.shared, offset)
        self.vector = L.shared_vector(self.whole, self.shared, self.size)

    def read(self, k: int) -> dict[tuple[int, ...], Reg]:
        """This thread's elements at k, cast to the accumulator's type, by their coordinates in the slice."""
        out: dict[tuple[int, ...], Reg] = {}
        for group in groups(self.whole.registers, self.vector):
            word, words = word_type(self.type, len(group))
            element = self.whole.flat(register=group[0]) ^ k * self.step
            address = self.where.at(L.xor_of(self.shared.offsets, element) * self.size)
            vector = f".v{words}" if words > 1 else ""
            loaded = self.e.m.many(f"ld.shared{vector}.{word}", address)
            for r, reg in zip(group, unpack_words(self.e, self.type, loaded, len(group)), strict=True):
                out[self.slice.at(register=r)] = cast_reg(self.e, reg, self.type, self.wide)
        return out


def _placed(slice_: Layout, shape: Sequence[int], along: int) -> Layout:
    """The slice as a part of the whole operand: its axis of size 1 becomes K."""
    bases = tuple(
        (dim, tuple(L.pack(L.unpack(b, slice_.shape), shape) for b in columns)) for dim, columns in slice_.bases
    )
    return Layout(tuple(shape), bases)
