"""Calls in kernel code: `tl` functions, kernel functions (inlined), methods, and builtins that have a meaning here."""
from __future__ import annotations

import builtins
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rtriton.frontend.scope import Binding
from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.control import device_print
from rtriton.language.values import PUBLIC, Compound, Public, constexpr, constexpr_function, range_, unwrap
from rtriton.source import KernelFunction
from rtriton.types import DType, Tile, float32, int32, shape_of, show_type

if TYPE_CHECKING:
    from rtriton.frontend.lower import Lowering


@dataclass(frozen=True)
class Bound:
    """A method of a value."""

    fn: Public | KernelFunction
    value: Value | Compound


def numel(value: Value) -> int:
    return value.type.numel if isinstance(value.type, Tile) else 1


def arguments(low: Lowering, node: Any) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments of a call, evaluated in order."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for child in (node.children if node is not None else ()):
        if child is None:
            continue
        if child.data == "keyword":
            kwargs[str(child.children[0])] = low.evaluate(child.children[1])
        elif child.data == "star_arg":
            args.extend(low.sequence(child.children[0]))
        elif child.data == "kw_arg":
            raise TypeError("the kernel language has no **kwargs: name each argument")
        elif child.data == "generator":
            raise TypeError("the kernel language has no generator expressions: use a list comprehension over a tuple")
        else:
            args.append(low.evaluate(child))
    return args, kwargs


def call(low: Lowering, callee: Any, args: list[Any], kwargs: dict[str, Any]) -> Binding:
    """The result of a call."""
    if isinstance(callee, Bound):
        callee, args = callee.fn, [callee.value, *args]
    if isinstance(callee, Public):
        _check_arguments(callee, args, kwargs)
        return callee.fn(low, *args, **kwargs)
    if isinstance(callee, KernelFunction):
        return low.inline(callee, args, kwargs)
    if callee in BUILTINS:
        return BUILTINS[callee](low, *args, **kwargs)
    if isinstance(callee, constexpr_function) or callee is constexpr:
        return unwrap(callee(*_known(callee, args), **kwargs))
    if _makes_compile_time_object(callee):
        return callee(*args, **kwargs)
    if isinstance(callee, DType):
        return PUBLIC["cast"].fn(low, s.to_value(low, args[0]), callee) if args else _cannot(callee)
    return _cannot(callee)


def _makes_compile_time_object(callee: Any) -> bool:
    """A class whose objects kernels handle while they are compiled: loops, named tuples, slices, errors."""
    return isinstance(callee, type) and issubclass(callee, (range_, tuple, BaseException, slice))


def _known(callee: Any, args: list[Any]) -> list[Any]:
    for a in args:
        if isinstance(a, Value):
            raise TypeError(f"{getattr(callee, '__name__', callee)} works on what is known when compiling, "
                            f"got a value of type {show_type(a.type)}")
    return args


def _cannot(callee: Any) -> Any:
    name = getattr(callee, "__name__", repr(callee))
    if inspect.isfunction(callee):
        raise TypeError(f"{name} is a plain Python function: a kernel can call functions under @jit, "
                        "@constexpr_function, and those of tl")
    raise TypeError(f"{name} cannot be called in a kernel")


def _check_arguments(callee: Public, args: list[Any], kwargs: dict[str, Any]) -> None:
    try:
        inspect.signature(callee.fn).bind(None, *args, **kwargs)
    except TypeError as error:
        raise TypeError(f"tl.{callee.__name__}: {error}") from None


def _range(low: Lowering, *args: Any, **kwargs: Any) -> range_:
    return range_(*args, **kwargs)


def _extreme(known: Callable[..., Any], pairwise: str, along: str) -> Callable[..., Any]:
    def fn(low: Lowering, *args: Any, **kwargs: Any) -> Any:
        if not any(isinstance(a, Value) for a in args):
            return known(*args, **kwargs)
        tile_and_axis = len(args) == 2 and kwargs and isinstance(args[0], Value) and isinstance(args[0].type, Tile)
        if len(args) == 1 or tile_and_axis:
            return call(low, PUBLIC[along], list(args), kwargs)
        result = args[0]
        for other in args[1:]:
            result = PUBLIC[pairwise].fn(low, result, other)
        return result

    return fn


def _sum(low: Lowering, *args: Any, **kwargs: Any) -> Any:
    return call(low, PUBLIC["sum"], list(args), kwargs)


def _convert(known: Callable[..., Any], dtype: DType) -> Callable[..., Any]:
    def fn(low: Lowering, x: Any) -> Any:
        return s.cast(low, x, dtype) if isinstance(x, Value) else known(x)

    return fn


def _bool(low: Lowering, x: Any) -> Any:
    return s.truth(low, x) if isinstance(x, Value) else builtins.bool(x)


def _len(low: Lowering, x: Any) -> int:
    if isinstance(x, Value):
        shape = shape_of(x.type)
        if not shape:
            raise TypeError(f"len needs a tile or a tuple, got a scalar of type {show_type(x.type)}")
        return shape[0]
    return len(x)


def _isinstance(low: Lowering, x: Any, kind: Any) -> bool:
    return isinstance(x, kind)


def _getattr(low: Lowering, x: Any, name: str, *default: Any) -> Any:
    from rtriton.frontend.expressions import attribute

    try:
        return attribute(low, x, name)
    except AttributeError:
        if default:
            return default[0]
        raise


def _hasattr(low: Lowering, x: Any, name: str) -> bool:
    return _getattr(low, x, name, builtins) is not builtins


def _type(low: Lowering, x: object) -> object:
    return x.type if isinstance(x, Value) else type(x)


def _tuple(low: Lowering, x: Any = ()) -> tuple[Any, ...]:
    return tuple(x)


def _str(low: Lowering, x: Any) -> str:
    return str(x)


def _print(low: Lowering, *args: Any) -> None:
    prefix = args[0] if args and isinstance(args[0], str) else ""
    device_print.fn(low, prefix, *(args[1:] if prefix else args))


def _abs(low: Lowering, x: Any) -> Any:
    return PUBLIC["abs"].fn(low, x)


BUILTINS: dict[Any, Callable[..., Any]] = {
    range: _range, max: _extreme(max, "maximum", "max"), min: _extreme(min, "minimum", "min"), abs: _abs, sum: _sum,
    len: _len, float: _convert(float, float32), int: _convert(int, int32), bool: _bool, isinstance: _isinstance,
    getattr: _getattr, hasattr: _hasattr, type: _type, print: _print, tuple: _tuple, list: _tuple, str: _str,
}
