"""Random kernels that move, order and gather tiles, for hypothesis: what the expressions of programs.py do not reach.

    program = data.draw(tile_programs())

Masked and scattered loads, stores and atomics, scans both ways, sorts, gathers, histograms, products of tiles, casts
that saturate, bitcasts, and control flow that carries several variables: loops in loops, `while`, `break`, `continue`,
an early `return`. The program also says for how many warps and for which target it is compiled. What it leaves in
memory is the same everywhere to the last bit, for the reasons given in programs.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from rtriton.types import BY_NAME
from tests.properties.programs import Draw, Expr, Program, Shape, Writer, elements, kind_of, places, spelling

TILES: list[Shape] = [(16,), (64,), (16, 16), (32, 4), (2, 64), (256,), (1, 32), (8, 1), (4, 2, 8), (), (512,)]
HELPERS = '''
@rtriton.jit
def larger(a, b):
    return tl.where(a > b, a, b)

@rtriton.jit
def affine(a0, b0, a1, b1):
    return a0 * a1, b0 * a1 + b1

@rtriton.jit
def rightmost(a, b):
    return b

@rtriton.jit
def early(x, n):
    if n == 1:
        return x + x
    return x

@rtriton.jit
def collatz(x):
    steps = 0
    y = x & 15
    while y > 1:
        y = tl.where((y & 1) == 0, y >> 1, 3 * y + 1)
        steps += 1
    return steps
'''  # fmt: skip


@dataclass
class TileWriter(Writer):
    """Draws one program over tiles; `written` are the arrays that atomics and stores in the middle change."""

    written: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    loops: int = 0

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    # -- expressions -------------------------------------------------------------------------------------------------

    def exact(self, shape: Shape, depth: int) -> Expr:
        if depth == 0 or elements(shape) > 1024:
            return self.leaf(shape)
        if self.number(0, 2) == 0:
            return super().exact(shape, depth)
        ways = [self.masked, self.scattered, self.scanned, self.ordered, self.gathered, self.halves, self.bits,
                self.product, self.counted, self.reduced, self.saturated, self.extremes, self.helped,
                self.cut]  # fmt: skip
        return self.pick(ways)(shape, depth - 1)

    def condition(self, shape: Shape) -> str:
        """A mask of the shape, or of one that is stretched to it."""
        flat = places(shape)
        bound = self.pick(["n * 5", str(elements(shape)), str(elements(shape) // 2), "0", "n + m"])
        test = self.pick([f"{flat} < {bound}", f"{flat} % 3 != n", f"({flat} >= n) & ({flat} < {bound})"])
        if self.number(0, 3) == 0:
            test = self.apply("{0} != 0", [self.exact(shape, 1)]).text
        return f"({test})"

    def masked(self, shape: Shape, depth: int) -> Expr:
        x = self.loaded(shape)
        if x.dtype == "int1":
            return x
        other = self.pick(["0", "1", self.converted(self.leaf(shape), x.dtype).text])
        text = x.text[:-1] + f", mask={self.condition(shape)}, other={other})"
        return Expr(text, x.dtype, shape)

    def scattered(self, shape: Shape, depth: int) -> Expr:
        """A load whose places are not row after row."""
        count, flat = elements(shape), places(shape)
        dtype = self.pick(["int32", "fp32", "fp16", "int8", "int64", "uint8", "bf16", "fp64"])
        where, size = self.pick([
            (f"({flat}) * 2", 2 * count), (f"{count - 1} - ({flat})", count), (f"({flat}) // 2", count),
            (f"({flat}) % 8", max(8, count)), (f"({flat}) + n", count + 4), (f"(({flat}) * 7) % {count}", count),
            (f"({flat}) ^ 5", count + 8), (f"({flat}) + m", count + 16),
            (f"(({flat}) + 3) & {count - 1}", count), (f"({flat}) * n", 3 * count + 1),
            (f"({flat}) * (n + 1) + m", 4 * count + 16), (f"({flat}) % 3 * 2", 8),
        ])  # fmt: skip
        if self.number(0, 2) == 0 and shape:
            chosen = self.converted(self.exact(shape, depth), "int32")
            where, size = f"({chosen.text} & 15)", 16
        self.inputs.append((dtype, size))
        return Expr(f"tl.load(x{len(self.inputs) - 1} + ({where}))", dtype, shape)

    def scanned(self, shape: Shape, depth: int) -> Expr:
        if not shape:
            return self.leaf(shape)
        x, axis = self.small(self.exact(shape, depth)), self.number(0, len(shape) - 1)
        reverse = self.pick(["False", "True"])
        call = self.pick(["cumsum", "larger", "cumprod", "affine", "rightmost"])
        if BY_NAME[x.dtype].kind == "f" and call in ("cumprod", "affine"):
            x = self.converted(x, self.pick(["int32", "int64", "int8", "uint16"]))
        if call.startswith("cum"):
            template = f"tl.{call}({{0}}, {axis}, reverse={reverse})"
        elif call == "affine":
            x = self.converted(x, self.pick(["int32", "int64", "uint32"]))
            template = f"tl.associative_scan(({{0}}, {{0}}), {axis}, affine, reverse={reverse})[{self.number(0, 1)}]"
            return Expr(template.format(x.text), x.dtype, shape)
        else:
            if x.dtype == "int1":
                x = self.converted(x, "int32")
            template = f"tl.associative_scan({{0}}, {axis}, {call}, reverse={reverse})"
            return Expr(template.format(x.text), x.dtype, shape)
        kind = kind_of(template, ((x.dtype, x.shape),))
        return x if kind is None or kind[1] != shape else Expr(template.format(x.text), *kind)

    def ordered(self, shape: Shape, depth: int) -> Expr:
        if not shape or elements(shape) > 256:
            return self.leaf(shape)
        call = self.pick(["sort", "sortd", "topk", "flip"])
        if call == "flip":
            x = self.exact(shape, depth)
            return Expr(f"tl.flip({x.text}, {self.number(0, len(shape) - 1)})", x.dtype, shape)
        inner = (*shape[:-1], shape[-1] * 2) if call == "topk" else shape
        x = self.small(self.exact(inner, depth))
        template = {"sort": "tl.sort({0})", "sortd": "tl.sort({0}, descending=True)",
                    "topk": f"tl.topk({{0}}, {shape[-1]})"}[call]  # fmt: skip
        kind = kind_of(template, ((x.dtype, x.shape),))
        return self.leaf(shape) if kind is None or kind[1] != shape else Expr(template.format(x.text), *kind)

    def gathered(self, shape: Shape, depth: int) -> Expr:
        if not shape:
            return self.leaf(shape)
        axis, size = self.number(0, len(shape) - 1), self.pick([4, 16, 1, 64])
        source = self.exact((*shape[:axis], size, *shape[axis + 1 :]), depth)
        index = self.converted(self.exact(shape, depth), "int32")
        return Expr(f"tl.gather({source.text}, {index.text} & {size - 1}, {axis})", source.dtype, shape)

    def halves(self, shape: Shape, depth: int) -> Expr:
        """Joined, split, interleaved, concatenated."""
        if not shape:
            return self.leaf(shape)
        way = self.pick(["split", "join", "cat", "interleave", "splat"])
        if way == "split":
            x = self.exact((*shape, 2), depth)
            return Expr(f"tl.split({x.text})[{self.number(0, 1)}]", x.dtype, shape)
        if way == "splat":
            x = self.exact((), depth)
            return Expr(f"tl.full({list(shape)}, {x.text}, {spelling(x.dtype)})", x.dtype, shape)
        if way == "join" and shape[-1] == 2:
            inner = shape[:-1]
        elif way == "join" or shape[-1] < 2 or (way == "cat" and len(shape) > 1):
            return self.leaf(shape)
        else:
            inner = (*shape[:-1], shape[-1] // 2)
        x = self.exact(inner, depth)
        y = self.converted(self.exact(inner, depth), x.dtype)
        call = f"tl.cat({x.text}, {y.text}, can_reorder=False)" if way == "cat" else f"tl.{way}({x.text}, {y.text})"
        return Expr(call, x.dtype, shape)

    def bits(self, shape: Shape, depth: int) -> Expr:
        """Bits read as another type of the width. Which NaN or zero a float is may differ: both become 1 before."""
        x = self.exact(shape, depth)
        if BY_NAME[x.dtype].kind == "b":
            return x
        text = f"tl.where(({x.text} == {x.text}) & ({x.text} != 0), {x.text}, 1)"
        if BY_NAME[x.dtype].is_fp8():
            return x
        to = {8: ["int8", "uint8", "fp8e5", "fp8e4nv"], 16: ["int16", "uint16", "fp16", "bf16"],
              32: ["int32", "uint32", "fp32"], 64: ["int64", "uint64", "fp64"]}[BY_NAME[x.dtype].bits]  # fmt: skip
        target = self.pick(to)
        text = text if BY_NAME[x.dtype].kind == "f" else x.text
        return Expr(f"{text}.to({spelling(target)}, bitcast=True)", target, shape)

    def product(self, shape: Shape, depth: int) -> Expr:
        if len(shape) != 2:
            return self.leaf(shape)
        dtype = self.pick(["fp16", "fp32", "bf16", "int8", "fp8e5", "fp8e4nv", "fp64", "uint8"])
        inner = self.pick([32, 64] if BY_NAME[dtype].bits == 8 else [16, 32])
        left, right = ((shape[0], inner), (inner, shape[1]))
        x, y = (self.converted(self.tiny(self.exact(s, depth)), dtype) for s in (left, right))
        result = "int32" if dtype in ("int8", "uint8") else "fp64" if dtype == "fp64" else "fp32"
        acc = f", acc={self.converted(self.tiny(self.exact(shape, depth)), result).text}" if self.number(0, 1) else ""
        more = ', input_precision="ieee"' if dtype == "fp32" and self.number(0, 1) else ""
        return Expr(f"tl.dot({x.text}, {y.text}{acc}{more})", result, shape)

    def tiny(self, x: Expr) -> Expr:
        """Whole numbers from 0 to 3, which every type holds."""
        if BY_NAME[x.dtype].kind != "f":
            return Expr(f"({self.converted(x, 'int32').text} & 3)", "int32", x.shape)
        return Expr(f"tl.floor(tl.clamp({self.converted(x, 'fp32').text}, 0.0, 3.0))", "fp32", x.shape)

    def counted(self, shape: Shape, depth: int) -> Expr:
        if len(shape) != 1 or shape[0] > 128:
            return self.leaf(shape)
        size = self.pick([32, 128, 2])
        x = self.converted(self.exact((size,), depth), "int32")
        mask = f", mask={self.condition((size,))}" if self.number(0, 1) else ""
        return Expr(f"tl.histogram({x.text} & {shape[0] - 1}, {shape[0]}{mask})", "int32", shape)

    def reduced(self, shape: Shape, depth: int) -> Expr:
        axis, size = self.number(0, len(shape)), self.pick([4, 32, 2, 128])
        if len(shape) > 2 or elements(shape) * size > 4096:
            return self.leaf(shape)
        x = self.small(self.exact((*shape[:axis], size, *shape[axis:]), depth))
        call = self.pick([
            "tl.max({0}, %d, return_indices=True)[0]", "tl.max({0}, %d, return_indices=True)[1]",
            "tl.min({0}, %d, return_indices=True)[1]", "tl.reduce_or({0}, %d)", "tl.xor_sum({0}, %d)",
            "tl.sum({0}, %d, keep_dims=True)", "tl.reduce({0}, %d, larger)", "tl.argmax({0}, %d)",
            "tl.min({0}, %d)", "tl.sum({0}, %d)",
        ]) % axis  # fmt: skip
        if BY_NAME[x.dtype].kind == "f" and ("reduce_or" in call or "xor" in call):
            x = self.converted(x, self.pick(["int32", "uint8", "int64"]))
        if "keep_dims" in call:
            call = f"tl.reshape({call}, {list(shape)})" if shape else call.replace(", keep_dims=True", "")
        if "larger" in call:
            return Expr(call.format(x.text), x.dtype, shape) if x.dtype != "int1" else self.leaf(shape)
        kind = kind_of(call, ((x.dtype, x.shape),))
        return self.leaf(shape) if kind is None or kind[1] != shape else Expr(call.format(x.text), *kind)

    def saturated(self, shape: Shape, depth: int) -> Expr:
        """A float as an integer whatever it is: what is too large becomes the largest, and no number 0."""
        dtype = self.pick(["fp32", "fp16", "bf16", "fp64"])
        x = self.converted(self.exact(shape, depth), dtype)
        to = self.pick(["int32", "int8", "uint8", "int64", "uint32", "int16", "uint16", "uint64", "int1"])
        return Expr(f"{x.text}.to({spelling(to)})", to, shape)

    def extremes(self, shape: Shape, depth: int) -> Expr:
        x, y = self.exact(shape, depth), self.exact(shape, depth)
        if BY_NAME[x.dtype].kind != "f" or BY_NAME[x.dtype].is_fp8():
            x = self.converted(x, self.pick(["fp32", "fp16", "bf16"]))
        y = self.converted(y, x.dtype)
        which = self.pick(["NONE", "ALL"])
        call = self.pick(["tl.maximum({0}, {1}, propagate_nan=tl.PropagateNan.%s)",
                          "tl.minimum({0}, {1}, propagate_nan=tl.PropagateNan.%s)",
                          "tl.clamp({0}, -3.0, 2.0, propagate_nan=tl.PropagateNan.%s)"]) % which  # fmt: skip
        return self.apply(call, [x, y] if "{1}" in call else [x])

    def helped(self, shape: Shape, depth: int) -> Expr:
        x = self.converted(self.exact(shape, depth), self.pick(["int32", "fp32", "int64"]))
        if self.number(0, 1):
            return Expr(f"early({x.text}, n)", x.dtype, shape)
        x = self.converted(x, "int32")
        return Expr(f"tl.map_elementwise(collatz, {x.text})" if shape else f"collatz({x.text})", "int32", shape)

    def cut(self, shape: Shape, depth: int) -> Expr:
        if len(shape) != 1 or shape[0] > 256:
            return self.leaf(shape)
        x = self.exact((2 * shape[0],), depth)
        return Expr(f"{x.text}[{self.pick([f':{shape[0]}', f'{shape[0]}:'])}]", x.dtype, shape)

    # -- statements --------------------------------------------------------------------------------------------------

    def statement(self, indent: int) -> None:
        ways = [self.assign, self.assign, self.nest, self.turns, self.branch, self.atomic, self.put, self.blocks]
        way = self.pick(ways)
        way("    " * indent)

    def assign(self, pad: str) -> None:
        self.bind(pad, self.exact(self.pick(TILES), self.number(1, 3)))

    def several(self, pad: str) -> list[Expr]:
        while len([v for v in self.variables if not v.near]) < 2:
            self.assign(pad)
        known = [v for v in self.variables if not v.near and v.text[0] == "t"]
        return [self.pick(known) for _ in range(self.number(1, 3))]

    def nest(self, pad: str) -> None:
        """A loop that changes several variables, perhaps with a loop, a branch or a way out in it."""
        carried = self.several(pad)
        self.loops += 1
        index = f"i{self.loops}"
        head = self.pick(["range(3)", "range(n)", "tl.range(0, n, num_stages=3)", "range(n, 0, -1)",
                          "tl.range(0, 4, 2)", "range(1, n + 1)", "tl.range(5, num_stages=2)", "tl.static_range(2)",
                          "tl.range(0, 4, loop_unroll_factor=2)"])  # fmt: skip
        self.lines.append(f"{pad}for {index} in {head}:")
        if "static" not in head:
            self.variables.append(Expr(index, "int32", ()))
        inner = pad + "    "
        for variable in carried:
            way = self.number(0, 5)
            if way == 0 and len(pad) < 12:
                self.nest(inner) if self.number(0, 1) else self.branch(inner)
            elif way == 1 and "static" not in head:
                self.lines.append(f"{inner}if {index} == {self.pick(['1', 'n', '2'])}:")
                self.lines.append(f"{inner}    {self.pick(['break', 'continue'])}")
            self.changed(variable, inner)
        self.variables = [v for v in self.variables if v.text != index]

    def turns(self, pad: str) -> None:
        carried = self.several(pad)
        self.loops += 1
        count = f"c{self.loops}"
        self.lines += [f"{pad}{count} = n", f"{pad}while {count} > 0:"]
        for variable in carried:
            self.changed(variable, pad + "    ")
        self.lines.append(f"{pad}    {count} -= 1")

    def branch(self, pad: str) -> None:
        before = list(self.variables)
        super().branch(pad)
        if self.number(0, 5) == 0 and len(pad) == 4:
            self.lines += [f"{pad}if n == {self.pick(['3', '0'])}:", f"{pad}    return"]
        self.variables = [v for v in self.variables if v in before or v.text[0] == "t"]

    def array(self, dtype: str, count: int) -> str:
        self.written.append((dtype, count))
        return f"w{len(self.written) - 1}"

    def atomic(self, pad: str) -> None:
        """Atomics whose results do not depend on their order, and one that gives old values of places of its own."""
        shape = self.pick(TILES)
        dtype = self.pick(["int32", "int64", "uint32", "fp32", "uint64"])
        value = self.converted(self.small(self.exact(shape, 2)), dtype)
        mask = f", mask={self.condition(shape)}" if self.number(0, 1) else ""
        old, flat = self.number(0, 1), places(shape)
        ops = ["add", "max", "min"] if dtype == "fp32" else ["add", "max", "min", "and", "or", "xor"]
        where = flat if old else self.pick([f"({flat}) % 4", f"({flat}) // 2", flat, f"({flat}) * 0"])
        op = self.pick([*ops, "xchg"] if old else ops)
        array = self.array(dtype, elements(shape))
        text = f"tl.atomic_{op}({array} + ({where}), {value.text}{mask})"
        if old and not mask:
            self.bind(pad, Expr(text, dtype, shape))
        else:
            self.lines.append(f"{pad}{text}")

    def put(self, pad: str) -> None:
        """A store in the middle, of a cast value, perhaps masked."""
        x = self.exact(self.pick(TILES), 2)
        dtype = x.dtype if self.number(0, 1) else self.pick(["int32", "fp32", "fp16", "int8", "bf16", "int64"])
        array, flat = self.array(dtype, elements(x.shape)), places(x.shape)
        mask = f", mask={self.condition(x.shape)}" if self.number(0, 1) else ""
        where = self.pick([flat, f"{elements(x.shape) - 1} - ({flat})", f"({flat}) ^ 1" if x.shape else flat])
        if elements(x.shape) < 2:
            where = flat
        self.lines.append(f"{pad}tl.store({array} + ({where}), {self.converted(x, dtype).text}{mask})")

    def blocks(self, pad: str) -> None:
        """A block at the edge of an array, by a block pointer or a descriptor."""
        rows, columns = self.pick([16, 32, 4]), self.pick([16, 32])
        height, width = rows + self.number(-3, 5), self.pick([16, 32, 48])
        dtype = self.pick(["fp32", "fp16", "int32", "int8", "bf16"])
        if BY_NAME[dtype].bits == 8:
            width = 32
        i = len(self.inputs)
        self.inputs.append((dtype, height * width))
        offsets = f"[{self.pick(['0', 'n', '-2', 'n * 7'])}, {self.pick(['0', '4', 'n', '-3'])}]"
        if self.number(0, 1):
            check = self.pick(["(0, 1)", "(1, 0)"])
            order = self.pick(["(1, 0)", "(0, 1)"])
            padding = self.pick(["zero", "nan"] if BY_NAME[dtype].kind == "f" else ["zero"])
            pointer = (f"tl.make_block_ptr(x{i}, [{height}, {width}], [{width}, 1], {offsets}, "
                       f"[{rows}, {columns}], {order})")  # fmt: skip
            if self.number(0, 1):
                pointer = f"tl.advance({pointer}, [{self.pick(['1', 'n', '-1'])}, 2])"
            self.bind(pad, Expr(f'tl.load({pointer}, boundary_check={check}, padding_option="{padding}")', dtype,
                                (rows, columns)))  # fmt: skip
            return
        made = f"tl.make_tensor_descriptor(x{i}, [{height}, {width}], [{width}, 1], [{rows}, {columns}])"
        self.bind(pad, Expr(f"{made}.load({offsets})", dtype, (rows, columns)))

    def changed(self, variable: Expr, pad: str) -> None:
        new = self.converted(self.exact(variable.shape, self.number(1, 2)), variable.dtype)
        self.lines.append(f"{pad}{variable.text} = {new.text}")


@st.composite
def tile_programs(draw: Draw, statements: int = 3) -> Program:
    writer = TileWriter(draw)
    for _ in range(draw(st.integers(1, statements))):
        at = len(writer.lines)
        writer.statement(1)
        assert len(writer.lines) > at
    known = [v for v in writer.variables if any(line.startswith(f"    {v.text} =") for line in writer.lines)]
    outputs = [(v.dtype, elements(v.shape), v.near) for v in known]
    stores = [f"    tl.store(out{i} + {places(v.shape)}, {v.text})" for i, v in enumerate(known)]
    outputs += [(t, count, 0) for t, count in writer.written]
    names = ["n", "m", *(f"x{i}" for i in range(len(writer.inputs))), *(f"out{i}" for i in range(len(known))),
             *(f"w{i}" for i in range(len(writer.written)))]  # fmt: skip
    body = "\n".join([*writer.lines, *stores])
    source = f"def kernel({', '.join(names)}):\n{body}\n"
    numbers = (draw(st.integers(0, 3)), draw(st.integers(0, 9)))
    return Program(source + HELPERS, writer.inputs, outputs, numbers, draw(st.integers(0, 99)),
                   draw(st.sampled_from([4, 1, 2, 8])), draw(st.sampled_from(["sm_90a", "sm_80", "sm_89"])),
                   draw(st.booleans()), fuses=False)  # fmt: skip
