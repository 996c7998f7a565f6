"""Transcendental functions as straight vector code: range reduction, a polynomial, no call into a math library.

`MATH[name](m, x)` writes the instructions for f32 or f64, scalar or any number of lanes. Accuracy (largest error seen,
in units of the last place, against a 50-digit reference): f32 at most 1.5 (sin and cos for |x| < 2**27), f64
at most 2.1 (sin and cos for |x| < 2**19 * pi/2). NaN, infinities, zeros and denormals give what C's functions give.
The coefficients are minimax fits (Remez exchange at 50 digits) of the functions named beside them.

Operations on which an error analysis rests are exact without fma (split constants with trailing zero bits), so that
every target gives good results; the others may contract.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rtriton.backend.cpu.llvm import Builder, V
from rtriton.backend.cpu.target import CpuTarget

# (2**x - 1) / x on [-1/2, 1/2]
_EXP2 = {
    "float": (0.6931472027528625, 0.2402264790350155, 0.05550332605562364, 0.009618438608479657,
              0.0013398836840093052, 0.0001535303101974113),
    "double": (0.6931471805599453, 0.2402265069591013, 0.05550410866482009, 0.009618129107594185,
               0.001333355814677269, 0.00015403530457041103, 1.525273349459813e-05, 1.3215435313878907e-06,
               1.0178199066714531e-07, 7.073778322722749e-09, 4.434835744350798e-10),
}  # fmt: skip
# (e**x - 1 - x) / x**2 on [-log(2)/2, log(2)/2]
_EXP = {
    "float": (0.4999999369434426, 0.16666521376239685, 0.04166833932244249, 0.008368647623124283,
              0.0013816925096810085),
    "double": (0.500000000000001, 0.16666666666666421, 0.041666666666534805, 0.008333333333490229,
               0.0013888888942559354, 0.00019841269512817396, 2.480149409707803e-05, 2.755758269602715e-06,
               2.76299225921903e-07, 2.500077235235834e-08),
}  # fmt: skip
# (log(1 + f) - f + f**2/2) / f**3 on [sqrt(1/2) - 1, sqrt(2) - 1]
_LOG_F32 = (0.333333119357074, -0.24999986392766557, 0.20002145960810466, -0.166692177933481,
            0.14220024739772197, -0.12385530425744742, 0.11865092450903711, -0.11780804636709984,
            0.06921245656039987)  # fmt: skip
# (log((1 + s) / (1 - s)) / s - 2) / s**2 in z = s**2, |s| < 0.1717
_LOG_F64 = (0.6666666666666731, 0.3999999999942962, 0.2857142873996963, 0.22222198754786565, 0.18183557573178644,
            0.15314167080065622, 0.14795261620059047)  # fmt: skip
# (sin(r)/r - 1) / z and (cos(r) - 1 + z/2) / z**2 in z = r**2 on [0, (pi/4)**2]
_SIN = {
    "float": (-0.16666666641765582, 0.008333329393974987, -0.00019839335974610999, 2.718313348524895e-06),
    "double": (-0.16666666666666632, 0.008333333333322519, -0.0001984126982986891, 2.7557313707645004e-06,
               -2.505075994435106e-08, 1.5896872981405507e-10),
}  # fmt: skip
_COS = {
    "float": (0.041666647108166845, -0.0013887376405347842, 2.4439240163839564e-05),
    "double": (0.041666666666666616, -0.0013888888888876074, 2.480158729053713e-05, -2.7557314622380855e-07,
               2.087575634738269e-09, -1.1361210272002209e-11),
}  # fmt: skip
# erf(x)/x - 1 in z = x**2
_ERF_SMALL = {
    "float": (0.1283791561258936, -0.37612538484871055, 0.11282300259052559, -0.026784760458258845,
              0.005020718313396183, -0.0006136138376119452),
    "double": (0.12837916709551256, -0.3761263890318355, 0.11283791670945253, -0.02686617064327622,
               0.005223977607423468, -0.0008548325989696758, 0.00012055295320494294, -1.4924744663335489e-05,
               1.6447517677871873e-06, -1.6209175911748696e-07, 1.3722976265924504e-08, -7.801188874097751e-10),
}  # fmt: skip
# -log(erfc(x)): f32 on [0.89, 4]; f64 on [1, 2.5] and [2.5, 6]
_ERF_F32 = (-0.0001678077358274133, 1.1294818116150114, 0.6334139048675672, 0.10820634287956593,
            -0.02507175692844966, 0.004152976744044932, -0.0004307350797575224, 2.0773231668762088e-05)  # fmt: skip
_ERF_MID = (9.647992808795797e-08, 1.128378109768395, 0.6366251507878388, 0.10275579910472542,
            -0.019092548269213836, -0.0002642460166485741, 0.001757647160696769, -0.0006386721275561423,
            4.941057311454943e-05, 6.359820561178892e-05, -3.981308087720464e-05, 1.3749416286749619e-05,
            -3.260660426930311e-06, 5.470451911201533e-07, -6.27516552932688e-08, 4.4450477552811766e-09,
            -1.4720970926376017e-10)  # fmt: skip
_ERF_FAR = (-0.00035930744026819376, 1.1301061991778258, 0.6327779321465129, 0.10798484549722329,
            -0.023887221102526023, 0.0027964550795626752, 0.00044480528150789, -0.00034551908092291753,
            0.00010448914116758253, -2.087629920502242e-05, 2.972450945201329e-06, -3.012955656710214e-07,
            2.0799602530772275e-08, -8.799723906246885e-10, 1.7254823973395863e-11)  # fmt: skip
# (tanh(x)/x - 1) / z in z = x**2
_TANH = {
    "float": (-0.3333327963581978, 0.13331355835223402, -0.05373102536972876, 0.020606884382502258,
              -0.005665448389184711),
    "double": (-0.333333333333333, 0.13333333333325953, -0.05396825396325119, 0.02186948836879184,
               -0.008863232290306932, 0.0035920886269447784, -0.0014555195063555354, 0.0005883433596660503,
               -0.0002331127472239255, 8.291631764064071e-05, -1.9239354421056458e-05),
}  # fmt: skip
_TANH_SMALL = {"float": 0.625, "double": 0.55}
_hex = float.fromhex
# log(2) and its inverse, upper parts with enough trailing zero bits that n * hi is exact
_LN2 = {
    "float": (_hex("0x1.62e0p-1"), _hex("0x1.0bfbe8e7bcd5ep-15")),
    "double": (_hex("0x1.62e42fefa3000p-1"), _hex("0x1.3de6af278ece6p-42")),
}
_INVLN2 = {
    "float": (_hex("0x1.714p0"), _hex("0x1.47652b82fe177p-12")),
    "double": (_hex("0x1.71547p0"), _hex("0x1.94ae0bf85ddf4p-22")),
}
_PIO2 = (_hex("0x1.921fb544p0"), _hex("0x1.0b4611a6p-34"), _hex("0x1.3198a2e037073p-69"))
# where n * part would be rounded before the subtraction: 26-bit parts, for |n| < 2**27
_PIO2_SHORT = (
    _hex("0x1.921fb50000000p+0"),
    _hex("0x1.110b460000000p-26"),
    _hex("0x1.1a62630000000p-54"),
    _hex("0x1.8a2e03707344ap-81"),
)
_TWO_OVER_PI = _hex("0x1.45f306dc9c883p-1")


@dataclass(frozen=True, slots=True)
class _Format:
    integer: str
    mantissa: int
    bias: int
    magic: float  # 1.5 * 2**mantissa: adding and taking it away rounds to an integer
    exp2_range: tuple[float, float]
    exp_range: tuple[float, float]
    tiny: float  # the smallest normal number
    sqrt_half: int  # the bits of sqrt(1/2)


_FORMAT = {
    "float": _Format("i32", 23, 127, 12582912.0, (-151.0, 129.0), (-104.0, 89.0), 2.0**-126, 0x3F3504F3),
    "double": _Format("i64", 52, 1023, 6755399441055744.0, (-1076.0, 1025.0), (-746.0, 710.0), 2.0**-1022,
                      0x3FE6A09E667F3BCD),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Math:
    """A builder with the shape of the values at hand: constants come out with the right type and lanes."""

    b: Builder
    target: CpuTarget

    def like(self, x: V, value: float) -> V:
        return self.b.const(value, x.element, x.lanes)

    def polynomial(self, x: V, coefficients: Sequence[float]) -> V:
        """c0 + c1 x + c2 x**2 ... by Horner's rule."""
        value = self.like(x, coefficients[-1])
        for c in reversed(coefficients[:-1]):
            value = self.b.fadd(self.b.fmul(value, x), self.like(x, c))
        return value

    def exact(self, opcode: str, x: V, y: V) -> V:
        """An operation that must not be contracted."""
        return self.b.op(opcode, x, y)

    def nearest(self, x: V) -> tuple[V, V]:
        """x rounded to an integer as a float and as bits, for |x| < 2**(mantissa - 1)."""
        form = _FORMAT[x.element]
        magic = self.like(x, form.magic)
        shifted = self.exact("fadd", x, magic)
        count = self.b.op("sub", self.b.bitcast(shifted, form.integer), self.b.bitcast(magic, form.integer))
        return self.exact("fsub", shifted, magic), count

    def power_of_two(self, n: V, element: str) -> V:
        form = _FORMAT[element]
        biased = self.b.op("add", n, self.b.const(form.bias, n.element, n.lanes))
        return self.b.bitcast(self.b.op("shl", biased, self.b.const(form.mantissa, n.element, n.lanes)), element)

    def scale(self, x: V, n: V, whole: V) -> V:
        """x * 2**n with one rounding for n in twice the exponent's range: two factors, each a normal number.

        `whole` is n as a float, which AVX-512 has an instruction for.
        """
        if self.target.vector_bits == 512 and x.lanes * x.bits == 512:
            kind = "ps" if x.element == "float" else "pd"
            name = f"@llvm.x86.avx512.mask.scalef.{kind}.512"
            everywhere = self.b.int(-1, f"i{x.lanes}")
            self.b.declare(f"declare {x.type} {name}({x.type}, {x.type}, {x.type}, i{x.lanes}, i32)")
            call = f"call {x.type} {name}({x.operand}, {whole.operand}, {x.operand}, {everywhere.operand}, i32 4)"
            return self.b.pure(call, x.element, x.lanes, (x, whole))
        half = self.b.op("ashr", n, self.b.const(1, n.element, n.lanes))
        rest = self.b.op("sub", n, half)
        once = self.exact("fmul", x, self.power_of_two(half, x.element))
        return self.exact("fmul", once, self.power_of_two(rest, x.element))

    def clamp(self, x: V, low: float, high: float) -> V:
        """x held in a range; NaN stays."""
        x = self.b.select(self.b.cmp("fcmp olt", x, self.like(x, low)), self.like(x, low), x)
        return self.b.select(self.b.cmp("fcmp ogt", x, self.like(x, high)), self.like(x, high), x)

    def magnitude(self, x: V) -> V:
        return self.b.call("llvm.fabs", x.element, x.lanes, x)

    def with_sign(self, x: V, sign: V) -> V:
        return self.b.call("llvm.copysign", x.element, x.lanes, x, sign)


