"""The layout each value has by nature: where it is first made, before anyone asks for it elsewhere.

Loads, stores and atomics have the layouts that memory suggests, products those of the tensor core, a reduction that
of its operand without the axis.  Elementwise ops take over their operand's.  Values made of nothing (constants,
ranges, what is broadcast, loads of few elements) have none: they are made again in every layout that is asked for,
since that costs less than moving them.  What a loop or a branch hands on has exactly one, settled by `_assign` where
nature does not.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from math import prod

from rtriton import layout as L
from rtriton.ir import Block, Op, Value
from rtriton.language.table import OPS
from rtriton.layout import Layout
from rtriton.passes.analysis.scratch import sliced
from rtriton.types import BY_SHORT, Tile, shape_of

Natural = dict[Value, Layout | None]
Fixed = tuple[tuple[Layout | None, ...], tuple[Layout | None, ...]]   # of operands, of results


@dataclass
class Nature:
    """Layouts by value, and for every op that cannot be made in any layout the ones it takes and gives. Of the loads in
    `unwritten`, whose memory the kernel leaves alone, the small ones can be, and those in `free`."""

    warps: int
    anchors: Mapping[Op, Layout]
    unwritten: Set[Op] = frozenset()
    free: Set[Op] = frozenset()
    of: Natural = field(default_factory=dict[Value, "Layout | None"])
    fixed: dict[Op, Fixed] = field(default_factory=dict[Op, "Fixed"])
    pinned: Natural = field(default_factory=dict[Value, "Layout | None"])
    strong: set[Layout] = field(default_factory=set[Layout])

    def default(self, shape: tuple[int, ...]) -> Layout:
        return L.row_blocked(shape, self.warps)

    def block(self, block: Block) -> None:
        for op in block.ops:
            self.op(op)

    def op(self, op: Op) -> None:
        if op.kind in CARRIERS:
            CARRIERS[op.kind](self, op)
        elif op.kind in FIXED and op not in self.free and not self.is_cheap_load(op):
            self.fix(op, *FIXED[op.kind](self, op))
        elif op.kind in FOLLOWS:
            source = self.of.get(_first(op))
            self.of[op.result] = FOLLOWS[op.kind](op, source) if source is not None else None
        elif OPS[op.kind].elementwise and any(isinstance(v.type, Tile) for v in op.results):
            self.of[op.result] = self.pick(op)
        else:
            self.of.update((v, None) for v in op.results)

    def fix(self, op: Op, takes: tuple[Layout | None, ...], gives: tuple[Layout | None, ...]) -> None:
        self.fixed[op] = (takes, gives)
        self.of.update(zip(op.results, gives, strict=True))

    def pick(self, op: Op) -> Layout | None:
        """An elementwise op stays with the operand that is dearest to move."""
        found = [n for v in op.operands if v is not None and (n := self.of.get(v)) is not None]
        strong = [n for n in found if n in self.strong]
        return strong[0] if strong else found[0] if found else None

    def is_cheap_load(self, op: Op) -> bool:
        """A load of fewer elements than there are threads is made again wherever it is wanted: it finds its lines in
        the cache, which costs less than to move what it loads through shared memory."""
        shape = shape_of(_first(op).type) if op.kind == "load" else ()
        return op in self.unwritten and bool(shape) and prod(shape) < 32 * self.warps and not op.attrs.get("volatile")

    def anchor(self, op: Op) -> Layout:
        """Where a memory op wants to run."""
        if op in self.anchors:
            return self.anchors[op]
        first = _first(op)
        return self.of.get(first) or self.default(shape_of(first.type))


def _first(op: Op) -> Value:
    value = op.operands[0]
    assert value is not None
    return value


def _tiles(op: Op, layout: Layout | None) -> tuple[Layout | None, ...]:
    """`layout` for each operand that is a tile."""
    return tuple(layout if v is not None and isinstance(v.type, Tile) else None for v in op.operands)


def _memory(nature: Nature, op: Op) -> Fixed:
    if not isinstance(_first(op).type, Tile):
        return (None,) * len(op.operands), (None,) * len(op.results)
    layout = nature.anchor(op)
    return _tiles(op, layout), (layout,) * len(op.results)


def _mma(nature: Nature, op: Op) -> Fixed:
    a, b, acc = (v for v in op.operands if v is not None)
    warps = op.attrs["warps"]
    size = min(4, BY_SHORT[op.attrs["atom"]].itemsize)  # f64 lies as f32 does, one element a register
    result = L.mma_acc(shape_of(acc.type), warps)
    nature.strong.add(result)
    left = L.mma_operand(shape_of(a.type), "a", size, warps)
    right = L.mma_operand(shape_of(b.type), "b", size, warps)
    return (left, right, result), (result,)


def _dot(nature: Nature, op: Op) -> Fixed:
    """By multiply-adds: operands are read from shared memory, so any layout of theirs will do."""
    *operands, acc = (v for v in op.operands if v is not None)
    result = square_blocked(shape_of(acc.type), nature.warps)
    nature.strong.add(result)
    held = [nature.of.get(v) or nature.default(shape_of(v.type)) for v in operands]
    return (*held, result), (result,)


def square_blocked(shape: tuple[int, ...], warps: int) -> Layout:
    """A blocked layout whose threads hold squares of up to 4x4, which a dot by multiply-adds reads least for."""
    threads = 32 * warps
    room = max(1, prod(shape) // threads)
    columns = min(4, shape[-1], room)
    rows = min(4, shape[-2], max(1, room // columns))
    lanes_n = min(32, max(1, shape[-1] // columns), 8)
    lanes = (*(1,) * (len(shape) - 2), 32 // lanes_n, lanes_n)
    per_thread = (*(1,) * (len(shape) - 2), rows, columns)
    along_m = 1
    while along_m < warps and along_m * lanes[-2] * rows < shape[-2]:
        along_m *= 2
    return L.blocked(shape, per_thread, lanes, (*(1,) * (len(shape) - 2), along_m, warps // along_m))


def _reduce(nature: Nature, op: Op) -> Fixed:
    first = _first(op)
    source = nature.pick(op) or nature.default(shape_of(first.type))
    axis = op.attrs["axis"]
    gives = L.drop(source, axis) if len(shape_of(first.type)) > 1 else None
    return (source,) * len(op.operands), (gives,) * len(op.results)


def _scan(nature: Nature, op: Op) -> Fixed:
    source = nature.pick(op) or nature.default(shape_of(_first(op).type))
    return (source,) * len(op.operands), (source,) * len(op.results)


def _order(nature: Nature, op: Op) -> Fixed:
    """Where most of an axis's bits cost least: a network meets the lowest bits most often."""
    shape, axis = shape_of(_first(op).type), op.attrs["axis"]
    source = nature.pick(op) or nature.default(shape)
    found = source if _rises(source, axis) else sort_layout(shape, axis, nature.warps)
    return (found,), (found,)


