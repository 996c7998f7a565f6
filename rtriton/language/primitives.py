"""The primitive ops: what tile IR can say. Public `tl.*` functions, with their coercions, are built from these.

Elementwise rows take operands of one type (the public layer has promoted them already). `meaning` works on NumPy
arrays: i1 as bool, ints and f16/f32/f64 as themselves, bf16 and fp8 as float32 values that the interpreter rounds
after every op. Integer division and remainder truncate as in C; shifts by the width or more are undefined.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rtriton import ir, numerics
from rtriton.language.table import (
    ANY, BARRIER, CONTROL, FLOAT, INTEGER, READS, WIDE_FLOAT, WIDE_INTEGER, WRITES, Const, Effects, Operand, check_mask,
    elementwise, op, pointee, same_shape, tile,
)
from rtriton.types import (
    Pointer, Tile, Type, check_shape, element_of, int1, int32, int64, shape_of, show_type, show_types, with_element,
    with_shape,
)

# -- constants and the program's place -------------------------------------------------------------------------------

@op("const")
def const(*, value: Const, type: Const) -> Type:
    """A constant number, everywhere in a tile if `type` is one."""
    return type


@op("program_id", effects=Effects.PROGRAM)
def program_id(*, axis: Const) -> Type:
    """Which program of the grid this is, along `axis` 0, 1 or 2."""
    return int32


@op("num_programs", effects=Effects.PROGRAM)
def num_programs(*, axis: Const) -> Type:
    """How many programs the grid has along `axis`."""
    return int32


@op("clock", effects=READS | WRITES)
def clock() -> Type:
    """What a clock that only goes forward shows, as i64: nanoseconds on a GPU and in the interpreter, the processor's
    own ticks on a CPU. It stands where it was written, among loads and stores."""
    return int64


@op("arange")
def arange(*, start: Const, end: Const) -> Type:
    """start, start + 1, ... end - 1 as i32; the length is a power of two."""
    if end <= start:
        raise ValueError(f"arange needs end > start, got {start} and {end}")
    if (end - start) & (end - start - 1):
        error = ValueError("arange's range must be a power of 2")
        error.add_note(f"got {start} to {end}, which is {end - start}")
        raise error
    return Tile(check_shape((end - start,)), int32)


# -- elementwise arithmetic ------------------------------------------------------------------------------------------

elementwise("add", "x + y.", meaning=np.add, ptx="add", llvm={"f": "fadd", "i": "add"}, commutative=True, unit=0,
            exact=True)
elementwise("sub", "x - y.", meaning=np.subtract, ptx="sub", llvm={"f": "fsub", "i": "sub"}, unit=0, exact=True)
elementwise("mul", "x * y.", meaning=np.multiply, ptx={"f": "mul", "i": "mul.lo"}, llvm={"f": "fmul", "i": "mul"},
            commutative=True, unit=1, exact=True)
elementwise("div", "x / y: floats divided (2 ulp allowed in f32), ints truncated as in C.", meaning=numerics.divide,
            ptx={"f32": "div.full.f32", "i": "div"}, llvm={"f": "fdiv", "i": "sdiv", "u": "udiv"}, unit=1)
elementwise("div_rn", "x / y rounded to nearest even.", types=FLOAT, wanted="floats", meaning=np.divide,
            ptx="div.rn", llvm={"f": "fdiv"}, unit=1)
elementwise("rem", "The remainder of the truncated division, with the sign of x (floats: fmod).",
            meaning=numerics.remainder, ptx={"i": "rem"}, llvm={"f": "frem", "i": "srem", "u": "urem"})
elementwise("fma", "x * y + z rounded once.", arity=3, types=FLOAT, wanted="floats", meaning=numerics.fma, ptx="fma.rn",
            llvm="llvm.fma")
elementwise("neg", "-x.", arity=1, meaning=np.negative, ptx="neg", llvm={"f": "fneg"}, exact=True)
elementwise("abs", "|x|.", arity=1, meaning=np.abs, ptx="abs", llvm={"f": "llvm.fabs", "i": "llvm.abs"}, exact=True)
elementwise("minimum", "The smaller; of a NaN and a number the number.", meaning=numerics.minimum, ptx="min",
            llvm={"f": "llvm.minnum", "i": "llvm.smin", "u": "llvm.umin"}, commutative=True, exact=True)
elementwise("maximum", "The larger; of a NaN and a number the number.", meaning=numerics.maximum, ptx="max",
            llvm={"f": "llvm.maxnum", "i": "llvm.smax", "u": "llvm.umax"}, commutative=True, exact=True)
elementwise("minimum_nan", "The smaller; NaN if either is.", types=FLOAT, wanted="floats", meaning=np.minimum,
            ptx="min.NaN", llvm={"f": "llvm.minimum"}, commutative=True, exact=True)
elementwise("maximum_nan", "The larger; NaN if either is.", types=FLOAT, wanted="floats", meaning=np.maximum,
            ptx="max.NaN", llvm={"f": "llvm.maximum"}, commutative=True, exact=True)
elementwise("umulhi", "The upper half of the full product of two integers, taken as unsigned.", types=WIDE_INTEGER,
            wanted="integers of 32 or 64 bits", meaning=numerics.umulhi, ptx="mul.hi", commutative=True, exact=True)
elementwise("and", "x & y, bit by bit.", types=INTEGER, wanted="integers", meaning=np.bitwise_and, ptx="and",
            llvm="and", commutative=True, exact=True)
elementwise("or", "x | y, bit by bit.", types=INTEGER, wanted="integers", meaning=np.bitwise_or, ptx="or", llvm="or",
            commutative=True, unit=0, exact=True)
elementwise("xor", "x ^ y, bit by bit.", types=INTEGER, wanted="integers", meaning=np.bitwise_xor, ptx="xor",
            llvm="xor", commutative=True, unit=0, exact=True)
elementwise("shl", "x << y.", types=INTEGER, wanted="integers", meaning=np.left_shift, ptx="shl", llvm="shl", unit=0,
            exact=True)
elementwise("shr", "x >> y: arithmetic for signed x, logical for unsigned.", types=INTEGER, wanted="integers",
            meaning=np.right_shift, ptx="shr", llvm={"i": "ashr", "u": "lshr"}, unit=0, exact=True)

for _name, _doc, _meaning in (("eq", "x == y.", np.equal), ("ne", "x != y (true if either is NaN).", np.not_equal),
                              ("lt", "x < y.", np.less), ("le", "x <= y.", np.less_equal), ("gt", "x > y.", np.greater),
                              ("ge", "x >= y.", np.greater_equal)):
    elementwise(_name, _doc, types=ANY, result=int1, meaning=_meaning, ptx=f"setp.{_name}", exact=True,
                commutative=_name in ("eq", "ne"))

for _name, _doc, _meaning in (
        ("exp", "e to the power x.", np.exp), ("exp2", "2 to the power x.", np.exp2),
        ("log", "The natural logarithm.", np.log), ("log2", "The logarithm to base 2.", np.log2),
        ("sin", "The sine.", np.sin), ("cos", "The cosine.", np.cos),
        ("sqrt", "The square root (2 ulp allowed in f32).", np.sqrt),
        ("sqrt_rn", "The square root, rounded to nearest.", np.sqrt),
        ("rsqrt", "1 / sqrt(x).", numerics.rsqrt), ("erf", "The error function.", numerics.erf),
        ("tanh", "The hyperbolic tangent.", np.tanh)):
    elementwise(_name, _doc, arity=1, types=WIDE_FLOAT, wanted="f32 or f64", meaning=_meaning)

elementwise("floor", "The largest integer not above x.", arity=1, types=FLOAT, wanted="floats", meaning=np.floor,
            llvm="llvm.floor", exact=True)
elementwise("ceil", "The smallest integer not below x.", arity=1, types=FLOAT, wanted="floats", meaning=np.ceil,
            llvm="llvm.ceil", exact=True)


@op("where", elementwise=True, meaning=np.where, exact=True)
def where(condition: Operand, x: Operand, y: Operand) -> Type:
    """x where the condition is true, else y."""
    check_mask("where", condition)
    if x != y:
        raise TypeError(f"where needs two values of one type, got {show_types((x, y), ' and ')}")
    same_shape("where", condition, x)
    return x


@op("cast", elementwise=True)
def cast(x: Operand, *, to: Const, rounding: Const = "rtne") -> Type:
    """x as numbers of type `to`: float to int truncates, to i1 is != 0, to a narrower float rounds (rtne or rtz)."""
    source = element_of(x)
    either = isinstance(source, Pointer) or isinstance(to, Pointer)
    if either and {source.kind, to.kind} != {"p"} and {source.bits, to.bits} != {64}:
        raise TypeError(f"a pointer converts only to and from 64-bit integers, got {show_types((source, to), ' to ')}")
    if rounding not in ("rtne", "rtz"):
        raise ValueError(f"rounding is 'rtne' or 'rtz', got {rounding!r}")
    return with_element(x, to)


@op("bitcast", elementwise=True)
def bitcast(x: Operand, *, to: Const) -> Type:
    """The same bits read as type `to` of equal width."""
    source = element_of(x)
    if source.bits != to.bits:
        raise ValueError(f"bitcast needs equal widths, got {show_type(source)} ({source.bits} bits) "
                         f"to {show_type(to)} ({to.bits} bits)")
    return with_element(x, to)


@op("addptr", elementwise=True)
def addptr(pointer: Operand, offset: Operand) -> Type:
    """`pointer` moved by `offset` elements."""
    pointee(pointer)
    if element_of(offset).kind not in "iu":
        raise TypeError(f"a pointer moves by integers, got {show_type(offset)}")
    same_shape("addptr", pointer, offset)
    return pointer


# -- shape -----------------------------------------------------------------------------------------------------------

@op("splat")
def splat(x: Operand, *, shape: Const) -> Type:
    """A tile that holds the scalar x everywhere."""
    if isinstance(x, Tile):
        raise TypeError(f"splat takes a scalar, got {show_type(x)}")
    return with_shape(x, check_shape(shape))


@op("expand_dims")
def expand_dims(x: Operand, *, axis: Const) -> Type:
    """A new axis of size 1 at `axis`."""
    shape = tile("expand_dims", x).shape
    return with_shape(x, shape[:axis] + (1,) + shape[axis:])


@op("broadcast")
def broadcast(x: Operand, *, shape: Const) -> Type:
    """Axes of size 1 repeated to `shape` (equal rank)."""
    source = tile("broadcast", x).shape
    if len(source) != len(shape) or any(a != b and a != 1 for a, b in zip(source, shape, strict=True)):
        raise ValueError(f"cannot broadcast {source} to {tuple(shape)}")
    return with_shape(x, check_shape(shape))


@op("reshape")
def reshape(x: Operand, *, shape: Const) -> Type:
    """The same elements in row-major order, in another shape."""
    if tile("reshape", x).numel != math.prod(shape):
        raise ValueError(f"reshape keeps the number of elements, got {x.shape} to {tuple(shape)}")
    return with_shape(x, check_shape(shape))


@op("trans")
def trans(x: Operand, *, order: Const) -> Type:
    """The axes in another order: result axis i is axis order[i] of x."""
    shape = tile("trans", x).shape
    axes: tuple[int, ...] = tuple(order)
    if sorted(axes) != list(range(len(shape))):
        raise ValueError(f"trans needs a permutation of {len(shape)} axes, got {axes}")
    return with_shape(x, tuple(shape[i] for i in axes))


@op("join")
def join(x: Operand, y: Operand) -> Type:
    """x and y side by side in a new last axis of size 2."""
    if x != y:
        raise TypeError(f"join needs two of one type, got {show_types((x, y), ' and ')}")
    return with_shape(x, shape_of(x) + (2,))


@op("split")
def split(x: Operand) -> tuple[Type, ...]:
    """The two halves along the last axis, which has size 2."""
    shape = tile("split", x).shape
    if shape[-1] != 2:
        raise ValueError(f"split needs a last axis of size 2, got {show_type(x)}")
    half = with_shape(x, shape[:-1])
    return half, half


@op("cat")
def cat(x: Operand, y: Operand) -> Type:
    """x then y along the only axis."""
    if x != y or tile("cat", x).rank != 1:
        raise TypeError(f"cat needs two 1-d tiles of one type, got {show_types((x, y), ' and ')}")
    return with_shape(x, (2 * x.shape[0],))


@op("gather")
def gather(x: Operand, index: Operand, *, axis: Const, start: Const = None) -> Type:
    """x[..., index[...], ...] along `axis`; the other axes agree. With `start` index is known to be start,
    start + 1 ... along the axis, start being a multiple of how many."""
    a, b = tile("gather", x), tile("gather", index)
    if element_of(b).kind not in "iu":
        raise TypeError(f"gather needs integer indices, got {show_type(index)}")
    if a.rank != b.rank or any(m != n for d, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)) if d != axis):
        raise ValueError(f"gather needs shapes that agree but along axis {axis}, got {show_types((x, index), ' and ')}")
    return with_shape(x, b.shape)


@op("exchange")
def exchange(x: Operand, *, axis: Const, mask: Const) -> Type:
    """The element whose index along `axis` differs in the bits of `mask`: all of them reverse the axis."""
    _index_bits("exchange", x, axis, mask)
    return x


@op("order")
def order(x: Operand, *, axis: Const, distance: Const, block: Const, descending: Const = False) -> Type:
    """Pairs of integers `distance` apart along `axis`, put in order: ascending where the index has the bit `block`
    zero, else descending; `descending` turns both. One step of a sorting network."""
    _index_bits("order", x, axis, distance)
    if element_of(x).kind not in "iu":
        raise TypeError(f"order needs integers, got {show_type(x)}")
    if distance & (distance - 1) or block & (block - 1) or 0 < block <= distance:
        raise ValueError(f"order needs powers of two, distance below block, got {distance} and {block}")
    return x


def _index_bits(name: str, x: Type, axis: int, mask: int) -> None:
    shape = tile(name, x).shape
    if not 0 <= axis < len(shape) or not 0 < mask < shape[axis]:
        raise ValueError(f"{name}: {mask} has no bits of an index along axis {axis} of {show_type(x)}")


# -- memory ----------------------------------------------------------------------------------------------------------

@op("load", effects=READS)
def load(pointer: Operand, mask: Operand = None, other: Operand = None, *, cache: Const = "", evict: Const = "",
         volatile: Const = False) -> Type:
    """Read what `pointer` points at; where `mask` is false give `other` (undefined without) and touch no memory."""
    result = with_element(pointer, pointee(pointer))
    check_mask("load", mask)
    same_shape("load", pointer, mask, other)
    if other is not None and other != result:
        raise TypeError(f"load: other is {show_type(other)}, the loaded value {show_type(result)}")
    return result


@op("store", effects=WRITES)
def store(pointer: Operand, value: Operand, mask: Operand = None, *, cache: Const = "",
          evict: Const = "") -> tuple[Type, ...]:
    """Write `value` where `mask` is true."""
    check_mask("store", mask)
    same_shape("store", pointer, value, mask)
    if element_of(value) != pointee(pointer):
        raise TypeError(f"store: the value is {show_type(value)}, the pointer {show_type(pointer)}")
    return ()


@op("atomic_rmw", effects=READS | WRITES)
def atomic_rmw(pointer: Operand, value: Operand, mask: Operand = None, *, how: Const, sem: Const = "acq_rel",
               scope: Const = "gpu") -> Type:
    """Replace what is there by add, max, min, and, or, xor, xchg with `value`, atomically; the old value."""
    check_mask("atomic", mask)
    same_shape("atomic", pointer, value, mask)
    if how not in ("add", "max", "min", "and", "or", "xor", "xchg"):
        raise ValueError(f"there is no atomic {how!r}")
    return with_element(pointer, pointee(pointer))


@op("atomic_cas", effects=READS | WRITES)
def atomic_cas(pointer: Operand, compare: Operand, value: Operand, *, sem: Const = "acq_rel",
               scope: Const = "gpu") -> Type:
    """Write `value` where the old value equals `compare`, atomically; the old value."""
    same_shape("atomic_cas", pointer, compare, value)
    return with_element(pointer, pointee(pointer))


@op("barrier", effects=BARRIER | READS | WRITES)
def barrier() -> tuple[Type, ...]:
    """Every thread of the program waits here for the others; memory accesses stay on their side."""
    return ()


# -- linear algebra --------------------------------------------------------------------------------------------------

PRECISIONS = ("ieee", "tf32", "tf32x3", "bf16x3", "bf16x6")


@op("dot")
def dot(a: Operand, b: Operand, acc: Operand, *, precision: Const = "tf32", limit: Const = None) -> Type:
    """acc + a @ b, a MxK and b KxN (or both with one batch axis in front), K reduced in the accumulator's type.
    Where tensor cores round sums worse than `add` does, they sum at most `limit` products, which `add` adds to acc."""
    x, y, z = tile("dot", a), tile("dot", b), tile("dot", acc)
    if not (x.rank == y.rank == z.rank) or x.rank not in (2, 3):
        raise TypeError(f"dot needs tiles of rank 2 or 3, got {show_types((a, b, acc))}")
    if x.shape[-1] != y.shape[-2]:
        sizes = ["x".join(map(str, t.shape)) for t in (x, y)]
        raise ValueError(f"dot needs equal inner sizes, got {' and '.join(sizes)}")
    if z.shape != x.shape[:-1] + y.shape[-1:] or x.shape[:-2] != y.shape[:-2]:
        raise ValueError(f"dot: {show_types((a, b), ' times ')} does not give {show_type(acc)}")
    if precision not in PRECISIONS:
        raise ValueError(f"dot's precision is one of {', '.join(PRECISIONS)}, got {precision!r}")
    return acc


# -- reductions and scans --------------------------------------------------------------------------------------------

def _combined(name: str, xs: Sequence[Type], axis: int, regions: Sequence[ir.Block]) -> tuple[int, ...]:
    shape = same_shape(name, *(tile(name, x) for x in xs))
    if not 0 <= axis < len(shape):
        raise ValueError(f"{name}: axis {axis} is not an axis of {show_type(xs[0])}")
    elements = [element_of(x) for x in xs]
    (region,) = regions
    if [v.type for v in region.params] != elements * 2:
        raise TypeError(f"{name}: the combine function takes {show_types(elements * 2)}")
    if [v.type for v in region.yielded] != elements:
        raise TypeError(f"{name}: the combine function must return {show_types(elements)}, "
                        f"got {show_types(_types(region.yielded))}")
    return shape


@op("reduce")
def reduce(*xs: Operand, axis: Const, regions: Sequence[ir.Block] = ()) -> tuple[Type, ...]:
    """Combine all elements along `axis` with the region, in an order of the machine's choice; that axis goes away."""
    shape = _combined("reduce", xs, axis, regions)
    return tuple(with_shape(x, shape[:axis] + shape[axis + 1:]) for x in xs)


