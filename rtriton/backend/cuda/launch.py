"""A kernel on the GPU: its code loaded on each device it is launched on, launched on the caller's current stream.

A launch writes its arguments into a buffer, laid out as the kernel's parameters are, and hands that to the driver. The
driver copies it before it returns, so that a buffer is free again then: there are as many as threads launch at once.
"""
from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rtriton.backend.cuda import current, driver
from rtriton.backend.cuda.assemble import assembled
from rtriton.backend.cuda.attributes import Attributes
from rtriton.backend.cuda.registers import fitted
from rtriton.backend.ptx.names import symbol
from rtriton.backend.slots import Slots
from rtriton.errors import LaunchError, OutOfResources
from rtriton.ir import Kernel
from rtriton.target import target_of
from rtriton.types import Type

Grid = tuple[int, int, int]

INVALID_CONTEXT = 201       # CUDA's status where a thread has no context yet
PARAM_END, PARAM_BUFFER_POINTER, PARAM_BUFFER_SIZE = 0, 1, 2        # CU_LAUNCH_PARAM_...
PORTABLE_CLUSTER = 8        # programs of a cluster that every GPU with clusters takes


@dataclass(frozen=True, slots=True)
class _Buffer:
    """The arguments of one launch as the kernel finds them, and the address of what tells the driver where they are."""

    memory: bytearray
    told: int
    kept: tuple[Any, ...]