def exp2(m: Math, x: V) -> V:
    y = m.clamp(x, *_FORMAT[x.element].exp2_range)
    whole, n = m.nearest(y)
    f = m.exact("fsub", y, whole)
    p = m.b.fadd(m.b.fmul(m.polynomial(f, _EXP2[x.element]), f), m.like(x, 1.0))
    return m.scale(p, n, whole)


def exp(m: Math, x: V) -> V:
    y = m.clamp(x, *_FORMAT[x.element].exp_range)
    whole, n = m.nearest(m.b.fmul(y, m.like(x, math.log2(math.e))))
    r = _minus_ln2(m, y, whole)
    square = m.b.fmul(r, r)
    p = m.b.fadd(m.b.fadd(m.b.fmul(m.polynomial(r, _EXP[x.element]), square), r), m.like(x, 1.0))
    return m.scale(p, n, whole)


def _minus_ln2(m: Math, x: V, n: V) -> V:
    high, low = _LN2[x.element]
    return m.b.fsub(m.b.fsub(x, m.b.fmul(n, m.like(x, high))), m.b.fmul(n, m.like(x, low)))


def _frexp(m: Math, x: V) -> tuple[V, V]:
    """x = 2**e (1 + f), 1 + f in [sqrt(1/2), sqrt(2)): e as a float, and f. For positive finite x, denormals too."""
    b, form = m.b, _FORMAT[x.element]
    small = b.cmp("fcmp olt", x, m.like(x, form.tiny))
    x = b.select(small, m.exact("fmul", x, m.like(x, 2.0**form.mantissa)), x)
    bias = b.select(small, m.like(x, -float(form.mantissa)), m.like(x, 0.0))
    sqrt_half = b.const(form.sqrt_half, form.integer, x.lanes)
    offset = b.op("sub", b.bitcast(x, form.integer), sqrt_half)
    exponent = b.op("ashr", offset, b.const(form.mantissa, form.integer, x.lanes))
    mantissa = b.op("and", offset, b.const((1 << form.mantissa) - 1, form.integer, x.lanes))
    near_one = b.bitcast(b.op("add", mantissa, sqrt_half), x.element)
    whole = b.cast("sitofp", b.cast("trunc", exponent, "i32"), x.element)
    return m.exact("fadd", whole, bias), m.exact("fsub", near_one, m.like(x, 1.0))


