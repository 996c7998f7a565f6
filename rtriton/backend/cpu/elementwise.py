"""Elementwise ops on register values: `apply(m, kind, xs, types, result, attrs)`, for scalars and any number of lanes.

One entry per op of the table; integer division, float remainder and rounding to integers are written out so that no
target needs a call and nothing traps: x / 0 is 0 and the smallest integer / -1 is itself, as in rtriton.numerics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rtriton.backend.cpu import numbers
from rtriton.backend.cpu.llvm import V
from rtriton.backend.cpu.vector_math import MATH, Math
from rtriton.types import DType, Scalar

Rule = Callable[[Math, Sequence[V], Scalar], V]
RULES: dict[str, Rule] = {}


def apply(m: Math, kind: str, xs: Sequence[V], types: Sequence[Scalar], result: Scalar, attrs: Mapping[str, Any]) -> V:
    """The result of one elementwise op; bf16, f16 and fp8 results are rounded."""
    if kind == "where":
        return m.b.select(xs[0], xs[1], xs[2])
    if kind == "cast":
        return numbers.convert(m, xs[0], types[0], attrs["to"], attrs.get("rounding", "rtne"))
    if kind == "bitcast":
        return _bitcast(m, xs[0], types[0], attrs["to"])
    if kind in MATH:
        return MATH[kind](m, xs[0])
    if kind not in RULES:
        raise NotImplementedError(f"the CPU backend has no rule for the op {kind!r}")
    value = RULES[kind](m, xs, types[0])
    narrow = isinstance(result, DType) and result.kind == "f" and result.bits < 32
    held = kind in _EXACT_ALREADY and isinstance(result, DType) and numbers.is_symmetric(result)
    return numbers.rounded(m, value, result) if narrow and not held else value


_EXACT_ALREADY = ("neg", "abs", "minimum", "maximum", "minimum_nan", "maximum_nan", "floor", "ceil")


def _rule(*kinds: str) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return add


def _bitcast(m: Math, x: V, source: Scalar, to: Scalar) -> V:
    if source.kind == "p" or to.kind == "p":
        return numbers.convert(m, x, source, to)
    raw = numbers.encode(m, x, source)
    return numbers.decode(m, m.b.bitcast(raw, numbers.memory(to)), to)


def _arithmetic(kind: str, whole: str, real: str, mask: str) -> None:
    def rule(m: Math, xs: Sequence[V], type: Scalar) -> V:
        opcode = {"f": real, "b": mask}.get(type.kind, whole)
        return m.b.op(opcode, xs[0], xs[1])

    RULES[kind] = rule


_arithmetic("add", "add", "fadd contract", "xor")
_arithmetic("sub", "sub", "fsub contract", "xor")
_arithmetic("mul", "mul", "fmul contract", "and")
for _kind in ("and", "or", "xor"):
    _arithmetic(_kind, _kind, _kind, _kind)


@_rule("shl")
def _shl(m: Math, xs: Sequence[V], type: Scalar) -> V:
    if type.kind == "b":
        return _and_not(m, xs)
    return m.b.op("shl", xs[0], xs[1])


def _and_not(m: Math, xs: Sequence[V]) -> V:
    """One bit shifted by 0 or 1 (i1 arithmetic is arithmetic modulo 2)."""
    return m.b.op("and", xs[0], m.b.op("xor", xs[1], m.b.int(1, "i1", xs[1].lanes)))


@_rule("shr")
def _shr(m: Math, xs: Sequence[V], type: Scalar) -> V:
    if type.kind == "b":
        return _and_not(m, xs)
    return m.b.op("ashr" if type.kind == "i" else "lshr", xs[0], xs[1])


@_rule("fma")
def _fma(m: Math, xs: Sequence[V], type: Scalar) -> V:
    """Without an fma: f32 through f64, whose product of two f32 is exact; f64 rounded twice, as the oracle does."""
    x, y, z = xs
    b = m.b
    if m.target.has_fma:
        return b.call("llvm.fma", x.element, x.lanes, x, y, z)
    if x.element == "double":
        return m.exact("fadd", m.exact("fmul", x, y), z)
    wide = [b.cast("fpext", v, "double") for v in xs]
    return b.cast("fptrunc", m.exact("fadd", m.exact("fmul", wide[0], wide[1]), wide[2]), "float")


@_rule("neg")
def _neg(m: Math, xs: Sequence[V], type: Scalar) -> V:
    if type.kind == "b":
        return xs[0]
    return m.b.fneg(xs[0]) if type.kind == "f" else m.b.op("sub", m.b.zero(xs[0].element, xs[0].lanes), xs[0])


@_rule("abs")
def _abs(m: Math, xs: Sequence[V], type: Scalar) -> V:
    (x,) = xs
    if type.kind == "f":
        return m.magnitude(x)
    if type.kind != "i":
        return x
    zero = m.b.zero(x.element, x.lanes)
    return m.b.select(m.b.cmp("icmp slt", x, zero), m.b.op("sub", zero, x), x)


def _extreme(kind: str, real: str, letters: str, mask: str) -> None:
    def rule(m: Math, xs: Sequence[V], type: Scalar) -> V:
        x, y = xs
        if type.kind == "f":
            # of a NaN y the comparison is false: y itself unless replaced
            first = m.b.select(m.b.cmp(f"fcmp {real}", x, y), x, y)
            return m.b.select(m.b.cmp("fcmp uno", y, y), x, first)
        if type.kind == "b":
            return m.b.op(mask, x, y)
        return m.b.select(m.b.cmp(f"icmp {'s' if type.kind == 'i' else 'u'}{letters}", x, y), x, y)

    RULES[kind] = rule


_extreme("minimum", "olt", "lt", "and")
_extreme("maximum", "ogt", "gt", "or")


def _extreme_nan(kind: str, real: str) -> None:
    def rule(m: Math, xs: Sequence[V], type: Scalar) -> V:
        x, y = xs
        first = m.b.select(m.b.cmp(f"fcmp {real}", x, y), x, y)
        return m.b.select(m.b.cmp("fcmp uno", x, x), x, first)

    RULES[kind] = rule


_extreme_nan("minimum_nan", "olt")
_extreme_nan("maximum_nan", "ogt")


def _comparison(kind: str, real: str) -> None:
    def rule(m: Math, xs: Sequence[V], type: Scalar) -> V:
        x, y = xs
        if type.kind == "f":
            return m.b.cmp(f"fcmp {real}", x, y)
        sign = "" if kind in ("eq", "ne") else "s" if type.kind == "i" else "u"
        return m.b.cmp(f"icmp {sign}{kind}", x, y)

    RULES[kind] = rule


for _kind, _real in (("eq", "oeq"), ("ne", "une"), ("lt", "olt"), ("le", "ole"), ("gt", "ogt"), ("ge", "oge")):
    _comparison(_kind, _real)


@_rule("umulhi")
def _umulhi(m: Math, xs: Sequence[V], type: Scalar) -> V:
    b, (x, y) = m.b, xs
    if type.kind == "b":
        return b.zero("i1", x.lanes)
    if x.bits == 64:
        return _umulhi64(m, x, y)
    wide = f"i{2 * x.bits}"
    product = b.op("mul", b.cast("zext", x, wide), b.cast("zext", y, wide))
    return b.cast("trunc", b.op("lshr", product, b.const(x.bits, wide, x.lanes)), x.element)


def _umulhi64(m: Math, x: V, y: V) -> V:
    """By 32-bit halves: no partial sum overflows."""
    b = m.b
    low, half = b.const(0xFFFFFFFF, "i64", x.lanes), b.const(32, "i64", x.lanes)
    a0, a1, b0, b1 = b.op("and", x, low), b.op("lshr", x, half), b.op("and", y, low), b.op("lshr", y, half)
    cross = b.op("add", b.op("mul", a0, b1), b.op("lshr", b.op("mul", a0, b0), half))
    other = b.op("add", b.op("mul", a1, b0), b.op("and", cross, low))
    return b.op("add", b.op("mul", a1, b1), b.op("add", b.op("lshr", cross, half), b.op("lshr", other, half)))


@_rule("div", "div_rn")
def _div(m: Math, xs: Sequence[V], type: Scalar) -> V:
    x, y = xs
    if type.kind == "f":
        return m.b.op("fdiv", x, y)
    if type.kind == "b":
        return m.b.op("and", x, y)
    return _quotient(m, x, y, type.kind == "i")


def by_one_divisor(m: Math, x: V, y: V) -> V:
    """x / y for a y that all lanes share, within 1.5 ulp: x * (1 / y), y scaled if its inverse is no normal number."""
    b, size = m.b, m.magnitude(y)
    big, small = b.cmp("fcmp ogt", size, m.like(y, 2.0**126)), b.cmp("fcmp olt", size, m.like(y, 2.0**-126))
    scale = b.select(big, m.like(y, 2.0**-24), b.select(small, m.like(y, 2.0**24), m.like(y, 1.0)))
    inverse = b.op("fdiv", m.like(y, 1.0), m.exact("fmul", y, scale))
    return m.exact("fmul", m.exact("fmul", x, b.splat(inverse, x.lanes)), b.splat(scale, x.lanes))


@_rule("rem")
def _rem(m: Math, xs: Sequence[V], type: Scalar) -> V:
    x, y = xs
    if type.kind == "f":
        return _fmod(m, x, y)
    if type.kind == "b":
        return m.b.zero("i1", x.lanes)
    b, zero = m.b, m.b.zero(y.element, y.lanes)
    if isinstance(y.const, int) and y.const > 0:
        return b.op("srem" if type.kind == "i" else "urem", x, y)
    rest = b.op("sub", x, b.op("mul", _quotient(m, x, y, type.kind == "i"), y))
    return b.select(b.cmp("icmp eq", y, zero), zero, rest)


def _quotient(m: Math, x: V, y: V, signed: bool) -> V:
    """Truncating division that cannot trap. Up to 32 bits by lanes of f64, whose truncated quotient is exact."""
    b = m.b
    if isinstance(y.const, int) and y.const not in (0, -1):
        return b.op("sdiv" if signed else "udiv", x, y)
    zero, one = b.zero(y.element, y.lanes), b.const(1, y.element, y.lanes)
    nothing = b.cmp("icmp eq", y, zero)
    safe = b.select(nothing, one, y)
    if not signed:
        quotient = _by_f64(m, x, safe, "uitofp") if x.lanes and x.bits <= 32 else b.op("udiv", x, safe)
        return b.select(nothing, zero, quotient)
    if x.lanes and x.bits <= 32:
        return b.select(nothing, zero, _by_f64(m, x, safe, "sitofp"))
    minus = b.cmp("icmp eq", y, b.const(-1, y.element, y.lanes))
    quotient = b.op("sdiv", x, b.select(minus, one, safe))
    return b.select(nothing, zero, b.select(minus, b.op("sub", zero, x), quotient))


def _by_f64(m: Math, x: V, y: V, opcode: str) -> V:
    """The quotient of |a|, |b| < 2**32 differs from the next integer by more than f64's rounding error."""
    b = m.b
    wide = [b.cast(opcode, v, "double") for v in (x, y)]
    whole = b.cast("fptosi", b.op("fdiv", wide[0], wide[1]), "i64" if x.bits == 32 else "i32")
    return b.cast("trunc", whole, x.element)