@op("scan")
def scan(*xs: Operand, axis: Const, reverse: Const = False, regions: Sequence[ir.Block] = ()) -> tuple[Type, ...]:
    """Running combination along `axis`, the element itself included, from the other end if `reverse`."""
    _combined("scan", xs, axis, regions)
    return tuple(xs)


@op("map")
def map_(*xs: Operand, regions: Sequence[ir.Block] = ()) -> tuple[Type, ...]:
    """The region applied to each element by itself: its parameters are scalars, as are the values it yields."""
    same_shape("map", *(tile("map", x) for x in xs))
    (region,) = regions
    elements = [element_of(x) for x in xs]
    if [v.type for v in region.params] != elements or any(isinstance(v.type, Tile) for v in region.yielded):
        raise TypeError(f"map: the function takes {show_types(elements)} and gives scalars, "
                        f"got {show_types(_types(region.params))} to {show_types(_types(region.yielded))}")
    return tuple(with_element(xs[0], element_of(v.type)) for v in region.yielded)


@op("histogram")
def histogram(x: Operand, mask: Operand = None, *, bins: Const) -> Type:
    """How often each of 0 ... bins - 1 occurs in x where `mask` is true; values outside are not counted."""
    if tile("histogram", x).rank != 1 or element_of(x).kind not in "iu":
        raise TypeError(f"histogram needs a 1-d tile of integers, got {show_type(x)}")
    return Tile(check_shape((bins,)), int32)


