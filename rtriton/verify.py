"""Is this kernel well-formed? Every op fits its row of the table, every value is made before it is used.

Stage specs: `tile` (no layouts, no ops born in GPU passes), `layout` (every tile laid out, elementwise operands agree),
`gpu` (every shared buffer has an offset).
"""
from __future__ import annotations

from rtriton.errors import KernelError
from rtriton.ir import Block, Kernel, Op, Value
from rtriton.language.table import OPS, PASS_ATTRS, infer
from rtriton.types import Tile, element_of, shape_of, show_type


def verify(kernel: Kernel, stage: str = "tile") -> None:
    """Raise a KernelError that names the op which breaks a rule."""
    seen: set[Value] = set()
    _block(kernel.body, seen, stage)
    if kernel.body.ops and kernel.body.ops[-1].kind == "yield":
        raise KernelError(f"kernel {kernel.name} yields from its body")


def _block(block: Block, seen: set[Value], stage: str) -> None:
    for value in block.params:
        if value in seen:
            raise KernelError(f"{value} is made twice")
        seen.add(value)
    for i, op in enumerate(block.ops):
        if op.kind == "yield" and i != len(block.ops) - 1:
            raise KernelError("yield is not the last op of its region", op.span)
        _op(op, seen, stage)


def _op(op: Op, seen: set[Value], stage: str) -> None:
    row = OPS.get(op.kind)
    if row is None:
        raise KernelError(f"there is no op named {op.kind!r}", op.span)
    for value in op.operands:
        if value is not None and value not in seen:
            raise KernelError(f"{op.kind} uses {value} where it is not defined", op.span)
    for region in op.regions:
        _block(region, set(seen), stage)
    for name in op.attrs:
        if name not in row.consts and name not in PASS_ATTRS:
            raise KernelError(f"{op.kind} has no attribute {name!r}", op.span)
    _types(op, stage)
    for value in op.results:
        if value in seen:
            raise KernelError(f"{op.kind} makes {value} a second time", op.span)
        seen.add(value)


def _types(op: Op, stage: str) -> None:
    try:
        wanted = infer(op.kind, [v.type if v is not None else None for v in op.operands], op.attrs, op.regions)
    except (TypeError, ValueError) as error:
        raise KernelError(str(error), op.span) from error
    except (AttributeError, LookupError, ArithmeticError) as error:
        # an attribute or operand of a kind that no rule looks at: only text can have such
        raise KernelError(f"{op.kind} has operands or attributes of the wrong kind: {error}", op.span) from error
    if len(wanted) != len(op.results):
        raise KernelError(f"{op.kind} gives {len(wanted)} values, not {len(op.results)}", op.span)
    for want, value in zip(wanted, op.results, strict=True):
        if (shape_of(want), element_of(want)) != (shape_of(value.type), element_of(value.type)):
            raise KernelError(f"{op.kind} gives {show_type(want)}, not {show_type(value.type)}", op.span)
        _layout(op, value, stage)


def _layout(op: Op, value: Value, stage: str) -> None:
    if not isinstance(value.type, Tile):
        return
    if stage == "tile" and value.type.layout is not None:
        raise KernelError(f"{op.kind}: {value} has a layout before the layout passes", op.span)
    if stage in ("layout", "gpu") and value.type.layout is None:
        raise KernelError(f"{op.kind}: {value} has no layout", op.span)
