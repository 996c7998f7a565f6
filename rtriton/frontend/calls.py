"""Calls in kernel code: `tl` functions, kernel functions (inlined), methods, and builtins that have a meaning here."""
from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rtriton.errors import UnsupportedLanguageConstruct
from rtriton.frontend import host
from rtriton.frontend.python import BUILTINS
from rtriton.frontend.refuse import INSTEAD
from rtriton.frontend.scope import Binding
from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.known import constexpr, constexpr_function, from_host
from rtriton.language.values import PUBLIC, Compound, Public, range_
from rtriton.source import KernelFunction
from rtriton.types import DType, Tile

if TYPE_CHECKING:
    from rtriton.frontend.lower import Lowering


@dataclass(frozen=True)
class Bound:
    """A method of a value."""

    fn: Public | KernelFunction | constexpr_function
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
            raise UnsupportedLanguageConstruct("the kernel language has no **kwargs: name each argument",
                                               low.span(child))
        elif child.data == "generator":
            raise UnsupportedLanguageConstruct(f"the kernel language has no {INSTEAD['GeneratorExp']}", low.span(child))
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
    if isinstance(callee, constexpr_function):
        return host.call_constexpr_function(callee, args, kwargs)
    if isinstance(callee, host.HostMethod):
        return host.call_method(low, callee, args, kwargs)[0]
    if isinstance(callee, host.StaticMethod):
        return host.call_host(low, callee.fn, args, kwargs)
    if isinstance(callee, Compound):
        return call(low, low.attribute(callee, "__call__"), args, kwargs)
    if (meaning := _meaning(callee)) is not None:
        return _builtin(low, callee, meaning, args, kwargs)
    if callee is constexpr:
        return from_host(args[0])
    if getattr(callee, "__triton_builtin__", False):
        return host.call_host(low, callee, args, kwargs)
    if _makes_compile_time_object(callee):
        if issubclass(callee, range_):
            _check_arguments(callee, args, kwargs)
        return callee(*args, **kwargs)
    if isinstance(callee, DType):
        return PUBLIC["cast"].fn(low, s.to_value(low, args[0]), callee) if args else _cannot(callee)
    return host.call_known(callee, args, kwargs) if callable(callee) else _cannot(callee)


def _meaning(callee: Any) -> Callable[..., Any] | None:
    """What a function of Python's means in kernels."""
    try:
        return BUILTINS.get(callee)
    except TypeError:            # an object without a hash
        return None


def _builtin(low: Lowering, callee: Any, meaning: Any, args: list[Any], kwargs: dict[str, Any]) -> Binding:
    try:
        inspect.signature(meaning).bind(low, *args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{callee.__name__}: {error}") from None
    return meaning(low, *args, **kwargs)


def _makes_compile_time_object(callee: Any) -> bool:
    """A class whose objects kernels handle while they are compiled: loops, named tuples, slices, types, errors."""
    return isinstance(callee, type) and issubclass(callee, (range_, tuple, BaseException, slice))


def _cannot(callee: Any) -> Any:
    raise TypeError(f"{s.describe(callee)} cannot be called in a kernel")


def _check_arguments(callee: Public | type[range_], args: list[Any], kwargs: dict[str, Any]) -> None:
    takes = callee.fn if isinstance(callee, Public) else callee.__init__
    try:
        inspect.signature(takes).bind(None, *args, **kwargs)
    except TypeError as error:
        raise TypeError(f"tl.{callee.__name__.rstrip('_')}: {error}") from None
