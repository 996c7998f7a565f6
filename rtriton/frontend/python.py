"""Python's own functions in kernels: on what is known when compiling they are themselves, on values they build ops."""
from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rtriton.guards import is_tuple
from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.control import device_print
from rtriton.language.known import constexpr, from_host, tuple_, unwrap
from rtriton.language.values import PUBLIC, Compound, range_
from rtriton.types import DType, Pointer, Tile, float32, int32, shape_of, show_type

if TYPE_CHECKING:
    from rtriton.frontend.lower import Lowering


def _range(low: Lowering, *args: Any, **kwargs: Any) -> range_:
    if kwargs or not 1 <= len(args) <= 3:
        raise TypeError("range takes (stop), (start, stop) or (start, stop, step); options such as num_stages belong "
                        "to tl.range")
    return range_(*args)


def _extreme(known: Callable[..., Any], pairwise: str, along: str) -> Callable[..., Any]:
    def fn(low: Lowering, *args: Any, **kwargs: Any) -> Any:
        tile = len(args) == 2 and bool(kwargs) or len(args) == 1
        if tile and isinstance(args[0], Value) and isinstance(args[0].type, Tile):
            return low.call(PUBLIC[along], list(args), kwargs)
        items = args[0] if len(args) == 1 and is_tuple(args[0]) else args
        if not any(isinstance(a, Value) for a in items):
            _no_doubtful_order(known.__name__, items)
            return known(*args, **kwargs)
        result = items[0]
        for other in items[1:]:
            result = low.call(PUBLIC[pairwise], [result, other], kwargs)
        return result

    return fn


def _no_doubtful_order(name: str, items: tuple[Any, ...]) -> None:
    """Python and GPUs order NaN and -0.0 each in their own way: which is meant must be said."""
    for x in items:
        if isinstance(x, float) and (math.isnan(x) or (not x and math.copysign(1, x) < 0)):
            raise ValueError(f"{name} of {x} is not decided when compiling: use tl.{name}imum on tensors")


def _sum(low: Lowering, x: Any, *start: Any, **kwargs: Any) -> Any:
    """The sum of a tuple's parts; of a tile what tl.sum gives."""
    if not is_tuple(x):
        return low.call(PUBLIC["sum"], [x, *start], kwargs)
    total: Any = start[0] if start else 0
    for part in x:
        total = low.binary("add", total, part)
    return total


def _every(is_all: bool) -> Callable[..., Any]:
    """all and any of a tuple: bitwise on values."""
    def fn(low: Lowering, x: Any) -> Any:
        if isinstance(x, Value) or not is_tuple(x):
            raise TypeError(f"{'all' if is_all else 'any'} needs a tuple, got {s.describe(x)}: reduce a tile by "
                            f"tl.{'min' if is_all else 'max'}")
        result: Any = is_all
        for part in x:
            if not isinstance(part, Value):
                if bool(part) != is_all:
                    return not is_all
            elif not isinstance(result, Value):
                result = s.truth(low, part)
            else:
                result = PUBLIC["logical_and" if is_all else "logical_or"].fn(low, result, part)
        return result

    return fn


def _sequence(known: Callable[..., Any]) -> Callable[..., Any]:
    """zip, enumerate, reversed, sorted: of tuples, as a tuple."""
    def fn(low: Lowering, *args: Any, **kwargs: Any) -> Any:
        for x in args:
            if isinstance(x, Value):
                raise TypeError(f"{known.__name__} needs tuples, got {s.describe(x)}")
        return tuple(known(*(x.known() if isinstance(x, range_) else x for x in args), **kwargs))

    return fn


def _convert(known: Callable[..., Any], dtype: DType) -> Callable[..., Any]:
    def fn(low: Lowering, x: Any) -> Any:
        return s.cast(low, x, dtype) if isinstance(x, Value) else known(x)

    return fn


def _bool(low: Lowering, x: Any) -> Any:
    return s.truth(low, x) if isinstance(x, Value) else builtins.bool(x)


def _len(low: Lowering, x: Any) -> Any:
    if isinstance(x, Value):
        shape = shape_of(x.type)
        if not shape:
            raise TypeError(f"len needs a tile or a tuple, got a scalar of type {show_type(x.type)}")
        return shape[0]
    if isinstance(x, Compound):
        return low.call(low.attribute(x, "__len__"), [], {})
    return len(x)


def _isinstance(low: Lowering, x: Any, kind: Any) -> bool:
    """Python's answer, where what is known when compiling counts as a constexpr too, any type of values as a tl.dtype
    and any tuple as a tl.tuple."""
    kinds = kind if is_tuple(kind) else (kind,)
    return any(isinstance(x, KINDS.get(k, k)) or (k is constexpr and is_known(x)) for k in kinds)


KINDS: dict[Any, Any] = {tuple_: tuple, DType: (DType, Pointer, Tile), list: tuple}


def is_known(x: Any) -> bool:
    """Is it known when compiling, and no tuple or object with parts?"""
    return not isinstance(x, (Value, tuple, Compound))


def _getattr(low: Lowering, x: Any, name: str, *default: Any) -> Any:
    try:
        return low.attribute(x, name)
    except AttributeError:
        if default:
            return default[0]
        raise


def _hasattr(low: Lowering, x: Any, name: str) -> bool:
    return _getattr(low, x, name, builtins) is not builtins


def _type(low: Lowering, x: object) -> object:
    return x.type if isinstance(x, Value) else type(x)


def _tuple(low: Lowering, x: Any = (), type: Any = None) -> tuple[Any, ...]:
    if isinstance(x, range_):
        return x.known()
    if isinstance(x, Value) or not hasattr(x, "__iter__"):
        raise TypeError(f"a tuple is made of what is known when compiling, got {s.describe(x)}")
    return tuple(from_host(tuple(x)))


def _str(low: Lowering, x: Any) -> str:
    return str(x)


def _print(low: Lowering, *args: Any, sep: Any = " ", end: Any = "\n", file: Any = None, flush: Any = False,
           hex: Any = False) -> None:
    """print(text, *values) is device_print; how the lines are laid out is not the kernel's to say."""
    named = bool(args) and isinstance(unwrap(args[0]), str)
    device_print.fn(low, args[0] if named else "", *(args[1:] if named else args), hex=hex)


def _pow(low: Lowering, x: Any, y: Any, *modulus: Any) -> Any:
    known: Callable[..., Any] = pow
    return known(x, y, *modulus) if modulus else low.binary("pow", x, y)


def _abs(low: Lowering, x: Any) -> Any:
    return PUBLIC["abs"].fn(low, x)


BUILTINS: dict[Any, Callable[..., Any]] = {
    range: _range, max: _extreme(max, "maximum", "max"), min: _extreme(min, "minimum", "min"), abs: _abs, sum: _sum,
    len: _len, float: _convert(float, float32), int: _convert(int, int32), bool: _bool, isinstance: _isinstance,
    getattr: _getattr, hasattr: _hasattr, type: _type, print: _print, tuple: _tuple, tuple_: _tuple, list: _tuple,
    str: _str, all: _every(True), any: _every(False), zip: _sequence(zip), enumerate: _sequence(enumerate),
    reversed: _sequence(reversed), sorted: _sequence(sorted), pow: _pow,
}
