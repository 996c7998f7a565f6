"""What kernel code knows when compiling: constexpr, tuples, constexpr functions; and how host objects look to kernels.

Inside the compiler a compile-time value is the Python object itself: `constexpr` wraps it only outside, where Triton's
programs do. `from_host` opens what comes from there, `to_host` wraps what plain Python functions get to see.
"""
from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

from rtriton.guards import is_list, is_tuple
from rtriton.source import Written, compiled_again


class constexpr:
    """A value known when compiling, which does not change. As an annotation it makes a parameter or a variable one."""

    value: Any

    def __init__(self, value: Any) -> None:
        vars(self)["value"] = value.value if isinstance(value, constexpr) else value

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{self!r} does not change: kernels were compiled with it")

    @property
    def type(self) -> constexpr_type:
        return constexpr_type(self.value)

    def __repr__(self) -> str:
        return f"constexpr[{self.value}]"

    def __index__(self) -> int:
        return operator.index(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __hash__(self) -> int:
        return hash(self.value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.value(*args, **kwargs)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.value)

    def __not__(self) -> constexpr:
        return constexpr(not self.value)

    def logical_and(self, other: Any) -> constexpr:
        return constexpr(self.value and unwrap(other))

    def logical_or(self, other: Any) -> constexpr:
        return constexpr(self.value or unwrap(other))

    def __class_getitem__(cls, item: Any) -> Any:
        return cls


@dataclass(frozen=True, eq=False)
class constexpr_type:
    """The type of a value known when compiling: the value itself. That of a tuple equals the tuple of its parts'."""

    value: Any

    def _parts(self) -> Any:
        value = opened(self.value)
        return type_of_tuple(value) if is_tuple(value) else value

    def __eq__(self, other: object) -> bool:
        if isinstance(other, constexpr_type):
            return bool(self.value == other.value) if not is_tuple(self.value) else self._parts() == other._parts()
        return isinstance(other, tuple_type) and self._parts() == other

    def __hash__(self) -> int:
        return hash(self._parts() if is_tuple(self.value) else self.value)

    def __repr__(self) -> str:
        return f"constexpr_type[{self.value}]"


def unwrap(x: Any) -> Any:
    """What a constexpr holds; anything else as it is."""
    return x.value if isinstance(x, constexpr) else x


def opened(x: Any) -> Any:
    """x with constexprs opened in tuples and lists too, which stay what they are."""
    x = unwrap(x)
    if not is_list(x):
        return x
    return [opened(part) for part in x] if isinstance(x, list) else with_parts(x, map(opened, x))


def from_host(x: Any) -> Any:
    """A host object as kernels see it: constexprs opened at any depth, lists as tuples, named tuples as such."""
    x = unwrap(x)
    return with_parts(x, map(from_host, x)) if is_list(x) else x


def to_host(x: Any) -> Any:
    """What a kernel handles as plain Python functions of Triton's see it: numbers, texts and None as constexprs."""
    if is_tuple(x):
        parts = map(to_host, x)
        return with_parts(x, parts) if hasattr(x, "_fields") else tuple_(parts)
    return constexpr(x) if x is None or isinstance(x, (bool, int, float, str)) else x


def with_parts(x: tuple[Any, ...] | list[Any], parts: Iterable[Any]) -> tuple[Any, ...]:
    """A tuple of these parts; a named one if x is."""
    kind: type[Any] = type(x)
    return kind(*parts) if hasattr(kind, "_fields") else tuple(parts)


@dataclass(frozen=True)
class Leaf:
    """Stands in a tuple argument for the run-time parameter `name` (x.0, x.1.0 ...)."""

    name: str


def _forward(name: str) -> None:
    function = getattr(operator, name)

    def method(self: constexpr, *others: Any) -> constexpr:
        return constexpr(function(self.value, *map(unwrap, others)))

    setattr(constexpr, name, method)


def _reflect(name: str) -> None:
    function = getattr(operator, f"__{name}__")

    def method(self: constexpr, other: Any) -> constexpr:
        return constexpr(function(unwrap(other), self.value))

    setattr(constexpr, f"__r{name}__", method)


for _n in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and", "or", "xor",
           "eq", "ne", "lt", "le", "gt", "ge", "neg", "pos", "invert", "getitem"):
    _forward(f"__{_n}__")
