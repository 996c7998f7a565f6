"""device_print and device_assert: calls of the driver's vprintf and __assertfail.

A tile is printed by the threads that own its elements, a scalar by every thread, as Triton has it. The arguments of a
printf lie one after the other in a buffer of the thread's own. An assertion that fails anywhere in a thread's part of
the tile is reported once by that thread; the driver prints message, place and thread, and stops the kernel.
"""
from __future__ import annotations

from collections.abc import Sequence

from rtriton import layout as L
from rtriton.backend.ptx.emit import Emitter, lowering
from rtriton.backend.ptx.emit_cast import cast_reg
from rtriton.backend.ptx.emit_shape import index_base
from rtriton.backend.ptx.operands import LOCAL, Reg, Special
from rtriton.ir import Op, Value
from rtriton.printing import conversion, index_width, operand_mark
from rtriton.types import BY_SHORT, DType, Scalar, Tile, element_of, float64, int32, shape_of

PRINTF = ".extern .func (.param .b32 status) vprintf (.param .b64 format, .param .b64 arguments);"
FAIL = (".extern .func __assertfail (.param .b64 message, .param .b64 file, .param .b32 line, .param .b64 function, "
        ".param .b64 size);")  # fmt: skip


@lowering("print")
def _print(e: Emitter, op: Op) -> None:
    prefix, hexadecimal = op.attrs["prefix"].replace("%", "%%"), op.attrs.get("hex", False)
    values = [v for v in op.operands if v is not None]
    start = "pid (%u, %u, %u)"
    programs = [e.m("mov.u32", Special(f"ctaid.{axis}")) for axis in "xyz"]
    if not values:
        _printf(e, f"{start}{prefix}\n", programs)
    for k, value in enumerate(values):
        element = element_of(value.type)
        widths = ", ".join(f"%{index_width(n)}u" for n in shape_of(value.type))
        end = f"{prefix}{operand_mark(k, len(values))}{conversion(element, hexadecimal)}\n"
        _print_value(e, value, f"{start} idx ({widths}){end}", programs, hexadecimal)


def _print_value(e: Emitter, value: Value, format: str, programs: Sequence[Reg], hexadecimal: bool) -> None:
    element, owner = element_of(value.type), None
    shown = [_argument(e, reg, element, hexadecimal) for reg in e.regs(value)]
    places: list[list[Reg]] = [[] for _ in shown]
    if isinstance(value.type, Tile):
        layout = e.layout(value)
        owner = e.owner(layout)
        places = [_place(e, layout, r) for r in range(layout.registers)]
    skip = e.m.label("printed")
    if owner is not None:
        e.m.bra(skip, pred=~owner)
    for place, reg in zip(places, shown, strict=True):
        _printf(e, format, [*programs, *place, reg])
    if owner is not None:
        e.m.place(skip)


def _place(e: Emitter, layout: L.Layout, register: int) -> list[Reg]:
    """The coordinates of the element that this thread holds in a register."""
    flat = e.plus(index_base(e, layout), layout.flat(register=register))
    out: list[Reg] = []
    stride = 1
    for size in reversed(layout.shape):
        shifted = e.pure("shr.u32", flat, L.log2(stride)) if stride > 1 else flat
        out.insert(0, e.pure("and.b32", shifted, size - 1))
        stride *= size
    return out


def _argument(e: Emitter, reg: Reg, element: Scalar, hexadecimal: bool) -> Reg:
    """A value as printf takes it: a double, or an integer of 32 or 64 bits; its bits if they are what is shown."""
    if not isinstance(element, DType):
        return reg
    if element.kind == "f":
        if not hexadecimal:
            return cast_reg(e, reg, element, float64)
        bits = BY_SHORT[f"u{element.bits}"]
        return reg if element.bits >= 32 else cast_reg(e, cast_reg(e, reg, bits, bits), bits, BY_SHORT["u32"])
    if element.bits >= 32:
        return reg
    if hexadecimal and element.kind == "i":
        narrow = BY_SHORT[f"u{element.bits}"]
        return cast_reg(e, cast_reg(e, reg, element, narrow), narrow, BY_SHORT["u32"])
    return cast_reg(e, reg, element, int32 if element.kind == "i" else BY_SHORT["u32"])


def _printf(e: Emitter, format: str, arguments: Sequence[Reg]) -> None:
    stores: list[str] = []
    offset = 0
    for reg in arguments:
        size = 8 if reg.type == "b64" else 4
        offset = -(-offset // size) * size
        stores.append(f"st.local.{reg.type} [{LOCAL}+{offset}], {reg};")
        offset += size
    e.m.local_bytes = max(e.m.local_bytes, -(-offset // 8) * 8)
    e.m.externs[PRINTF] = None
    lines = [".reg .b64 format, arguments;", *stores, *_address("format", e.m.text(format)),
             f"mov.u64 arguments, {LOCAL};", "cvta.local.u64 arguments, arguments;",
             ".param .b64 format_param;", ".param .b64 arguments_param;", ".param .b32 status_param;",
             "st.param.b64 [format_param], format;", "st.param.b64 [arguments_param], arguments;",
             "call (status_param), vprintf, (format_param, arguments_param);"]  # fmt: skip
    e.m.raw("vprintf", _block(lines), arguments)


def _address(register: str, text: str) -> tuple[str, str]:
    return f"mov.u64 {register}, {text};", f"cvta.global.u64 {register}, {register};"


def _block(lines: Sequence[str]) -> str:
    return "{\n" + "\n".join("    " + line for line in lines) + "\n}"


@lowering("assert")
def _assert(e: Emitter, op: Op) -> None:
    condition = op.operands[0]
    mask = op.operands[1] if len(op.operands) > 1 else None
    holds: Reg | None = None
    for r, reg in enumerate(e.regs(condition)):
        if mask is not None:
            reg = e.pure("or.pred", reg, e.pure("not.pred", e.regs(mask)[r]))
        holds = e.both(holds, reg)
    assert holds is not None
    passed = e.m.label("holds")
    e.m.bra(passed, pred=holds)
    e.m.externs[FAIL] = None
    texts = {"message": op.attrs["message"], "file": op.span.file, "function": e.kernel.name}
    lines = [f".reg .b64 {', '.join(texts)};"]
    for name, text in texts.items():
        lines += [*_address(name, e.m.text(text)), f".param .b64 {name}_param;",
                  f"st.param.b64 [{name}_param], {name};"]  # fmt: skip
    lines += [".param .b32 line_param;", f"st.param.b32 [line_param], {op.span.line};", ".param .b64 size_param;",
              "st.param.b64 [size_param], 1;",
              "call __assertfail, (message_param, file_param, line_param, function_param, size_param);"]  # fmt: skip
    e.m.raw("__assertfail", _block(lines), ())
    e.m.place(passed)
