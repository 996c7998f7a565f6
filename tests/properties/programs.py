"""Random kernels as source text, for hypothesis: expressions over tiles and scalars of every type, loops and branches.

    program = data.draw(programs())
    program.source        # a function `kernel(n, x0, x1, ..., out0, ...)`: it loads the x, and stores each variable

What can be written is read off the op table: an elementwise row is drawn as its operator or its public function, with
operands of any types; what types those give (or that they do not fit) is asked of the front end itself, which
lowers a kernel of that one expression. Earlier choices are the simpler ones: failures shrink to short programs.

Results are the same everywhere to the last bit, by construction: what is undefined is not written (shifts by the width,
a division by zero, a float too large for the integer it becomes), sums of floats are sums of small whole numbers,
and the result of an op that may be rounded otherwise (`exp`, f32 `/`) is marked `near` and only moved about, not used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hypothesis import strategies as st

import rtriton
import rtriton.language as tl
from rtriton.errors import KernelError
from rtriton.frontend.lower import lower
from rtriton.language import OPS, PUBLIC
from rtriton.types import BY_NAME, DTYPES, DType, Pointer, int32, int64

Draw = Callable[[st.SearchStrategy[Any]], Any]
Shape = tuple[int, ...]

NAMES = ["int32", "fp32", *(t.name for t in DTYPES if t.name not in ("int32", "fp32"))]
SHAPES: list[Shape] = [(4,), (), (1,), (2, 4), (32,), (8, 8), (2, 1), (1, 16), (128,), (16, 4), (2, 2, 8), (1, 4, 1)]
OPERATORS = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "and": "{0} & {1}", "or": "{0} | {1}",
    "xor": "{0} ^ {1}", "eq": "{0} == {1}", "ne": "{0} != {1}", "lt": "{0} < {1}", "le": "{0} <= {1}",
    "gt": "{0} > {1}", "ge": "{0} >= {1}", "neg": "-{0}", "div": "{0} / {1}",
    # on a GPU an f32 is reduced by quarter turns in f32
    "sin": "tl.sin(tl.clamp({0}, -1000.0, 1000.0))", "cos": "tl.cos(tl.clamp({0}, -1000.0, 1000.0))",
}  # fmt: skip
# Said otherwise below, with operands for which they are defined; rows that no kernel can name.
ELSEWHERE = frozenset({"rem", "shl", "shr", "cast", "bitcast", "addptr", "minimum_nan", "maximum_nan"})
UNNAMED = frozenset({"tanh"})
# ulp by which two executions may differ, where not 8: on a GPU erf is good to 20 of f32, and exp ex2.approx(x log2 e),
# as in Triton, whose product is rounded at up to 128
NEAR = {"erf": 40, "exp": 64}


@dataclass(frozen=True)
class Expr:
    """Source text, and what it is: the name of a dtype, a shape, and by how many ulp executions may differ."""

    text: str
    dtype: str
    shape: Shape
    near: int = 0


@dataclass
class Program:
    """`inputs` and `outputs`: dtype and number of elements of each array, in the order of the parameters after the
    `numbers`; of an output also by how many ulp it may differ. The other fields say how it is compiled."""

    source: str
    inputs: list[tuple[str, int]]
    outputs: list[tuple[str, int, int]]
    numbers: tuple[int, ...]
    seed: int
    num_warps: int = 4
    target: str = "sm_90a"
    aligned: bool = False  # arrays are known to start at a multiple of 16 bytes
    fuses: bool = True

    def lowered(self) -> Any:
        fn = function(self.source)
        numbers, arrays = fn.arg_names[: len(self.numbers)], fn.arg_names[len(self.numbers) :]
        types = [t for t, *_ in (*self.inputs, *self.outputs)]
        signature = dict(zip(numbers, (int32, int64), strict=False))
        signature |= {name: Pointer(BY_NAME[t]) for name, t in zip(arrays, types, strict=True)}
        divisible = dict.fromkeys(arrays, 16) if self.aligned else {}
        return lower(fn, signature, {}, divisible, num_warps=self.num_warps, fp_fusion=self.fuses).kernel


def function(source: str, **names: Any) -> Any:
    """The kernel that `source` defines."""
    scope: dict[str, Any] = {"tl": tl, **names}
    text = "import rtriton\n@rtriton.jit\n" + source  # rtriton looks for it among the variables of whoever calls exec
    exec(text, scope)
    return scope["kernel"]


@cache
def kind_of(template: str, operands: tuple[tuple[str, Shape], ...]) -> tuple[str, Shape] | None:
    """The dtype and shape of an expression over operands of these; None where the language refuses it."""
    found: list[tuple[str, Shape]] = []

    @rtriton.constexpr_function
    def note(dtype: DType, shape: Any) -> None:
        found.append((dtype.name, tuple(shape)))

    names = [f"v{i}" for i in range(len(operands))]
    loads = [f"    v{i} = {load(f'x{i}', shape)}" for i, (_, shape) in enumerate(operands)]
    lines = [*loads, f"    r = {template.format(*names)}", "    note(r.dtype, r.shape)"]
    source = f"def kernel({', '.join(f'x{i}' for i in range(len(operands)))}):\n" + "\n".join(lines) + "\n"
    try:
        signature = {f"x{i}": Pointer(BY_NAME[t]) for i, (t, _) in enumerate(operands)}
        lower(function(source, note=note), signature, {})
    except KernelError:
        return None
    return found[0]


def elements(shape: Shape) -> int:
    count = 1
    for n in shape:
        count *= n
    return count


def places(shape: Shape) -> str:
    """Row-major offsets of a tile."""
    flat = f"tl.arange(0, {elements(shape)})"
    return "0" if not shape else flat if len(shape) == 1 else f"tl.reshape({flat}, {shape})"


def load(pointer: str, shape: Shape) -> str:
    return f"tl.load({pointer} + {places(shape)})"


def elementwise_templates() -> dict[str, str]:
    """Every row of the table that a kernel can name: kind -> how it is written."""
    found = dict(OPERATORS)
    for kind, row in OPS.items():
        if row.elementwise and kind not in found and kind not in ELSEWHERE and kind in PUBLIC:
            found[kind] = f"tl.{kind}({', '.join(f'{{{i}}}' for i in range(len(row.operands)))})"
    return found


TEMPLATES = elementwise_templates()
KINDS = list(TEMPLATES)


@dataclass
class Writer:
    """Draws one program."""

    draw: Draw
    inputs: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    variables: list[Expr] = field(default_factory=list[Expr])
    lines: list[str] = field(default_factory=list[str])
    temporaries: int = 0

    def pick(self, choices: list[Any]) -> Any:
        return self.draw(st.sampled_from(choices))

    def name(self) -> str:
        self.temporaries += 1
        return f"t{self.temporaries}"

    # -- leaves ------------------------------------------------------------------------------------------------------

    def loaded(self, shape: Shape) -> Expr:
        """A fresh array, loaded."""
        dtype = self.pick(NAMES)
        self.inputs.append((dtype, elements(shape)))
        return Expr(load(f"x{len(self.inputs) - 1}", shape), dtype, shape)

    def leaf(self, shape: Shape) -> Expr:
        """A variable of the shape, or an array that is loaded."""
        known = [v for v in self.variables if v.shape == shape and not v.near]
        return self.pick(known) if known and self.draw(st.booleans()) else self.loaded(shape)

    # -- expressions -------------------------------------------------------------------------------------------------

    def exact(self, shape: Shape, depth: int) -> Expr:
        """An expression of this shape whose value no execution may change."""
        if depth == 0:
            return self.leaf(shape)
        ways = [self.leaf_only, self.elementwise, self.integers, self.cast, self.where, self.moved, self.folded]
        return self.pick(ways)(shape, depth - 1)

    def leaf_only(self, shape: Shape, depth: int) -> Expr:
        return self.leaf(shape)

    def apply(self, template: str, operands: list[Expr], near: int = 0) -> Expr:
        """The template over the operands, brought to types that fit where theirs do not; else the first operand."""
        for target in (None, operands[0].dtype, "fp32", "int32"):
            given = [o if target is None else self.converted(o, target) for o in operands]
            kind = kind_of(template, tuple((o.dtype, o.shape) for o in given))
            if kind is not None:
                return Expr(f"({template.format(*(o.text for o in given))})", *kind, near)
        return operands[0]

    def converted(self, x: Expr, to: str) -> Expr:
        """x cast; what is too large for an integer type (or no number) is clamped first."""
        if x.dtype == to:
            return x
        text, source, target = x.text, BY_NAME[x.dtype], BY_NAME[to]
        if source.is_floating() and target.kind in "iu":
            low = 0.0 if target.kind == "u" else -100.0
            wide = f"{text}.to(tl.float32)" if source.bits < 32 else text
            text = f"tl.clamp({wide}, {low}, 100.0)"
        return Expr(f"{text}.to({spelling(to)})", to, x.shape, x.near)

    def elementwise(self, shape: Shape, depth: int) -> Expr:
        kind = self.pick([k for k in KINDS if OPS[k].exact])
        operands = [self.exact(s, depth) for s in self.stretched(shape, len(OPS[kind].operands))]
        if kind == "where":
            operands[0] = self.apply("{0} != 0", [operands[0]])
        return self.at_shape(self.apply(TEMPLATES[kind], operands), shape)

    def stretched(self, shape: Shape, count: int) -> list[Shape]:
        """Shapes that broadcast to `shape`, one of them whole."""
        if count == 1 or not shape:
            return [shape] * count
        smaller = [shape, (), (1, *shape[1:]), (*shape[:-1], 1), shape[1:]]
        return [shape, *(self.pick(smaller) for _ in range(count - 1))]

    def at_shape(self, x: Expr, shape: Shape) -> Expr:
        return x if x.shape == shape else Expr(f"tl.broadcast_to({x.text}, {list(shape)})", x.dtype, shape, x.near)

    def integers(self, shape: Shape, depth: int) -> Expr:
        """Division, remainder and shifts of integers, with a right side for which they are defined."""
        left = self.exact(shape, depth)
        if BY_NAME[left.dtype].kind not in "iu":
            left = self.converted(left, self.pick(["int32", "uint8", "int64", "uint32", "int16", "int8"]))
        right = self.converted(self.exact(shape, depth), left.dtype)
        bits = BY_NAME[left.dtype].bits
        small = f"({right.text} & 7)"
        negative = ["{0} // ({1} - 9)", "{0} % ({1} - 9)"] if BY_NAME[left.dtype].kind == "i" else []
        template = self.pick(["{0} // ({1} + 1)", "{0} % ({1} + 1)", "{0} << {1}", "{0} >> {1}", *negative])
        if "<<" in template or ">>" in template:
            small = f"({right.text} & {bits - 1})"
        kind = kind_of(template, ((left.dtype, shape), (left.dtype, shape)))
        return left if kind is None else Expr(f"({template.format(left.text, small)})", *kind)

    def cast(self, shape: Shape, depth: int) -> Expr:
        return self.converted(self.exact(shape, depth), self.pick(NAMES))

    def where(self, shape: Shape, depth: int) -> Expr:
        test = self.apply("{0} != 0", [self.exact(shape, depth)])
        return self.apply("tl.where({0}, {1}, {2})", [test, self.exact(shape, depth), self.exact(shape, depth)])

    def moved(self, shape: Shape, depth: int) -> Expr:
        """The same numbers in other places."""
        if not shape:
            return self.leaf(shape)
        ways: list[tuple[str, Shape]] = [(f"tl.reshape({{0}}, {list(shape)})", (elements(shape),))]
        if len(shape) > 1:
            ways.append((f"tl.trans({{0}}, {tuple(reversed(range(len(shape))))})", shape[::-1]))
            ways.append((f"tl.broadcast_to({{0}}, {list(shape)})", (*shape[:-1], 1)))
        if shape[0] == 1:
            ways.append(("tl.expand_dims({0}, 0)", shape[1:]))
        ways.append((f"tl.flip({{0}}, {len(shape) - 1})", shape))
        if shape[-1] >= 2:
            ways.append(("tl.interleave({0}, {0})", (*shape[:-1], shape[-1] // 2)))
        template, inner = self.pick(ways)
        x = self.exact(inner, depth)
        kind = kind_of(template, ((x.dtype, x.shape),))
        return x if kind is None else self.at_shape(Expr(template.format(x.text), *kind), shape)

    def folded(self, shape: Shape, depth: int) -> Expr:
        """A reduction over a new axis, or a scan."""
        if len(shape) < 3 and self.draw(st.booleans()):
            axis, size = self.draw(st.integers(0, len(shape))), self.pick([4, 2, 16, 1])
            inner = (*shape[:axis], size, *shape[axis:])
            x = self.small(self.exact(inner, depth))
            call = self.pick(["sum", "max", "min", "argmax", "argmin", "xor_sum"])
        elif shape:
            axis, x = len(shape) - 1, self.small(self.exact(shape, depth))
            call = self.pick(["cumsum", "cumprod", "sort"])
        else:
            return self.leaf(shape)
        if BY_NAME[x.dtype].kind == "f" and call in ("xor_sum", "cumprod"):
            x = self.converted(x, "int32")
        template = "tl.sort({0})" if call == "sort" else f"tl.{call}({{0}}, {axis})"
        kind = kind_of(template, ((x.dtype, x.shape),))
        return self.leaf(shape) if kind is None or kind[1] != shape else Expr(template.format(x.text), *kind)

    def small(self, x: Expr) -> Expr:
        """Floats as small whole numbers, whose sums are exact in every order."""
        if BY_NAME[x.dtype].kind != "f":
            return x
        if BY_NAME[x.dtype].bits < 32:
            x = self.converted(x, "fp32")
        return Expr(f"tl.floor(tl.clamp({x.text}, -8.0, 8.0))", x.dtype, x.shape)

    def near(self, shape: Shape, depth: int) -> Expr:
        """An op that each execution may round in its own way, once, on exact operands."""
        kind = self.pick([k for k in KINDS if not OPS[k].exact])
        operands = [self.exact(shape, depth) for _ in OPS[kind].operands]
        return self.apply(TEMPLATES[kind], operands, near=NEAR.get(kind, 8))

    # -- statements --------------------------------------------------------------------------------------------------

    def statement(self, indent: int) -> None:
        way = self.pick([self.assign, self.assign, self.assign_near, self.loop, self.branch])
        way("    " * indent)

    def assign(self, pad: str) -> None:
        self.bind(pad, self.exact(self.pick(SHAPES), self.draw(st.integers(1, 3))))

    def assign_near(self, pad: str) -> None:
        self.bind(pad, self.near(self.pick(SHAPES), 1))

    def bind(self, pad: str, x: Expr) -> None:
        name = self.name()
        self.lines.append(f"{pad}{name} = {x.text}")
        self.variables.append(Expr(name, x.dtype, x.shape, x.near))

    def changeable(self, pad: str) -> Expr:
        """A variable that loops and branches may change."""
        known = [v for v in self.variables if not v.near]
        if not known:
            self.assign(pad)
            known = self.variables[-1:]
        return self.pick(known)

    def changed(self, variable: Expr, pad: str) -> None:
        new = self.converted(self.exact(variable.shape, 2), variable.dtype)
        self.lines.append(f"{pad}{variable.text} = {new.text}")

    def loop(self, pad: str) -> None:
        variable = self.changeable(pad)
        bounds = self.pick(["2", "n", "0", "1, n, 2", "3, 0, -1"])
        index, loop = f"i{self.temporaries}", self.pick(["range", "tl.range", "tl.static_range"])
        bounds = "3" if loop == "tl.static_range" and "n" in bounds else bounds
        self.lines.append(f"{pad}for {index} in {loop}({bounds}):")
        if loop != "tl.static_range":
            self.variables.append(Expr(index, "int32", ()))
        self.changed(variable, pad + "    ")
        self.variables = [v for v in self.variables if v.text != index]

    def branch(self, pad: str) -> None:
        variable = self.changeable(pad)
        test = self.pick(["n > 2", "n == 0"])
        scalars = [v for v in self.variables if v.shape == () and not v.near]
        if scalars and self.draw(st.booleans()):
            test = self.apply("{0} != 0", [self.pick(scalars)]).text
        self.lines.append(f"{pad}if {test}:")
        self.changed(variable, pad + "    ")
        if self.draw(st.booleans()):
            self.lines.append(f"{pad}else:")
            self.changed(variable, pad + "    ")


def spelling(dtype: str) -> str:
    """How kernels write a dtype."""
    return next(f"tl.{name}" for name, value in vars(tl).items() if value is BY_NAME[dtype])


def one_op(kind: str, dtypes: list[str]) -> Program:
    """A row of the table applied to operands of each dtype that it takes."""
    inputs: list[tuple[str, int]] = []
    outputs: list[tuple[str, int, int]] = []
    lines: list[str] = []
    for dtype in dtypes:
        operands = [(dtype, (32,))] * len(OPS[kind].operands)
        if kind == "where":
            operands[0] = ("int1", (32,))
        found = kind_of(TEMPLATES[kind], tuple(operands))
        if found is None:
            continue
        loads = [load(f"x{len(inputs) + i}", (32,)) for i in range(len(operands))]
        inputs += [(t, 32) for t, _ in operands]
        lines.append(f"    tl.store(out{len(outputs)} + tl.arange(0, 32), {TEMPLATES[kind].format(*loads)})")
        outputs.append((found[0], 32, 0 if OPS[kind].exact else NEAR.get(kind, 8)))
    names = ["n", *(f"x{i}" for i in range(len(inputs))), *(f"out{i}" for i in range(len(outputs)))]
    return Program(f"def kernel({', '.join(names)}):\n" + "\n".join(lines) + "\n", inputs, outputs, (0,), 1)


@st.composite
def programs(draw: Draw, statements: int = 4) -> Program:
    writer = Writer(draw)
    for _ in range(draw(st.integers(1, statements))):
        writer.statement(1)
    outputs = [(v.dtype, elements(v.shape), v.near) for v in writer.variables]
    stores = [f"    tl.store(out{i} + {places(v.shape)}, {v.text})" for i, v in enumerate(writer.variables)]
    names = ["n", *(f"x{i}" for i in range(len(writer.inputs))), *(f"out{i}" for i in range(len(outputs)))]
    source = f"def kernel({', '.join(names)}):\n" + "\n".join([*writer.lines, *stores]) + "\n"
    return Program(source, writer.inputs, outputs, (draw(st.integers(0, 3)),), draw(st.integers(0, 99)))
