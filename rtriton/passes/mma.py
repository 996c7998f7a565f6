"""dot -> mma: which multiplications go to the tensor cores, and how warps share them.

    before:  %d: 64x64xf32 = dot %a, %b, %c {precision = "tf32"}
    after:   %d: 64x64xf32 = mma %a, %b, %c {warps = (2, 2), atom = "f16"}

It runs before `coalesce`, which lays out operands and accumulator by `warps` and `atom`.  A dot stays as it is, and
is done by multiply-adds, in f64, in f32 at ieee precision, for element types the tensor cores lack, and where K is
smaller than one instruction takes.  fp8 on a GPU without fp8 tensor cores is multiplied as f16, which holds every
fp8 number.
"""
from __future__ import annotations

from rtriton.ir import Builder, Kernel, Op, Value, rebuild
from rtriton.language.table import infer
from rtriton.passes import register
from rtriton.target import Target
from rtriton.types import BY_SHORT, DType, dtype_of, float32, shape_of

K_BYTES = 32  # of one mma.sync m16n8kK along K


@register
def mma(kernel: Kernel, target: Target) -> Kernel:
    """Give each dot that the tensor cores can do to them."""
    warps = int(kernel.attrs.get("num_warps", 4))

    def rule(op: Op, operands: tuple[Value | None, ...], build: Builder) -> list[Value] | None:
        if op.kind != "dot":
            return None
        a, b, acc = operands
        assert a is not None and b is not None and acc is not None
        atom = choose_atom(op, target)
        if atom is None:
            return None
        if dtype_of(a.type) != atom and dtype_of(a.type).bits != atom.bits:
            a, b = (build.one("cast", x, to=atom, rounding="rtne") for x in (a, b))
        shape = shape_of(acc.type)
        split = split_warps(shape[-2], shape[-1], warps)
        if op.attrs.get("precision") in SPLIT:
            return [_three(build, a, b, acc, split, atom)]
        return [build.one("mma", a, b, acc, warps=split, atom=atom.short)]

    return rebuild(kernel, rule, infer)


def choose_atom(op: Op, target: Target) -> DType | None:
    """The element type that mma.sync multiplies for this dot; None where it is done by multiply-adds."""
    a, b, acc = (v for v in op.operands if v is not None)
    x, y, z = dtype_of(a.type), dtype_of(b.type), dtype_of(acc.type)
    atom = x
    if x.is_fp8() and y.is_fp8():
        if target.number < 89 or z != float32:
            atom = BY_SHORT["f16"]
    elif x != y:
        return None
    if atom.short not in target.mma_atoms:
        return None
    if x == float32 and op.attrs.get("precision", "tf32") == "ieee":
        return None
    wanted = {"i": ("i32",), "u": ("i32", "u32")}.get(atom.kind, ("f32", "f16") if atom.short == "f16" else ("f32",))
    k = shape_of(a.type)[-1]
    return atom if z.short in wanted and k * atom.itemsize >= K_BYTES else None


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


# bf16x3 and bf16x6 ask for fewer bits than three tf32 products give: none is ever done with fewer than asked
SPLIT = ("tf32x3", "bf16x3", "bf16x6")


def _three(build: Builder, a: Value, b: Value, acc: Value, split: tuple[int, int], atom: DType) -> Value:
    """tf32x3: x = high + low, both tf32; the product of the two lows is below f32's precision."""
    highs = [_masked(build, x) for x in (a, b)]
    lows = [build.one("sub", x, high) for x, high in zip((a, b), highs, strict=True)]
    for x, y in ((lows[0], highs[1]), (highs[0], lows[1]), (highs[0], highs[1])):
        acc = build.one("mma", x, y, acc, warps=split, atom=atom.short)
    return acc


def _masked(build: Builder, x: Value) -> Value:
    """x with the 13 mantissa bits that tf32 lacks made zero."""
    bits = build.one("bitcast", x, to=BY_SHORT["u32"])
    mask = build.const(0xFFFFE000, bits.type)
    return build.one("bitcast", build.one("and", bits, mask), to=float32)
