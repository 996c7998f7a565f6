"""What is bad about an access, because of what, and what would help.

Reasons are found by asking again under other assumptions: if the width grows once `n` is taken to be divisible by 16,
then `n` is the reason.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from math import prod

from rtriton.explain.access import SECTOR, WIDEST, Access, Width, itemsize_of, pointer_of, width_of
from rtriton.explain.shared import Use
from rtriton.ir import Block, Kernel, Op, Value
from rtriton.passes.analysis.axis_info import Table, axis_info
from rtriton.types import DType, Tile, show_type

FACTOR = 16
LITTLE = 128  # bytes of a tile of which nothing need be said
POOR = 0.6  # share of the bytes moved that were asked for, below which a hint is given


class Assumptions:
    """Axis info of a kernel under assumptions about its integer arguments."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        divisible = kernel.attrs.get("divisible", {})
        numbers = [(i, p) for i, p in enumerate(kernel.params) if isinstance(p.type, DType) and p.type.is_int()]
        self.open = [(i, p) for i, p in numbers if divisible.get(i, 1) < FACTOR]
        self._tables: dict[tuple[str, frozenset[int]], Table] = {}

    @cached_property
    def known(self) -> Table:
        """What is known without them."""
        return axis_info(self.kernel)

    def divisible(self, params: frozenset[int]) -> Table:
        """If these parameters were divisible by 16."""
        key = ("divisible", params)
        if key not in self._tables:
            divisible = {**self.kernel.attrs.get("divisible", {}), **dict.fromkeys(params, FACTOR)}
            attrs = {**self.kernel.attrs, "divisible": divisible}
            self._tables[key] = axis_info(replace(self.kernel, attrs=attrs))
        return self._tables[key]

    def one(self, index: int) -> Table:
        """If this parameter were 1."""
        key = ("one", frozenset([index]))
        if key not in self._tables:
            param = self.kernel.params[index]
            known = Op("const", (), {"value": 1, "type": param.type}, (), (param,))
            body = Block(self.kernel.params, (known, *self.kernel.body.ops))
            self._tables[key] = axis_info(replace(self.kernel, body=body))
        return self._tables[key]


def access_hints(access: Access, assume: Assumptions) -> Iterator[str]:
    """What keeps an access from being wide, and what makes its requests touch too many sectors."""
    op = access.op
    if not isinstance(pointer_of(op).type, Tile) or op.kind.startswith("atomic") or access.bytes <= LITTLE:
        return
    width = width_of(op, assume.known)
    if access.width < WIDEST and (why := _why_narrow(op, access, width, assume)):
        yield why
    if access.efficiency < POOR:
        share = f"{access.ideal * SECTOR} of the {access.sectors * SECTOR} bytes that a request moves are wanted"
        run = min(width.neighbours, width.held)
        yield (f"{share}: lanes of a warp touch up to {access.sectors} sectors" if run <= access.width else
               f"{share}: threads take their runs of {run} bytes by {access.width}")


def _why_narrow(op: Op, access: Access, width: Width, assume: Assumptions) -> str:
    """The sentence about what limits the width; "" where nothing that could be known would help."""
    size = itemsize_of(pointer_of(op))
    allowed = min(width.neighbours, width.aligned, width.mask)
    if allowed > access.width:
        return _few_elements(op, access, size)
    reasons: list[str] = []
    if width.neighbours == allowed and _neighbours(op, assume.known) == _longest_row(op):
        return f"{access.width} bytes wide: a row of the tile is no longer"
    if width.neighbours == allowed:
        reasons.append(f"neighbours along axis {width.axis} of the tile are not known to be neighbours in memory")
        now = _neighbours(op, assume.known)
        reasons += [f"{p.name} is not known to be 1" for i, p in assume.open if _neighbours(op, assume.one(i)) > now]
    else:
        if width.aligned == allowed:
            reasons.append(f"addresses are not known to be divisible by {WIDEST}")
        if width.mask == allowed:
            reasons.append(f"the mask is not constant over {WIDEST // size} elements")
        reasons = [" and ".join(reasons), *_culprits(op, assume, allowed)]
    what = {"load": "load", "store": "store", "async_copy": "copy"}[op.kind]
    return f"this {what} is {access.width} bytes wide: {'; '.join(reasons)}"


def _neighbours(op: Op, table: Table) -> int:
    return max(table[pointer_of(op)].contiguity)


def _longest_row(op: Op) -> int:
    type = pointer_of(op).type
    return max(type.shape) if isinstance(type, Tile) else 1


def _few_elements(op: Op, access: Access, size: int) -> str:
    """Facts would allow more than the layout does."""
    type = pointer_of(op).type
    assert isinstance(type, Tile) and type.layout is not None
    threads = type.layout.size("lane") * type.layout.size("warp")
    if type.layout.registers * size <= access.width:
        return (f"{access.width} bytes wide: the tile has {prod(type.shape)} elements for {threads} threads; a larger "
                "tile or fewer warps would make it wider")
    return f"{access.width} bytes wide, although {WIDEST} would be legal: another op's layout was kept"


def _allowed(op: Op, table: Table) -> int:
    width = width_of(op, table)
    return min(width.neighbours, width.aligned, width.mask)


def _grows(op: Op, table: Table, now: int) -> bool:
    return _allowed(op, table) > now


def _culprits(op: Op, assume: Assumptions, now: int) -> list[str]:
    """The arguments without whose divisibility the access stays narrow."""
    each = [p for i, p in assume.open if _grows(op, assume.divisible(frozenset([i])), now)]
    if not each:
        every = frozenset(i for i, _ in assume.open)
        if every and _grows(op, assume.divisible(every), now):
            best = _allowed(op, assume.divisible(every))
            each = [p for i, p in assume.open if _allowed(op, assume.divisible(every - {i})) < best]
            return [f"{_names(each)} are not known to be divisible by {FACTOR}"] if each else []
    return [f"{p.name} is not known to be divisible by {FACTOR}" for p in each]


def _names(params: list[Value]) -> str:
    names = [p.name for p in params]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def shared_hints(op: Op, use: Use, in_loop: bool) -> Iterator[str]:
    if use.write > 1 or use.read > 1:
        ways = [f"{n}-way when it {'writes' if n is use.write else 'reads'}" for n in (use.write, use.read) if n > 1]
        yield f"bank conflicts: {', '.join(ways)}"
    if in_loop and op.kind == "convert_layout" and use.bytes:
        yield "a change of layout through shared memory, with a barrier, in every turn of the loop"


def product_hint(op: Op) -> str:
    """Why a product does not run on tensor cores."""
    types = [show_type(v.type) for v in op.operands[:2] if v is not None]
    precision = op.attrs.get("precision") or op.attrs.get("input_precision") or ""
    said = f", input_precision {precision}" if precision else ""
    return f"this product runs on ordinary cores: {' times '.join(types)}{said} has no tensor core instruction here"
