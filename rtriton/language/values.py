"""What kernel code handles besides numbers: constexpr, const, and the registries of public functions and methods."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

from rtriton import ir
from rtriton.language.budget import check_range
from rtriton.language.known import (
    Leaf as Leaf, builtin as builtin, constexpr as constexpr, constexpr_function as constexpr_function,
    constexpr_type as constexpr_type, from_host as from_host, to_host as to_host, tuple_ as tuple_,
    tuple_type as tuple_type, type_of as type_of, unwrap as unwrap,
)
from rtriton.source import KernelFunction
from rtriton.types import Type, show_type


class Context(Protocol):
    """What a public function may ask of the compiler while a kernel is lowered."""

    @property
    def build(self) -> ir.Builder: ...

    def inline(self, fn: KernelFunction, args: list[Any], kwargs: dict[str, Any]) -> Any: ...

    def region(self, fn: Any, types: list[Type]) -> ir.Block: ...

    def scalar_region(self, fn: Any, types: list[Type]) -> ir.Block: ...

    def option(self, name: str) -> Any: ...

    def warn(self, message: str) -> None: ...


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
        self.__module__ = fn.__module__
        self.__doc__ = fn.__doc__

    def __call__(self, *args: Any, _semantic: Context | None = None, _generator: Any = None, **kwargs: Any) -> Any:
        if _semantic is not None:              # a plain function that a kernel calls, which hands on its compiler
            return self.fn(_semantic, *args, **kwargs)
        raise RuntimeError(f"tl.{self.__name__} can only be called inside a kernel (a function under @rtriton.jit)")

    @property
    def __signature__(self) -> inspect.Signature:
        """As kernels call it: without the compiler."""
        return inspect.Signature(list(inspect.signature(self.fn).parameters.values())[1:])

    def __get__(self, x: Any, owner: Any = None) -> Any:
        return self if x is None else partial(self, x)

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


def _count(x: Any, what: str) -> int:
    """An option of a loop: a number of turns, 0 where it is not given."""
    number = unwrap(x) or 0
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        got = show_type(number.type) if isinstance(number, ir.Value) else repr(number)
        raise TypeError(f"{what} is an integer known when compiling, got {got}")
    return number


def _flag(x: Any, what: str) -> bool:
    """An option that is on or off."""
    given = unwrap(x)
    if isinstance(given, ir.Value):
        raise TypeError(f"{what} is True or False, known when compiling, got {show_type(given.type)}")
    return bool(given)


@dataclass(frozen=True)
class Condition:
    """`tl.condition(...)`: what a while loop asks before each turn, with its options."""

    value: Any
    hints: Mapping[str, bool]

    def __repr__(self) -> str:
        return "a tl.condition, which is for while loops"


def condition_of(value: Any, disable_licm: Any) -> Condition:
    """The condition of a while loop."""
    return Condition(value, {"disable_licm": True} if _flag(disable_licm, "disable_licm") else {})


class range_:
    """`tl.range(start, stop, step, ...)`: a loop at run time; `static_range` one that is unrolled when compiling.

    num_stages is how many turns' loads are in flight on a GPU, so that no turn may load what one of the few before it
    stores; loop_unroll_factor how many turns the pass `unroll` makes one; with disable_licm what is the same in every
    turn stays in the loop. The other options are wishes of Triton's that cannot change a result: attributes of the loop
    in the IR, which no pass has a use for. Where a loop becomes one that cannot have its num_stages or
    loop_unroll_factor, a warning says so."""

    static = False
    hints: Mapping[str, bool]

    def __init__(self, arg1: Any, arg2: Any = None, step: Any = None, num_stages: Any = None,
                 loop_unroll_factor: Any = None, disallow_acc_multi_buffer: Any = False, flatten: Any = False,
                 warp_specialize: Any = False, disable_licm: Any = False) -> None:
        self.start, self.stop = (0, arg1) if arg2 is None else (arg1, arg2)
        self.step = 1 if step is None else step
        self.num_stages = _count(num_stages, "num_stages")
        self.unroll = _count(loop_unroll_factor, "loop_unroll_factor")
        given = {"disable_licm": disable_licm, "flatten": flatten, "warp_specialize": warp_specialize,
                 "disallow_acc_multi_buffer": disallow_acc_multi_buffer}
        self.hints = {name: True for name, x in given.items() if _flag(x, name)}

    def known(self) -> tuple[int, ...]:
        """The numbers, where the bounds are known when compiling; a TypeError where they are not."""
        bounds = [unwrap(x) for x in (self.start, self.stop, self.step)]
        if not all(isinstance(x, int) for x in bounds):
            raise TypeError("a range used as a tuple needs bounds that are integers known when compiling")
        numbers = range(*bounds)
        check_range(numbers)
        return tuple(numbers)

    def __repr__(self) -> str:
        return f"a {type(self).__name__.rstrip('_')}"


class static_range(range_):
    """`tl.static_range(start, stop, step)`: a loop unrolled when compiling."""

    static = True

    def __init__(self, arg1: Any, arg2: Any = None, step: Any = None) -> None:
        super().__init__(arg1, arg2, step)
