"""What kernel code handles besides numbers: constexpr, const, and the registries of public functions and methods."""
from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from rtriton import ir
from rtriton.guards import is_list
from rtriton.source import KernelFunction
from rtriton.types import Type


class Context(Protocol):
    """What a public function may ask of the compiler while a kernel is lowered."""

    @property
    def build(self) -> ir.Builder: ...

    def inline(self, fn: KernelFunction, args: list[Any], kwargs: dict[str, Any]) -> Any: ...

    def region(self, fn: Any, types: list[Type]) -> ir.Block: ...

    def option(self, name: str) -> Any: ...


class constexpr:
    """A value known when compiling. As an annotation it makes a parameter or a variable one."""

    def __init__(self, value: Any) -> None:
        self.value: Any = value.value if isinstance(value, constexpr) else value

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

    def __class_getitem__(cls, item: Any) -> type[constexpr]:
        return cls


def unwrap(x: Any) -> Any:
    """What a constexpr holds; anything else as it is."""
    return x.value if isinstance(x, constexpr) else x


def from_host(x: Any) -> Any:
    """A host object as kernels see it: constexprs opened at any depth, lists as tuples, named tuples as such."""
    x = unwrap(x)
    if not is_list(x):
        return x
    kind: type[Any] = type(x)
    parts = [from_host(part) for part in x]
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


class const:
    """Annotation of a pointer parameter that is only read."""


class Compound:
    """A value of several parts that kernel code handles as one: a block pointer, a tensor descriptor.

    Loops and branches carry its parts. What is not a part (`form`) is known when compiling and cannot change there."""

    methods: ClassVar[dict[str, Method]] = {}

    def parts(self) -> tuple[Any, ...]:
        """What may differ at run time, as a binding."""
        raise NotImplementedError

    def with_parts(self, parts: tuple[Any, ...]) -> Compound:
        """The same with other parts."""
        raise NotImplementedError

    def form(self) -> str:
        """What is known when compiling, in words: two values of one form differ in their parts only."""
        raise NotImplementedError


class Public:
    """A `tl` function: `fn(context, ...)` builds IR when a kernel calls it."""

    def __init__(self, fn: Callable[..., Any], method: bool) -> None:
        self.fn, self.method = fn, method
        self.__name__ = fn.__name__.rstrip("_")
        self.__doc__ = fn.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"tl.{self.__name__} can only be called inside a kernel (a function under @rtriton.jit)")

    def __repr__(self) -> str:
        return f"tl.{self.__name__}"


Method = Public | KernelFunction
PUBLIC: dict[str, Method] = {}
METHODS: dict[str, Method] = {}


def public(method: bool = False, name: str = "") -> Callable[[Callable[..., Any]], Public]:
    """Make a function of a Context part of `tl` (and a method of tiles)."""

    def declare(fn: Callable[..., Any]) -> Public:
        entry = Public(fn, method)
        key = name or fn.__name__.rstrip("_")
        PUBLIC[key] = entry
        if method:
            METHODS[key] = entry
        return entry

    return declare


def derived(method: bool = False) -> Callable[[Callable[..., Any]], KernelFunction]:
    """Make a function written in the kernel language part of `tl` (and a method of tiles)."""

    def declare(fn: Callable[..., Any]) -> KernelFunction:
        entry = KernelFunction(fn)
        PUBLIC[fn.__name__] = entry
        if method:
            METHODS[fn.__name__] = entry
        return entry

    return declare


class constexpr_function:
    """A plain Python function that kernels may call on compile-time values; on the host it is itself."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        self.__name__ = fn.__name__
        self.__doc__ = fn.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*map(unwrap, args), **{k: unwrap(v) for k, v in kwargs.items()})


class range_:
    """`tl.range(start, stop, step, ...)`: a loop at run time; `static_range` one that is unrolled when compiling.

    num_stages is how many turns' loads are in flight on a GPU. The other options are hints of Triton's that cannot
    change a result; nothing acts on them yet."""

    static = False

    def __init__(self, start: Any, stop: Any = None, step: Any = None, num_stages: Any = None,
                 loop_unroll_factor: Any = None, disallow_acc_multi_buffer: Any = False, flatten: Any = False,
                 warp_specialize: Any = False, disable_licm: Any = False) -> None:
        self.start, self.stop = (0, start) if stop is None else (start, stop)
        self.step = 1 if step is None else step
        self.num_stages = unwrap(num_stages) or 0
        self.unroll = unwrap(loop_unroll_factor) or 0


class static_range(range_):
    static = True
