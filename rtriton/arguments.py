"""What a launch's arguments are: addresses and dtypes of arrays from any library, and how a kernel specialises on them.

    array_of(np.zeros(4, np.float32))   -> Array(address, float32, "cpu", nbytes)
    specialise(16)                      -> ("i32", 16): an int32 that is divisible by 16

A kernel is compiled once per combination of: type of each argument; divisible by 16 or not (pointers, integers);
equal to 1 (integers, which become constants); value (constexpr parameters). A tuple specialises element by element.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from rtriton.guards import is_list, is_tuple
from rtriton.language.values import Leaf, const, constexpr, from_host
from rtriton.signature import BY_SPELLING, canonical
from rtriton.source import KernelFunction, Written
from rtriton.types import (
    DType, Pointer, bfloat16, float8e4nv, float8e5, float16, float32, float64, int1, int8, int16, int32, int64, uint8,
    uint16, uint32, uint64,
)


class Array(NamedTuple):
    """Memory that an argument points at. `device` is "cpu" or "cuda"."""

    address: int
    dtype: DType
    device: str
    nbytes: int


NUMPY_TYPES: dict[str, DType] = {
    "bool": int1, "int8": int8, "int16": int16, "int32": int32, "int64": int64, "uint8": uint8, "uint16": uint16,
    "uint32": uint32, "uint64": uint64, "float16": float16, "float32": float32, "float64": float64,
    "bfloat16": bfloat16, "float8_e5m2": float8e5, "float8_e4m3fn": float8e4nv,
}
TYPESTR = {"|b1": int1, "|i1": int8, "<i2": int16, "<i4": int32, "<i8": int64, "|u1": uint8, "<u2": uint16,
           "<u4": uint32, "<u8": uint64, "<f2": float16, "<f4": float32, "<f8": float64}


class TensorWrapper:
    """An array seen with another dtype of equal width, as `reinterpret` makes it.

    Its other methods are those of a torch tensor and need one below; `data` is the base's and may be set."""

    def __init__(self, base: Any, dtype: DType) -> None:
        self.base, self.dtype = base, dtype
        self.shape, self.data, self.device = base.shape, base.data, getattr(base, "device", "cpu")

    def data_ptr(self) -> int:
        return need_array(self.base).address

    def element_size(self) -> int:
        return self.dtype.itemsize

    def stride(self, *axis: int) -> Any:
        return self.base.stride(*axis)

    def new_empty(self, *shape: Any) -> TensorWrapper:
        return TensorWrapper(self.base.new_empty(*shape), self.dtype)

    def clone(self) -> TensorWrapper:
        return TensorWrapper(self.base.clone(), self.dtype)

    def to(self, device: Any) -> TensorWrapper:
        return TensorWrapper(self.base.to(device), self.dtype)

    def cpu(self) -> TensorWrapper:
        return TensorWrapper(self.base.cpu(), self.dtype)

    def copy_(self, other: TensorWrapper) -> None:
        self.base.copy_(other.base)

    def __repr__(self) -> str:
        return f"TensorWrapper[{self.dtype}]({self.base!r})"


def reinterpret(tensor: Any, dtype: Any) -> TensorWrapper:
    """`tensor` (an array of any library) whose bytes are read as `dtype` (of tl, torch or NumPy, or its name).
    ValueError when the widths differ, TypeError for what is no dtype of kernels."""
    dtype = _dtype_of(dtype)
    base = tensor.base if isinstance(tensor, TensorWrapper) else tensor
    have = need_array(base).dtype
    if have.itemsize != dtype.itemsize:
        raise ValueError(f"cannot read {have} ({have.itemsize} bytes) as {dtype} ({dtype.itemsize} bytes)")
    return TensorWrapper(base, dtype)


class MockTensor:
    """Stands for an array in a warmup: its dtype (of torch, NumPy or tl) is all that there is. Its address counts as a
    multiple of 16."""

    def __init__(self, dtype: Any, shape: Sequence[int] | None = None) -> None:
        self.dtype, self.shape = dtype, list(shape) if shape is not None else [1]

    @staticmethod
    def wrap_dtype(arg: Any) -> Any:
        """A MockTensor for a torch dtype, anything else as it is."""
        kind: type[Any] = arg.__class__
        return MockTensor(arg) if kind.__name__ == "dtype" and kind.__module__ == "torch" else arg

    def stride(self) -> tuple[int, ...]:
        """As of a contiguous array."""
        made = [1]
        for size in reversed(self.shape[1:]):
            made.insert(0, made[0] * size)
        return tuple(made)

    @staticmethod
    def data_ptr() -> int:
        return 0

    @staticmethod
    def ptr_range() -> int:
        return 0