def _rises(layout: Layout, axis: int) -> bool:
    """Whether the lowest bits along the axis are in registers, the next in lanes, the highest in warps, and of these no
    more than other axes leave."""
    plan = L.reduction_plan(layout, axis)
    found = (("register", plan.register), ("lane", plan.lane), ("warp", plan.warp))
    bits = [layout[dim][k] for dim, along in found for k in along]
    others = [b for b in layout["register"] if L.axis_of(layout, b) != axis]
    return bits == sorted(bits) and not (plan.warp and others)


def sort_layout(shape: tuple[int, ...], axis: int, warps: int) -> Layout:
    """A layout whose threads hold runs along the axis, warps as many lines as there are, and then parts of lines."""
    order = (axis, *(d for d in reversed(range(len(shape))) if d != axis))
    split = max(1, warps * shape[axis] // prod(shape))
    flat = L.row_blocked(shape, split, max(1, shape[axis] // (32 * split)), order)
    others = [b for b in flat["register"] if L.axis_of(flat, b) != axis]
    warp = others[len(others) - L.log2(warps // split) :]
    register = [b for b in flat["register"] if b not in warp]
    warp = [*flat["warp"], *warp]
    return L.make(shape, register, flat["lane"], warp + [0] * (L.log2(warps) - len(warp)))


def _assembly(nature: Nature, op: Op) -> Fixed:
    if not op.operands or not isinstance(_first(op).type, Tile):
        return (None,) * len(op.operands), (None,) * len(op.results)
    return _map(nature, op)


def _map(nature: Nature, op: Op) -> Fixed:
    source = nature.pick(op) or nature.default(shape_of(_first(op).type))
    return (source,) * len(op.operands), (source,) * len(op.results)


def _split(nature: Nature, op: Op) -> Fixed:
    source = nature.of.get(_first(op))
    if source is None or 1 not in source["register"]:
        source = L.join(nature.default(shape_of(op.results[0].type)))
    return (source,), (L.split(source),) * 2


def _join(nature: Nature, op: Op) -> Fixed:
    half = nature.pick(op) or nature.default(shape_of(_first(op).type))
    return (half, half), (L.join(half),)


def _cat(nature: Nature, op: Op) -> Fixed:
    (n,) = shape_of(_first(op).type)
    half = nature.pick(op) or nature.default((n,))
    return (half, half), (L.make((2 * n,), (*half["register"], n), half["lane"], half["warp"]),)


def _gather(nature: Nature, op: Op) -> Fixed:
    source, index = op.operands
    assert source is not None and index is not None
    held = nature.of.get(source) or nature.default(shape_of(source.type))
    axis: int = op.attrs["axis"]
    if "start" in op.attrs and (kept := sliced(held, axis, shape_of(index.type)[axis])) is not None:
        return (held, kept), (kept,)
    result = nature.of.get(index) or nature.default(shape_of(index.type))
    return (held, result), (result,)


def _histogram(nature: Nature, op: Op) -> Fixed:
    source = nature.pick(op) or nature.default(shape_of(_first(op).type))
    return _tiles(op, source), (nature.default(shape_of(op.result.type)),)


def _sink(nature: Nature, op: Op) -> Fixed:
    """assert, print: each operand where it is."""
    takes = tuple(
        nature.of.get(v) or nature.default(shape_of(v.type)) if v is not None and isinstance(v.type, Tile) else None
        for v in op.operands
    )
    return takes, (None,) * len(op.results)


FIXED: dict[str, Callable[[Nature, Op], Fixed]] = {
    "load": _memory, "store": _memory, "atomic_rmw": _memory, "atomic_cas": _memory, "mma": _mma, "dot": _dot,
    "reduce": _reduce, "scan": _scan, "split": _split, "join": _join, "cat": _cat, "gather": _gather,
    "histogram": _histogram, "order": _order, "map": _map, "inline_asm": _assembly,
    "inline_asm_volatile": _assembly, "assert": _sink, "print": _sink, "assume": _sink,
}  # fmt: skip


# ops that only rename coordinates: result layout from the operand's, operand layout from the result's
FOLLOWS: dict[str, Callable[[Op, Layout], Layout]] = {
    "reshape": lambda op, x: L.reshape(x, shape_of(op.result.type)),
    "trans": lambda op, x: L.transpose(x, op.attrs["order"]),
    "exchange": lambda op, x: x,
    "multiple_of": lambda op, x: x,
    "max_contiguous": lambda op, x: x,
    "max_constancy": lambda op, x: x,
}


def wanted(op: Op, result: Layout) -> tuple[Layout | None, ...]:
    """The layouts an op that can be made in any layout takes its operands in, to give `result` without moving data."""
    source = shape_of(_first(op).type) if op.operands else ()
    if op.kind == "reshape":
        return (L.reshape(result, source),)
    if op.kind == "trans":
        order = op.attrs["order"]
        return (L.transpose(result, [order.index(i) for i in range(len(order))]),)
    if op.kind == "expand_dims":
        return (L.drop(result, op.attrs["axis"]),)
    if op.kind == "broadcast":
        return (L.broadcast_source(result, source),)
    return _tiles(op, result)


# -- regions: what is carried has one layout ---------------------------------------------------------------------------


Turn = Callable[[], tuple[Value, ...]]


def _carry(nature: Nature, params: tuple[Value, ...], init: tuple[Value, ...], turn: Turn) -> None:
    """Give carried values the layout that the body makes them in, else that of their initial value."""
    for param in params:
        nature.of[param] = nature.pinned.get(param)
    for start, param, end in zip(init, params, turn(), strict=True):
        if isinstance(param.type, Tile) and nature.of[param] is None:
            nature.of[param] = nature.of.get(end) or nature.of.get(start)
    turn()
    nature.pinned.update((p, nature.of[p]) for p in params if isinstance(p.type, Tile))


def _for(nature: Nature, op: Op) -> None:
    (body,) = op.regions
    nature.of[body.params[0]] = None

    def turn() -> tuple[Value, ...]:
        nature.block(body)
        return body.yielded

    init = tuple(v for v in op.operands[3:] if v is not None)
    _carry(nature, body.params[1:], init, turn)
    nature.of.update(zip(op.results, [nature.of[p] for p in body.params[1:]], strict=True))


def _while(nature: Nature, op: Op) -> None:
    test, body = op.regions

    def turn() -> tuple[Value, ...]:
        for mine, param in zip(test.params, body.params, strict=True):
            nature.of[mine] = nature.of[param]
        nature.block(test)
        nature.block(body)
        return body.yielded

    _carry(nature, body.params, tuple(v for v in op.operands if v is not None), turn)
    nature.of.update(zip(op.results, [nature.of[p] for p in body.params], strict=True))


def _if(nature: Nature, op: Op) -> None:
    then, otherwise = op.regions
    nature.block(then)
    nature.block(otherwise)
    for result, a, b in zip(op.results, then.yielded, otherwise.yielded, strict=True):
        pinned = nature.pinned.get(result) or nature.of.get(a) or nature.of.get(b)
        nature.of[result] = pinned
        if isinstance(result.type, Tile):
            nature.pinned[result] = pinned


CARRIERS: dict[str, Callable[[Nature, Op], None]] = {"for": _for, "while": _while, "if": _if}
