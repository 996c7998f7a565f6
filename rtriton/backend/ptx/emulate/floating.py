"""Floating-point arithmetic and functions in f64, f32, f16, bf16 and the packed pairs of the last two."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtriton.backend.ptx.emulate.decode import Decoder, family
from rtriton.backend.ptx.emulate.formats import (
    decode,
    directed,
    encode,
    exact_sum,
    flush,
    fma32,
    fma64,
    fma_parts,
    quotient_parts,
    root_parts,
    two_product,
    two_sum,
)
from rtriton.backend.ptx.emulate.integer import apply, halves, integers
from rtriton.backend.ptx.emulate.program import Instruction
from rtriton.backend.ptx.emulate.state import Step, where

Function = Callable[..., Any]
Unary = Callable[[Any], Any]


@dataclass(frozen=True)
class Kind:
    """The type of a floating instruction and how it rounds and clamps."""

    type: str  # f64, f32, f16, bf16
    packed: bool
    mode: str
    ftz: bool
    sat: bool
    relu: bool

    @staticmethod
    def of(inst: Instruction) -> "Kind":
        """Read from the parts of an opcode."""
        parts = set(inst.parts)
        mode = next((part for part in ("rn", "rz", "rm", "rp") if part in parts), "rn")
        name = inst.parts[-1]
        type = name.removesuffix("x2")
        return Kind(type, name.endswith("x2"), mode, "ftz" in parts, "sat" in parts, "relu" in parts)

    @property
    def name(self) -> str:
        """The type as the opcode has it."""
        return self.type + ("x2" if self.packed else "")


def lift(kind: Kind, function: Function) -> Function:
    """Make a function of float values one of registers: decode, flush, compute, clamp, encode."""
    def values(raw: Any) -> Any:
        raw = halves(raw, np.float16 if kind.type == "f16" else np.uint16) if kind.packed else raw
        found = decode(raw, kind.type)
        return flush(found) if kind.ftz and kind.type == "f32" else found

    def run(*operands: Any) -> Any:
        result = function(*map(values, operands))
        if kind.sat:
            result = where(np.isnan(result), 0, np.clip(result, 0, 1)).astype(result.dtype)
        if kind.relu:
            result = where(result > 0, result, where(np.isnan(result), result, result.dtype.type(0)))
        if kind.ftz and kind.type == "f32":
            result = flush(result)
        raw = encode(result, kind.type)
        return raw.view(np.uint32) if kind.packed else raw

    return run


def _wide(function: Function, kind: Kind) -> Function:
    """A function that is exact (or to odd) in float64, rounded once."""
    def run(*values: Any) -> Any:
        result = np.asarray(function(*(np.asarray(value, np.float64) for value in values)))
        if kind.type == "bf16":
            return result  # encode rounds it
        rounded = result.astype(np.float32 if kind.type == "f32" else np.float16)
        return rounded if kind.mode == "rn" else directed(result, rounded, kind.mode)

    return run


def _directed64(kind: Kind, exact: Function) -> Function:
    """Directed rounding in float64, from the nearest result and the sign of what it lost."""
    def run(*values: Any) -> Any:
        nearest, lost = exact(*values)
        beyond = np.isinf(nearest) & ~np.isfinite(lost)  # an overflow, not an infinite operand or a pole
        lost = where(beyond, -nearest, lost)
        up = {"rp": np.inf, "rm": -np.inf}.get(kind.mode, 0.0)
        wrong = {"rp": lost > 0, "rm": lost < 0}.get(kind.mode, (lost != 0) & ((lost > 0) != (nearest > 0)))
        return where(wrong, np.nextafter(nearest, up), nearest)

    return run


def _add(kind: Kind) -> Function:
    if kind.mode == "rn" and kind.type != "bf16":
        return np.add
    return _wide(exact_sum, kind) if kind.type != "f64" else _directed64(kind, two_sum)


def _subtract(kind: Kind) -> Function:
    if kind.mode == "rn" and kind.type != "bf16":
        return np.subtract
    add = _add(kind)

    def run(a: Any, b: Any) -> Any:
        return add(a, -b)

    return run


def _multiply(kind: Kind) -> Function:
    if kind.mode == "rn" and kind.type != "bf16":
        return np.multiply
    return _wide(np.multiply, kind) if kind.type != "f64" else _directed64(kind, two_product)


def _fma(kind: Kind) -> Function:
    if kind.type == "f64":
        return fma64 if kind.mode == "rn" else _directed64(kind, fma_parts)
    if kind.type == "f32" and kind.mode == "rn":
        return fma32
    return _wide(_product_sum, kind)


def _product_sum(a: Any, b: Any, c: Any) -> Any:
    return exact_sum(a * b, c)


def _divide(kind: Kind) -> Function:
    if kind.type == "f64" and kind.mode != "rn":
        return _directed64(kind, quotient_parts)
    # A quotient of two 24-bit numbers is never so near a third that float64 could not tell them apart.
    return np.divide if kind.mode == "rn" else _wide(np.divide, kind)


def _smallest(pick: Function, pick_nan: Function, parts: tuple[str, ...]) -> Function:
    return pick_nan if "NaN" in parts else pick


def _minimum(a: Any, b: Any) -> Any:
    return where((a == 0) & (b == 0), where(np.signbit(a), a, b), np.fmin(a, b))


def _maximum(a: Any, b: Any) -> Any:
    return where((a == 0) & (b == 0), where(np.signbit(a), b, a), np.fmax(a, b))


ARITHMETIC: dict[str, Callable[[Kind], Function]] = {
    "add": _add, "sub": _subtract, "mul": _multiply, "mad": _fma, "fma": _fma, "div": _divide,
    "abs": lambda kind: np.abs, "neg": lambda kind: np.negative,
}


@family("add", "sub", "fma", "div", "rem", "min", "max", "abs", "neg", "sad")
def arithmetic(d: Decoder, inst: Instruction) -> Step:
    """Arithmetic on floats; integer types go to their own functions."""
    if inst.parts[-1][0] in "su":
        return integers(d, inst)
    kind, name = Kind.of(inst), inst.parts[0]
    if name == "min":
        function = _smallest(_minimum, np.minimum, inst.parts)
    elif name == "max":
        function = _smallest(_maximum, np.maximum, inst.parts)
    else:
        function = ARITHMETIC[name](kind)
    if not (kind.packed or kind.ftz or kind.sat or kind.relu) and kind.type in ("f32", "f64"):
        return apply(d, inst, function, kind.name, *[kind.name] * (len(inst.operands) - 1))
    return apply(d, inst, lift(kind, function), kind.name, *[kind.name] * (len(inst.operands) - 1))


FUNCTIONS: dict[str, Unary] = {
    "rcp": lambda x: 1.0 / x, "sqrt": np.sqrt, "rsqrt": lambda x: 1.0 / np.sqrt(x), "sin": np.sin, "cos": np.cos,
    "lg2": np.log2, "ex2": np.exp2, "tanh": np.tanh,
}
DIRECTED: dict[str, Unary] = {"rcp": lambda x: quotient_parts(np.ones_like(x), x), "sqrt": root_parts}


@family("rcp", "sqrt", "rsqrt", "sin", "cos", "lg2", "ex2", "tanh")
def functions(d: Decoder, inst: Instruction) -> Step:
    """Functions of one value, computed in float64 and rounded once: approximate ones are better here than on a GPU."""
    kind, function = Kind.of(inst), FUNCTIONS[inst.parts[0]]
    if kind.type == "f64":
        exact = function if kind.mode == "rn" else _directed64(kind, DIRECTED[inst.parts[0]])
        return apply(d, inst, exact, "f64", "f64")
    return apply(d, inst, lift(kind, _wide(function, kind)), kind.name, kind.name)


@family("copysign")
def copysign(d: Decoder, inst: Instruction) -> Step:
    """The second operand with the sign of the first."""
    type = inst.parts[1]

    def run(sign: Any, value: Any) -> Any:
        return np.copysign(value, sign)

    return apply(d, inst, run, type, type, type)


@family("testp")
def testp(d: Decoder, inst: Instruction) -> Step:
    """What kind of number it is."""
    type = inst.parts[2]
    smallest = 2.0 ** (-126 if type == "f32" else -1022)
    tests: dict[str, Unary] = {
        "finite": np.isfinite, "infinite": np.isinf, "number": lambda x: ~np.isnan(x), "notanumber": np.isnan,
        "normal": lambda x: np.isfinite(x) & (np.abs(x) >= smallest),
        "subnormal": lambda x: (np.abs(x) < smallest) & (x != 0),
    }
    return apply(d, inst, tests[inst.parts[1]], "pred", type)
