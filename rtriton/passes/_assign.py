"""One map {value: layouts} over the whole kernel, then one rewrite: how tiles get their layouts.

`_natural` says where values are by nature.  Going backwards, every op asks for its operands in the layouts it needs; a
value without a nature of its own is made once for each layout asked for, any other is made where it is by nature
and converted.  Carried values without a nature take the first layout that their loop's body asks for.

A widening cast is made again rather than converted: its operand has fewer bytes to move. A load that is wanted in one
other layout only loses its nature where `elsewhere` says so, and all is settled again.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from rtriton.ir import Block, Kernel, Op, Value
from rtriton.layout import Layout
from rtriton.passes._natural import CARRIERS, Nature, wanted
from rtriton.passes.analysis.roots import unwritten_loads
from rtriton.types import Tile, element_of, shape_of

Wanted = dict[Value, dict[Layout, None]]


Elsewhere = Callable[[Op, Layout, Layout], bool]


def assign_layouts(
    kernel: Kernel, anchors: Mapping[Op, Layout], elsewhere: Elsewhere = lambda load, own, wanted: False
) -> Kernel:
    """`kernel` with a layout on every tile and a convert_layout wherever two differ. `elsewhere` says whether a load in
    one layout, wanted in another only, is made there."""
    free, unwritten = set[Op](), unwritten_loads(kernel)
    while True:
        nature = Nature(int(kernel.attrs.get("num_warps", 4)), anchors, unwritten, free)
        nature.block(kernel.body)
        demands = _settle(nature, kernel.body)
        fixed = [op for op in nature.fixed if op in unwritten]
        found = {op for op in fixed if _is_wanted(op, nature, demands.wanted, elsewhere)}
        if not found:
            break
        free |= found
    return replace(kernel, body=_Writer(nature, demands).block(kernel.body, ()))


def _is_wanted(load: Op, nature: Nature, wanted: Wanted, elsewhere: Elsewhere) -> bool:
    """Whether the load is wanted in one other layout, and made there."""
    layouts, (own,) = list(wanted.get(load.result, ())), nature.fixed[load][1]
    return len(layouts) == 1 and own is not None and layouts[0] != own and elsewhere(load, own, layouts[0])


def _settle(nature: Nature, body: Block) -> _Demands:
    """Demands, asked again until every carried value has a layout."""
    while True:
        demands = _Demands(nature)
        demands.block(body)
        open_values = [v for v, pinned in nature.pinned.items() if pinned is None]
        if not open_values:
            return demands
        asked = [v for v in open_values if demands.wanted.get(v)]
        for value in asked or open_values[:1]:
            found = next(iter(demands.wanted.get(value, ())), None)
            nature.pinned[value] = found or nature.default(shape_of(value.type))
        nature.fixed.clear()
        nature.block(body)


class _Demands:
    """Which layouts each value is asked for in, collected backwards."""

    def __init__(self, nature: Nature) -> None:
        self.nature = nature
        self.wanted: Wanted = {}

    def ask(self, value: Value | None, layout: Layout | None) -> None:
        if value is not None and layout is not None:
            self.wanted.setdefault(value, {})[layout] = None

    def ask_all(self, values: Iterable[Value | None], layouts: Iterable[Layout | None]) -> None:
        for value, layout in zip(values, layouts, strict=True):
            self.ask(value, layout)

    def block(self, block: Block) -> None:
        for op in reversed(block.ops):
            self.op(op)

    def op(self, op: Op) -> None:
        if op.kind in CARRIERS:
            self.carrier(op)
        elif op in self.nature.fixed:
            self.ask_all(op.operands, self.nature.fixed[op][0])
        elif op.results:
            for layout in versions(self.nature, op, self.wanted):
                self.ask_all(op.operands, wanted(op, layout))

    def carrier(self, op: Op) -> None:
        """Results and parameters share a layout; what is handed in and yielded is asked for in it."""
        pinned = self.nature.pinned
        if op.kind == "if":
            for result in op.results:
                if isinstance(result.type, Tile) and pinned.get(result) is None:
                    self.share(result, result)
            for region in op.regions:
                self.ask_all(region.yielded, [pinned.get(r) for r in op.results])
                self.block(region)
            return
        body = op.regions[-1]
        carried = body.params[1:] if op.kind == "for" else body.params
        self.ask_all(body.yielded, [pinned.get(p) for p in carried])
        for region in reversed(op.regions):
            self.block(region)
        for result, param in zip(op.results, carried, strict=True):
            self.share(result, param)
        if op.kind == "while":
            for mine, param in zip(op.regions[0].params, carried, strict=True):
                self.share(mine, param)
        init = op.operands[3:] if op.kind == "for" else op.operands
        self.ask_all(init, [pinned.get(p) for p in carried])

    def share(self, value: Value, param: Value) -> None:
        """What is asked of `value` counts as asked of `param` while its layout is open; those of the body go first."""
        if self.nature.pinned.get(param) is None and isinstance(param.type, Tile):
            for layout in self.wanted.get(value, ()):
                self.ask(param, layout)


def versions(nature: Nature, op: Op, demanded: Wanted) -> list[Layout]:
    """The layouts in which an op that can be made in any layout is made."""
    if not op.results or not isinstance(op.results[0].type, Tile):
        return []
    asked = list(demanded.get(op.results[0], ()))
    own = nature.of.get(op.results[0])
    if own is None or (op.kind == "cast" and _widens(op)):
        return asked
    return [own] if asked else []


def _widens(op: Op) -> bool:
    source = op.operands[0]
    assert source is not None
    return element_of(source.type).bits < element_of(op.result.type).bits


class _Writer:
    """Writes the kernel anew, each value in each of its layouts."""

    def __init__(self, nature: Nature, demands: _Demands) -> None:
        self.nature, self.wanted = nature, demands.wanted
        self.now: dict[tuple[Value, Layout | None], Value] = {}
        self.ops: list[Op] = []

    def get(self, value: Value | None, layout: Layout | None) -> Value | None:
        if value is None or not isinstance(value.type, Tile):
            return value if value is None else self.now.get((value, None), value)
        return self.now[value, layout]

    def block(self, block: Block, params: tuple[Layout | None, ...], yields: tuple[Layout | None, ...] = ()) -> Block:
        outside, self.ops = self.ops, []
        made = tuple(self.make(v, layout) for v, layout in zip(block.params, params, strict=False))
        made += block.params[len(params) :]
        for value in made[: len(params)]:
            self.convert(value, block.params[made.index(value)])
        for op in block.ops:
            if op.kind == "yield":
                operands = tuple(self.get(v, y) for v, y in zip(op.operands, yields, strict=True))
                self.ops.append(replace(op, operands=operands))
            else:
                self.op(op)
        done, self.ops = tuple(self.ops), outside
        return Block(made, done)

    def make(self, value: Value, layout: Layout | None) -> Value:
        """The value of the new kernel that stands for `value` in `layout`."""
        if not isinstance(value.type, Tile):
            return value
        assert layout is not None
        fresh = Value(replace(value.type, layout=layout), value.name)
        self.now[value, layout] = fresh
        return fresh

    def convert(self, made: Value, value: Value, span: Op | None = None) -> None:
        """Conversions of a value, right where it is made, to the other layouts it is asked for in."""
        if not isinstance(value.type, Tile):
            return
        for layout in self.wanted.get(value, ()):
            if (value, layout) not in self.now:
                result = self.make(value, layout)
                place = {"span": span.span} if span is not None else {}
                self.ops.append(Op("convert_layout", (made,), {}, (), (result,), **place))

    def op(self, op: Op) -> None:
        nature = self.nature
        if op.kind in CARRIERS:
            self.carrier(op)
        elif op in nature.fixed:
            takes, gives = nature.fixed[op]
            self.emit(op, takes, gives)
        elif not op.results or not isinstance(op.results[0].type, Tile):
            self.ops.append(replace(op, operands=tuple(self.get(v, None) for v in op.operands)))
        else:
            for layout in versions(nature, op, self.wanted):
                self.emit(op, wanted(op, layout), (layout,))

    def emit(self, op: Op, takes: tuple[Layout | None, ...], gives: tuple[Layout | None, ...]) -> None:
        operands = tuple(self.get(v, layout) for v, layout in zip(op.operands, takes, strict=True))
        results = tuple(self.make(v, layout) for v, layout in zip(op.results, gives, strict=True))
        attrs = op.attrs
        if op.kind == "const" and results:
            attrs = {**op.attrs, "type": results[0].type}
        self.ops.append(replace(op, operands=operands, results=results, attrs=attrs))
        if op.results and versions_convert(self.nature, op):
            for made, value in zip(results, op.results, strict=True):
                self.convert(made, value, op)

    def carrier(self, op: Op) -> None:
        pinned = self.nature.pinned
        if op.kind == "if":
            held = tuple(pinned.get(r) for r in op.results)
            regions = tuple(self.block(r, (), held) for r in op.regions)
            operands = tuple(self.get(v, None) for v in op.operands)
        else:
            body = op.regions[-1]
            first = 1 if op.kind == "for" else 0
            held = tuple(pinned.get(p) for p in body.params[first:])
            lead = (None,) * first
            regions = tuple(self.block(r, lead + held, held if r is body else (None,)) for r in op.regions)
            head = 3 if op.kind == "for" else 0
            operands = tuple(self.get(v, None) for v in op.operands[:head]) + tuple(
                self.get(v, layout) for v, layout in zip(op.operands[head:], held, strict=True)
            )
        results = tuple(self.make(v, layout) for v, layout in zip(op.results, held, strict=True))
        self.ops.append(replace(op, operands=operands, regions=regions, results=results))
        for made, value in zip(results, op.results, strict=True):
            self.convert(made, value, op)


def versions_convert(nature: Nature, op: Op) -> bool:
    """Whether the op is made once, so that other layouts are conversions of it."""
    if op in nature.fixed:
        return True
    return nature.of.get(op.results[0]) is not None and not (op.kind == "cast" and _widens(op))