# -- control ---------------------------------------------------------------------------------------------------------

def _types(values: Sequence[ir.Value]) -> list[Type]:
    return [v.type for v in values]


@op("for")
def for_(low: Operand, high: Operand, step: Operand, *init: Operand, num_stages: Const = 0, unroll: Const = 0,
         disable_licm: Const = False, flatten: Const = False, warp_specialize: Const = False,
         disallow_acc_multi_buffer: Const = False, regions: Sequence[ir.Block] = ()) -> tuple[Type, ...]:
    """index = low, low + step, ... below high (above it for a negative step); `init` are carried from turn to turn.
    The pass licm leaves one with `disable_licm` alone; the last three are wishes that no pass has a use for."""
    (body,) = regions
    if not (low == high == step) or element_of(low).kind not in "iu":
        raise TypeError(f"for needs integer bounds of one type, got {show_types((low, high, step))}")
    if _types(body.params) != [low, *init] or _types(body.yielded) != list(init):
        raise TypeError(f"for carries {show_types(init)} but yields {show_types(_types(body.yielded))}")
    return tuple(init)


@op("while")
def while_(*init: Operand, disable_licm: Const = False, regions: Sequence[ir.Block] = ()) -> tuple[Type, ...]:
    """While the first region yields true, the second makes the next carried values."""
    test, body = regions
    if _types(test.yielded) != [int1]:
        raise TypeError("the condition of a while is one i1")
    if _types(test.params) != list(init) or _types(body.params) != list(init) or _types(body.yielded) != list(init):
        raise TypeError(f"while carries {show_types(init)} but yields {show_types(_types(body.yielded))}")
    return tuple(init)