def _log_ends(m: Math, x: V, y: V) -> V:
    """The logarithm y of x, put right where x is infinite, NaN, zero or negative."""
    b = m.b
    y = b.select(b.cmp("fcmp olt", x, m.like(x, math.inf)), y, x)
    y = b.select(b.cmp("fcmp oeq", x, m.like(x, 0.0)), m.like(x, -math.inf), y)
    return b.select(b.cmp("fcmp olt", x, m.like(x, 0.0)), m.like(x, math.nan), y)


def _log_tail(m: Math, f: V) -> V:
    """log(1 + f) - f + f**2/2."""
    b = m.b
    if f.element == "float":
        cube = b.fmul(b.fmul(f, f), f)
        return b.fmul(m.polynomial(f, _LOG_F32), cube)
    s = b.op("fdiv", f, b.fadd(f, m.like(f, 2.0)))
    z = b.fmul(s, s)
    half_square = b.fmul(b.fmul(f, f), m.like(f, 0.5))
    return b.fmul(s, b.fadd(half_square, b.fmul(z, m.polynomial(z, _LOG_F64))))


def log(m: Math, x: V) -> V:
    b = m.b
    e, f = _frexp(m, x)
    high, low = _LN2[x.element]
    half_square = b.fmul(b.fmul(f, f), m.like(x, 0.5))
    tail = b.fadd(_log_tail(m, f), b.fmul(e, m.like(x, low)))
    y = b.fadd(b.fadd(b.fsub(tail, half_square), f), b.fmul(e, m.like(x, high)))
    return _log_ends(m, x, y)


