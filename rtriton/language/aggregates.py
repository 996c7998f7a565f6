"""Aggregates: classes whose objects kernels make, pass, return and carry through loops, field by field.

    @tl.core._aggregate
    class Range:
        start: tl.tensor
        size: tl.constexpr

        def __init__(self, start, size):        # plain Python, run when compiling
            self.start, self.size = start, size

        @rtriton.jit
        def offsets(self):                      # kernel code
            return self.start + tl.arange(0, self.size)

Annotated names are the fields; each must be set by `__init__` to what its annotation says. An aggregate is a value: a
plain method that sets fields (`value.move(...)`) gives the variable it is called on a new object.
"""
from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard, cast

from rtriton.guards import is_tuple
from rtriton.language.values import Compound, constexpr, tuple_


class Aggregate(Compound):
    """The base of every class made by `aggregate`."""

    __triton_builtin__ = True
    __triton_aggregate__ = True
    field_types: Mapping[str, Any] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        kind = type(self)
        if name not in kind.field_types:
            raise AttributeError(f"{kind.__name__} has no attribute {name}: its fields are {_names(kind)}")
        super().__setattr__(name, checked(kind, name, value))

    def copy(self) -> Aggregate:
        """An equal object; fields that are aggregates are copied too."""
        made = cast(Aggregate, object.__new__(type(self)))
        for name in type(self).field_types:
            value = getattr(self, name)
            object.__setattr__(made, name, value.copy() if isinstance(value, Aggregate) else value)
        return made

    def parts(self) -> tuple[Any, ...]:
        return tuple(v for v in fields(self).values() if not isinstance(v, constexpr))

    def with_parts(self, parts: tuple[Any, ...]) -> Aggregate:
        made = self.copy()
        changing = [name for name, v in fields(self).items() if not isinstance(v, constexpr)]
        for name, part in zip(changing, parts, strict=True):
            object.__setattr__(made, name, part)
        return made

    def form(self) -> str:
        known = {name: repr(v) if isinstance(v, constexpr) else v.form() if isinstance(v, Compound) else
                 f"{len(v)} parts" if is_tuple(v) else "" for name, v in fields(self).items()}
        return f"{type(self).__module__}.{type(self).__qualname__}{known}"

    def __repr__(self) -> str:
        known = ", ".join(f"{n}={v.value!r}" for n, v in fields(self).items() if isinstance(v, constexpr))
        return f"an object of {type(self).__qualname__}" + (f" ({known})" if known else "")


def is_aggregate_class(x: object) -> TypeGuard[type[Aggregate]]:
    return isinstance(x, type) and issubclass(x, Aggregate)


def fields(x: Aggregate) -> dict[str, Any]:
    """The fields by name, in the order of the annotations."""
    return {name: getattr(x, name) for name in type(x).field_types}


def may_set_fields(x: Aggregate, method: str) -> bool:
    """Is it plain Python, which can set fields? "" stands for a method of a field."""
    return not method or inspect.isfunction(inspect.getattr_static(type(x), method, None))


def _names(kind: type[Aggregate]) -> str:
    return ", ".join(kind.field_types) or "none"


def checked(kind: type[Aggregate], name: str, value: Any) -> Any:
    """`value` as field `name` holds it; TypeError where it is not what the annotation says."""
    wanted = kind.field_types[name]
    if wanted is constexpr and not isinstance(value, (constexpr, Compound)):
        value = constexpr(value)
    if wanted is tuple_ and is_tuple(value):
        return value
    try:
        fits = isinstance(value, wanted)
    except TypeError:                       # an annotation that is no type of values: a text, a typing form
        return value
    if not fits:
        raise TypeError(f"{kind.__name__}.{name} is {_type_name(wanted)}, got {_type_name(type(value))}")
    return value


def _type_name(kind: Any) -> str:
    name = getattr(kind, "__name__", repr(kind))
    return {"Value": "a tensor", "tuple_": "a tuple", "constexpr": "a constexpr"}.get(name, name)


def aggregate(cls: type[Any]) -> type[Aggregate]:
    """Make a class with annotated fields one whose objects kernels handle."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base not in (Aggregate, Compound, object):
            found.update(_annotations(base))
    body = {"field_types": found, "__module__": cls.__module__, "__qualname__": cls.__qualname__,
            "__doc__": cls.__doc__, "__init__": _initialiser(cls)}
    bases = (cls,) if issubclass(cls, Aggregate) else (cls, Aggregate)
    return cast(type[Aggregate], types.new_class(cls.__name__, bases, exec_body=lambda names: names.update(body)))


def _initialiser(cls: type[Any]) -> Callable[..., None]:
    """The class's own `__init__`, given the compiler only if it asks for it; every field must be set after it."""
    own = cls.__init__
    takes = set(inspect.signature(own).parameters if inspect.isfunction(own) else ())

    def initialise(self: Aggregate, *args: Any, _semantic: Any = None, _generator: Any = None, **kwargs: Any) -> None:
        given = {"_semantic": _semantic, "_generator": _generator}
        own(self, *args, **kwargs, **{name: value for name, value in given.items() if name in takes})
        for name in type(self).field_types:
            if name not in self.__dict__:
                raise AttributeError(f"{cls.__name__}.__init__ did not set the field {name}")

    return initialise


def _annotations(cls: type[Any]) -> dict[str, Any]:
    try:
        return inspect.get_annotations(cls, eval_str=True)
    except NameError:
        return inspect.get_annotations(cls)