for _n in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and", "or", "xor"):
    _reflect(_n)


class tuple_(tuple[Any, ...]):
    """`tl.tuple`: a tuple of values and compile-time objects; to a kernel any tuple is one."""

    __slots__ = ()

    def __new__(cls, args: Iterable[Any] = (), type: Any = None) -> tuple_:
        return super().__new__(cls, args)

    @property
    def values(self) -> list[Any]:
        return list(self)

    @property
    def type(self) -> tuple_type:
        return type_of_tuple(self)

    def __add__(self, other: Any) -> tuple_:
        return tuple_((*self, *unwrap(other)))

    def __mul__(self, times: Any) -> tuple_:
        return tuple_([*self] * unwrap(times))


@dataclass(frozen=True, init=False)
class tuple_type:
    """The type of a tuple: its parts' types, and their names if it is a named tuple."""

    types: tuple[Any, ...]
    fields: tuple[str, ...]

    def __init__(self, types: Iterable[Any], fields: Iterable[str] | None = None) -> None:
        object.__setattr__(self, "types", tuple(types))
        object.__setattr__(self, "fields", tuple(fields) if fields else ("",) * len(self.types))

    @property
    def name(self) -> str:
        return "[" + ",".join(f"{k}:{v}" for k, v in zip(self.fields, self.types, strict=True)) + "]"

    def __str__(self) -> str:
        return self.name

    def __iter__(self) -> Iterator[Any]:
        return iter(self.types)

    def __getitem__(self, index: int) -> Any:
        return self.types[index]


def type_of(x: Any) -> Any:
    """What `x.type` is in a kernel."""
    if is_tuple(x):
        return type_of_tuple(x)
    return x.type if hasattr(x, "type") and not isinstance(x, constexpr) else constexpr_type(unwrap(x))


def type_of_tuple(x: tuple[Any, ...]) -> tuple_type:
    return tuple_type(map(type_of, x), getattr(x, "_fields", None))


class constexpr_function(Written):
    """A plain Python function that kernels may call on compile-time values; on the host it is itself."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        super().__init__(fn)
        self.__wrapped__ = fn

    @property
    def cache_key(self) -> str:
        """A digest of all that its result depends on but its arguments. RuntimeError if it asks what no text can stand
        for: a function of a foreign module, an object of any class."""
        from rtriton.reach import Reach, Uncacheable

        try:
            Reach(self).text()
        except Uncacheable as error:
            raise RuntimeError(f"{self.__qualname__} depends on {error}, which no text can stand for: constexpr "
                               "functions compute with their arguments, numbers and each other") from None
        return self.code_key

    def _unsafe_update_src(self, new_src: str) -> None:
        """Give it another text, and the meaning that this has."""
        made = compiled_again(self.fn, new_src)
        super()._unsafe_update_src(new_src)
        self.fn = self.__wrapped__ = made

    def __get__(self, x: Any, owner: Any = None) -> Any:
        return self if x is None else partial(self, x)

    def __call__(self, *args: Any, _semantic: Any = None, **kwargs: Any) -> Any:
        return self.fn(*map(opened, args), **{k: opened(v) for k, v in kwargs.items()})


def must_use_result(x: Any, s: Any = True) -> Any:
    """Mark a function whose call as a statement of its own is a mistake: `@must_use_result` or
    `@must_use_result("what to write instead")`."""
    if isinstance(x, str):
        return partial(must_use_result, s=x)
    x.__dict__["_must_use_result"] = s
    return x


def builtin(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a Python function that kernels call and that gets the compiler as its keyword `_semantic`."""

    @wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("_semantic") is None:
            raise ValueError(f"{fn.__name__} can only be called inside a kernel (a function under @rtriton.jit): "
                             "it needs _semantic")
        return fn(*args, **kwargs)

    wrapper.__dict__["__triton_builtin__"] = True
    return wrapper
