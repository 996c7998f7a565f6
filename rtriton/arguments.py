"""What a launch's arguments are to the compiler: how a kernel specialises on them.

    specialise(16)      -> an int32 that is divisible by 16
    specialise(x)       -> a pointer to x's dtype, at an address that is a multiple of 16

A kernel is compiled once per combination of: type of each argument; divisible by 16 or not (pointers, integers);
equal to 1 (integers, which become constants); value (constexpr parameters). A tuple specialises element by element.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from rtriton.arrays import array_of
from rtriton.guards import is_list, is_tuple
from rtriton.language.values import Leaf, const, constexpr, from_host
from rtriton.signature import BY_SPELLING, canonical
from rtriton.source import KernelFunction, Written
from rtriton.types import DType, Pointer, float32, int1, int32, int64, uint64


class Argument(NamedTuple):
    """One argument: the key of its type, its value as the device gets it, where its memory is ("": scalar).

    A constant's value is the compile-time object itself. A tuple has its elements as `parts`, () otherwise."""

    key: Any          # DType for scalars, ("*", DType) for pointers ("*k": only read); hashable for the others
    divisible: bool
    value: Any
    device: str
    constant: bool = False
    parts: tuple[Argument, ...] = ()


def constant(x: Any) -> Argument:
    """An argument that the kernel is compiled for."""
    known = from_host(x)
    return Argument(constant_key(known), False, known, "", True)


def constant_key(x: object) -> Any:
    """Equal for objects that compile to the same kernel: 1, True and 1.0 are three keys, a list counts as a tuple."""
    if is_tuple(x):
        return (x.__class__, *map(constant_key, x))
    kind: type[Any] = x.__class__
    if isinstance(x, Written):
        return kind, x, x.code_key                 # its text may be changed
    return (kind, repr(x) if kind in (float, dict, set) else x)


def _tuple_of(x: tuple[Any, ...] | list[Any], each: Callable[[Any], Argument]) -> Argument:
    """A tuple, specialised element by element; a named tuple stays one."""
    parts = tuple([each(part) for part in x])
    kind: type[Any] = x.__class__ if hasattr(x, "_fields") else tuple
    return Argument((kind, tuple([(p.key, p.divisible) for p in parts])), False, 0, "", parts=parts)


def leaves(arguments: Iterable[Argument]) -> Iterator[Argument]:
    """The arguments with tuples taken apart, to any depth."""
    for argument in arguments:
        if argument.parts:
            yield from leaves(argument.parts)
        else:
            yield argument


def unaligned(argument: Argument) -> Argument:
    """The same, of which nothing is known to be divisible."""
    return argument._replace(divisible=False, parts=tuple([unaligned(p) for p in argument.parts]))


