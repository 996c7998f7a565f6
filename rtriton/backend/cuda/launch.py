"""A kernel on the GPU: PTX assembled by the driver's JIT, loaded, launched on the caller's current stream."""
from __future__ import annotations

import ctypes
import shlex
import struct
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from rtriton import numerics
from rtriton.backend.cuda import driver
from rtriton.backend.cuda.registers import fitted
from rtriton.errors import LaunchError, OutOfResources
from rtriton.ir import Kernel
from rtriton.target import target_of
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
    """A kernel of the current GPU, loaded at its first launch. `n_regs`, `n_spills` (bytes of local memory a thread)
    and `n_max_threads` are as the driver reports them."""

    def __init__(self, name: str, types: Sequence[Type], ptx: str, shared_bytes: int, num_warps: int,
                 cubin: bytes | None = None, options: Mapping[str, Any] | None = None) -> None:
        self.name, self.types, self.options = name, list(types), dict(options or {})
        self.shared_bytes, self.threads = shared_bytes, 32 * num_warps
        cubin = cubin or _assemble(name, ptx, self.options.get("ptx_options"))
        self.asm: dict[str, Any] = {"ptx": ptx, "cubin": cubin}
        self.module: Any = None
        self.function: Any = None
        self._local = threading.local()
        self._launch = self._plain
        if self.options.get("launch_cooperative_grid") or self.options.get("launch_pdl"):
            self._launch = self._with_attributes

    def load(self) -> None:
        """Bring the code onto the GPU. OutOfResources if it needs more shared memory or threads than there are."""
        if self.module is not None:
            return
        limit = driver.current_device().shared_bytes
        if self.shared_bytes > limit:
            raise OutOfResources(self.shared_bytes, limit, "shared memory")
        module = driver.call("cuModuleLoadData", self.asm["cubin"], what=f"loading {self.name}")
        self.function = driver.call("cuModuleGetFunction", module, self.name.encode(),
                                    what=f"finding {self.name} in its module")
        if self.threads > (most := self._attribute("MAX_THREADS_PER_BLOCK")):
            raise OutOfResources(self.threads, most, "threads")
        if self.shared_bytes > 48 * 1024:
            limit = driver.bindings().CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            driver.call("cuFuncSetAttribute", self.function, limit, self.shared_bytes)
        self.module = module

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
        return self._attribute(name)

    def _attribute(self, name: str) -> int:
        which = getattr(driver.bindings().CUfunction_attribute, f"CU_FUNC_ATTRIBUTE_{name}")
        return int(driver.call("cuFuncGetAttribute", which, self.function))

    def launch(self, grid: tuple[int, int, int], values: Sequence[int | float], objects: Sequence[Any]) -> None:
        if 0 in grid:
            return
        packer = getattr(self._local, "packer", None)
        if packer is None:
            driver.ensure_context()
            self.load()
            packer = self._local.packer = Packer(self.types)
        (status,) = self._launch(grid, packer.pack(values))
        if int(status) != 0:
            raise LaunchError(f"launching {self.name} on a grid of {grid}: {driver.explain(driver.bindings(), status)}")

    def _plain(self, grid: tuple[int, int, int], arguments: int) -> Any:
        return driver.bindings().cuLaunchKernel(self.function, grid[0], grid[1], grid[2], self.threads, 1, 1,
                                                self.shared_bytes, driver.current_stream(), arguments, 0)

    def _with_attributes(self, grid: tuple[int, int, int], arguments: int) -> Any:
        """A launch that may begin before the one in front of it has ended (launch_pdl: the kernel waits for it with
        gdc_wait), or all of whose programs run at once (launch_cooperative_grid)."""
        cuda = driver.bindings()
        kinds = cuda.CUlaunchAttributeID
        config = cuda.CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = grid
        config.blockDimX, config.blockDimY, config.blockDimZ = self.threads, 1, 1
        config.sharedMemBytes, config.hStream = self.shared_bytes, driver.current_stream()
        attributes: list[Any] = []
        for option, kind, field in (
            ("launch_cooperative_grid", kinds.CU_LAUNCH_ATTRIBUTE_COOPERATIVE, "cooperative"),
            ("launch_pdl", kinds.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
             "programmaticStreamSerializationAllowed"),
        ):
            if self.options.get(option):
                value = cuda.CUlaunchAttributeValue()
                setattr(value, field, 1)
                attribute = cuda.CUlaunchAttribute()
                attribute.id, attribute.value = kind, value
                attributes.append(attribute)
        config.attrs, config.numAttrs = attributes, len(attributes)
        return cuda.cuLaunchKernelEx(config, self.function, arguments, 0)


def _assemble(name: str, ptx: str, options: str | None) -> bytes:
    """By the driver's linker, so that the cubin can be looked at and kept; by ptxas where it is given options."""
    if options:
        from rtriton.backend.ptx.ptxas import assemble

        target = next(line.split()[1] for line in ptx.splitlines() if line.startswith(".target"))
        return assemble(ptx, target.rstrip(","), options=tuple(shlex.split(options))).cubin
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

    arch = options.get("arch")
    target = target_of(arch) if arch is not None else driver.current_device().target
    module = lower_to_ptx(kernel, target, stages.pass_done)
    ptx = stages.text("ptx", "ptx", str(module))
    ptx, cubin = fitted(ptx, module, lambda text: _assemble(kernel.name, text, options.get("ptx_options")))
    types = [v.type for v in kernel.params]
    return CudaExecutable(kernel.name, types, ptx, module.shared_bytes, int(options["num_warps"]), cubin, options)
