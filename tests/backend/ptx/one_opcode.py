"""Run one opcode on arrays through the emulator, whatever its types."""

from typing import Any

import numpy as np

from rtriton.backend.ptx.emulate import emulate
from rtriton.backend.ptx.isa import forms, width
from rtriton.backend.ptx.module import Module, Param, Reg, Special


def compute(opcode: str, *operands: Any) -> np.ndarray:
    """The result of an opcode for each element, as unsigned integers of the result's width.

    An operand is an array (of any type as wide as the opcode wants) or a Python number, which becomes a literal.
    """
    form = forms(opcode)[0]
    arrays = [np.ascontiguousarray(operand) for operand in operands if isinstance(operand, np.ndarray)]
    count = len(arrays[0])
    result = form.dsts[0].type
    bits = 8 if result == "pred" else max(width(result), 8)
    out = np.zeros(-(-count // 128) * 128, f"u{bits // 8}")
    m = Module("one", "sm_90a", [Param(f"a{i}", "u64") for i in range(len(arrays) + 1)])
    number = m("mad.lo.u32", m("mov.u32", Special("ctaid.x")), 128, m("mov.u32", Special("tid.x")))
    given = iter(enumerate(arrays))
    sources = [_load(m, *next(given), number) if isinstance(operand, np.ndarray) else operand for operand in operands]
    dsts = [m.reg(operand.type) for operand in form.dsts if not operand.optional]
    value = m.many(opcode, *sources, dst=dsts)[0]
    if result == "pred":
        value = m("selp.b32", 1, 0, value)
    m.do(f"st.global.b{bits}", m("mad.wide.u32", number, bits // 8, m.load_param(f"a{len(arrays)}")), value)
    m.do("ret")
    padded = [np.concatenate([array, np.repeat(array[:1], len(out) - count)]) for array in arrays]
    emulate(str(m), "one", len(out) // 128, [*padded, out])
    return out[:count]


def _load(m: Module, position: int, array: np.ndarray, number: Reg) -> Reg:
    size = array.dtype.itemsize
    address = m("mad.wide.u32", number, size, m.load_param(f"a{position}"))
    if array.dtype == np.bool_:
        return m("setp.ne.u16", m("ld.global.u8", address), 0)
    return m(f"ld.global.b{8 * size}", address)
