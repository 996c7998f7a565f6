"""Tile IR as text, and back: `show(parse(show(kernel))) == show(kernel)`.

    kernel @double(%x: *f32, %n: i32) {num_warps = 4} {
      %pid: i32 = program_id {axis = 0}  @ double.py:5:11
      %0: 128xi32 = arange {start = 0, end = 128}
      %s: f32 = for %a, %b, %c, %init (%i: i32, %acc: f32) {
        ...
        yield %next
      }
    }

One generic form for every op. Layouts are printed once as aliases above the kernel: `#0 = layout<64x32: ...>`.
"""
from __future__ import annotations

import itertools
import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtriton.errors import RtritonError
from rtriton.guards import is_list, is_mapping
from rtriton.ir import NO_SPAN, Block, Kernel, Op, Span, Value, walk
from rtriton.types import BY_SHORT, DType, Pointer, Shared, Tile, Type, show_type

if TYPE_CHECKING:
    from rtriton.layout import Layout


Line = tuple[str, "Op | None"]


class Names:
    """Names that values and layouts keep from one kernel to the next, so that a diff of their texts shows what a pass
    did and not that numbers moved."""

    def __init__(self) -> None:
        self.values: dict[Value, str] = {}
        self.layouts: dict[Layout, str] = {}
        self.count = 0

    def before(self, kernel: Kernel) -> dict[Value, str]:
        """The names of those values of a kernel that have one."""
        values = [*kernel.params, *(v for op in walk(kernel.body) for v in _made_by(op))]
        return {v: self.values[v] for v in values if v in self.values}


def _made_by(op: Op) -> list[Value]:
    return [*op.results, *(v for region in op.regions for v in region.params)]


def show(kernel: Kernel, spans: bool = True, names: Names | None = None) -> str:
    """The text of a kernel; `spans=False` leaves the source places out, `names` keeps names over several kernels."""
    return _Printer(spans, names or Names()).kernel(kernel)


def show_lines(kernel: Kernel, names: Names | None = None) -> list[tuple[str, Op | None]]:
    """The text line by line, without places, each with the op that it is part of."""
    return _Printer(False, names or Names()).lines(kernel)


def named(kernel: Kernel) -> Kernel:
    """The kernel with every value named (%0 is %v0), so that one that a pass gives another type is still known."""
    values = [*kernel.params, *(v for op in walk(kernel.body) for v in _made_by(op))]
    number = itertools.count()
    fresh = {v: Value(v.type, v.name or f"v{next(number)}") for v in values}
    return replace(kernel, body=_renamed(kernel.body, fresh))


def _renamed(block: Block, fresh: Mapping[Value, Value]) -> Block:
    ops = [replace(op, operands=tuple(fresh[v] if v is not None else None for v in op.operands),
                   regions=tuple(_renamed(r, fresh) for r in op.regions), results=tuple(fresh[v] for v in op.results))
           for op in block.ops]  # fmt: skip
    return Block(tuple(fresh[v] for v in block.params), tuple(ops))


def _file_name(path: str) -> str:
    """A file's name in the letters that a place is read in: `my kernel (1).py` is my_kernel__1_.py."""
    name = re.sub(r"[^\w./<>+-]", "_", Path(path).name) or "unknown"
    return name if re.search(r"[^\W\d]|>", name) else f"{name}_"


