"""Arrays of any library as (address, dtype, device, bytes): NumPy, torch, CuPy, DeviceArray, any array interface.

    array_of(np.zeros(4, np.float32))   -> Array(address, float32, "cpu", 16)

`reinterpret` gives an array another dtype of equal width; a MockTensor stands for one in a warmup.
"""
from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from rtriton.signature import BY_SPELLING
from rtriton.types import (
    DType, bfloat16, float8e4nv, float8e5, float16, float32, float64, int1, int8, int16, int32, int64, uint8, uint16,
    uint32, uint64,
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


# By dtype of NumPy or torch: asking one for its name costs more than the rest of a launch's argument.
_KNOWN: dict[Any, DType] = {}


def _known(dtype: Any) -> DType:
    """The dtype in kernels of one of NumPy's or torch's."""
    found = _KNOWN.get(dtype)
    if found is None:
        native = getattr(dtype, "isnative", True)
        found = NUMPY_TYPES.get(getattr(dtype, "name", str(dtype).removeprefix("torch."))) if native else None
        if found is None:
            raise TypeError(f"arrays of {dtype} cannot be passed to a kernel")
        _KNOWN[dtype] = found
    return found


def _numpy(x: Any) -> Array | None:
    return Array(numpy_address(x), _known(x.dtype), "cpu", x.nbytes)


def numpy_address(x: Any) -> int:
    """Where a NumPy array begins. (`x.ctypes.data` takes three times as long: it is for those that are read only, empty
    or have gaps.)"""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(x))
    except (TypeError, ValueError, BufferError):
        return x.ctypes.data


def _torch(x: Any) -> Array | None:
    dtype, device = _known(x.dtype), x.device.type
    if device not in ("cpu", "cuda"):
        raise TypeError(f"tensors on {x.device} cannot be passed to a kernel")
    left = x.untyped_storage().nbytes() - x.storage_offset() * x.element_size()
    return Array(x.data_ptr(), dtype, device, left)


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


def library_of(kind: type) -> str:
    """Whose arrays a class's objects are: a key of FINDERS, "" for no arrays."""
    module = kind.__module__.split(".")[0]
    if module == "numpy" and hasattr(kind, "__array_interface__") and kind.__name__ in ("ndarray", "memmap"):
        return "numpy"
    if hasattr(kind, "untyped_storage"):
        return "torch"
    if kind is TensorWrapper:
        return "wrapped"
    if kind is MockTensor or MockTensor in kind.__mro__:
        return "mock"
    if kind.__module__ == "rtriton.array":
        return "rtriton"
    if not _is_scalar(kind) and (hasattr(kind, "__cuda_array_interface__") or hasattr(kind, "__array_interface__")):
        return "interface"
    return ""


def _no_array(x: Any) -> Array | None:
    return None


FINDERS: dict[str, Callable[[Any], Array | None]] = {
    "numpy": _numpy, "torch": _torch, "wrapped": _wrapped, "mock": _mock, "rtriton": _own, "interface": _interface,
    "": _no_array,
}
_BY_CLASS: dict[type, Callable[[Any], Array | None]] = {}


def array_of(x: object) -> Array | None:
    """Where the elements of `x` are; None if it is no array. TypeError for a dtype or device we cannot use."""
    return array_of_class(type(x))(x)


def array_of_class(kind: type) -> Callable[[Any], Array | None]:
    """What finds the elements of a class's objects."""
    finder = _BY_CLASS.get(kind)
    if finder is None:
        finder = _BY_CLASS[kind] = FINDERS[library_of(kind)]
    return finder


def occupied(address: int, shape: Sequence[int], strides: Sequence[int], itemsize: int) -> tuple[int, int]:
    """First byte, and one past the last, of elements that lie `strides` bytes apart, the first one at `address`."""
    if 0 in shape:
        return address, address
    reach = [(n - 1) * stride for n, stride in zip(shape, strides, strict=True)]
    return address + sum(r for r in reach if r < 0), address + sum(r for r in reach if r > 0) + itemsize


def dtype_of(x: Any) -> DType | None:
    """The dtype of an array's elements, for less than all of `array_of`; None if it is no array."""
    if array_of_class(x.__class__) in (_numpy, _torch):
        return _known(x.dtype)
    found = array_of(x)
    return None if found is None else found.dtype


def need_array(x: Any) -> Array:
    found = array_of(x)
    if found is None:
        raise TypeError(f"wanted an array, got {type(x).__name__}")
    return found
