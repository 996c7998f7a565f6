"""What an op knows of its arguments: every accepted array library seen one way, and the errors that name an argument.

An op begins with a `Checker`; it looks at each argument once, says what is wrong with it in one sentence, and gives
an `Arg` that a kernel can be launched on. Results come back in the caller's kind (NumPy, torch, CuPy, rtriton's
DeviceArray, or anything with `__dlpack__` that follows the array API).

    check = Checker("rms_norm")
    x = check.array("x", x, FLOATS, (None, None), rows=True)      # rows=True: only the last axis must be contiguous
    out = check.output("out", out, x, x.shape)
    kernel[(x.shape[0],)](x.launch, out.launch, ...)
    return out.result()

No library is imported here: a torch tensor brings its module along.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Any

import numpy as np

# the names of rtriton.language's dtypes, by the names that array libraries use
DTYPE_NAMES = {
    "bool": "int1", "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64",
    "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
    "float8_e4m3fn": "fp8e4nv", "float8_e5m2": "fp8e5",
    "float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float64": "fp64",
}  # fmt: skip
LIBRARY_NAMES = {ours: theirs for theirs, ours in DTYPE_NAMES.items()}

FLOATS = ("fp32", "bf16", "fp16")
INDEXES = ("int32", "int64")


@dataclass(frozen=True, eq=False)
class Arg:
    """One array argument. `launch` is what a kernel takes; strides count elements."""

    name: str
    launch: Any
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    device: str  # "cpu" or "cuda:0"
    kind: str  # numpy, torch, cupy, device, dlpack
    source: Any
    back: Callable[[Any], Any] | None = None  # from NumPy to the caller's kind, for kinds that only DLPack knows

    def as_bytes(self) -> Any:
        """What a kernel takes to read the elements, of one byte each, as uint8."""
        if self.kind in ("numpy", "dlpack") or self.device == "cpu":
            return self.launch.view(np.uint8)
        if self.kind == "torch":
            return self.launch.view(sys.modules["torch"].uint8)
        if self.kind == "cupy":
            return self.launch.view(np.uint8)
        from rtriton.types import uint8

        return self.launch.view(uint8)

    def result(self) -> Any:
        """The array in the caller's kind; what an op returns."""
        return self.source if self.back is None else self.back(self.launch)


class Checker:
    """Looks at the arguments of one call of one op; all of them must live on one device."""

    def __init__(self, op: str) -> None:
        self.op = op
        self.device: str | None = None
        self.first = ""

    def fail(self, name: str, wanted: str, got: object, error: type[Exception] = ValueError) -> Exception:
        return error(f"{self.op}: {name} must {wanted}, got {got}")

    def array(
        self,
        name: str,
        value: Any,
        dtypes: tuple[str, ...],
        shape: tuple[int | None, ...] | None = None,
        *,
        rows: bool = False,
        strided: bool = False,
        written: bool = False,
    ) -> Arg:
        """`value` as an Arg, or an error naming it. None in `shape` lets that axis be any size.

        The array must be contiguous; with `rows` only within each row, with `strided` it may have any strides.
        With `written` it must not be read-only.
        """
        try:
            arg = look(name, value)
        except (TypeError, ValueError, RuntimeError, BufferError) as error:
            # by a library's own word: a sparse tensor, a masked array, one whose numbers lie between others
            kind = ValueError if isinstance(error, ValueError) else TypeError
            got = f"{type(value).__name__}: {error}"
            raise self.fail(name, "be an array that can be read where it lies", got, kind) from error
        if arg is None:
            raise self.fail(
                name, "be an array (NumPy, torch, CuPy, DeviceArray or DLPack)", type(value).__name__, TypeError
            )
        if arg.dtype not in dtypes:
            raise self.fail(name, f"have dtype {' or '.join(dtypes)}", arg.dtype, TypeError)
        if shape is not None and not _fits(arg.shape, shape):
            raise self.fail(name, f"have shape {_show(shape)}", _show(arg.shape))
        if not strided and not (_rows_contiguous(arg) if rows else _contiguous(arg)):
            wanted = "be contiguous along its last axis" if rows else "be contiguous"
            raise self.fail(name, wanted, f"strides {arg.strides} for shape {_show(arg.shape)}")
        if written and isinstance(arg.launch, np.ndarray) and not arg.launch.flags.writeable:
            raise self.fail(name, "be writable", "a read-only array")
        self._same_device(arg)
        return arg

    def number(self, name: str, value: Any) -> float:
        """`value` as a float, or an error naming it."""
        try:
            if hasattr(value, "__float__"):
                return float(value)
        except (TypeError, ValueError):  # an array of several
            pass
        raise self.fail(name, "be a number", type(value).__name__, TypeError)

    def output(self, name: str, out: Any, like: Arg, shape: tuple[int, ...], dtype: str | None = None) -> Arg:
        """The caller's `out`, checked, or a new array of the kind of `like`."""
        wanted = dtype or like.dtype
        if out is not None:
            return self.array(name, out, (wanted,), shape, rows=True, written=True)
        made = look(name, empty(like, shape, wanted))
        assert made is not None, f"{like.kind} made no array"
        return replace(made, back=like.back)

    def _same_device(self, arg: Arg) -> None:
        if self.device is None:
            self.device, self.first = arg.device, arg.name
        elif arg.device != self.device:
            raise self.fail(arg.name, f"be on {self.device}, where {self.first} is", arg.device)


def look(name: str, value: Any) -> Arg | None:
    """`value` as an Arg, or None where it is no array."""
    if isinstance(value, np.ndarray):
        return _from_numpy(name, value, "numpy", value)
    reader = _READERS.get(type(value).__module__.split(".")[0])
    if reader is not None and hasattr(value, "shape"):
        return reader(name, value)
    if hasattr(value, "__dlpack__"):
        return _from_dlpack(name, value)
    return None


