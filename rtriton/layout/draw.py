"""Draws a layout as a table: `lane:register` in each cell (`warp.lane:register` with several warps), or the offset.

    $ python -m rtriton.layout "mma_acc((16, 8))"
"""
from __future__ import annotations

import ast
from collections.abc import Callable
from math import prod

from rtriton.layout import construct
from rtriton.layout.core import Layout, LayoutError, show_shape, unpack

CONSTRUCTORS: dict[str, Callable[..., Layout]] = {
    name: getattr(construct, name)
    for name in (
        "blocked", "row_blocked", "mma_acc", "mma_operand", "fma_operand", "wgmma_acc", "swizzled", "linear_shared"
    )
}
MAX_CELLS = 1 << 14


def evaluate(text: str) -> Layout:
    """The layout a constructor call in `text` makes; arguments are literals or nested calls."""
    node = ast.parse(text.strip(), mode="eval").body
    found = _value(node)
    if not isinstance(found, Layout):
        raise LayoutError(f"{text!r} is not a layout; write a call of {', '.join(CONSTRUCTORS)}")
    return found


def _value(node: ast.expr) -> object:
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    if not isinstance(node.func, ast.Name) or node.func.id not in CONSTRUCTORS:
        raise LayoutError(f"unknown constructor {ast.unparse(node.func)}; there are {', '.join(CONSTRUCTORS)}")
    keywords = {k.arg: _value(k.value) for k in node.keywords if k.arg is not None}
    return CONSTRUCTORS[node.func.id](*[_value(a) for a in node.args], **keywords)


def draw(layout: Layout) -> str:
    """A table of the last two axes, one for each index of the axes before them."""
    if prod(layout.shape) > MAX_CELLS:
        raise LayoutError(f"a tile of {show_shape(layout.shape)} is too large to draw; try a smaller one")
    cells = [_cell(layout, e) for e in range(prod(layout.shape))]
    columns = layout.shape[-1] if layout.shape else 1
    rows = layout.shape[-2] if layout.rank > 1 else 1
    width = max(map(len, cells))
    out = [str(layout)]
    for first in range(0, len(cells), rows * columns):
        if layout.rank > 2:
            out.append(f"[{', '.join(map(str, unpack(first, layout.shape)[:-2]))}]")
        for row in range(rows):
            start = first + row * columns
            out.append(" ".join(c.rjust(width) for c in cells[start : start + columns]))
    return "\n".join(out)


def _cell(layout: Layout, element: int) -> str:
    place = layout.find(element)
    if "offset" in place:
        return str(place["offset"])
    text = f"{place.get('lane', 0)}:{place.get('register', 0)}"
    return f"{place['warp']}.{text}" if layout.size("warp") > 1 else text