@op("if")
def if_(condition: Operand, *, regions: Sequence[ir.Block] = ()) -> tuple[Type, ...]:
    """The values of the first region if the scalar condition is true, else of the second."""
    if condition != int1:
        raise TypeError(f"the condition of an if is one i1, got {show_type(condition)}")
    then, otherwise = regions
    if _types(then.yielded) != _types(otherwise.yielded):
        raise TypeError(f"the branches of an if give {show_types(_types(then.yielded))} "
                        f"and {show_types(_types(otherwise.yielded))}")
    return tuple(_types(then.yielded))


@op("yield", effects=CONTROL)
def yield_(*values: Operand) -> tuple[Type, ...]:
    """Ends a region and hands out its values."""
    return ()


# -- assembly --------------------------------------------------------------------------------------------------------

def _assembly(*xs: Operand, asm: Const, constraints: Const, types: Const) -> tuple[Type, ...]:
    if xs:
        same_shape("inline_asm", *xs)
    return tuple(with_element(xs[0], t) if xs else t for t in types)


@op("inline_asm")
def inline_asm(*xs: Operand, asm: Const, constraints: Const, types: Const) -> tuple[Type, ...]:
    """PTX of the user's run on each element, a register an operand, by LLVM's `constraints`; results of `types`."""
    return _assembly(*xs, asm=asm, constraints=constraints, types=types)