@_rule("floor")
def _floor(m: Math, xs: Sequence[V], type: Scalar) -> V:
    return _to_whole(m, xs[0], "llvm.floor", "fcmp ogt", -1.0)


@_rule("ceil")
def _ceil(m: Math, xs: Sequence[V], type: Scalar) -> V:
    return _to_whole(m, xs[0], "llvm.ceil", "fcmp olt", 1.0)


def _to_whole(m: Math, x: V, name: str, wrong: str, step: float) -> V:
    if m.target.has_round:
        return m.b.call(name, x.element, x.lanes, x)
    cut = _truncated(m, x)
    moved = m.exact("fadd", cut, m.like(x, step))
    return m.with_sign(m.b.select(m.b.cmp(wrong, cut, x), moved, cut), x)


def _truncated(m: Math, x: V) -> V:
    """x without its fraction; beyond 2**mantissa every float is whole."""
    if m.target.has_round:
        return m.b.call("llvm.trunc", x.element, x.lanes, x)
    integer, limit = ("i32", 2.0**23) if x.element == "float" else ("i64", 2.0**52)
    inside = m.b.cmp("fcmp olt", m.magnitude(x), m.like(x, limit))
    safe = m.b.select(inside, x, m.like(x, 0.0))
    whole = m.b.cast("sitofp", m.b.cast("fptosi", safe, integer), x.element)
    return m.b.select(inside, m.with_sign(whole, x), x)