def empty(like: Arg, shape: tuple[int, ...], dtype: str) -> Any:
    """A new uninitialised array of the library and device of `like`."""
    if like.kind in ("numpy", "dlpack"):
        return np.empty(shape, numpy_dtype(dtype))
    module = sys.modules[type(like.source).__module__.split(".")[0]]
    if like.kind == "torch":
        return module.empty(shape, dtype=getattr(module, LIBRARY_NAMES[dtype]), device=like.source.device)
    if like.kind == "cupy":
        return module.empty(shape, dtype=numpy_dtype(dtype))
    from rtriton.array import DeviceArray
    from rtriton.types import BY_NAME

    return DeviceArray.empty(shape, BY_NAME[dtype])


def numpy_dtype(name: str) -> np.dtype[Any]:
    """NumPy's dtype for a language dtype; bf16 and fp8 come from ml_dtypes."""
    theirs = LIBRARY_NAMES[name]
    if theirs in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, theirs))
    return np.dtype(theirs)


def typed(array: np.ndarray, dtype: str) -> np.ndarray:
    """The same bytes read as `dtype`: `typed(bits, "bf16")` for a uint16 array that holds bfloat16."""
    if dtype not in LIBRARY_NAMES:
        raise ValueError(f"typed: dtype must be one of {', '.join(LIBRARY_NAMES)}, got {dtype!r}")
    wanted = numpy_dtype(dtype)
    if array.dtype.itemsize != wanted.itemsize:
        raise ValueError(f"typed: {dtype} has {wanted.itemsize} bytes an element, got an array of {array.dtype}")
    return array.view(wanted)


# ---- one reader per library ---------------------------------------------------------------------------


def _from_numpy(name: str, array: np.ndarray, kind: str, source: Any) -> Arg:
    if isinstance(array, np.ma.MaskedArray):
        raise ValueError("its mask would be passed over")
    return Arg(name, array, _language_name(array.dtype), array.shape, _element_strides(array), "cpu", kind, source)


def _from_dlpack(name: str, value: Any) -> Arg:
    arg = _from_numpy(name, np.from_dlpack(value), "dlpack", value)
    namespace = getattr(value, "__array_namespace__", None)
    return arg if namespace is None else replace(arg, back=namespace().from_dlpack)


def _from_torch(name: str, tensor: Any) -> Arg:
    dtype = DTYPE_NAMES.get(str(tensor.dtype).removeprefix("torch."), str(tensor.dtype))
    shape, strides, device = tuple(tensor.shape), tuple(tensor.stride()), str(tensor.device)
    if not device.startswith(("cpu", "cuda")):
        raise ValueError(f"it is on the device {device}")
    if device != "cpu":
        return Arg(name, tensor, dtype, shape, strides, device, "torch", tensor)
    plain = tensor.detach()
    if dtype in ("bf16", "fp8e4nv", "fp8e5"):  # torch gives NumPy no such dtype: hand over the bits
        torch = sys.modules["torch"]
        bits = plain.view(torch.uint8 if plain.element_size() == 1 else torch.int16).numpy()
        return Arg(name, typed(bits, dtype), dtype, shape, strides, "cpu", "torch", tensor)
    return Arg(name, plain.numpy(), dtype, shape, strides, "cpu", "torch", tensor)


def _from_cupy(name: str, array: Any) -> Arg:
    shape, strides, device = tuple(array.shape), _element_strides(array), f"cuda:{array.device.id}"
    return Arg(name, array, _language_name(array.dtype), shape, strides, device, "cupy", array)


def _from_rtriton(name: str, array: Any) -> Arg:
    return Arg(name, array, array.dtype.name, tuple(array.shape), tuple(array.strides), "cuda:0", "device", array)


def _element_strides(array: Any) -> tuple[int, ...]:
    """Strides in elements; those of one field of a structured array need not be a whole number of them."""
    size = array.itemsize
    if not array.flags.c_contiguous and any(stride % size for stride in array.strides):
        raise ValueError(f"its strides of {array.strides} bytes are no multiples of its elements' {size}")
    return tuple(stride // size for stride in array.strides)


_READERS: dict[str, Callable[[str, Any], Arg]] = {"torch": _from_torch, "cupy": _from_cupy, "rtriton": _from_rtriton}


@cache
def _language_name(dtype: np.dtype[Any]) -> str:
    """NumPy works a dtype's name out anew at each look; the name does not tell the byte order."""
    if not dtype.isnative:
        return dtype.str
    return DTYPE_NAMES.get(dtype.name, dtype.name)


# ---- questions ----------------------------------------------------------------------------------------


def _dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 2:  # nearly always
        return shape[1], 1
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


def _contiguous(arg: Arg) -> bool:
    dense = _dense_strides(arg.shape)
    return arg.strides == dense or 0 in arg.shape or _agree(arg.shape, arg.strides, dense)


def _rows_contiguous(arg: Arg) -> bool:
    """Everything but the first axis lies as in a dense array, and rows do not overlap."""
    dense = _dense_strides(arg.shape)
    if arg.strides == dense or 0 in arg.shape:
        return True
    inner = _agree(arg.shape[1:], arg.strides[1:], dense[1:])
    return inner and (arg.shape[0] <= 1 or arg.strides[0] >= dense[0])


def _agree(shape: tuple[int, ...], have: tuple[int, ...], want: tuple[int, ...]) -> bool:
    """Axes of one element may have any stride."""
    return all(n <= 1 or a == b for n, a, b in zip(shape, have, want, strict=True))


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(w is None or n == w for n, w in zip(shape, wanted, strict=True))


def _show(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if n is None else str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"
