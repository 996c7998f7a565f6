"""The CUDA driver: devices, memory, modules. Everything else in this folder calls the driver through here.

A driver that is not there, or a GPU that cannot be used, is a `CudaUnavailable` that says why. A failing call is a
LaunchError with CUDA's own name and sentence for it.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from rtriton.backend.cuda import current
from rtriton.errors import LaunchError, RtritonError
from rtriton.target import Target


class CudaUnavailable(RtritonError):
    """No GPU can be used; the message says why and what to do."""


@cache
def bindings() -> Any:
    """cuda.bindings.driver, initialised."""
    try:
        driver: Any = import_module("cuda.bindings.driver")     # compiled, without types
    except ImportError as error:
        raise CudaUnavailable("the CUDA bindings are not installed: pip install 'rtriton[cuda]'") from error
    try:
        (status,) = driver.cuInit(0)
    except Exception as error:  # the loader raises a class of its own when there is no driver library
        raise CudaUnavailable(f"no NVIDIA driver was found ({str(error).splitlines()[0]})") from error
    if int(status) != 0:
        raise CudaUnavailable(f"the NVIDIA driver does not start: {explain(driver, status)}")
    return driver


def explain(driver: Any, status: Any) -> str:
    """CUDA's name and sentence for a status."""
    _, name = driver.cuGetErrorName(status)
    _, text = driver.cuGetErrorString(status)
    return f"{_text(name)}: {_text(text)}"


def _text(raw: Any) -> str:
    return raw.decode() if isinstance(raw, bytes) else str(raw)


def call(name: str, *args: Any, what: str = "") -> Any:
    """Call a driver function; its results without the status. LaunchError when it fails."""
    driver = bindings()
    status, *results = getattr(driver, name)(*args)
    if int(status) != 0:
        raise LaunchError(f"{what or name}: {explain(driver, status)}")
    return results[0] if len(results) == 1 else tuple(results)


@dataclass(frozen=True)
class Device:
    """What launches must know of the GPU."""

    ordinal: int
    name: str
    capability: tuple[int, int]
    multiprocessors: int
    shared_bytes: int
    memory_bytes: int
    driver_version: int

    @property
    def target(self) -> Target:
        return Target.for_capability(*self.capability)


def ensure_context() -> None:
    """Make the primary context current in this thread unless one is (torch's is the same one)."""
    current = call("cuCtxGetCurrent")
    if int(current) == 0:
        call("cuCtxSetCurrent", _primary_context(0))


@cache
def _primary_context(ordinal: int) -> Any:
    if call("cuDeviceGetCount") == 0:
        raise CudaUnavailable("the NVIDIA driver is there but lists no GPU (is CUDA_VISIBLE_DEVICES empty?)")
    return call("cuDevicePrimaryCtxRetain", call("cuDeviceGet", ordinal))


def current_device() -> Device:
    """The GPU of the current context."""
    ensure_context()
    return _device(int(call("cuCtxGetDevice")))


def context_device() -> int:
    """The ordinal of the current context's GPU; 0 where there is no context yet."""
    if not bindings.cache_info().currsize:
        return 0
    status, ordinal = bindings().cuCtxGetDevice()
    return 0 if int(status) else int(ordinal)


def attribute(device: Any, name: str) -> int:
    """An attribute of a device by CUDA's name without its prefix, such as MULTIPROCESSOR_COUNT."""
    which = getattr(bindings().CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
    return int(call("cuDeviceGetAttribute", which, device))


@cache
def alike() -> bool:
    """Do all GPUs of this machine run the same code?"""
    return len({_device(i).target for i in range(call("cuDeviceGetCount"))}) == 1


@cache
def _device(ordinal: int) -> Device:
    handle = call("cuDeviceGet", ordinal)

    def ask(name: str) -> int:
        return attribute(handle, name)

    return Device(ordinal, _text(call("cuDeviceGetName", 128, handle)).split("\0")[0],
                  (ask("COMPUTE_CAPABILITY_MAJOR"), ask("COMPUTE_CAPABILITY_MINOR")), ask("MULTIPROCESSOR_COUNT"),
                  ask("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"), int(call("cuDeviceTotalMem", handle)),
                  int(call("cuDriverGetVersion")))


def allocate(nbytes: int) -> int:
    """Device memory, at least 256-byte aligned; its address."""
    ensure_context()
    return int(call("cuMemAlloc", max(1, nbytes), what=f"allocating {nbytes} bytes on the GPU"))


def free(address: int) -> None:
    call("cuMemFree", address)


def memory_info() -> tuple[int, int]:
    """The bytes of the GPU's memory that are free now, whoever uses the others, and all there are."""
    ensure_context()
    free_bytes, total = call("cuMemGetInfo")
    return int(free_bytes), int(total)


def copy_to_device(address: int, host: int, nbytes: int) -> None:
    """Copy from host memory, ordered on the current stream; returns when the source may be changed."""
    if nbytes:
        call("cuMemcpyHtoDAsync", address, host, nbytes, current.stream())
        synchronize()


def copy_to_host(host: int, address: int, nbytes: int) -> None:
    """Copy to host memory after all that the current stream holds."""
    if nbytes:
        call("cuMemcpyDtoHAsync", host, address, nbytes, current.stream())
        synchronize()


def reaches(address: int) -> bool:
    """Can kernels read and write here, by this address: memory of a GPU, or pinned memory of the CPU?"""
    ensure_context()
    driver = bindings()
    which = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_POINTER
    status, found = driver.cuPointerGetAttribute(which, address)
    return int(status) == 0 and int(found) == address


def fill(address: int, byte: int, nbytes: int) -> None:
    if nbytes:
        call("cuMemsetD8Async", address, byte, nbytes, current.stream())


def synchronize() -> None:
    """Wait for the current stream."""
    call("cuStreamSynchronize", current.stream(), what="waiting for the GPU")


def device_name() -> str:
    """The GPU's name, as `NVIDIA H200`."""
    return current_device().name


def is_capturing() -> bool:
    """Are launches on the current stream being recorded into a graph?"""
    stream = current.stream()
    return bool(stream) and int(call("cuStreamIsCapturing", stream)) != 0
