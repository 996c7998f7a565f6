"""DeviceArray: CUDA memory without torch. Row-major, with the dtypes of the kernel language.

A matrix may be a view of some columns of another (`qkv[:, 64:128]`); such a view is for kernels, which take its
strides, and cannot be copied or reshaped.

    x = DeviceArray.from_numpy(np.ones((4, 8), np.float32))
    y = DeviceArray.empty((4, 8), tl.bfloat16)
    y.numpy()       # bf16 comes back as uint16 bits, fp8 as uint8

Other libraries read one through `__cuda_array_interface__` (torch.as_tensor, cupy.asarray): no copy.
"""
from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from rtriton.arrays import NUMPY_TYPES
from rtriton.types import DType, bfloat16, uint8, uint16

TYPESTR = {"int1": "|b1", "int8": "|i1", "int16": "<i2", "int32": "<i4", "int64": "<i8", "uint8": "|u1",
           "uint16": "<u2", "uint32": "<u4", "uint64": "<u8", "fp16": "<f2", "fp32": "<f4", "fp64": "<f8"}


class _Memory:
    """Owns one allocation; freed when the last array over it goes."""

    def __init__(self, nbytes: int) -> None:
        from rtriton.backend.cuda import driver

        self._free = driver.free
        self.address, self.nbytes = driver.allocate(nbytes), nbytes

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self._free(self.address)


def _dense_strides(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(prod(shape[i + 1:]) for i in range(len(shape)))


class DeviceArray:
    """A row-major array on the GPU. `strides` count elements."""

    device = "cuda"

    def __init__(self, shape: Sequence[int], dtype: DType, address: int, owner: Any,
                 strides: Sequence[int] = ()) -> None:
        self.shape, self.dtype, self.address, self._owner = tuple(shape), dtype, address, owner
        self.strides = tuple(strides) or _dense_strides(self.shape)

    @classmethod
    def empty(cls, shape: Sequence[int], dtype: DType) -> DeviceArray:
        memory = _Memory(prod(shape) * dtype.itemsize)
        return cls(shape, dtype, memory.address, memory)

    @classmethod
    def zeros(cls, shape: Sequence[int], dtype: DType) -> DeviceArray:
        from rtriton.backend.cuda import driver

        made = cls.empty(shape, dtype)
        driver.fill(made.address, 0, made.nbytes)
        return made

    @classmethod
    def from_numpy(cls, array: np.ndarray[Any, Any], dtype: DType | None = None) -> DeviceArray:
        """A copy on the GPU; `dtype` names what uint16 or uint8 bytes stand for (bf16, fp8)."""
        found = dtype or NUMPY_TYPES.get(array.dtype.name)
        if found is None:
            raise TypeError(f"arrays of {array.dtype} cannot be on the GPU")
        made = cls.empty(array.shape, found)
        made.copy_from(array)
        return made

    @property
    def nbytes(self) -> int:
        """Bytes from the first element to behind the last one."""
        if not self.size:
            return 0
        return (1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))) * self.dtype.itemsize

    def extent(self) -> tuple[int, int]:
        """Bytes of the allocation that this is part of: before the first element, and from there on."""
        if not isinstance(self._owner, _Memory):
            return 0, self.nbytes
        before = self.address - self._owner.address
        return before, self._owner.nbytes - before

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def stride(self, axis: int) -> int:
        return self.strides[axis]

    def data_ptr(self) -> int:
        return self.address

    def copy_from(self, array: np.ndarray[Any, Any]) -> None:
        """Overwrite with a NumPy array of as many bytes."""
        from rtriton.backend.cuda import driver

        self._need_dense("overwritten")
        source = np.ascontiguousarray(array)
        if source.nbytes != self.nbytes:
            raise ValueError(f"wanted {self.nbytes} bytes for {self}, got {source.nbytes}")
        driver.copy_to_device(self.address, source.ctypes.data, self.nbytes)

    def numpy(self) -> np.ndarray[Any, Any]:
        """A copy in CPU memory (bf16 as uint16, fp8 as uint8), after all launches so far."""
        from rtriton.backend.cuda import driver

        self._need_dense("copied to CPU memory")
        storage = np.dtype(np.bool_) if self.dtype.name == "int1" else np.dtype(self.dtype.storage)
        made = np.empty(self.shape, storage)
        driver.copy_to_host(made.ctypes.data, self.address, self.nbytes)
        return made

    def reshape(self, *shape: int) -> DeviceArray:
        """The same memory in another shape."""
        self._need_dense("reshaped")
        if prod(shape) != self.size:
            raise ValueError(f"{self} has {self.size} elements, {shape} has {prod(shape)}")
        return DeviceArray(shape, self.dtype, self.address, self._owner)

    def view(self, dtype: DType) -> DeviceArray:
        """The same bytes as another dtype of equal width."""
        if dtype.itemsize != self.dtype.itemsize:
            raise ValueError(f"cannot read {self.dtype} as {dtype}: the widths differ")
        return DeviceArray(self.shape, dtype, self.address, self._owner, self.strides)

    def __getitem__(self, index: int | slice | tuple[slice, ...]) -> DeviceArray:
        """Rows along the first axis: one (the axis goes) or a run; with several slices a run along each axis."""
        if isinstance(index, int):
            if not -self.shape[0] <= index < self.shape[0]:
                raise IndexError(f"index {index} is outside the first axis of {self}")
            row = self.address + index % self.shape[0] * self.strides[0] * self.dtype.itemsize
            return DeviceArray(self.shape[1:], self.dtype, row, self._owner, self.strides[1:])
        slices = index if isinstance(index, tuple) else (index,)
        if len(slices) > self.ndim:
            raise IndexError(f"{len(slices)} slices for the {self.ndim} axes of {self}")
        shape, address = list(self.shape), self.address
        for axis, run in enumerate(slices):
            start, stop, step = run.indices(self.shape[axis])
            if step != 1:
                raise ValueError("a DeviceArray is sliced with step 1")
            shape[axis] = max(0, stop - start)
            address += start * self.strides[axis] * self.dtype.itemsize
        return DeviceArray(shape, self.dtype, address, self._owner, self.strides)

    def _need_dense(self, verb: str) -> None:
        if any(n > 1 and s != d for n, s, d in zip(self.shape, self.strides, _dense_strides(self.shape), strict=True)):
            raise ValueError(f"{self} is a view with gaps between its rows and cannot be {verb}")

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.dtype.name not in TYPESTR:
            bits = uint16 if self.dtype == bfloat16 else uint8
            raise AttributeError(f"{self.dtype} has no name in the array interface: pass .view(tl.{bits.name})")
        return {"shape": self.shape, "typestr": TYPESTR[self.dtype.name], "data": (self.address, False), "version": 3,
                "strides": tuple(s * self.dtype.itemsize for s in self.strides)}

    def __repr__(self) -> str:
        return f"DeviceArray({'x'.join(map(str, self.shape)) or 'scalar'}, {self.dtype})"
