"""The members of `tl.tensor`: what a value of the kernel can be asked and what it can do.

In kernels `x.sum(0)` and `x.__add__(y)` find them in METHODS. Plain Python functions that a kernel hands its values to
ask `x.dtype` and `x.shape`, and call methods with the compiler: `x.to(tl.float32, _semantic=_semantic)`.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rtriton.guards import is_tuple
from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.shape import subscript
from rtriton.language.values import METHODS, Context, Public
from rtriton.types import Tile, element_of, shape_of

ARITHMETIC: dict[str, Callable[[Context, Any, Any], Value]] = {
    "add": s.add, "sub": s.sub, "mul": lambda b, x, y: s.binary(b, "mul", x, y), "truediv": s.truediv,
    "floordiv": s.floordiv, "mod": s.mod, "and": lambda b, x, y: s.integers(b, "and", x, y),
    "or": lambda b, x, y: s.integers(b, "or", x, y), "xor": lambda b, x, y: s.integers(b, "xor", x, y),
    "lshift": lambda b, x, y: s.integers(b, "shl", x, y), "rshift": lambda b, x, y: s.integers(b, "shr", x, y),
}
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")


def _declare(name: str, fn: Callable[..., Any]) -> None:
    fn.__name__ = name
    METHODS[name] = Public(fn, True)


def _operator(name: str, build: Callable[[Context, Any, Any], Value], reflected: bool) -> None:
    def fn(b: Context, self: Any, other: Any) -> Value:
        return build(b, other, self) if reflected else build(b, self, other)

    _declare(f"__{'r' if reflected else ''}{name}__", fn)


def _comparison(kind: str) -> Callable[[Context, Any, Any], Value]:
    return lambda b, x, y: s.compare(b, kind, x, y)


for _name, _build in ARITHMETIC.items():
    _operator(_name, _build, False)
    _operator(_name, _build, True)
for _name in COMPARISONS:
    _operator(_name, _comparison(_name), False)
    _operator(_name, _comparison(_name), True)


def _neg(b: Context, self: Any) -> Value:
    return s.negate(b, self)


def _invert(b: Context, self: Any) -> Value:
    return s.invert(b, self)


def _not(b: Context, self: Any) -> Value:
    return s.invert(b, s.truth(b, self))


def _getitem(b: Context, self: Any, slices: Any) -> Value:
    return subscript(b, self, slices if is_tuple(slices) else (slices,))


_declare("__neg__", _neg)
_declare("__invert__", _invert)
_declare("__not__", _not)
_declare("__getitem__", _getitem)


def _numel(x: Value) -> int:
    return x.type.numel if isinstance(x.type, Tile) else 1


ASKED: dict[str, Callable[[Value], Any]] = {
    "dtype": lambda x: element_of(x.type), "shape": lambda x: shape_of(x.type), "numel": _numel,
}


def install() -> None:
    """Give values of the kernel these members, for plain Python that looks at them."""
    for name, ask in ASKED.items():
        setattr(Value, name, property(ask))
    for name, method in METHODS.items():
        if not name.startswith("__"):           # Python's own operators on values keep their meaning: identity
            setattr(Value, name, method)

