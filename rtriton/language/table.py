"""The op table's mechanism: how an op is declared once, and what everyone may ask of it.

    elementwise("add", "x + y.", meaning=np.add, ptx="add", llvm={"f": "fadd", "i": "add"}, commutative=True, unit=0)

    @op("load", effects=READS)
    def load(pointer: Operand, mask: Operand = None, other: Operand = None, cache: Const = "") -> Type:
        "Read what `pointer` points at; where `mask` is false give `other` and touch no memory."
        return with_element(pointer, pointee(pointer))

The function is the type rule: it sees the operands' types (None where absent) and the constants, returns the type
of the result (or a tuple of types), and raises TypeError or ValueError with a sentence for the user.
"""
from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rtriton import ir
from rtriton.types import (
    DType, Pointer, Scalar, Tile, Type, dtype_of, element_of, int1, shape_of, show_type, show_types, with_element,
)

if TYPE_CHECKING:
    # a rule sees types and constants: what a parameter is to the kernel is not what it is to Python
    Operand = Any
    Const = Any
else:

    class Operand:
        """Annotation of a type rule's parameter that is a value of the kernel."""

    class Const:
        """Annotation of a type rule's parameter that is known when compiling."""


class Effects(enum.Flag):
    NONE = 0
    READS = enum.auto()     # sees memory: not to be moved across writes
    WRITES = enum.auto()    # changes memory: never removed
    BARRIER = enum.auto()   # orders the threads of a program
    CONTROL = enum.auto()   # ends a region
    PROGRAM = enum.auto()   # differs from program to program, not within one


NONE, READS, WRITES, BARRIER, CONTROL = Effects.NONE, Effects.READS, Effects.WRITES, Effects.BARRIER, Effects.CONTROL


@dataclass(frozen=True)
class OpDef:
    """One row. `meaning` is NumPy's word for it (interpreter, folder, oracle); `ptx` and `llvm` the plain spellings."""

    name: str
    doc: str
    rule: Callable[..., Type | tuple[Type, ...]]
    operands: tuple[str, ...] = ()
    consts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    effects: Effects = NONE
    elementwise: bool = False
    meaning: Callable[..., Any] | None = None
    ptx: str | Mapping[str, str] | None = None
    llvm: str | Mapping[str, str] | None = None
    commutative: bool = False
    unit: float | None = None          # x op unit == x
    exact: bool = False                # correctly rounded or integral: the folder may use `meaning`


OPS: dict[str, OpDef] = {}
PASS_ATTRS = frozenset({"scratch"})    # what GPU passes may note on any op; no rule sees it


def op(name: str, *, effects: Effects = NONE, **row: Any) -> Callable[[Callable[..., Any]], OpDef]:
    """Declare a structural op; the decorated function is its type rule, its docstring the documentation."""

    def declare(rule: Callable[..., Any]) -> OpDef:
        operands: list[str] = []
        consts: dict[str, Any] = {}
        for p in inspect.signature(rule).parameters.values():
            if p.name == "regions":
                continue
            if str(p.annotation) == "Operand":
                operands.append(p.name)
            else:
                consts[p.name] = p.default
        OPS[name] = OpDef(name, inspect.getdoc(rule) or "", rule, tuple(operands), consts, effects, **row)
        return OPS[name]

    return declare


Checker = Callable[[Scalar], bool]


def of_kinds(kinds: str, least_bits: int = 1) -> Checker:
    """Is an element type of one of these kinds, and that wide?"""

    def check(element: Scalar) -> bool:
        return element.kind in kinds and element.bits >= least_bits

    return check


NUMBER = of_kinds("biuf")
FLOAT = of_kinds("f")
WIDE_FLOAT = of_kinds("f", 32)
INTEGER = of_kinds("biu")
WIDE_INTEGER = of_kinds("iu", 32)
ANY = of_kinds("biufp")


def elementwise(name: str, doc: str, *, arity: int = 2, types: Checker = NUMBER, wanted: str = "numbers",
                result: DType | None = None, meaning: Callable[..., Any] | None = None, **row: Any) -> OpDef:
    """Declare an op applied to each element: operands of one type, a result of that type (or made of `result`)."""

    def rule(*given: Type | None) -> Type:
        operands = [operand for operand in given if operand is not None]
        if len(given) != arity or len(operands) != arity:
            raise TypeError(f"{name} needs {arity} operands, got {len(operands)}")
        first = operands[0]
        for other in operands:
            if other != first:
                raise TypeError(f"{name} needs operands of one type, got {show_types(operands, ' and ')}")
        if not types(element_of(first)):
            raise TypeError(f"{name} needs {wanted}, got {show_type(first)}")
        return first if result is None else with_element(first, result)

    names = ("x", "y", "z")[:arity]
    OPS[name] = OpDef(name, doc, rule, names, elementwise=True, meaning=meaning, **row)
    return OPS[name]


def infer(kind: str, operands: Sequence[Type | None], attrs: Mapping[str, Any],
          regions: Sequence[ir.Block]) -> tuple[Type, ...]:
    """The types of an op's results, by its row's rule. TypeError or ValueError when the operands do not fit."""
    row = OPS.get(kind)
    if row is None:
        raise TypeError(f"there is no op named {kind!r}")
    extra: dict[str, Any] = {"regions": regions} if regions else {}
    known = {k: v for k, v in attrs.items() if k not in PASS_ATTRS}
    given = row.rule(*operands, **known, **extra)
    return given if isinstance(given, tuple) else (given,)


def builder() -> ir.Builder:
    """A Builder that types ops by this table."""
    return ir.Builder(infer)


def same_shape(name: str, *types: Type | None) -> tuple[int, ...]:
    """The shape all have; a TypeError naming them otherwise."""
    shapes = [shape_of(t) for t in types if t is not None]
    if any(s != shapes[0] for s in shapes):
        raise TypeError(f"{name} needs one shape, got {show_types(types, ' and ')}")
    return shapes[0]


def check_mask(name: str, mask: Type | None) -> None:
    if mask is not None and element_of(mask) != int1:
        raise TypeError(f"{name}: a mask is made of i1, got {show_type(mask)}")


def types_of(values: Sequence[ir.Value]) -> list[Type]:
    """Those of the parameters of a region, or of what it yields."""
    return [v.type for v in values]


def pointee(pointer: Type) -> DType:
    """What a pointer, or a tile of pointers, points at."""
    element = element_of(pointer)
    if not isinstance(element, Pointer):
        raise TypeError(f"wanted a pointer or a tile of pointers, got {show_type(pointer)}")
    return element.element


def tile(name: str, type: Type) -> Tile:
    if not isinstance(type, Tile):
        raise TypeError(f"{name} needs a tile, got the scalar {show_type(type)}")
    return type


__all__ = ["OPS", "OpDef", "Operand", "Const", "Effects", "op", "elementwise", "infer", "builder", "dtype_of"]