class _Printer:
    def __init__(self, spans: bool, kept: Names) -> None:
        self.spans, self.kept = spans, kept
        self.names: dict[Value, str] = {}
        self.taken: set[str] = set()
        self.count = kept.count
        self.layouts: dict[Layout, str] = {}

    def name(self, value: Value | None) -> str:
        if value is None:
            return "_"
        if value not in self.names:
            self.names[value] = self.fresh(value.name)
        return "%" + self.names[value]

    def fresh(self, wish: str) -> str:
        wish = re.sub(r"[^A-Za-z0-9_]", "_", wish).rstrip("_")
        wish = re.sub(r"\.\d+$", "", wish)
        if not wish or wish[0].isdigit():
            wish, self.count = str(self.count), self.count + 1
        name, k = wish, 1
        while name in self.taken:
            name, k = f"{wish}.{k}", k + 1
        self.taken.add(name)
        return name

    def type(self, type: Type) -> str:
        text = show_type(type)
        layout = getattr(type, "layout", None)
        if layout is None:
            return text
        alias = self.kept.layouts.setdefault(layout, f"l{len(self.kept.layouts)}")
        self.layouts[layout] = alias
        return f"{text} #{alias}"

    def typed(self, values: tuple[Value, ...]) -> str:
        return ", ".join(f"{self.name(v)}: {self.type(v.type)}" for v in values)

    def literal(self, value: Any) -> str:
        if isinstance(value, (DType, Pointer, Tile, Shared)):
            return f"type({self.type(value)})"
        if isinstance(value, str):
            return json.dumps(value)
        if isinstance(value, bool) or value is None:
            return {True: "true", False: "false", None: "none"}[value]
        if is_list(value):
            return "(" + ", ".join(map(self.literal, value)) + ("," if len(value) == 1 else "") + ")"
        if is_mapping(value):
            return "{" + ", ".join(f"{self.literal(k)}: {self.literal(v)}" for k, v in value.items()) + "}"
        if isinstance(value, (int, float)):
            return repr(value)
        raise TypeError(f"an attribute holds numbers, strings, types and tuples of them, not {value!r}")

    def attrs(self, attrs: Mapping[str, Any]) -> str:
        return "{" + ", ".join(f"{k} = {self.literal(v)}" for k, v in attrs.items()) + "}"

    def op(self, op: Op, indent: str) -> list[Line]:
        results = f"{self.typed(op.results)} = " if op.results else ""
        parts = [op.kind]
        if op.operands:
            parts.append(", ".join(self.name(v) for v in op.operands))
        if op.attrs:
            parts.append(self.attrs(op.attrs))
        text = indent + results + " ".join(parts)
        lines: list[Line] = []
        for region in op.regions:
            lines.append((f"{text} ({self.typed(region.params)}) {{", op))
            lines += self.block(region, indent + "  ")
            text = indent + "}"
        if self.spans and op.span != NO_SPAN:
            text += "  @ " + self.span(op.span)
        return [*lines, (text, op)]

    def span(self, span: Span | None) -> str:
        places: list[str] = []
        while span is not None:
            places.append(f"{_file_name(span.file)}:{span.line}:{span.column}")
            span = span.caller
        return " < ".join(places)

    def block(self, block: Block, indent: str) -> list[Line]:
        return [line for op in block.ops for line in self.op(op, indent)]

    def kernel(self, kernel: Kernel) -> str:
        return "".join(f"{text}\n" for text, _ in self.lines(kernel))

    def lines(self, kernel: Kernel) -> list[Line]:
        self.names = self.kept.before(kernel)
        self.taken = set(self.names.values())
        head = f"kernel @{kernel.name}({self.typed(kernel.params)}) {self.attrs(kernel.attrs)} {{"
        lines: list[Line] = [(head, None), *self.block(kernel.body, "  "), ("}", None)]
        aliases: list[Line] = [(f"#{name} = {layout}", None) for layout, name in self.layouts.items()]
        self.kept.values.update(self.names)
        self.kept.count = self.count
        return aliases + lines


def parse(text: str) -> Kernel:
    """The kernel that `text` says; an RtritonError with line and column when it says none."""
    from lark.exceptions import UnexpectedInput, VisitError

    try:
        tree = _parser().parse(text)
        kernels = _Reader().file(tree)
    except UnexpectedInput as error:
        line = text.splitlines()[error.line - 1] if 0 < error.line <= len(text.splitlines()) else ""
        raise RtritonError(f"tile IR, line {error.line}, column {error.column}: not understood\n    {line}") from error
    except VisitError as error:
        raise RtritonError(f"tile IR: {error.orig_exc}") from error
    if len(kernels) != 1:
        raise RtritonError(f"tile IR: wanted one kernel, got {len(kernels)}")
    return kernels[0]


@cache
def _parser() -> Any:
    from lark import Lark

    return Lark((Path(__file__).parent / "tir.lark").read_text(), parser="lalr", propagate_positions=True)