def log2(m: Math, x: V) -> V:
    """e + log(1 + f) / log(2), the product in two parts: the head of f - f**2/2 has few bits, head * high is exact."""
    b, form = m.b, _FORMAT[x.element]
    e, f = _frexp(m, x)
    high, low = _INVLN2[x.element]
    half_square = m.exact("fmul", m.exact("fmul", f, f), m.like(x, 0.5))
    keep = b.const(-1 << (form.mantissa // 2 + 1), form.integer, x.lanes)
    head = b.bitcast(b.op("and", b.bitcast(m.exact("fsub", f, half_square), form.integer), keep), x.element)
    rest = b.fadd(m.exact("fsub", m.exact("fsub", f, head), half_square), _log_tail(m, f))
    small = b.fadd(b.fmul(b.fadd(rest, head), m.like(x, low)), b.fmul(rest, m.like(x, high)))
    y = b.fadd(small, b.fadd(b.fmul(head, m.like(x, high)), e))
    return _log_ends(m, x, y)


def _sin_cos(m: Math, x: V, quarter: int) -> V:
    """sin(x + quarter * pi/2). An f32 is reduced in f64, where three parts of pi/2 leave no cancellation error."""
    b = m.b
    wide = b.cast("fpext", x, "double") if x.element == "float" else x
    n, count = m.nearest(b.fmul(wide, m.like(wide, _TWO_OVER_PI)))
    r = wide
    for part in _PIO2 if m.target.has_fma or x.element == "double" else _PIO2_SHORT:
        r = b.fsub(r, b.fmul(n, m.like(wide, part)))
    if x.element == "float":
        r, count = b.cast("fptrunc", r, "float"), b.cast("trunc", count, "i32")
    count = b.op("add", count, b.const(quarter, count.element, count.lanes))
    z = b.fmul(r, r)
    sine = b.fadd(b.fmul(b.fmul(m.polynomial(z, _SIN[x.element]), z), r), r)
    tail = b.fmul(m.polynomial(z, _COS[x.element]), b.fmul(z, z))
    cosine = _one_minus_half(m, z, tail)
    odd = b.cmp(
        "icmp ne", b.op("and", count, b.const(1, count.element, count.lanes)), b.zero(count.element, count.lanes)
    )
    turn = b.op("and", count, b.const(2, count.element, count.lanes))
    flip = b.op("shl", turn, b.const(count.bits - 2, count.element, count.lanes))
    return b.bitcast(b.op("xor", b.bitcast(b.select(odd, cosine, sine), count.element), flip), x.element)


def _one_minus_half(m: Math, z: V, tail: V) -> V:
    """1 - z/2 + tail, the rounding of the first difference made good."""
    one, half = m.like(z, 1.0), m.exact("fmul", z, m.like(z, 0.5))
    head = m.exact("fsub", one, half)
    lost = m.exact("fsub", m.exact("fsub", one, head), half)
    return m.b.fadd(head, m.b.fadd(lost, tail))


def sin(m: Math, x: V) -> V:
    keeps_zero = m.b.cmp("fcmp oeq", x, m.like(x, 0.0))
    return m.b.select(keeps_zero, x, _sin_cos(m, x, 0))


def cos(m: Math, x: V) -> V:
    return _sin_cos(m, x, 1)


def sqrt(m: Math, x: V) -> V:
    return m.b.call("llvm.sqrt", x.element, x.lanes, x)


def rsqrt(m: Math, x: V) -> V:
    return m.b.op("fdiv", m.like(x, 1.0), sqrt(m, x))


def erf(m: Math, x: V) -> V:
    """x + x p(x**2) near zero, 1 - exp(-q(|x|)) away from it."""
    b = m.b
    a = m.magnitude(x)
    z = b.fmul(x, x)
    near = b.fadd(b.fmul(m.polynomial(z, _ERF_SMALL[x.element]), x), x)
    if x.element == "float":
        t = m.clamp(a, 0.0, 4.0)
        far, edge = m.polynomial(t, _ERF_F32), 0.89
    else:
        t = m.clamp(a, 0.0, 6.0)
        mid = b.cmp("fcmp olt", t, m.like(x, 2.5))
        far, edge = b.select(mid, m.polynomial(t, _ERF_MID), m.polynomial(t, _ERF_FAR)), 1.0
    one = m.like(x, 1.0)
    far = m.with_sign(b.fsub(one, exp(m, b.fneg(far))), x)
    return b.select(b.cmp("fcmp olt", a, m.like(x, edge)), near, far)


def tanh(m: Math, x: V) -> V:
    """x + x z p(z) near zero, 1 - 2 / (exp(2|x|) + 1) away from it."""
    b = m.b
    a = m.magnitude(x)
    z = b.fmul(x, x)
    near = m.with_sign(b.fadd(b.fmul(b.fmul(m.polynomial(z, _TANH[x.element]), z), x), x), x)  # keeps -0
    grown = exp(m, b.fadd(a, a))
    one = m.like(x, 1.0)
    far = m.with_sign(b.fsub(one, b.op("fdiv", m.like(x, 2.0), b.fadd(grown, one))), x)
    return b.select(b.cmp("fcmp olt", a, m.like(x, _TANH_SMALL[x.element])), near, far)


MATH: dict[str, Callable[[Math, V], V]] = {
    "exp": exp, "exp2": exp2, "log": log, "log2": log2, "sin": sin, "cos": cos, "sqrt": sqrt, "sqrt_rn": sqrt,
    "rsqrt": rsqrt, "erf": erf, "tanh": tanh,
}  # fmt: skip