@op("inline_asm_volatile", effects=READS | WRITES)
def inline_asm_volatile(*xs: Operand, asm: Const, constraints: Const, types: Const) -> tuple[Type, ...]:
    """inline_asm that does more than give results: it stays where it stands, once for each element."""
    return _assembly(*xs, asm=asm, constraints=constraints, types=types)


# -- debugging -------------------------------------------------------------------------------------------------------

@op("assert", effects=WRITES)
def assert_(condition: Operand, mask: Operand = None, *, message: Const) -> tuple[Type, ...]:
    """Stop the kernel with `message` if the condition is false anywhere."""
    check_mask("device_assert", condition)
    return ()


@op("print", effects=WRITES)
def print_(*values: Operand, prefix: Const, hex: Const = False) -> tuple[Type, ...]:
    """Print `prefix` and the values from every program."""
    return ()


def hint(name: str, doc: str) -> Any:
    """A row that says something about a value and gives the value itself; axis analysis reads it."""

    @op(name)
    def rule(x: Operand, *, values: Const) -> Type:
        return x

    return rule


hint("multiple_of", "x, whose elements at the start of each run are multiples of `values`.")
hint("max_contiguous", "x, in which runs of `values` elements rise by one.")
hint("max_constancy", "x, in which runs of `values` elements are equal.")


@op("assume", effects=WRITES)
def assume(condition: Operand) -> tuple[Type, ...]:
    """The condition holds here; the compiler may rely on it."""
    if condition != int1:
        raise TypeError(f"assume needs one i1, got {show_type(condition)}")
    return ()


