"""A kernel on the GPU: PTX assembled by the driver's JIT, loaded, launched on the caller's current stream."""
from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from rtriton import numerics
from rtriton.backend.cuda import driver
from rtriton.errors import LaunchError, OutOfResources
from rtriton.ir import Kernel
from rtriton.types import DType, Pointer, Type

FORMATS = {"int1": "?", "int8": "b", "int16": "h", "int32": "i", "int64": "q", "uint8": "B", "uint16": "H",
           "uint32": "I", "uint64": "Q", "fp32": "f", "fp64": "d"}


class Packer:
    """Writes arguments into 8-byte slots and keeps the array of their addresses that cuLaunchKernel reads."""

    def __init__(self, types: Sequence[Type]) -> None:
        codes = [_code(t) for t in types]
        self.narrow = [(i, t) for i, t in enumerate(types) if isinstance(t, DType) and _is_narrow(t)]
        self.struct = struct.Struct("=" + "".join(c + "x" * (8 - struct.calcsize("=" + c)) for c in codes))
        self.slots = ctypes.create_string_buffer(max(8, self.struct.size))
        base = ctypes.addressof(self.slots)
        self.pointers = (ctypes.c_void_p * max(1, len(codes)))(*(base + 8 * i for i in range(len(codes))))
        self.address = ctypes.addressof(self.pointers)

    def pack(self, values: Sequence[int | float]) -> int:
        if self.narrow:
            values = list(values)
            for i, type in self.narrow:
                values[i] = numerics.narrow_bits(values[i], type)
        self.struct.pack_into(self.slots, 0, *values)
        return self.address


def _code(type: Type) -> str:
    if isinstance(type, Pointer):
        return "Q"
    assert isinstance(type, DType)
    return {16: "H", 8: "B"}[type.bits] if _is_narrow(type) else FORMATS[type.name]


def _is_narrow(type: DType) -> bool:
    """Floats of 16 and 8 bits are passed by their bits."""
    return type.is_floating() and type.bits < 32


class CudaExecutable:
    """A loaded kernel. `n_regs`, `n_spills` (bytes of local memory a thread) as the driver reports them."""

    def __init__(self, name: str, types: Sequence[Type], ptx: str, shared_bytes: int, num_warps: int,
                 cubin: bytes | None = None) -> None:
        self.name, self.types = name, list(types)
        self.shared_bytes, self.threads = shared_bytes, 32 * num_warps
        self.module, self.function, cubin = _load(name, ptx, shared_bytes, cubin)
        self.asm: dict[str, Any] = {"ptx": ptx, "cubin": cubin}
        self.n_regs = self._attribute("NUM_REGS")
        self.n_spills = self._attribute("LOCAL_SIZE_BYTES")
        self._local = threading.local()
        self._launch = driver.bindings().cuLaunchKernel

    def _attribute(self, name: str) -> int:
        which = getattr(driver.bindings().CUfunction_attribute, f"CU_FUNC_ATTRIBUTE_{name}")
        return int(driver.call("cuFuncGetAttribute", which, self.function))

    def launch(self, grid: tuple[int, int, int], values: Sequence[int | float], objects: Sequence[Any]) -> None:
        if 0 in grid:
            return
        packer = getattr(self._local, "packer", None)
        if packer is None:
            driver.ensure_context()
            packer = self._local.packer = Packer(self.types)
        (status,) = self._launch(self.function, grid[0], grid[1], grid[2], self.threads, 1, 1, self.shared_bytes,
                                 driver.current_stream(), packer.pack(values), 0)
        if int(status) != 0:
            raise LaunchError(f"launching {self.name} on a grid of {grid}: {driver.explain(driver.bindings(), status)}")


def _load(name: str, ptx: str, shared_bytes: int, cubin: bytes | None) -> tuple[Any, Any, bytes]:
    """Assemble by the driver's linker (so that the cubin can be looked at and kept) unless that was done; load it."""
    device = driver.current_device()
    if shared_bytes > device.shared_bytes:
        raise OutOfResources(shared_bytes, device.shared_bytes, "shared memory")
    cubin = cubin or _assemble(name, ptx)
    module = driver.call("cuModuleLoadData", cubin, what=f"loading {name}")
    function = driver.call("cuModuleGetFunction", module, name.encode(), what=f"finding {name} in its module")
    if shared_bytes > 48 * 1024:
        limit = driver.bindings().CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        driver.call("cuFuncSetAttribute", function, limit, shared_bytes)
    return module, function, cubin


def _assemble(name: str, ptx: str) -> bytes:
    cuda = driver.bindings()
    option = cuda.CUjit_option
    log = bytearray(8192)
    state = driver.call("cuLinkCreate", 3, [option.CU_JIT_ERROR_LOG_BUFFER, option.CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
                                            option.CU_JIT_GENERATE_LINE_INFO], [log, len(log), 1])
    text = ptx.encode() + b"\0"
    try:
        kind = cuda.CUjitInputType.CU_JIT_INPUT_PTX
        status, *_ = cuda.cuLinkAddData(state, kind, text, len(text), name.encode(), 0, [], [])
        if int(status) != 0:
            said = log.split(b"\0")[0].decode(errors="replace")
            raise LaunchError(f"the driver does not assemble {name}: {driver.explain(cuda, status)}\n{said}")
        image, size = driver.call("cuLinkComplete", state, what=f"linking {name}")
        return ctypes.string_at(int(image), size)
    finally:
        driver.call("cuLinkDestroy", state)


def build_cuda(kernel: Kernel, stages: Any, options: Mapping[str, Any]) -> CudaExecutable:
    """Lower to PTX for the current GPU and load it."""
    from rtriton.backend.ptx.emit import lower_to_ptx

    module = lower_to_ptx(kernel, driver.current_device().target)
    ptx = stages.text("ptx", "ptx", str(module))
    types = [v.type for v in kernel.params]
    return CudaExecutable(kernel.name, types, ptx, module.shared_bytes, int(options["num_warps"]))
