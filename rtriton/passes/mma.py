"""dot -> mma: which multiplications go to the tensor cores, and how warps share them.

    before:  %d: 64x64xf32 = dot %a, %b, %c {precision = "tf32"}
    after:   %d: 64x64xf32 = mma %a, %b, %c {warps = (2, 2), atom = "f16"}

It runs before `coalesce`, which lays out operands and accumulator by `warps` and `atom`.  Where a dot multiplies what
another gave, both give each warp whole rows: nothing between the two crosses warps.  A dot stays as it is, and
is done by multiply-adds, in f32 at ieee precision, for element types the tensor cores lack, and where K is smaller
than one instruction takes.  fp8 where mma.sync does not multiply it is multiplied as f16, which holds every fp8 number.
f32 at tf32x3, bf16x3 and bf16x6 becomes several products of parts.
"""
from __future__ import annotations

from rtriton.ir import Builder, Kernel, Op, Value, rebuild, uses, walk
from rtriton.language.table import OPS, infer
from rtriton.passes import register
from rtriton.target import Target
from rtriton.types import BY_SHORT, DType, dtype_of, float32, shape_of

# what mma.sync sums the products of an element type in
SUMS = {"f16": ("f32", "f16"), "bf16": ("f32",), "f32": ("f32",), "f64": ("f64",), "f8e4": ("f32",), "f8e5": ("f32",),
        "i8": ("i32",), "u8": ("i32", "u32")}  # fmt: skip


@register
def mma(kernel: Kernel, target: Target) -> Kernel:
    """Give each dot that the tensor cores can do to them."""
    warps, chained = int(kernel.attrs.get("num_warps", 4)), chains(kernel)

    def rule(op: Op, operands: tuple[Value | None, ...], build: Builder) -> list[Value] | None:
        if op.kind != "dot":
            return None
        a, b, acc = operands
        assert a is not None and b is not None and acc is not None
        atom = choose_atom(op, target)
        if atom is None:
            return None
        shape = shape_of(acc.type)
        split = whole_rows(shape[-2], warps) if op.result in chained else split_warps(shape[-2], shape[-1], warps)
        precision = str(op.attrs.get("precision"))
        if dtype_of(a.type) == float32 and precision in SPLIT:
            return [_in_parts(build, a, b, acc, split, precision)]
        if dtype_of(a.type) != atom and dtype_of(a.type).bits != atom.bits:
            a, b = (build.one("cast", x, to=atom, rounding="rtne") for x in (a, b))
        limit = {k: v for k, v in op.attrs.items() if k == "limit"}
        return [build.one("mma", a, b, acc, warps=split, atom=atom.short, **limit)]

    return rebuild(kernel, rule, infer)


def chains(kernel: Kernel) -> set[Value]:
    """The dots of which one multiplies rows that come from another's result, as in attention."""
    readers, found = uses(kernel.body), set[Value]()
    for dot in walk(kernel.body):
        if dot.kind != "dot":
            continue
        seen, todo = set[Value](), [dot.result]
        while todo:
            value = todo.pop()
            for reader in readers.get(value, ()):
                if reader.kind == "dot":
                    found |= {dot.result, reader.result} if reader.operands[0] is value else set()
                elif OPS[reader.kind].elementwise and reader.result not in seen:
                    seen.add(reader.result)
                    todo.append(reader.result)
    return found


def whole_rows(m: int, warps: int) -> tuple[int, int]:
    """Warps along M as far as there are rows, so that what is reduced along rows stays inside a warp."""
    along_m = min(warps, max(1, m // 16))
    return along_m, warps // along_m


def choose_atom(op: Op, target: Target) -> DType | None:
    """The element type that mma.sync multiplies for this dot; None where it is done by multiply-adds."""
    a, b, acc = (v for v in op.operands if v is not None)
    x, y, z = dtype_of(a.type), dtype_of(b.type), dtype_of(acc.type)
    precision = op.attrs.get("precision", "tf32")
    atom = x
    if x.is_fp8() and y.is_fp8():
        if not {x.short, y.short} <= target.mma_atoms or z != float32:
            atom = BY_SHORT["f16"]
    elif x != y or (x == float32 and precision == "ieee"):
        return None
    elif x == float32 and str(precision).startswith("bf16"):
        atom = BY_SHORT["bf16"]
    if atom.short not in target.mma_atoms or z.short not in SUMS[atom.short]:
        return None
    return atom if shape_of(a.type)[-1] >= 8 * max(1, 4 // atom.itemsize) else None


def split_warps(m: int, n: int, warps: int) -> tuple[int, int]:
    """Warps along M and N so that each has about as many rows as columns, and none repeats another's work if that
    can be."""
    along_m, along_n = 1, 1
    while along_m * along_n < warps:
        rows, columns = m // (16 * along_m), n // (8 * along_n)
        if rows > 1 and (rows * 16 >= columns * 8 or columns <= 1):
            along_m *= 2
        elif columns > 1:
            along_n *= 2
        else:
            along_m *= 2
    return along_m, along_n


# -- f32 in parts -----------------------------------------------------------------------------------------------------

# The type of the parts, and which parts of the two operands are multiplied, the smallest products first.
SPLIT: dict[str, tuple[str, tuple[tuple[int, int], ...]]] = {
    "tf32x3": ("f32", ((0, 1), (1, 0), (0, 0))),
    "bf16x3": ("bf16", ((0, 1), (1, 0), (0, 0))),
    "bf16x6": ("bf16", ((0, 2), (1, 1), (2, 0), (0, 1), (1, 0), (0, 0))),
}


def _in_parts(build: Builder, a: Value, b: Value, acc: Value, split: tuple[int, int], precision: str) -> Value:
    """x = large + smaller (+ smallest), each as tensor cores hold it; products below f32's precision are left out.

    Of an infinity the smaller parts are NaN: what they give is dropped, the large parts say what the result is."""
    atom, pairs = SPLIT[precision]
    count = 1 + max(i for i, _ in pairs)
    left, right = (_parts(build, x, count, BY_SHORT[atom]) for x in (a, b))
    zero = build.const(0.0, acc.type)
    total = zero
    for i, j in pairs[:-1]:
        total = build.one("mma", left[i], right[j], total, warps=split, atom=atom)
    total = build.one("where", build.one("eq", total, total), total, zero)
    return build.one("mma", left[0], right[0], build.one("add", total, acc), warps=split, atom=atom)


def _parts(build: Builder, x: Value, count: int, atom: DType) -> list[Value]:
    """`count` numbers of type `atom` whose sum is x, the largest first; the last holds what is left of x."""
    parts: list[Value] = []
    for k in range(count):
        if atom == float32:
            part = wide = _masked(build, x) if k < count - 1 else x
        else:
            part = build.one("cast", x, to=atom, rounding="rtne")
            wide = build.one("cast", part, to=float32, rounding="rtne")
        parts.append(part)
        if k < count - 1:
            x = build.one("sub", x, wide)
    return parts


def _masked(build: Builder, x: Value) -> Value:
    """x with the 13 mantissa bits that tf32 lacks made zero."""
    bits = build.one("bitcast", x, to=BY_SHORT["u32"])
    mask = build.const(0xFFFFE000, bits.type)
    return build.one("bitcast", build.one("and", bits, mask), to=float32)
