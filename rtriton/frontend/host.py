"""Plain Python that kernels call while they are compiled: functions of modules, those under `builtin`, and aggregates.

A function that is pure Python gets what is known when compiling. Functions marked by `tl.core.builtin`, and the methods
of aggregates, get values of the kernel too, numbers as constexprs, and the compiler as `_semantic` if they ask for it.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rtriton.errors import RtritonError
from rtriton.frontend.scope import PLAIN_ERRORS, Binding, flatten
from rtriton.ir import Value
from rtriton.language.aggregates import Aggregate, fields, is_aggregate_class
from rtriton.language.budget import check_method
from rtriton.language.known import constexpr_function, from_host, to_host
from rtriton.language.values import PUBLIC
from rtriton.source import KernelFunction
from rtriton.types import show_type

if TYPE_CHECKING:
    from rtriton.frontend.lower import Lowering


@dataclass(frozen=True)
class HostMethod:
    """A plain method of an aggregate, ready to be called."""

    fn: Callable[..., Any]
    owner: Aggregate


def call_host(low: Lowering, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Binding:
    """Run a function that may see values of the kernel."""
    extra: dict[str, Any] = {}
    for name in _parameters(fn) & {"_semantic", "_generator"}:
        extra[name] = low
    return _run(fn, [*map(to_host, args)], {**{k: to_host(v) for k, v in kwargs.items()}, **extra})


def _run(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Binding:
    """What `fn` gives, as kernels see it; what it raises is about the kernel's call of it."""
    try:
        return from_host(fn(*args, **kwargs))
    except (RtritonError, *PLAIN_ERRORS):
        raise
    except Exception as error:
        raise TypeError(f"{type(error).__name__}: {error}") from error


def _parameters(fn: Callable[..., Any]) -> set[str]:
    if is_aggregate_class(fn):
        return {"_semantic", "_generator"}
    try:
        return set(inspect.signature(fn).parameters)
    except (TypeError, ValueError):          # a function in C
        return set()


def call_known(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Binding:
    """Run a plain function on what is known when compiling; TypeError if it is given anything else."""
    for x in flatten((*args, *kwargs.values())):
        if isinstance(x, Value):
            ours = f": use tl.{_name(fn)}" if _name(fn) in PUBLIC else ""
            raise TypeError(f"{_name(fn)} works on what is known when compiling, "
                            f"got a value of type {show_type(x.type)}{ours}")
    text = getattr(fn, "__self__", None)
    if isinstance(text, str):
        check_method(text, fn.__name__, args)
    return _run(fn, args, kwargs)


def call_constexpr_function(fn: constexpr_function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Binding:
    """Run a constexpr function. It may look at a value's type and shape, but not compute with it."""
    given = [x for x in flatten((*args, *kwargs.values())) if isinstance(x, Value)]
    try:
        return _run(fn, args, kwargs)
    except (TypeError, AttributeError) as error:
        if not given or "Value" not in str(error):
            raise
        raise TypeError(f"{_name(fn)} works on what is known when compiling, "
                        f"got a value of type {show_type(given[0].type)}") from error


def _name(fn: Any) -> str:
    return getattr(fn, "__name__", repr(fn))


def member(low: Lowering, owner: Aggregate, name: str) -> Binding:
    """`owner.name`: a field, or a method ready to be called."""
    from rtriton.frontend.calls import Bound

    if name in type(owner).field_types:
        return from_host(fields(owner)[name])
    found = inspect.getattr_static(type(owner), name, None)
    if isinstance(found, (KernelFunction, constexpr_function)):
        return Bound(found, owner)
    if isinstance(found, staticmethod):
        return _static(found.__func__)
    if type(found) is classmethod:
        return HostMethod(getattr(type(owner), name), owner)
    if isinstance(found, property) and found.fget is not None:
        return call_host(low, found.fget, [owner], {})
    if inspect.isfunction(found):
        return HostMethod(found, owner)
    if found is None:
        raise AttributeError(f"{owner!r} has no field or method {name}")
    return from_host(found)


@dataclass(frozen=True)
class StaticMethod:
    """A plain function of an aggregate class that is called without an object."""

    fn: Callable[..., Any]


def _static(fn: Any) -> Any:
    return StaticMethod(fn) if inspect.isfunction(fn) else fn


def class_member(kind: type[Aggregate], name: str) -> Binding:
    """`Kind.name` of an aggregate class."""
    found = inspect.getattr_static(kind, name, None)
    if isinstance(found, staticmethod):
        return _static(found.__func__)
    if inspect.isfunction(found) or type(found) is classmethod:
        return StaticMethod(getattr(kind, name))
    return from_host(getattr(kind, name))


def call_method(low: Lowering, method: HostMethod, args: Sequence[Any],
                kwargs: Mapping[str, Any]) -> tuple[Binding, Aggregate | None]:
    """The result of a plain method, and its object after it if it has set fields."""
    if not inspect.isfunction(method.fn):
        return call_host(low, method.fn, args, kwargs), None
    copy = method.owner.copy()
    result = call_host(low, method.fn, [copy, *args], kwargs)
    return result, None if _same(copy, method.owner) else copy


def _same(x: Aggregate, y: Aggregate) -> bool:
    """Do two objects of one class hold the same values?"""
    mine, others = fields(x), fields(y)
    return all(_same(v, others[n]) if isinstance(v, Aggregate) else v is others[n] for n, v in mine.items())