def run_time(arguments: Sequence[Argument], values: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """What a launch passes: numbers and addresses, and the objects that they come from."""
    pairs = list(_with_objects(arguments, values))
    return [a.value for a, _ in pairs], [x for _, x in pairs]


def _with_objects(arguments: Sequence[Argument], values: Sequence[Any]) -> Iterator[tuple[Argument, Any]]:
    """The leaves that are no constants, each with its object."""
    for argument, value in zip(arguments, values, strict=True):
        if argument.parts:
            yield from _with_objects(argument.parts, value.kernel_parts() if hasattr(value, "kernel_parts") else value)
        elif not argument.constant:
            yield argument, value


def parts_of(argument: Argument, name: str) -> tuple[dict[str, Argument], Any]:
    """The run-time arguments in a tuple `name`, as name.0, name.1.0 ..., and the tuple with a `Leaf` for each."""
    if not argument.parts:
        return ({}, argument.value) if argument.constant else ({name: argument}, Leaf(name))
    found: dict[str, Argument] = {}
    made: list[Any] = []
    for i, part in enumerate(argument.parts):
        inner, template = parts_of(part, f"{name}.{i}")
        found.update(inner)
        made.append(template)
    kind: type[Any] = argument.key[0]
    return found, tuple(made) if kind is tuple else kind(*made)


def specialise(x: Any, plain: bool = False) -> Argument:
    """What the compiler may know of an argument; `plain` integers are not specialised on their value."""
    kind: type[Any] = x.__class__
    if kind is int:
        if plain:
            return Argument(normal_int(x), False, x, "")
        if x == 1:
            return constant(1)
        return Argument(int32 if -2**31 <= x < 2**31 else normal_int(x), x % 16 == 0, x, "")
    if kind is float:
        return Argument(float32, False, x, "")
    if kind is bool:
        return Argument(int1, False, x, "")
    found = array_of(x)
    if found is not None:
        return Argument(("*", found.dtype), found.address % 16 == 0, found.address, found.device)
    if is_list(x) and x:
        return _tuple_of(x, partial(specialise, plain=plain))
    in_parts = getattr(kind, "kernel_argument", None)      # what a TensorDescriptor has
    if in_parts is not None:
        return in_parts(x)
    if x is None or isinstance(x, (str, DType, KernelFunction, constexpr, tuple, list)) or callable(x):
        return constant(x)
    if isinstance(x, (int, float)):                         # an IntEnum, a subclass
        return specialise(int(x) if isinstance(x, int) else float(x), plain)
    if hasattr(x, "item") and hasattr(x, "dtype"):          # a NumPy scalar
        return specialise(x.item(), plain)
    raise TypeError(f"a kernel takes arrays, numbers and compile-time objects, got {kind.__name__}")


def normal_int(x: int) -> DType:
    """The type an integer is passed as: i32 where it fits, else i64, u64 above that; OverflowError beyond."""
    if -2**31 <= x < 2**31:
        return int32
    if -2**63 <= x < 2**63:
        return int64
    if 0 <= x < 2**64:
        return uint64
    raise OverflowError(f"the integer {x} fits no 64-bit type")


def annotated_type(annotation: Any) -> DType | Pointer | None:
    """The type that a parameter's annotation forces (`n: tl.int64`, `"i64"`, `int`, `"*fp32"`), if it does."""
    if isinstance(annotation, (DType, Pointer)):
        return annotation
    if isinstance(annotation, type):
        annotation = annotation.__name__
    return _annotated(annotation.strip("'\" ")) if isinstance(annotation, str) else None


def _annotated(text: str) -> DType | Pointer | None:
    const = text.startswith(("const ", "*k"))
    text = text.removeprefix("const ").strip()
    if text.startswith("*") or text.endswith("*"):
        element = _annotated(text.removeprefix("*k").strip("* "))
        return Pointer(element, const) if isinstance(element, DType) else None
    name = text.rsplit(".", 1)[-1]
    return BY_SPELLING.get(name) or BY_SPELLING.get(name.removesuffix("_t"))


def forced(x: int | float, dtype: DType, aligned: bool) -> Argument:
    """A number whose type the parameter's annotation says. OverflowError for one that does not fit: signed integers are
    never wrapped."""
    if not dtype.is_int() or dtype.is_bool():
        return Argument(dtype, False, float(x) if dtype.is_floating() else bool(x), "")
    number = int(x)
    if dtype.is_int_signed() and not dtype.get_int_min_value() <= number <= dtype.get_int_max_value():
        raise OverflowError(f"{number} does not fit {canonical(dtype)}, which its annotation asks for")
    return Argument(dtype, aligned and number % 16 == 0, number, "")


def describe_argument(argument: Argument, path: tuple[int, ...], constants: dict[tuple[int, ...], Any],
                      attrs: dict[tuple[int, ...], Any]) -> Any:
    """The name of an argument's type in a signature; its constants and what is known of it go into the two dicts."""
    if argument.parts:
        names = [describe_argument(p, (*path, i), constants, attrs) for i, p in enumerate(argument.parts)]
        kind: Any = argument.key[0]
        return kind(*names) if hasattr(kind, "_fields") else tuple(names)
    if argument.constant:
        constants[path] = argument.value
        return "constexpr"
    if argument.divisible:
        attrs[path] = [["tt.divisibility", 16]]
    key = argument.key
    return key[0] + canonical(key[1]) if is_tuple(key) else canonical(key)


def shown(argument: Argument) -> str:
    """How an argument specialises, for messages: `i32 divisible by 16`, `the constant 1`, `*fp32 on cuda`."""
    if argument.constant:
        return f"the constant {argument.value!r}"
    name = describe_argument(argument, (), {}, {})
    return f"{name}{' divisible by 16' * argument.divisible}{f' on {argument.device}' if argument.device else ''}"


def flat_values(types: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """The objects that belong to the run-time leaves of a signature."""
    found: list[Any] = []
    for type, value in zip(types, values, strict=True):
        if is_list(type):
            found += flat_values(type, value.kernel_parts() if hasattr(value, "kernel_parts") else value)
        elif type != "constexpr":
            found.append(value)
    return found


def run_time_value(x: Any) -> int | float:
    """A number as it is, an array as its address."""
    if isinstance(x, (int, float)):
        return x
    found = array_of(x)
    return found.address if found is not None else x.item()


def is_const_annotation(annotation: Any) -> bool:
    """Does it say that memory is only read: `x: tl.const`?"""
    text = annotation.strip("'\"") if isinstance(annotation, str) else ""
    return annotation is const or text == "const" or text.endswith(".const") or text.startswith("*k")


def read_only(argument: Argument) -> Argument:
    """A pointer (or the pointers in a tuple) that the kernel only reads."""
    if argument.parts:
        parts = tuple(map(read_only, argument.parts))
        return argument._replace(key=(argument.key[0], tuple([(p.key, p.divisible) for p in parts])), parts=parts)
    pointer = is_tuple(argument.key) and argument.key[0] == "*"
    return argument._replace(key=("*k", argument.key[1])) if pointer else argument