def _dtype_name(dtype: Any) -> str:
    """What a dtype of any library is called."""
    return dtype.__name__ if isinstance(dtype, type) else str(dtype).split(".")[-1]


def _dtype_of(dtype: Any) -> DType:
    if isinstance(dtype, DType):
        return dtype
    name = _dtype_name(dtype)
    if name not in BY_SPELLING:
        raise TypeError(f"wanted a dtype of kernels, got {dtype!r}")
    return BY_SPELLING[name]


def _mock(x: MockTensor) -> Array:
    found = x.dtype if isinstance(x.dtype, DType) else BY_SPELLING.get(_dtype_name(x.dtype))
    if found is None:
        raise TypeError(f"arrays of {x.dtype} cannot be passed to a kernel")
    return Array(0, found, "", 0)


# By NumPy dtype: asking one for its name costs more than the rest of a launch's argument.
_KNOWN: dict[Any, DType] = {}


def _numpy(x: Any) -> Array | None:
    dtype = _KNOWN.get(x.dtype)
    if dtype is None:
        dtype = NUMPY_TYPES.get(x.dtype.name) if x.dtype.isnative else None
        if dtype is None:
            raise TypeError(f"arrays of {x.dtype} cannot be passed to a kernel")
        _KNOWN[x.dtype] = dtype
    return Array(x.ctypes.data, dtype, "cpu", x.nbytes)


def _torch(x: Any) -> Array | None:
    name = str(x.dtype).removeprefix("torch.")
    dtype = NUMPY_TYPES.get(name)
    if dtype is None:
        raise TypeError(f"tensors of {x.dtype} cannot be passed to a kernel")
    if x.device.type not in ("cpu", "cuda"):
        raise TypeError(f"tensors on {x.device} cannot be passed to a kernel")
    left = x.untyped_storage().nbytes() - x.storage_offset() * x.element_size()
    return Array(x.data_ptr(), dtype, x.device.type, left)


def _wrapped(x: TensorWrapper) -> Array | None:
    return need_array(x.base)._replace(dtype=x.dtype)


def _own(x: Any) -> Array | None:
    """Anything with our own attributes: DeviceArray."""
    return Array(x.address, x.dtype, x.device, x.nbytes)


def _interface(x: Any) -> Array | None:
    described = getattr(x, "__cuda_array_interface__", None)
    device = "cuda"
    if described is None:
        described, device = getattr(x, "__array_interface__", None), "cpu"
    if described is None:
        return None
    dtype = TYPESTR.get(described["typestr"])
    if dtype is None:
        raise TypeError(f"arrays of {described['typestr']} cannot be passed to a kernel")
    count = dtype.itemsize
    for n in described["shape"]:
        count *= n
    return Array(described["data"][0], dtype, device, count)


def _is_scalar(kind: type) -> bool:
    """NumPy's scalars have the array interface too, of memory that does not last."""
    return issubclass(kind, np.generic)


def _finder(kind: type) -> Callable[[Any], Array | None]:
    module = kind.__module__.split(".")[0]
    if module == "numpy" and hasattr(kind, "__array_interface__") and kind.__name__ in ("ndarray", "memmap"):
        return _numpy
    if hasattr(kind, "untyped_storage"):
        return _torch
    if kind is TensorWrapper:
        return _wrapped
    if kind is MockTensor or MockTensor in kind.__mro__:
        return _mock
    if kind.__module__ == "rtriton.array":
        return _own
    if _is_scalar(kind):
        return lambda x: None
    if hasattr(kind, "__cuda_array_interface__") or hasattr(kind, "__array_interface__"):
        return _interface
    return lambda x: None


_FINDERS: dict[type, Callable[[Any], Array | None]] = {}


def array_of(x: object) -> Array | None:
    """Where the elements of `x` are; None if it is no array. TypeError for a dtype or device we cannot use."""
    kind = type(x)
    finder = _FINDERS.get(kind)
    if finder is None:
        finder = _FINDERS[kind] = _finder(kind)
    return finder(x)


def need_array(x: Any) -> Array:
    found = array_of(x)
    if found is None:
        raise TypeError(f"wanted an array, got {type(x).__name__}")
    return found


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