def _fmod(m: Math, x: V, y: V) -> V:
    """C's fmod, exact: quotients of at most 22 bits at a time are taken off in f64 until the rest is below |y|.

    In f64, where the rest of two f32 always fits.
    """
    b = m.b
    wide = x.element == "double"
    a, d = (m.magnitude(v if wide else b.cast("fpext", v, "double")) for v in (x, y))
    big = m.like(a, math.inf)
    valid = b.op("and", b.cmp("fcmp olt", a, big), b.cmp("fcmp ogt", d, m.like(a, 0.0)))
    start = b.select(valid, a, m.like(a, 0.0))
    (rest,) = b.open_loop(start)
    quotient = b.op("fdiv", rest, d)
    bits = b.op("and", b.bitcast(quotient, "i64"), b.const(-1 << 30, "i64", x.lanes))  # 22 bits of mantissa
    piece = _truncated(m, b.bitcast(bits, "double"))
    piece = b.select(b.cmp("fcmp olt", piece, m.like(a, 1.0)), m.like(a, 1.0), piece)
    more = b.cmp("fcmp oge", rest, d)
    less = _minus_product(m, rest, piece, d)
    less = b.select(
        b.cmp("fcmp olt", less, m.like(a, 0.0)), m.exact("fadd", less, d), less
    )  # the quotient was rounded up
    following = b.select(more, less, rest)
    again = b.op("and", b.cmp("fcmp oge", following, d), more)
    any_more = again if not x.lanes else b.call("llvm.vector.reduce.or", "i1", 0, again, suffix=f"v{x.lanes}i1")
    (rest,) = b.close_loop(following, again=any_more)
    rest = rest if wide else b.cast("fptrunc", rest, "float")
    proper = b.op("and", valid, b.cmp("fcmp ord", y, y))
    return b.select(proper, m.with_sign(rest, x), m.like(x, math.nan))


def _minus_product(m: Math, rest: V, piece: V, d: V) -> V:
    """rest - piece * d without rounding, for a piece of at most 22 bits."""
    b = m.b
    if m.target.has_fma:
        return b.call("llvm.fma", d.element, d.lanes, b.fneg(piece), d, rest)
    high = b.bitcast(b.op("and", b.bitcast(d, "i64"), b.const(-1 << 27, "i64", d.lanes)), "double")
    low = m.exact("fsub", d, high)
    rest = m.exact("fsub", rest, m.exact("fmul", piece, high))
    return m.exact("fsub", rest, m.exact("fmul", piece, low))
