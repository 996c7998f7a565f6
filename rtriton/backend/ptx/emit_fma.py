"""dot by multiply-adds: f32 at ieee precision, f64, and what the tensor cores do not take.

Each thread holds, for its accumulators, all of K of their rows and columns; K is the innermost loop so that a sum's
order is the same for every tile size.
"""
from __future__ import annotations

from rtriton import layout as L
from rtriton.backend.ptx.emit import Emitter, arith_type, lowering
from rtriton.backend.ptx.emit_cast import cast_reg
from rtriton.backend.ptx.operands import Reg
from rtriton.errors import KernelError
from rtriton.ir import Op, Value
from rtriton.types import DType, dtype_of, float32, shape_of


@lowering("dot")
def _dot(e: Emitter, op: Op) -> None:
    a, b, acc = op.operands
    assert a is not None and b is not None and acc is not None
    type = dtype_of(acc.type)
    wide = type if type.bits >= 32 else float32
    if wide.kind == "f" and wide.short not in ("f32", "f64") or wide.kind == "b":
        raise KernelError(f"dot cannot accumulate in {type}", op.span)
    layout = e.layout(acc)
    inner = shape_of(a.type)[-1]
    left, right = _reader(e, a, wide), _reader(e, b, wide)
    fma = f"fma.rn.{wide.short}" if wide.kind == "f" else f"mad.lo.{arith_type(wide)}"
    out: list[Reg] = []
    for r, start in enumerate(e.regs(acc)):
        *batch, row, column = layout.at(register=r)
        total = cast_reg(e, start, type, wide)
        for k in range(inner):
            total = e.m(fma, left((*batch, row, k)), right((*batch, k, column)), total)
        out.append(cast_reg(e, total, wide, type))
    e.put(op, out)


class _reader:
    """Operand elements by their distance from this thread's first, cast to the accumulator's type once."""

    def __init__(self, e: Emitter, value: Value, wide: DType) -> None:
        self.e, self.layout, self.type, self.wide = e, e.layout(value), dtype_of(value.type), wide
        self.regs = e.regs(value)
        self.where = {b: 1 << k for k, b in enumerate(self.layout["register"])}

    def __call__(self, coord: tuple[int, ...]) -> Reg:
        packed = L.pack(coord, self.layout.shape)
        return cast_reg(self.e, self.regs[sum(self.where[1 << k] for k in L.bits(packed))], self.type, self.wide)