class _Reader:
    """Walks the tree of a file."""

    def __init__(self) -> None:
        self.layouts: dict[str, Layout] = {}
        self.scope: dict[str, Value] = {}

    def file(self, tree: Any) -> list[Kernel]:
        kernels: list[Kernel] = []
        for node in tree.children:
            if node.data == "alias":
                with _reading(node):
                    self.layouts[str(node.children[0])] = self.layout(node.children[1])
            else:
                kernels.append(self.kernel(node))
        return kernels

    def layout(self, node: Any) -> Layout:
        from rtriton.layout import tile

        dims: dict[str, list[tuple[int, ...]]] = {}
        for axis in node.children[1:]:
            if axis is not None:
                dims[str(axis.children[0])] = [_dims(d) for d in axis.children[1:] if d is not None]
        return tile(_dims(node.children[0]), **dims)

    def kernel(self, node: Any) -> Kernel:
        name, params, attrs, block = node.children
        self.scope = {}
        with _reading(node):
            values, given = self.params(params), self.attrs(attrs)
        return Kernel(str(name), self.block(block, values), given)

    def params(self, node: Any) -> tuple[Value, ...]:
        return tuple(self.param(p) for p in node.children if p is not None)

    def param(self, node: Any) -> Value:
        name = str(node.children[0])[1:]
        value = Value(self.type(node.children[1]), "" if name.isdigit() else re.sub(r"\.\d+$", "", name))
        self.scope[name] = value
        return value

    def block(self, node: Any, params: tuple[Value, ...]) -> Block:
        return Block(params, tuple(self.op(n) for n in node.children))

    def op(self, node: Any) -> Op:
        results, kind, operands, attrs, *rest = node.children
        read = tuple(self.operand(n) for n in operands.children) if operands is not None else ()
        with _reading(node):
            given = self.attrs(attrs) if attrs is not None else {}
        regions: list[Block] = []
        span = NO_SPAN
        for part in rest:
            if part is not None and part.data == "region":
                outside = dict(self.scope)
                params, block = part.children
                with _reading(part):
                    values = self.params(params)
                regions.append(self.block(block, values))
                self.scope = outside
            elif part is not None:
                with _reading(part):
                    span = self.span(part)
        with _reading(node):
            made = tuple(self.param(p) for p in results.children) if results is not None else ()
        return Op(str(kind), read, given, tuple(regions), made, span)

    def operand(self, node: Any) -> Value | None:
        if node.data == "absent":
            return None
        name = str(node.children[0])[1:]
        if name not in self.scope:
            raise RtritonError(f"tile IR, line {node.meta.line}: %{name} is used before it is made")
        return self.scope[name]

    def span(self, node: Any) -> Span:
        span: Span | None = None
        for place in reversed(node.children):
            file, line, column = place.children
            span = Span(str(file), int(line), int(column), caller=span)
        assert span is not None
        return span

    def type(self, node: Any) -> Type:
        if node.data == "scalar":
            return _dtype(str(node.children[0]))
        if node.data == "pointer":
            const = len(node.children) == 2 and node.children[0] is not None
            return Pointer(_dtype(str(node.children[-1])), const=const)
        text, alias = str(node.children[0]), node.children[1]
        if alias is not None and str(alias) not in self.layouts:
            raise ValueError(f"there is no layout #{alias}")
        layout = self.layouts[str(alias)] if alias is not None else None
        if node.data == "shared":
            *sizes, element = text[7:text.index(",")].split("x")
            return Shared(tuple(map(int, sizes)), _dtype(element), layout, int(text[text.index(",") + 1:-1]))
        *sizes, element = text.split("x")
        if not element.startswith("*"):
            return Tile(tuple(map(int, sizes)), _dtype(element), layout)
        pointer = Pointer(_dtype(element.split()[-1].lstrip("*")), const="const" in element)
        return Tile(tuple(map(int, sizes)), pointer, layout)

    def attrs(self, node: Any) -> dict[str, Any]:
        return {str(a.children[0]): self.literal(a.children[1]) for a in node.children if a is not None}

    def literal(self, node: Any) -> Any:
        parts = [c for c in node.children if c is not None]
        kind = str(node.data)
        if kind == "tuple":
            return tuple(self.literal(c) for c in parts)
        if kind == "mapping":
            return {self.literal(c.children[0]): self.literal(c.children[1]) for c in parts}
        if kind == "type_literal":
            return self.type(parts[0])
        text = str(parts[0])
        if kind == "word":
            if text not in WORDS:
                raise ValueError(f"{text!r} is no value; a text stands in quotes")
            return WORDS[text]
        return {"int": int, "float": float, "string": json.loads}[kind](text)


WORDS = {"true": True, "false": False, "none": None}


@contextmanager
def _reading(node: Any) -> Generator[None]:
    """What cannot be read there (a number of thousands of digits, half an escape, a layout that is none) is told so."""
    try:
        yield
    except ValueError as error:
        raise RtritonError(f"tile IR, line {node.meta.line}: {error}") from error


def _dims(text: Any) -> tuple[int, ...]:
    return tuple(map(int, str(text).split("x")))


def _dtype(name: str) -> DType:
    if name not in BY_SHORT:
        raise RtritonError(f"tile IR: there is no type {name!r}")
    return BY_SHORT[name]
