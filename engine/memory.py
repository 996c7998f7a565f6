"""Arrays where a model runs, the host's memory or a GPU's: zeroed ones, copies, and the way of a batch there and of
results back.

    memory = memory_for("cuda")
    cache = memory.zeros((100, 16), "float32")
    batch = memory.mirror(buffers).view(8, 8)       # the device's side of a step's arrays
"""

from __future__ import annotations

import ctypes
from math import prod
from typing import Any, Protocol

import numpy as np

from engine.batch import Array, Batch, BatchBuffers
from engine.sizing import Room
from rtriton.errors import LaunchError

ALIGN = 64
"""Bytes: a cache line, so that vector loads of a first element are aligned."""
NO_DEVICE = 100
"""CUDA's status where a driver is installed and no GPU is there."""


class Twin(Protocol):
    """An array of the host and the one that kernels read."""

    host: np.ndarray
    there: Array

    def upload(self, count: int | None = None) -> None:
        """Bring the first `count` lines to the device, or all of them."""
        ...


class Mirror(Protocol):
    """The device's side of the batch buffers."""

    def view(self, tokens: int, samples: int) -> Batch: ...

    def upload(self) -> None:
        """Bring what was filled in to the device, before anything that is launched from now on."""
        ...


class Memory(Protocol):
    """What the engine needs of a device's memory."""

    device: str
    name: str

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array: ...

    def put(self, array: np.ndarray) -> Array:
        """A host array where kernels can read it."""
        ...

    def read_as(self, array: Array, dtype: str) -> Array:
        """The same bytes as another dtype of equal width."""
        ...

    def fetch(self, array: Array) -> np.ndarray:
        """A copy on the host, after all that has been launched."""
        ...

    def write(self, array: Array, host: np.ndarray) -> None:
        """Overwrite an array with one of the host's."""
        ...

    def mirror(self, buffers: BatchBuffers) -> Mirror: ...

    def twin(self, host: np.ndarray) -> Twin: ...

    def alive(self) -> bool:
        """False once an error of the device has made everything on it unusable."""
        ...

    def room(self) -> Room | None:
        """A GPU's free and total memory as they are now."""
        ...


class HostMemory:
    """The CPU's: NumPy arrays. Zeroed pages cost nothing until they are written."""

    device = "cpu"
    name = "cpu"

    def zeros(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        wanted = np.dtype(dtype)
        size = prod(shape) * wanted.itemsize
        raw = np.zeros(size + ALIGN, np.uint8)
        start = -raw.ctypes.data % ALIGN
        return raw[start : start + size].view(wanted).reshape(shape)

    def put(self, array: np.ndarray) -> np.ndarray:
        """Kernels read it where it is."""
        return array

    def read_as(self, array: np.ndarray, dtype: str) -> np.ndarray:
        return array.view(dtype)

    def fetch(self, array: np.ndarray) -> np.ndarray:
        return array.copy()

    def write(self, array: np.ndarray, host: np.ndarray) -> None:
        array[...] = host

    def mirror(self, buffers: BatchBuffers) -> Mirror:
        return _HostMirror(buffers)

    def twin(self, host: np.ndarray) -> Twin:
        return _HostTwin(host)

    def alive(self) -> bool:
        return True

    def room(self) -> None:
        """Other programs share it, and pages cost nothing before they are written."""


class _HostMirror:
    """The buffers themselves."""

    def __init__(self, buffers: BatchBuffers) -> None:
        self.view = buffers.view

    def upload(self) -> None:
        """Nothing to move."""


class _HostTwin:
    """The array itself."""

    def __init__(self, host: np.ndarray) -> None:
        self.host = self.there = host

    def upload(self, count: int | None = None) -> None:
        """Nothing to move."""


class DeviceMemory:
    """A GPU's, through `rtriton.array`."""

    device = "cuda"

    def __init__(self) -> None:
        from rtriton import array, types
        from rtriton.backend.cuda import driver

        self._array, self._types, self._driver = array.DeviceArray, types.BY_NAME, driver
        self.name = driver.current_device().name

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        return self._array.zeros(shape, self._dtype(dtype))

    def put(self, array: np.ndarray) -> Array:
        return self._array.from_numpy(array)

    def read_as(self, array: Array, dtype: str) -> Array:
        return array.view(self._dtype(dtype))

    def fetch(self, array: Array) -> np.ndarray:
        return array.numpy()

    def write(self, array: Array, host: np.ndarray) -> None:
        array.copy_from(host)

    def mirror(self, buffers: BatchBuffers) -> Mirror:
        return _DeviceMirror(self, buffers)

    def twin(self, host: np.ndarray) -> Twin:
        return _DeviceTwin(host, self.put(host))

    def alive(self) -> bool:
        try:
            self._driver.synchronize()
        except LaunchError:
            return False
        return True

    def room(self) -> Room:
        return Room(*self._driver.memory_info())

    def place(self, whole: Array, offset: int, dtype: str, shape: tuple[int, ...]) -> Array:
        """Part of an array of bytes as an array of its own, which keeps the whole alive."""
        return self._array(shape, self._dtype(dtype), whole.address + offset, whole)

    def _dtype(self, name: str) -> Any:
        return self._types[_LANGUAGE_NAMES.get(name, name)]


class _DeviceMirror:
    """One copy of the buffers' bytes; a step needs one transfer."""

    def __init__(self, memory: DeviceMemory, buffers: BatchBuffers) -> None:
        self._memory = memory
        self._buffers = buffers
        self._whole = memory.put(buffers.host)
        self._views: dict[tuple[int, int], Batch] = {}

    def view(self, tokens: int, samples: int) -> Batch:
        key = (tokens, samples)
        if key not in self._views:
            fields = {name: self._buffers.field(name, tokens, samples) for name in self._buffers.offsets}
            arrays = {
                name: self._memory.place(self._whole, offset, dtype, shape)
                for name, (offset, dtype, shape) in fields.items()
            }
            self._views[key] = Batch(**arrays)
        return self._views[key]

    def upload(self) -> None:
        self._whole.copy_from(self._buffers.host)


class _DeviceTwin:
    """An array of the host and its copy on the GPU."""

    def __init__(self, host: np.ndarray, there: Array) -> None:
        self.host = host
        self.there = there

    def upload(self, count: int | None = None) -> None:
        self.there[:count].copy_from(self.host[:count])


_LANGUAGE_NAMES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


def memory_for(device: str) -> Memory:
    """The memory of "cpu" or "cuda". "auto" takes the GPU where a driver sees one; a GPU that is there and cannot be
    used is an error of the CUDA driver module, never passed over."""
    if device == "cuda" or (device == "auto" and _gpu_is_there()):
        return DeviceMemory()
    return HostMemory()


def _gpu_is_there() -> bool:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return driver.cuInit(0) != NO_DEVICE