class CudaExecutable:
    """A kernel of the current GPU, loaded at its first launch. `n_regs`, `n_spills` (bytes of local memory a thread)
    and `n_max_threads` are as the driver reports them."""

    def __init__(self, name: str, types: Sequence[Type], ptx: str, shared_bytes: int, num_warps: int,
                 cubin: bytes | None = None, options: Mapping[str, Any] | None = None) -> None:
        self.name, self.types, self.options = name, list(types), dict(options or {})
        self.shared_bytes, self.threads = shared_bytes, 32 * num_warps
        cubin = cubin or assembled(name, ptx, self.options.get("ptx_options"))
        self.asm: dict[str, Any] = {"ptx": ptx, "cubin": cubin}
        self.attributes = Attributes(self.options)
        self._call: Any = self.attributes or driver.bindings().cuLaunchKernel
        self.slots = Slots.of(types)
        self._layout = struct.Struct("@" + self.slots.natural)
        self._pack: Callable[..., None] = self._pack_fitted if self.slots.coded else self._layout.pack_into
        self._free: list[_Buffer] = []
        self._modules: dict[int, Any] = {}
        self._functions: dict[int, Any] = {}

    @property
    def direct(self) -> bool:
        return driver.alike()

    def load(self) -> None:
        """Bring the code onto the current GPU. OutOfResources if it needs more shared memory or threads than it has."""
        driver.ensure_context()
        ordinal = current.device()
        if ordinal in self._functions:
            return
        limit = driver.current_device().shared_bytes
        if self.shared_bytes > limit:
            raise OutOfResources(self.shared_bytes, limit, "shared memory")
        module = driver.call("cuModuleLoadData", self.asm["cubin"], what=f"loading {self.name}")
        function = driver.call("cuModuleGetFunction", module, symbol(self.name).encode(),
                               what=f"finding {self.name} in its module")
        if self.threads > (most := _attribute(function, "MAX_THREADS_PER_BLOCK")):
            raise OutOfResources(self.threads, most, "threads")
        if self.shared_bytes > 48 * 1024:
            _set_attribute(function, "MAX_DYNAMIC_SHARED_SIZE_BYTES", self.shared_bytes)
        if self.attributes.cluster_size > PORTABLE_CLUSTER:
            _set_attribute(function, "NON_PORTABLE_CLUSTER_SIZE_ALLOWED", 1)
        self._modules[ordinal], self._functions[ordinal] = module, function

    @property
    def module(self) -> Any:
        """The module on the current GPU, the handle of its function below; None before they are loaded."""
        return self._modules.get(current.device())

    @property
    def function(self) -> Any:
        return self._functions.get(current.device())

    @property
    def n_regs(self) -> int:
        return self._loaded_attribute("NUM_REGS")

    @property
    def n_spills(self) -> int:
        return self._loaded_attribute("LOCAL_SIZE_BYTES")

    @property
    def n_max_threads(self) -> int:
        return self._loaded_attribute("MAX_THREADS_PER_BLOCK")

    def _loaded_attribute(self, name: str) -> int:
        self.load()
        return _attribute(self.function, name)

    def launch(self, grid: Grid, values: Sequence[int | float], objects: Sequence[Any] = (),
               packed: _Buffer | None = None) -> None:
        """Launch on the current stream, with `values`, or with those that are `packed`; an empty grid is none.
        LaunchError with CUDA's reason."""
        x, y, z = grid
        if not (x and y and z):
            return
        device, stream = current.place()
        function = self._functions.get(device)
        if function is None:
            self.load()
            function = self._functions[device]
        buffer = packed or self._packed(values)
        try:
            (status,) = self._call(function, x, y, z, self.threads, 1, 1, self.shared_bytes, stream, 0, buffer.told)
            if status == INVALID_CONTEXT:           # this thread's first call of the driver
                driver.ensure_context()
                (status,) = self._call(function, x, y, z, self.threads, 1, 1, self.shared_bytes, stream, 0, buffer.told)
        finally:
            if packed is None:
                self._free.append(buffer)
        if status:
            raise LaunchError(f"launching {self.name} on a grid of {grid}: "
                              f"{driver.explain(driver.bindings(), status)}")

    def prepared(self, values: Sequence[int | float]) -> tuple[Any, ...]:
        """What `launch` takes after the grid for these values, which are packed now: for any thread and device."""
        return (), (), self._packed(values)

    def _packed(self, values: Sequence[int | float]) -> _Buffer:
        """The values in a buffer that no other launch uses just now."""
        try:
            buffer = self._free.pop()
        except IndexError:                          # the first launch, or other threads are launching
            buffer = self._new_buffer()
        try:
            self._pack(buffer.memory, 0, *values)
        except (struct.error, OverflowError):       # numbers that are wider than their parameters
            self._pack_fitted(buffer.memory, 0, *values)
        return buffer

    def _pack_fitted(self, memory: bytearray, start: int, *values: int | float) -> None:
        self._layout.pack_into(memory, start, *self.slots.fitted(values))

    def _new_buffer(self) -> _Buffer:
        memory, size = bytearray(max(1, self._layout.size)), ctypes.c_size_t(self._layout.size)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        told = (ctypes.c_void_p * 5)(PARAM_BUFFER_POINTER, start, PARAM_BUFFER_SIZE, ctypes.addressof(size), PARAM_END)
        return _Buffer(memory, ctypes.addressof(told), (told, size))


def _attribute(function: Any, name: str) -> int:
    return int(driver.call("cuFuncGetAttribute", _which(name), function))


def _set_attribute(function: Any, name: str, value: int) -> None:
    driver.call("cuFuncSetAttribute", function, _which(name), value)


def _which(name: str) -> Any:
    return getattr(driver.bindings().CUfunction_attribute, f"CU_FUNC_ATTRIBUTE_{name}")


def build_cuda(kernel: Kernel, stages: Any, options: Mapping[str, Any]) -> CudaExecutable:
    """Lower to PTX for the current GPU and load it."""
    from rtriton.backend.ptx.emit import lower_to_ptx

    arch = options.get("arch")
    target = target_of(arch) if arch is not None else driver.current_device().target
    module = lower_to_ptx(kernel, target, stages.pass_done)
    ptx = stages.text("ptx", "ptx", str(module))
    ptx, cubin = fitted(ptx, module, lambda text: assembled(kernel.name, text, options.get("ptx_options")))
    types = [v.type for v in kernel.params]
    return CudaExecutable(kernel.name, types, ptx, module.shared_bytes, int(options["num_warps"]), cubin, options)
